//! The faults, and how a test chooses one.
//!
//! A rule says which operation shows which fault, and for which paths. Rules come from three places:
//! the configuration (for the life of the driver), a segment of a path such as `fault.get.panic` (for the
//! repository of that name and for no other), and the lines of the switch file, which is read again in each
//! call: a test throws and releases a fault while the server runs. A line that begins with `once` is taken
//! out of the file by the call that meets it, so that even a fault which ends the process shows once.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use docker_registry_driver_api::{Error, ErrorKind, HostServices, Result, Settings};

/// How often a blocked call looks whether its line has gone from the switch file.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What can go wrong. The names of the configuration are those of the variants in snake case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Panics at once.
    Panic,
    /// Does its work, and then a destructor panics.
    PanicInDrop,
    /// Hangs; when the call is given up, a destructor panics.
    PanicWhenDropped,
    /// Answers with bytes whose owner panics when the server lets go of them.
    PanicInBytes,
    /// Fails with an error of the kind `Internal`.
    Error,
    /// Never answers, and blocks no thread.
    Hang,
    /// Blocks the thread: until its line is gone from the switch file, or for the pause.
    Block,
    /// Hangs; when the call is given up, a destructor blocks the thread, as [`Fault::Block`].
    BlockWhenDropped,
    /// Ends the process with `abort()`.
    Abort,
    /// Ends the process with a segmentation fault.
    Segfault,
    /// Opens a file and never closes it, then does its work.
    Leak,
    /// Fails with `Unavailable`, which may be tried again.
    Storm,
    /// Fails with `Throttled` and advice to come again after 1500 milliseconds.
    Throttle,
    /// Waits for the pause without blocking; in a stream, after each byte.
    Slow,
    /// Writes to the log and counts, then does its work.
    Log,
    /// Starts a thread that counts without a pause as long as [`Fault::Block`] would block, then does its work.
    Flood,
    /// Starts a process that runs for long, with its id in the record, then does its work.
    Spawn,
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "panic" => Self::Panic,
            "panic_in_drop" => Self::PanicInDrop,
            "panic_when_dropped" => Self::PanicWhenDropped,
            "panic_in_bytes" => Self::PanicInBytes,
            "error" => Self::Error,
            "hang" => Self::Hang,
            "block" => Self::Block,
            "block_when_dropped" => Self::BlockWhenDropped,
            "abort" => Self::Abort,
            "segfault" => Self::Segfault,
            "leak" => Self::Leak,
            "storm" => Self::Storm,
            "throttle" => Self::Throttle,
            "slow" => Self::Slow,
            "log" => Self::Log,
            "flood" => Self::Flood,
            "spawn" => Self::Spawn,
            _ => return Err(Error::new(ErrorKind::InvalidConfiguration, format!("no fault `{name}`"))),
        })
    }
}

/// Which operations show a fault, for which paths.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    /// Name of the operation, or `any`: every method of the trait that takes a call.
    operation: String,
    fault: Fault,
    /// What must be in the path; empty for every path and for calls without one.
    within: String,
    /// Whether it holds for one call only.
    once: bool,
}

impl Rule {
    /// `[once] OPERATION FAULT [TEXT IN THE PATH]`; anything else is no rule.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace().peekable();
        let once = words.next_if_eq(&"once").is_some();
        let (operation, fault) = (words.next()?.to_owned(), words.next()?.parse().ok()?);
        Some(Self { operation, fault, within: words.next().unwrap_or_default().to_owned(), once })
    }

    /// The rule in a segment `fault.OPERATION.FAULT` of a path.
    fn of_path(path: &str) -> Option<Self> {
        let segment = path.split('/').find_map(|segment| segment.strip_prefix("fault."))?;
        let (operation, fault) = segment.split_once('.')?;
        let (operation, fault) = (operation.to_owned(), fault.parse().ok()?);
        Some(Self { operation, fault, within: String::new(), once: false })
    }

    fn holds(&self, operation: &str, paths: &[&str]) -> bool {
        let every_call = !matches!(
            operation,
            "open" | "drop" | "capabilities" | "close" | "read_stream" | "append_stream"
        );
        let named = self.operation == operation || (self.operation == "any" && every_call);
        named && (self.within.is_empty() || paths.iter().any(|path| path.contains(&self.within)))
    }
}

/// How long a [`Fault::Block`] lasts.
#[derive(Clone, Debug)]
enum Release {
    After(Duration),
    /// As long as the line is in the file.
    Switch(PathBuf, Rule),
}

/// A fault that a call meets.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) fault: Fault,
    pub(crate) pause: Duration,
    release: Release,
    host: HostServices,
}

/// All rules of an open driver.
#[derive(Clone, Debug)]
pub(crate) struct Faults {
    configured: Vec<Rule>,
    switch: Option<PathBuf>,
    pause: Duration,
    host: HostServices,
}

impl Faults {
    /// Reads the keys `fault`, `fault_in`, `fault_within`, `switch` and `pause_milliseconds`.
    pub(crate) fn new(settings: &Settings, host: HostServices) -> Result<Self> {
        let mut configured = Vec::new();
        if let Some(fault) = settings.text("fault")? {
            let fault: Fault = fault.parse()?;
            let within = settings.text("fault_within")?.unwrap_or_default();
            for operation in settings.required_text("fault_in")?.split([',', ' ']) {
                let (operation, within) = (operation.to_owned(), within.to_owned());
                configured.push(Rule { operation, fault, within, once: false });
            }
        }
        let pause = settings.integer("pause_milliseconds")?.unwrap_or(2000).unsigned_abs();
        let switch = settings.text("switch")?.map(PathBuf::from);
        Ok(Self { configured, switch, pause: Duration::from_millis(pause), host })
    }

    /// The fault that this operation shows now, if any.
    pub(crate) fn of(&self, operation: &str, paths: &[&str]) -> Option<Chosen> {
        let after = Release::After(self.pause);
        let chosen = |fault, release| Chosen { fault, pause: self.pause, release, host: self.host.clone() };
        let lasting = self.configured.iter().find(|rule| rule.holds(operation, paths)).cloned();
        let named =
            || paths.iter().find_map(|path| Rule::of_path(path).filter(|rule| rule.holds(operation, paths)));
        if let Some(rule) = lasting.or_else(named) {
            return Some(chosen(rule.fault, after));
        }
        let switch = self.switch.as_ref()?;
        let rule = thrown(switch).into_iter().find(|rule| rule.holds(operation, paths))?;
        if rule.once {
            release(switch, &rule);
        }
        Some(chosen(rule.fault, Release::Switch(switch.clone(), rule)))
    }

    /// Meets the fault of an operation that runs without a call: `open`, `capabilities`, `drop`.
    pub(crate) fn meet_now(&self, operation: &str) -> Result<()> {
        match self.of(operation, &[]) {
            Some(chosen) => chosen.meet_now(),
            None => Ok(()),
        }
    }
}

/// The rules in the switch file. A file that is not there has none.
fn thrown(switch: &PathBuf) -> Vec<Rule> {
    fs::read_to_string(switch).unwrap_or_default().lines().filter_map(Rule::parse).collect()
}

/// Takes a rule out of the switch file, for this process and for the next.
fn release(switch: &PathBuf, rule: &Rule) {
    let text = fs::read_to_string(switch).unwrap_or_default();
    let rest: String = text
        .lines()
        .filter(|line| Rule::parse(line).as_ref() != Some(rule))
        .flat_map(|line| [line, "\n"])
        .collect();
    fs::write(switch, rest).expect("the switch file can be written");
}

impl Chosen {
    /// Shows the fault in a call.
    pub(crate) async fn meet(self) -> Result<()> {
        match self.fault {
            Fault::PanicInDrop => {
                let _bomb = Bomb;
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(())
            }
            Fault::PanicWhenDropped => {
                let _bomb = Bomb;
                std::future::pending().await
            }
            Fault::BlockWhenDropped => {
                let _brake = Brake(self);
                std::future::pending().await
            }
            Fault::Hang => std::future::pending().await,
            Fault::Slow => {
                tokio::time::sleep(self.pause).await;
                Ok(())
            }
            _ => self.meet_now(),
        }
    }

    /// Shows the faults that need no waiting; the others show nothing.
    pub(crate) fn meet_now(&self) -> Result<()> {
        match self.fault {
            Fault::Panic => panic!("a panic on purpose"),
            Fault::Error => Err(Error::new(ErrorKind::Internal, "an error on purpose")),
            Fault::Abort => std::process::abort(),
            Fault::Segfault => {
                let this = rustix::process::getpid();
                // The signal that a wild pointer raises, and no unsafe code. The runtime's handler takes the
                // first, puts the default back and expects the instruction to fault again; so it is repeated.
                loop {
                    rustix::process::kill_process(this, rustix::process::Signal::SEGV)
                        .map_err(|error| Error::from(std::io::Error::from(error)))?;
                    // Another thread may take it, which ends the process all the same.
                    thread::sleep(LOOK_AGAIN);
                }
            }
            Fault::Leak => {
                std::mem::forget(fs::File::open("/dev/null")?);
                Ok(())
            }
            Fault::Storm => Err(Error::new(ErrorKind::Unavailable, "nothing works")),
            Fault::Throttle => {
                let mut error = Error::new(ErrorKind::Throttled, "slow down").outcome_unknown();
                error.retry_after = Some(Duration::from_millis(1500));
                Err(error)
            }
            Fault::Log => {
                tracing::warn!(answer = 42, "a driver's {}", "event");
                tracing::trace!("never seen");
                self.host.count("events", 3);
                Ok(())
            }
            Fault::Flood => {
                let flooding = self.clone();
                thread::Builder::new().name("flood".to_owned()).spawn(move || flooding.flood())?;
                Ok(())
            }
            Fault::Block => {
                self.block();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn flood(&self) {
        let over = Arc::new(AtomicBool::new(false));
        let looking = {
            let (chosen, over) = (self.clone(), Arc::clone(&over));
            thread::spawn(move || {
                chosen.wait_for_release();
                over.store(true, Ordering::Relaxed);
            })
        };
        while !over.load(Ordering::Relaxed) {
            self.host.count("flood", 1);
        }
        looking.join().expect("a look at a file does not panic");
    }

    fn block(&self) {
        // Counted, so that a test knows when so many calls are blocked.
        self.host.count("blocked", 1);
        self.wait_for_release();
    }

    fn wait_for_release(&self) {
        match &self.release {
            Release::After(pause) => thread::sleep(*pause),
            Release::Switch(switch, rule) => {
                while thrown(switch).contains(rule) {
                    thread::sleep(LOOK_AGAIN);
                }
            }
        }
    }
}

/// Starts a process that nobody waits for; its id.
pub(crate) fn spawn() -> Result<u32> {
    let command = &mut Command::new("sleep");
    let quiet = command.arg("3600").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(quiet.spawn()?.id())
}

/// Panics when it is dropped; as the owner of bytes, that happens on the server's side.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        // A second panic on the way out would end the process, which is not this fault.
        if !thread::panicking() {
            panic!("a panic in drop");
        }
    }
}

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        b"bytes with an owner"
    }
}

/// Blocks when it is dropped.
pub(crate) struct Brake(pub(crate) Chosen);

impl Drop for Brake {
    fn drop(&mut self) {
        self.0.block();
    }
}
