//! What `driver check` prints: a line for each case as it ends, the reasons of failures, a summary.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use docker_registry_driver_api::Capability;
use docker_registry_driver_conformance::Case;
use serde_json::{Value, json};

use super::{
    super::{super::Failure, child::Ended, subject::Subject},
    case::Verdict,
};

/// How one case went.
pub(super) struct Line {
    name: &'static str,
    result: Result<Option<String>, String>,
    log: Vec<String>,
    time: Duration,
}

impl Line {
    /// From what the child said, or how it ended.
    pub(super) fn new(case: &Case, ended: Ended<Verdict>) -> Self {
        let result = match ended.answer {
            Ok(Verdict::Passed) => Ok(None),
            Ok(Verdict::Skipped(reason)) => Ok(Some(reason)),
            Ok(Verdict::Failed(reason)) => Err(reason),
            Err(end) => Err(end.to_string()),
        };
        Self { name: case.name(), result, log: ended.log, time: ended.time }
    }

    /// The case could not even begin.
    pub(super) fn not_started(case: &Case, error: &io::Error) -> Self {
        let result = Err(format!("no process could be started for it: {error}"));
        Self { name: case.name(), result, log: Vec::new(), time: Duration::ZERO }
    }

    fn word(&self) -> &'static str {
        match self.result {
            Ok(None) => "passed",
            Ok(Some(_)) => "skipped",
            Err(_) => "failed",
        }
    }

    fn to_json(&self) -> Value {
        let reason = match &self.result {
            Ok(skipped) => skipped.as_deref(),
            Err(failed) => Some(failed.as_str()),
        };
        json!({
            "name": self.name, "result": self.word(), "reason": reason,
            "seconds": (self.time.as_secs_f64() * 1000.0).round() / 1000.0,
            "log": if self.result.is_err() { self.log.as_slice() } else { &[] },
        })
    }
}

/// The whole run.
pub(super) struct Report {
    driver: Value,
    heading: String,
    offers: String,
    total: usize,
    lines: Vec<Line>,
    as_json: bool,
    colours: bool,
    live: bool,
    started: Instant,
}

impl Report {
    pub(super) fn new(subject: &Subject, capabilities: Vec<String>, total: usize, as_json: bool) -> Self {
        let note = subject.file.note();
        let terminal = if as_json { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        Self {
            driver: json!({"name": note.name, "version": note.version, "path": subject.file.path(),
"capabilities": &capabilities}),
            offers: if capabilities.is_empty() { "none".to_owned() } else { capabilities.join(", ") },
            heading: format!("{} {} ({})", note.name, note.version, subject.file.path().display()),
            total,
            lines: Vec::new(),
            as_json,
            colours: terminal && std::env::var_os("NO_COLOR").is_none(),
            live: terminal,
            started: Instant::now(),
        }
    }

    /// Shows which case runs; only a terminal can take the words back.
    pub(super) fn begin(&self, name: &str, output: &mut impl Write) -> io::Result<()> {
        if self.lines.is_empty() {
            let text =
                format!("checking {}: {} cases\ncapabilities: {}\n", self.heading, self.total, self.offers);
            self.progress(&text, output)?;
        }
        if self.live {
            self.progress(&format!("[{}/{}] {name} …", self.lines.len() + 1, self.total), output)?;
        }
        Ok(())
    }

    /// Shows how it went.
    pub(super) fn end(&mut self, line: Line, output: &mut impl Write) -> io::Result<()> {
        let (colour, mark) = match line.result {
            Ok(None) => ("32", "ok"),
            Ok(Some(_)) => ("33", "skipped"),
            Err(_) => ("31", "FAILED"),
        };
        let mark = if self.colours { format!("\x1b[{colour}m{mark}\x1b[0m") } else { mark.to_owned() };
        let back = if self.live { "\r\x1b[K" } else { "" };
        let place = format!("[{}/{}]", self.lines.len() + 1, self.total);
        let mut text = format!("{back}{place} {:<60} {mark}  {:.2} s", line.name, line.time.as_secs_f64());
        match &line.result {
            Ok(None) => {}
            Ok(Some(reason)) => text.push_str(&format!("  ({reason})")),
            Err(reason) => {
                for reason_line in reason.lines() {
                    text.push_str(&format!("\n      {reason_line}"));
                }
                for log_line in &line.log {
                    text.push_str(&format!("\n      log: {log_line}"));
                }
            }
        }
        text.push('\n');
        self.progress(&text, output)?;
        self.lines.push(line);
        Ok(())
    }

    /// Prints the summary; a failed case makes the command fail.
    pub(super) fn finish(self, output: &mut impl Write) -> Result<(), Failure> {
        let count = |word: &str| self.lines.iter().filter(|line| line.word() == word).count();
        let (passed, skipped, failed) = (count("passed"), count("skipped"), count("failed"));
        let seconds = self.started.elapsed().as_secs_f64();
        let summary = format!("{passed} passed, {skipped} skipped, {failed} failed in {seconds:.1} s");
        self.progress(&format!("{summary}\n"), output)?;
        if self.as_json {
            let cases: Vec<Value> = self.lines.iter().map(Line::to_json).collect();
            let document = json!({
                "driver": self.driver, "passed": passed, "skipped": skipped, "failed": failed,
                "seconds": (seconds * 1000.0).round() / 1000.0, "cases": cases,
            });
            writeln!(output, "{document:#}")?;
        }
        if failed == 0 {
            return Ok(());
        }
        let names: Vec<&str> =
            self.lines.iter().filter(|line| line.result.is_err()).map(|line| line.name).collect();
        Err(Failure::Failed(format!("{} fails {}", self.heading, names.join(", "))))
    }

    fn progress(&self, text: &str, output: &mut impl Write) -> io::Result<()> {
        if self.as_json {
            io::stderr().write_all(text.as_bytes())
        } else {
            output.write_all(text.as_bytes())?;
            output.flush()
        }
    }
}

/// Prints the cases.
pub(super) fn list(cases: &[&Case], as_json: bool, output: &mut impl Write) -> Result<(), Failure> {
    if as_json {
        let cases: Vec<Value> = cases
            .iter()
            .map(|case| {
                let needs: Vec<&str> = case.needs().iter().map(|needed| needed.name()).collect();
                json!({
                    "name": case.name(), "about": case.about(), "needs": needs, "long": case.is_long(),
                    "time_limit_seconds": case.time_limit(Capability::ALL.into_iter().collect()).as_secs(),
                })
            })
            .collect();
        writeln!(output, "{:#}", Value::Array(cases))?;
        return Ok(());
    }
    for case in cases {
        let long = if case.is_long() { " [long]" } else { "" };
        writeln!(output, "{}{long}\n    {}", case.name(), case.about())?;
    }
    Ok(())
}
