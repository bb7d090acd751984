//! The server with a configuration of the test's own.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
};

use docker_registry_tests::{
    artifacts,
    http::Client,
    process::{PATIENCE, Process, wait_for},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A folder for certificates, sockets and the storage.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let folder = tempfile::Builder::new().prefix("docker-registry-test-").tempdir();
        Place { folder: folder.expect("a temporary folder") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration: files in this folder, no admin listener, and these lines.
    pub(crate) fn configure(&self, lines: &str) -> PathBuf {
        let file = self.file("config.yml");
        let mut text =
            format!("dev:\n  storage: local\n  storage_path: {}\n", self.file("storage").display());
        text.push_str("  standalone: true\n  admin: 'off'\n  loglevel: debug\n");
        for line in nested(lines).lines() {
            text.push_str(&format!("  {line}\n"));
        }
        fs::write(&file, text).expect("the configuration");
        file
    }

    /// The command that serves here at these addresses.
    pub(crate) fn command(&self, lines: &str, addresses: &[&str]) -> Command {
        let folder = artifacts::folder();
        let mut command = Command::new(folder.join("docker-registry"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("DOCKER_REGISTRY_DRIVER_PATH", folder);
        command.arg("serve").arg(self.configure(lines));
        for address in addresses {
            command.args(["--bind", address]);
        }
        command
    }

    /// Serves at these addresses and waits until it listens.
    pub(crate) fn serve(&self, lines: &str, addresses: &[&str]) -> Running {
        self.start(&mut self.command(lines, addresses))
    }

    /// Starts a command that serves, and waits until it listens.
    pub(crate) fn start(&self, command: &mut Command) -> Running {
        let mut process = Process::start("docker-registry", command, &self.file("server.log"));
        let address = wait_for("docker-registry says where it listens", PATIENCE, || {
            let log = process.log();
            if !log.contains("Listening at: ") && !process.is_running() {
                process.fail("it ended instead of listening");
            }
            let line = log.lines().find(|line| line.contains("Listening at: "))?.to_owned();
            // The line is whole when another follows it, or when it ends.
            log.contains(&format!("{line}\n")).then(|| address_in(&log))
        });
        Running { process, address }
    }
}

/// Keys with dots as mappings: `a.b: c` becomes `a:` with `b: c` in it.
fn nested(lines: &str) -> String {
    let (mut text, mut group) = (String::new(), "");
    for line in lines.lines() {
        match line.split_once(": ").and_then(|(key, value)| Some((key.split_once('.')?, value))) {
            Some(((outer, inner), value)) => {
                if group != outer {
                    text.push_str(&format!("{outer}:\n"));
                    group = outer;
                }
                text.push_str(&format!("  {inner}: {value}\n"));
            }
            None => {
                text.push_str(&format!("{line}\n"));
                group = "";
            }
        }
    }
    text
}

fn address_in(log: &str) -> Option<SocketAddr> {
    let at = log.find("Listening at: http")?;
    let rest = log[at..].split("://").nth(1)?;
    let end = rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// A running server.
pub(crate) struct Running {
    pub(crate) process: Process,
    address: Option<SocketAddr>,
}

impl Running {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("it listens at a TCP address")
    }

    /// A client that speaks plain HTTP.
    pub(crate) fn plain(&self) -> Client {
        Client::new(self.address())
    }

    /// Waits until the log has a line with all of these in it.
    pub(crate) fn await_line(&self, parts: &[&str]) -> String {
        wait_for(&format!("a line of the log has {parts:?}"), PATIENCE, || {
            let log = self.process.log();
            log.lines().find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        })
    }

    /// Waits until so many lines of the log have this in them: a connection may end before its line is written.
    pub(crate) fn await_lines(&self, part: &str, count: usize) {
        wait_for(&format!("{count} lines of the log have {part:?}"), PATIENCE, || {
            (self.lines(part) >= count).then_some(())
        });
        assert_eq!(self.lines(part), count, "{part}");
    }

    /// How many lines of the log have this in it.
    pub(crate) fn lines(&self, part: &str) -> usize {
        self.process.log().lines().filter(|line| line.contains(part)).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.process.id().cast_signed()).expect("a process id is not 0");
        kill_process(id, signal).expect("the server runs");
    }

    pub(crate) fn stop(self) -> ExitStatus {
        self.process.terminate()
    }
}
