//! A running registry whose driver misbehaves when a test says so, and what can be seen of its processes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use docker_registry_tests::{
    artifacts,
    content::digest,
    http::{Client, Response},
    process::{PATIENCE, wait_for},
    server::{Chosen, Launch, Place, Server},
    v2,
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The repository of all tests: each has a registry of its own.
pub(crate) const REPOSITORY: &str = "isolated";

/// A registry on the misbehaving driver.
pub(crate) struct Registry {
    pub(crate) server: Server,
    // After the server, which writes into it.
    files: Files,
}

/// The files through which a test and the driver talk.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("isolation-").tempdir().expect("a temporary folder");
        Self { folder }
    }

    /// A file beside them.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The driver's key `switch`.
    pub(crate) fn switch_file(&self) -> PathBuf {
        self.file("switch")
    }

    /// The driver's key `record`.
    pub(crate) fn record_file(&self) -> PathBuf {
        self.file("record")
    }

    /// Makes these the faults of the driver, one a line.
    pub(crate) fn throw(&self, faults: &str) {
        // In one step: the driver reads it at any time.
        let next = self.file("switch.next");
        fs::write(&next, faults).expect("the switch can be written");
        fs::rename(next, self.switch_file()).expect("the switch can be exchanged");
    }

    /// How many lines of the driver's record begin and contain these.
    pub(crate) fn recorded(&self, start: &str, within: &str) -> usize {
        let record = fs::read_to_string(self.record_file()).unwrap_or_default();
        record.lines().filter(|line| line.starts_with(start) && line.contains(within)).count()
    }

    /// The process in which the driver was opened last, as soon as that has begun.
    pub(crate) fn opening_process(&self) -> Option<Pid> {
        let record = fs::read_to_string(self.record_file()).unwrap_or_default();
        let line = record.lines().rfind(|line| line.starts_with("open with "))?;
        line.rsplit(' ').next()?.parse().ok().and_then(Pid::from_raw)
    }

    /// The process that the fault `spawn` has started last.
    pub(crate) fn spawned_process(&self) -> Option<Pid> {
        let record = fs::read_to_string(self.record_file()).unwrap_or_default();
        let line = record.lines().rfind(|line| line.starts_with("spawned "))?;
        line.rsplit(' ').next()?.parse().ok().and_then(Pid::from_raw)
    }

    /// Writes a configuration whose flavor `test` is the misbehaving driver with this isolation, on local
    /// files unless `more` says otherwise.
    pub(crate) fn configuration(&self, isolation: &str, more: &str) -> PathBuf {
        let file = self.file("config.yml");
        let below = if more.contains("below:") { "" } else { "  below: local\n" };
        let text = format!(
            "test:\n  storage: misbehaving\n  isolation: {isolation}\n{below}  below_path: _env:STORAGE_PATH\n  \
             switch: {}\n  record: {}\n{more}",
            self.switch_file().display(),
            self.record_file().display(),
        );
        fs::write(&file, text).expect("the configuration can be written");
        file
    }
}

impl Registry {
    /// With the driver in a process of its own.
    pub(crate) fn start() -> Self {
        Self::with("process", "")
    }

    /// With the driver in a process of its own, and drivers from this folder.
    pub(crate) fn with_drivers(drivers: &Path) -> Self {
        let files = Files::new();
        let configuration = files.configuration("process", "");
        Self { server: serve(configuration, drivers), files }
    }

    /// With further lines of the flavor, indented by two.
    pub(crate) fn with(isolation: &str, more: &str) -> Self {
        let files = Files::new();
        let configuration = files.configuration(isolation, more);
        Self { server: serve(configuration, artifacts::folder()), files }
    }

    pub(crate) fn client(&self) -> Client {
        self.server.client()
    }

    pub(crate) fn throw(&self, faults: &str) {
        self.files.throw(faults);
    }

    pub(crate) fn recorded(&self, start: &str, within: &str) -> usize {
        self.files.recorded(start, within)
    }

    /// Pushes a blob.
    pub(crate) fn push(&self, content: &[u8]) -> Blob {
        let digest = v2::push_blob(&self.client(), REPOSITORY, content);
        Blob { target: format!("/v2/{REPOSITORY}/blobs/{digest}"), hex: digest[7..].to_owned(), digest }
    }

    /// Gets a blob.
    pub(crate) fn get(&self, blob: &Blob) -> Response {
        self.client().get(&blob.target)
    }

    /// Gets a blob and compares it.
    #[track_caller]
    pub(crate) fn expect(&self, blob: &Blob) {
        assert_eq!(digest(&self.get(blob).expect(200).body), blob.digest);
    }

    /// Has the driver start a process of its own.
    pub(crate) fn spawn_process(&self) -> Pid {
        let blob = self.push(b"read by somebody who starts a process");
        self.throw(&format!("once read spawn {}\n", blob.hex));
        self.expect(&blob);
        let process = self.files.spawned_process().expect("it has been started");
        assert!(is_alive(process));
        process
    }

    /// The driver's process, which runs. Its line in the log is written behind the answers, so that the last one that is
    /// named may still be one that has ended.
    pub(crate) fn driver_process(&self) -> Pid {
        wait_for("the log names a process of the driver that runs", PATIENCE, || {
            driver_processes(&self.server.process().log()).pop().filter(|process| is_alive(*process))
        })
    }

    /// How often the log says this.
    pub(crate) fn logged(&self, text: &str) -> usize {
        self.server.process().log().matches(text).count()
    }

    /// Waits until the log says this so often: it is written behind the answers.
    pub(crate) fn has_logged(&self, text: &str, times: usize) {
        let what = format!("the log says {times} times: {text}");
        wait_for(&what, PATIENCE, || (self.logged(text) == times).then_some(()));
    }

    /// Sum of a metric over all series whose labels contain `within`.
    pub(crate) fn metric(&self, name: &str, within: &str) -> f64 {
        let text = self.server.admin().get("/metrics").expect(200).text();
        let series = text.lines().filter(|line| line.starts_with(name) && line.contains(within));
        series.map(|line| line.rsplit(' ').next().unwrap_or_default().parse::<f64>().expect("a number")).sum()
    }

    /// Ends the server in an orderly way; its log and the driver's files remain.
    pub(crate) fn stop(self) -> (ExitStatus, Place, Files) {
        let (status, place) = self.server.stop();
        (status, place, self.files)
    }

    /// Ends the server as a power cut would.
    pub(crate) fn kill(self) -> Files {
        kill(self.server.process().id());
        self.files
    }
}

/// A blob in the registry.
#[derive(Clone, Debug)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    /// What the paths of its content have in them.
    pub(crate) hex: String,
    pub(crate) target: String,
}

/// A server with this configuration's flavor `test`, on an empty storage folder.
pub(crate) fn serve(configuration: PathBuf, drivers: &Path) -> Server {
    let drivers = drivers.to_owned();
    let chosen = Some(Chosen { configuration, flavor: "test".to_owned(), drivers });
    Server::launch(Launch { chosen, ..Launch::under_test() }, Place::new())
}

/// The ids of all processes of drivers that a server's log names, in the order of their start.
pub(crate) fn driver_processes(log: &str) -> Vec<Pid> {
    let lines = log.lines().filter(|line| line.contains("the driver runs in a process of its own"));
    let ids = lines.filter_map(|line| line.split("process=").nth(1));
    let number = |text: &str| text.split_whitespace().next()?.parse().ok().and_then(Pid::from_raw);
    ids.map(|id| number(id).expect("a process id")).collect()
}

/// Whether a process runs. One that has ended, with all its threads, and that nobody has waited for does not.
pub(crate) fn is_alive(process: Pid) -> bool {
    let folder = PathBuf::from(format!("/proc/{}", process.as_raw_nonzero()));
    let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    // The first thread may have ended while another still holds the sockets.
    let threads = fs::read_dir(folder.join("task")).map_or(0, Iterator::count);
    state.is_some_and(|state| !matches!(state, 'Z' | 'X')) || threads > 1
}

/// Waits until a process has ended.
pub(crate) fn expect_end(process: Pid) {
    wait_for("the driver's process ends", PATIENCE, || (!is_alive(process)).then_some(()));
}

/// Kills a process by its id.
pub(crate) fn kill(process: u32) {
    let process = Pid::from_raw(process.cast_signed()).expect("a process id is not 0");
    kill_process(process, Signal::KILL).expect("the process runs");
}

/// Descriptors that a process has open.
pub(crate) fn open_files(process: u32) -> usize {
    fs::read_dir(format!("/proc/{process}/fd")).expect("the process runs").count()
}

/// Bytes of memory of a process that are in use.
pub(crate) fn resident_memory(process: Pid) -> u64 {
    let status =
        fs::read_to_string(Path::new("/proc").join(process.as_raw_nonzero().to_string()).join("status"));
    let status = status.expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
}

/// The answer of a registry whose storage is away for a moment.
#[track_caller]
pub(crate) fn expect_unavailable(answer: Response) {
    let answer = answer.expect(503);
    let seconds = answer.header("retry-after").expect("it says when to come again").parse::<u64>();
    assert!((1..=60).contains(&seconds.expect("it says so in seconds")), "{:?}", answer.headers);
    assert!(answer.text().contains("UNAVAILABLE"), "{}", answer.text());
}

/// Somebody else who uses the registry all the time, and to whom nothing may happen.
pub(crate) struct SomebodyElse {
    thread: JoinHandle<()>,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
}

impl SomebodyElse {
    /// Gets `blob` again and again, each time on a new connection; every answer must be right.
    pub(crate) fn getting(registry: &Registry, blob: &Blob) -> Self {
        let (client, blob) = (registry.client(), blob.clone());
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&served));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                assert_eq!(digest(&client.get(&blob.target).expect(200).body), blob.digest);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let somebody = Self { thread, stop, served };
        somebody.expect_service();
        somebody
    }

    /// Waits until a request has been served that was made after this moment.
    pub(crate) fn expect_service(&self) {
        // One may have been made before.
        let goal = self.served.load(Ordering::Relaxed) + 2;
        wait_for("somebody else is served", PATIENCE, || {
            assert!(!self.thread.is_finished(), "somebody else was not served");
            (self.served.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    /// Fails when any of the answers was wrong.
    pub(crate) fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("somebody else was served all the time");
    }
}
