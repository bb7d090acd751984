//! One child process: started with its output in a file, watched through `/proc`, ended by its id.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything that should happen soon may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How many lines of a log are shown when a test fails.
const LINES_OF_FAILED: usize = 40;

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within `limit`, saying `what` was waited for.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "{what}: nothing within {limit:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a program to its end and returns what it wrote to its standard output.
///
/// Proxies are taken away from it: everything the tests talk to is on this machine.
///
/// # Panics
/// When it fails, with everything it wrote.
pub fn run(command: &mut Command) -> String {
    let output = outcome(command);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed, {}:\n{text}{errors}", output.status);
    text
}

/// Runs a program to its end. Returns what it wrote to its standard error when it fails.
pub fn try_run(command: &mut Command) -> Result<(), String> {
    let output = outcome(command);
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn outcome(command: &mut Command) -> Output {
    for proxy in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("{} does not start: {error}", command.get_program().display()))
}

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with both of its output streams written to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Process {
        let output = File::create(log).expect("the log file can be created");
        let errors = output.try_clone().expect("a file handle can be copied");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({command:?}): {error}"));
        Process { name: name.to_owned(), child, log: log.to_owned() }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file of what it writes, for when it has ended.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Everything the program has written so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Whether the program has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Bytes of memory in use now (`VmRSS`).
    pub fn resident_memory(&self) -> u64 {
        self.status_bytes(self.id(), "VmRSS:")
    }

    /// It and the processes that it has started, such as workers.
    pub fn family(&self) -> Vec<u32> {
        let mut family = vec![self.id()];
        let mut next = 0;
        while let Some(process) = family.get(next) {
            let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
            // What ends meanwhile has no children.
            let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
            let children: Vec<String> = lists.collect();
            family.extend(
                children
                    .iter()
                    .flat_map(|list| list.split_whitespace())
                    .filter_map(|child| child.parse::<u32>().ok()),
            );
            next += 1;
        }
        family
    }

    /// The most bytes of memory ever in use (`VmHWM`), since the start or the last [`Process::forget_peak`]; the sum over
    /// its [`Process::family`], in which memory that several share counts once for each.
    pub fn peak_memory(&self) -> u64 {
        self.family().iter().map(|process| self.status_bytes(*process, "VmHWM:")).sum()
    }

    /// Makes the present memory use the new peak.
    pub fn forget_peak(&self) {
        for process in self.family() {
            if fs::write(format!("/proc/{process}/clear_refs"), "5").is_err() {
                self.ended(process);
            }
        }
    }

    /// Processor time of all threads of its [`Process::family`], user and system, and of those that have ended in it, in the
    /// resolution of the kernel's clock tick.
    pub fn cpu_time(&self) -> Duration {
        let ticks: u64 = self.family().iter().map(|process| self.ticks(*process)).sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    fn ticks(&self, process: u32) -> u64 {
        let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else {
            return self.ended(process);
        };
        // The second field is the name in parentheses and may hold anything; utime and stime are fields 14
        // and 15, and those of children that have ended 16 and 17.
        let fields: Vec<&str> =
            stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect()).unwrap_or_default();
        fields[11..15].iter().map(|field| field.parse::<u64>().expect("ticks are a number")).sum()
    }

    /// Asks the program to end (SIGTERM) and waits until it has.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        wait_for(&format!("{} ends after SIGTERM", self.name), PATIENCE, || {
            self.child.try_wait().expect("a child can be waited for")
        })
    }

    /// Waits until the program, which was asked to in another way, has ended.
    pub fn await_end(mut self) -> ExitStatus {
        wait_for(&format!("{} ends", self.name), PATIENCE, || {
            self.child.try_wait().expect("a child can be waited for")
        })
    }

    /// Asks the program to end and gives it a while, without a word when it does not.
    pub fn terminate_quietly(mut self) {
        if self.is_running() {
            self.signal(Signal::TERM);
        }
        for _ in 0..500 {
            if !self.is_running() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the program at once (SIGKILL), as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Stops the test with the end of the program's log.
    pub fn fail(&self, why: &str) -> ! {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        panic!("{}: {why}. The end of its log:\n{end}", self.name)
    }

    fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().cast_signed()).expect("a process id is not 0");
        kill_process(id, signal).unwrap_or_else(|error| self.fail(&format!("no signal: {error}")));
    }

    /// One of the family cannot be asked any more: it uses nothing, unless it is the program itself.
    fn ended(&self, process: u32) -> u64 {
        if process == self.id() {
            self.fail("it has ended");
        }
        0
    }

    /// A line of `/proc/PID/status`, which gives kibibytes.
    fn status_bytes(&self, process: u32, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|value| value.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok());
        kibibytes.unwrap_or_else(|| self.ended(process)) * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            // Whatever went wrong, the process may have said why.
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES_OF_FAILED)..];
            eprintln!("the end of what {} wrote:\n{}", self.name, last.join("\n"));
        }
    }
}
