//! A server that drivers store in, started by a script of `tests/servers/`.
//!
//! A script `NAME.sh FOLDER` installs what it needs into a cache outside of the tree, starts its server on free
//! ports of 127.0.0.1, writes how it is reached into `FOLDER/ready` as lines `KEY=VALUE`, and ends with its
//! process group. With variables `REGISTRY_TEST_NAME_KEY` set, the tests use that account and start nothing.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::artifacts;
use crate::process::{Process, wait_for};

/// A server may have to be compiled first.
const START_LIMIT: Duration = Duration::from_secs(30 * 60);

/// A running server. Dropping it ends all of its processes and deletes its folder.
#[derive(Debug)]
pub struct StoreServer {
    values: BTreeMap<String, String>,
    process: Process,
    _folder: TempDir,
}

impl StoreServer {
    /// Starts `tests/servers/NAME.sh` and waits until it says that it answers.
    ///
    /// # Panics
    /// When it ends instead, with the end of its log.
    pub fn start(name: &str) -> StoreServer {
        Self::start_with(name, &[])
    }

    /// The same, with variables that the script obeys.
    ///
    /// # Panics
    /// As [`StoreServer::start`].
    pub fn start_with(name: &str, variables: &[(&str, &str)]) -> StoreServer {
        let folder =
            tempfile::Builder::new().prefix("docker-registry-test-").tempdir().expect("a temporary folder");
        let work = folder.path().join("work");
        fs::create_dir(&work).expect("a folder in it");
        let script = artifacts::workspace().join("tests/servers").join(format!("{name}.sh"));
        // Ends with this process as well, however that ends.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "bash"])
            .arg(script)
            .arg(&work)
            .envs(variables.iter().copied())
            .current_dir(&work)
            .process_group(0);
        let mut process = Process::start(name, &mut command, &folder.path().join("server.log"));
        let ready = work.join("ready");
        let text = wait_for(&format!("{name} is ready"), START_LIMIT, || match fs::read_to_string(&ready) {
            Ok(text) => Some(text),
            Err(_) if process.is_running() => {
                thread::sleep(Duration::from_millis(90));
                None
            }
            Err(_) => process.fail("it ended instead of answering"),
        });
        let values = text.lines().filter_map(|line| line.split_once('='));
        let values = values.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        StoreServer { values, process, _folder: folder }
    }

    /// What the script wrote for `key`.
    ///
    /// # Panics
    /// When it wrote nothing.
    pub fn value(&self, key: &str) -> &str {
        self.values.get(key).unwrap_or_else(|| panic!("the start script says nothing of {key}"))
    }

    /// The address in its `endpoint`, which is `http://127.0.0.1:PORT` or `https://127.0.0.1:PORT`, with or without a path.
    pub fn address(&self) -> SocketAddr {
        self.address_of("endpoint")
    }

    /// The address in another of its values.
    ///
    /// # Panics
    /// When there is none.
    pub fn address_of(&self, key: &str) -> SocketAddr {
        let endpoint = self.value(key);
        let authority = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest).split('/').next();
        authority.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{endpoint} is no address"))
    }

    /// The folder that its processes work in.
    pub fn folder(&self) -> &Path {
        self._folder.path()
    }

    /// Everything that it has written to its output.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl Drop for StoreServer {
    fn drop(&mut self) {
        let Some(group) = Pid::from_raw(self.process.id().cast_signed()) else { return };
        let _ = kill_process_group(group, Signal::TERM);
        for _ in 0..100 {
            if !self.process.is_running() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // What the script has started and left behind. The group is ours as long as anybody is in it.
        let _ = kill_process_group(group, Signal::KILL);
    }
}
