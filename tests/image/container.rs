//! One container, removed when dropped.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use docker_registry_tests::{
    docker::Docker,
    process::{PATIENCE, wait_for},
};

use crate::IMAGE;

/// A container of the image that was started in the background.
pub(crate) struct Container<'a> {
    docker: &'a Docker,
    id: String,
}

impl<'a> Container<'a> {
    /// `docker run -d OPTIONS registry COMMAND`, with a network of its own unless the options name one.
    pub(crate) fn start(docker: &'a Docker, options: &[&str], command: &[&str]) -> Container<'a> {
        let network: &[&str] = if options.iter().any(|option| option.starts_with("--net")) {
            &[]
        } else {
            &["--network", "none"]
        };
        let id = docker.run(&[&["run", "--detach"], network, options, &[IMAGE], command].concat());
        Container { docker, id: id.trim().to_owned() }
    }

    /// Like [`Container::start`]; returns once the server in it is ready.
    pub(crate) fn ready(docker: &'a Docker, options: &[&str], command: &[&str]) -> Container<'a> {
        let container = Container::start(docker, options, command);
        container.becomes_ready();
        container
    }

    /// `docker restart`; returns once the server is ready again.
    pub(crate) fn restart(&self) {
        self.docker.run(&["restart", "--time", "60", &self.id]);
        self.becomes_ready();
    }

    fn becomes_ready(&self) {
        wait_for("the server is ready", PATIENCE, || {
            assert_eq!(self.state("Running"), "true", "{}", self.log());
            self.health().status.success().then_some(())
        });
    }

    /// The name that docker gave it.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// What the image's health check runs.
    pub(crate) fn health(&self) -> Output {
        self.command(&["exec", &self.id, "docker-registry", "health", "--server", "1"])
    }

    /// Everything that was written, by entrypoint and server.
    pub(crate) fn log(&self) -> String {
        let output = self.command(&["logs", &self.id]);
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat()
    }

    /// A field of its state.
    pub(crate) fn state(&self, field: &str) -> String {
        let format = format!("{{{{.State.{field}}}}}");
        self.docker.run(&["inspect", "--format", &format, &self.id]).trim().to_owned()
    }

    /// The server's user and its effective capabilities.
    pub(crate) fn identity(&self) -> Identity {
        let id = self.state("Pid");
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("the container runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            line.split_whitespace().next().expect("a value").to_owned()
        };
        assert_eq!(field("Name:"), "docker-registry", "the first process is the server");
        Identity { user: field("Uid:"), capabilities: field("CapEff:") }
    }

    /// Waits until it has ended. Returns its exit code.
    pub(crate) fn ended(&self) -> i32 {
        wait_for("the container ends", PATIENCE, || (self.state("Running") == "false").then_some(()));
        self.state("ExitCode").parse().expect("a number")
    }

    /// `docker stop`, which takes the image's signal. Returns the exit code.
    pub(crate) fn stop(&self) -> i32 {
        self.docker.run(&["stop", "--time", "60", &self.id]);
        self.ended()
    }

    fn command(&self, arguments: &[&str]) -> Output {
        self.docker.command("docker").args(arguments).output().expect("docker runs")
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.command(&["rm", "--force", "--volumes", &self.id]);
    }
}

/// Who a server is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: String,
    pub(crate) capabilities: String,
}

/// The user that the image brings, without any capability.
pub(crate) fn unprivileged(user: u32) -> Identity {
    Identity { user: user.to_string(), capabilities: "0".repeat(16) }
}

/// `docker run --rm` to its end.
pub(crate) fn run_once(docker: &Docker, options: &[&str], command: &[&str]) -> (i32, String) {
    let mut run: Command = docker.command("docker");
    run.args(["run", "--rm", "--network", "none"]).args(options).arg(IMAGE).args(command);
    let output = run.output().expect("docker runs");
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.code().expect("an exit code"), text)
}

/// The option that mounts a folder of this machine.
pub(crate) fn mount(folder: &Path, place: &str) -> String {
    format!("--volume={}:{place}", folder.display())
}
