//! The program in a folder of its own, run to its end or as a server.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use docker_registry_tests::{
    artifacts,
    http::Client,
    process::{PATIENCE, Process, wait_for},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A configuration in which everything has been said, so that the log holds nothing but what a test is about.
pub(crate) const CONFIGURATION: &str =
    "dev:\n  storage: local\n  storage_path: _env:STORAGE_PATH\n  standalone: true\n  issue: '\"mine\"'\n";

/// A folder with a `config.yml` in which the program runs.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn with(configuration: &str) -> Folder {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("config.yml"), configuration).expect("a file");
        Folder(folder)
    }

    pub(crate) fn empty() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The text of a file; nothing when there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The program with none of the caller's variables.
    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(artifacts::folder().join("docker-registry"));
        command
            .env_clear()
            .env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder())
            .env("STORAGE_PATH", self.path("storage"))
            .env("REGISTRY_ADMIN", "off")
            .env("REGISTRY_HOST", "127.0.0.1")
            .env("REGISTRY_PORT", "0")
            .current_dir(self.0.path())
            .args(arguments);
        command
    }

    /// Exit code, standard output and standard error of a program that ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::of(self.program(arguments).output().expect("the program runs"))
    }

    /// A server, once it says in `server.log` or in its own log where it listens.
    pub(crate) fn serve(&self, command: &mut Command, log: &str) -> Server {
        let mut process = Process::start("docker-registry", command, &self.path("server.log"));
        let addresses = wait_for("the server says where it listens", PATIENCE, || {
            let found = listening_at(&self.text(log));
            if found.is_empty() && !process.is_running() {
                process.fail("it ended instead of listening");
            }
            (!found.is_empty()).then_some(found)
        });
        Server { process, addresses }
    }
}

/// How a program ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Ended {
    pub(crate) fn of(output: Output) -> Ended {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Ended {
            code: output.status.code().expect("an exit code"),
            output: text(output.stdout),
            errors: text(output.stderr),
        }
    }
}

/// The addresses in the lines `Listening at: http://ADDRESS (PID)`.
fn listening_at(log: &str) -> Vec<SocketAddr> {
    let rests = log.split("Listening at: http://").skip(1);
    rests.filter_map(|rest| rest.split_once(" (")?.0.parse().ok()).collect()
}

/// A running server.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Server {
    pub(crate) fn client(&self) -> Client {
        Client::new(self.addresses[0]).with_patience(Duration::from_secs(20))
    }

    pub(crate) fn registry(&self) -> String {
        self.addresses[0].to_string()
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.process.id().cast_signed()).expect("a process id");
        kill_process(id, signal).expect("a signal");
    }

    /// Ends it in an orderly way; everything is written then.
    pub(crate) fn stop(self) {
        assert!(self.process.terminate().success(), "it ends with 0");
    }
}

/// A file of the collection.
pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("old_habits/files").join(name)
}
