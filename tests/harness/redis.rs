//! A Redis of Debian's package, on a free port of 127.0.0.1, that can be killed, stopped for a while and started anew.

use std::{fs, net::SocketAddr, path::PathBuf, process::Command, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::{
    process::{PATIENCE, Process, try_run, wait_for},
    server::free_address,
};

/// A server. Dropping it kills it and deletes its folder.
#[derive(Debug)]
pub struct Redis {
    options: Vec<String>,
    address: SocketAddr,
    process: Option<Process>,
    starts: u32,
    folder: TempDir,
}

impl Redis {
    /// One that evicts, as the cache wants it.
    pub fn start() -> Redis {
        Redis::start_with(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"])
    }

    /// One with these options of its command line.
    pub fn start_with(options: &[&str]) -> Redis {
        let folder =
            tempfile::Builder::new().prefix("docker-registry-test-").tempdir().expect("a temporary folder");
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut redis = Redis { options, address: free_address(), process: None, starts: 0, folder };
        redis.restart();
        redis
    }

    /// Starts it again on the same port, with the data that its folder has. One that runs is killed first.
    pub fn restart(&mut self) {
        self.kill();
        self.starts += 1;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--dbfilename", "dump.rdb", "--dir"])
            .arg(self.folder.path())
            .args(["--port", &self.address.port().to_string()])
            .args(["--unixsocket"])
            .arg(self.socket())
            .args(&self.options);
        let log = self.folder.path().join(format!("redis-{}.log", self.starts));
        let mut process = Process::start("redis-server", &mut command, &log);
        wait_for("redis accepts connections", PATIENCE, || {
            if !process.is_running() {
                process.fail("it ended instead of listening");
            }
            process.log().contains("eady to accept connections").then_some(())
        });
        self.process = Some(process);
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops its process where it is: connections stay open and nothing is answered.
    pub fn stall(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("it runs");
        let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("it can be signalled");
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Its unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// The file that `SAVE` writes and that is read at the start.
    pub fn dump(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    /// Deletes what it would read at the next start.
    pub fn forget(&self) {
        let _ = fs::remove_file(self.dump());
    }

    /// What `redis-cli` answers to a command, without the line break at the end.
    pub fn ask(&self, command: &[&str]) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.address.port().to_string()])
            .args(command)
            .output()
            .expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Whether it takes a command at all.
    pub fn takes(&self, command: &[&str]) -> bool {
        let mut cli = Command::new("redis-cli");
        try_run(cli.args(["-p", &self.address.port().to_string()]).args(command)).is_ok()
    }

    /// Its keys, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.ask(&["KEYS", "*"]).lines().map(str::to_owned).collect();
        keys.retain(|key| !key.is_empty());
        keys.sort();
        keys
    }

    /// The one key that ends so.
    ///
    /// # Panics
    /// When there is none, or another one.
    pub fn key(&self, end: &str) -> String {
        let mut keys = self.keys();
        keys.retain(|key| key.ends_with(end));
        assert_eq!(keys.len(), 1, "{end}: {:?}", self.keys());
        keys.remove(0)
    }

    /// What is at the key that ends so: the letter of an entry, or nothing.
    pub fn letter(&self, end: &str) -> Option<String> {
        let key = self.keys().into_iter().find(|key| key.ends_with(end))?;
        let text = self.ask(&["GETRANGE", &key, "0", "0"]);
        (!text.is_empty()).then_some(text)
    }

    /// The time that a key has left.
    pub fn time_left(&self, key: &str) -> Duration {
        Duration::from_millis(self.ask(&["PTTL", key]).parse().unwrap_or(0))
    }
}
