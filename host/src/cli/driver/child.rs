//! A child process of this same program, in which a driver's code runs.
//!
//! What a library does when it is loaded or called, a crash or a hang included, costs the child alone. The
//! order goes in through standard input, so that no secret is in the arguments; the answer is a marked line of
//! standard output, whatever the driver prints before and after it; the last lines that it logs stay in memory and
//! are shown when something went wrong. What the driver has started and left behind with the pipes is not waited for.

use std::{
    collections::VecDeque,
    env, fmt,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

/// Last lines of the log that are kept.
const KEPT_LINES: usize = 40;
/// Longest line of the log that is kept whole, in bytes.
const LONGEST_LINE: u64 = 2000;
/// Largest answer, in bytes.
const LARGEST_ANSWER: u64 = 4 << 20;
/// What an answer begins with.
const MARK: &str = "docker-registry answers: ";
/// How long is read on when the child has ended: what it said is in the pipes by then, and only somebody that it has
/// started can keep them open.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How often a child is looked after.
const GLANCE: Duration = Duration::from_millis(5);

/// What became of a child.
pub(super) struct Ended<A> {
    /// The answer, or why there is none.
    pub(super) answer: Result<A, NoAnswer>,
    /// The last lines that it logged.
    pub(super) log: Vec<String>,
    /// How long it ran.
    pub(super) time: Duration,
}

/// Why a child gave no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// It was killed when its time was over.
    Hung(Duration),
    /// A signal ended it.
    Signal(i32),
    /// It ended by itself.
    Exit(i32),
    /// It said something else than an answer.
    Unreadable,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hung(limit) => write!(f, "it hung: it had not ended after {limit:?} and was killed"),
            Self::Signal(number) => write!(f, "it crashed: {}", signal_name(*number)),
            Self::Exit(code) => write!(f, "it ended the process with exit code {code}"),
            Self::Unreadable => f.write_str("it ended without an answer"),
        }
    }
}

/// The name of a signal, as far as drivers die of it.
fn signal_name(number: i32) -> String {
    let name = match number {
        4 => "SIGILL, an illegal instruction",
        6 => "SIGABRT, it aborted",
        7 => "SIGBUS, a file or memory that is not there",
        8 => "SIGFPE, a division by zero",
        9 => "SIGKILL, perhaps for lack of memory",
        11 => "SIGSEGV, a segmentation fault",
        13 => "SIGPIPE, a write to a closed pipe",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

/// Starts this program with `arguments`, sends it `order` and waits for its answer for at most `limit`.
///
/// # Errors
/// When no process can be started at all.
pub(super) fn run<O: Serialize, A: DeserializeOwned>(
    arguments: &[&str],
    order: &O,
    limit: Duration,
) -> io::Result<Ended<A>> {
    let started = Instant::now();
    let mut child = Command::new(env::current_exe()?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let order = serde_json::to_vec(order)?;
    let input = child.stdin.take();
    // A child that dies at once does not read its order; its end is reported, not the broken pipe.
    thread::spawn(move || input.map(|mut input| input.write_all(&order)));
    let said = Arc::new(Mutex::new(Said::default()));
    // Closed by the last of the readers.
    let (reading, read) = mpsc::channel::<()>();
    let listen = |pipe: Option<Box<dyn Read + Send>>, longest: u64, take: fn(&mut Said, &[u8])| {
        let (said, reading) = (Arc::clone(&said), reading.clone());
        thread::spawn(move || {
            let _reading = reading;
            if let Some(pipe) = pipe {
                for_each_line(pipe, longest, |line| take(&mut lock(&said), line));
            }
        });
    };
    listen(child.stdout.take().map(|pipe| Box::new(pipe) as _), LARGEST_ANSWER, Said::printed);
    listen(child.stderr.take().map(|pipe| Box::new(pipe) as _), LONGEST_LINE, Said::logged);
    drop(reading);

    let status = wait(&mut child, started + limit);
    let _ = read.recv_timeout(LAST_WORDS);
    let Said { answer, log } = std::mem::take(&mut *lock(&said));
    let answer = match status? {
        None => Err(NoAnswer::Hung(limit)),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => Err(NoAnswer::Signal(signal)),
            (None, Some(0)) => {
                answer.and_then(|text| serde_json::from_slice(&text).ok()).ok_or(NoAnswer::Unreadable)
            }
            (None, code) => Err(NoAnswer::Exit(code.unwrap_or(-1))),
        },
    };
    Ok(Ended { answer, log: log.into(), time: started.elapsed() })
}

/// Waits for the end of a child; `None` when it had to be killed.
fn wait(child: &mut Child, deadline: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(GLANCE);
    }
}

/// What a child has said so far.
#[derive(Default)]
struct Said {
    answer: Option<Vec<u8>>,
    log: VecDeque<String>,
}

impl Said {
    fn printed(&mut self, line: &[u8]) {
        if let Some(answer) = line.strip_prefix(MARK.as_bytes()) {
            self.answer = Some(answer.to_owned());
        }
    }

    fn logged(&mut self, line: &[u8]) {
        if self.log.len() == KEPT_LINES {
            self.log.pop_front();
        }
        self.log.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
    }
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads lines to the end of a pipe. Of a longer one than `longest` bytes the first part comes, and no more of it is
/// ever in memory.
fn for_each_line(pipe: impl Read, longest: u64, mut take: impl FnMut(&[u8])) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while (&mut pipe).take(longest).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        take(&line);
        if line.last() != Some(&b'\n') && pipe.skip_until(b'\n').is_err() {
            return;
        }
        line.clear();
    }
}

/// The child's side: its order.
///
/// # Errors
/// When standard input holds no order.
pub(super) fn order<O: DeserializeOwned>() -> io::Result<O> {
    Ok(serde_json::from_reader(io::stdin().lock())?)
}

/// The child's side: its answer, on a line of its own whatever the driver has printed before.
///
/// # Errors
/// When standard output is gone.
pub(super) fn answer<A: Serialize>(answer: &A) -> io::Result<()> {
    let mut output = io::stdout().lock();
    write!(output, "\n{MARK}{}\n", serde_json::to_string(answer)?)?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_found_among_whatever_a_driver_prints() {
        let printed = [b"hello\n\xff\xfe\n".to_vec(), b"x".repeat(9000), b"\n".to_vec()].concat();
        let text = [printed.clone(), format!("{MARK}\"yes\"\n").into_bytes(), printed].concat();
        let mut said = Said::default();
        for_each_line(text.as_slice(), 4096, |line| said.printed(line));
        assert_eq!(said.answer.as_deref(), Some(&b"\"yes\"\n"[..]));
    }

    #[test]
    fn the_last_lines_are_kept_and_long_ones_are_cut() {
        let text: String =
            (0..KEPT_LINES + 5).map(|number| format!("{number} {}\n", "y".repeat(3000))).collect();
        let mut said = Said::default();
        for_each_line(text.as_bytes(), LONGEST_LINE, |line| said.logged(line));
        assert_eq!(said.log.len(), KEPT_LINES);
        assert!(said.log[0].starts_with("5 y") && said.log.iter().all(|line| line.len() == 2000));
    }
}
