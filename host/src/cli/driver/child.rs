//! A child process of this same program, in which a driver's code runs.
//!
//! What a library does when it is loaded or called, a crash or a hang included, costs the child alone. The
//! order goes in through standard input, so that no secret is in the arguments; the answer is the last line
//! of standard output; what the driver logs stays in memory and is shown when something went wrong.

use std::{
    collections::VecDeque,
    env, fmt,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::{Serialize, de::DeserializeOwned};

/// Last lines of the log that are kept.
const KEPT_LINES: usize = 40;
/// Longest line of the log that is kept whole, in bytes.
const LONGEST_LINE: usize = 2000;
/// Largest answer, in bytes.
const LARGEST_ANSWER: u64 = 4 << 20;
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
    let sending = thread::spawn(move || input.map(|mut input| input.write_all(&order)));
    let output = child.stdout.take();
    let answering = thread::spawn(move || last_line(output));
    let log = child.stderr.take();
    let logging = thread::spawn(move || last_lines(log));

    let status = wait(&mut child, started + limit);
    // All of them end with the child.
    let _ = sending.join();
    let answer = answering.join().ok().flatten();
    let log = logging.join().unwrap_or_default();
    let answer = match status? {
        None => Err(NoAnswer::Hung(limit)),
        Some(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => Err(NoAnswer::Signal(signal)),
            (None, Some(0)) => {
                answer.and_then(|line| serde_json::from_str(&line).ok()).ok_or(NoAnswer::Unreadable)
            }
            (None, code) => Err(NoAnswer::Exit(code.unwrap_or(-1))),
        },
    };
    Ok(Ended { answer, log, time: started.elapsed() })
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

fn last_line(output: Option<impl Read>) -> Option<String> {
    let mut text = String::new();
    BufReader::new(output?.take(LARGEST_ANSWER)).read_to_string(&mut text).ok()?;
    text.lines().last().map(str::to_owned)
}

fn last_lines(log: Option<impl Read>) -> Vec<String> {
    let mut kept = VecDeque::new();
    let Some(log) = log else { return Vec::new() };
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    while log.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        line.truncate(LONGEST_LINE);
        if kept.len() == KEPT_LINES {
            kept.pop_front();
        }
        kept.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        line.clear();
    }
    kept.into()
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
    write!(output, "\n{}\n", serde_json::to_string(answer)?)?;
    output.flush()
}
