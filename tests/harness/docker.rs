//! A private Docker Engine: its own data, its own socket, no network of its own, gone when dropped.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::images::{Image, Layout, Saved, read_archive};
use crate::process::{PATIENCE, Process, run, try_run, wait_for};

/// A running daemon and the command line that talks to it.
#[derive(Debug)]
pub struct Docker {
    // Ended with SIGTERM when dropped, so that it ends its own containerd.
    daemon: Option<Process>,
    folder: TempDir,
}

impl Docker {
    /// Starts a daemon with an empty image storage. Only root can.
    pub fn start() -> Docker {
        // Short, because the path of a socket has a limit of about a hundred bytes.
        let folder =
            tempfile::Builder::new().prefix("dockerd-").tempdir_in("/tmp").expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        for name in ["data", "run", "home", "temporary"] {
            fs::create_dir(path(name)).expect("a folder in it");
        }
        fs::write(path("daemon.json"), "{}").expect("a configuration of its own, not the machine's");
        let mut command = Command::new("dockerd");
        command.args(["--storage-driver=vfs", "--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.arg("--data-root").arg(path("data")).arg("--exec-root").arg(path("run"));
        command.arg("--pidfile").arg(path("pid")).arg("--config-file").arg(path("daemon.json"));
        command.arg("--host").arg(format!("unix://{}", path("socket").display()));
        command.env("TMPDIR", path("temporary")).env_remove("HTTP_PROXY").env_remove("HTTPS_PROXY");
        // The daemon needs iptables and runc, which a user's path may not have.
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        let mut daemon = Process::start("dockerd", &mut command, &path("log"));
        wait_for("dockerd answers", PATIENCE, || {
            if !daemon.is_running() {
                daemon.fail("it ended at its start");
            }
            let mut ask = client(folder.path());
            ask.args(["version", "--format", "{{.Server.Version}}"]);
            ask.output().is_ok_and(|answer| answer.status.success()).then_some(())
        });
        Docker { daemon: Some(daemon), folder }
    }

    /// Loads an image of a layout under a name. Its id is the digest of its configuration.
    pub fn load(&self, layout: &Layout, image: &Image, reference: &str) {
        let archive = self.folder.path().join("image.tar");
        layout.write_archive(image, reference, &archive);
        self.run(&["load", "--quiet", "--input", &archive.display().to_string()]);
        fs::remove_file(archive).expect("the archive can be removed");
    }

    /// Logs in to a registry. Returns what docker says when the registry refuses.
    pub fn log_in(&self, registry: &str, user: &str, password: &str) -> Result<(), String> {
        self.try_run(&["login", "--username", user, "--password", password, registry])
    }

    /// Forgets the password for a registry.
    pub fn log_out(&self, registry: &str) {
        self.run(&["logout", registry]);
    }

    /// Pushes the image of that name, or returns what docker says.
    pub fn try_push(&self, reference: &str) -> Result<(), String> {
        self.try_run(&["push", "--quiet", reference])
    }

    /// Pulls an image, or returns what docker says.
    pub fn try_pull(&self, reference: &str) -> Result<(), String> {
        self.try_run(&["pull", "--quiet", reference])
    }

    /// Pushes the image of that name.
    pub fn push(&self, reference: &str) {
        self.run(&["push", "--quiet", reference]);
    }

    /// What `docker search` prints with these arguments: a line for each result, its name and its description.
    pub fn search(&self, arguments: &[&str]) -> Vec<String> {
        let search = ["search", "--no-trunc", "--format", "{{.Name}} {{.Description}}"];
        let output = self.run(&[&search, arguments].concat());
        output.lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Pulls an image; from a manifest list, the one for this machine.
    pub fn pull(&self, reference: &str) {
        self.run(&["pull", "--quiet", reference]);
    }

    /// Forgets all images, so that the next pull fetches every layer.
    pub fn forget_images(&self) {
        let ids = self.run(&["images", "--all", "--quiet", "--no-trunc"]);
        let ids: Vec<&str> = ids.lines().collect();
        if !ids.is_empty() {
            self.run(&[&["rmi", "--force"], &ids[..]].concat());
        }
        assert_eq!(self.run(&["images", "--all", "--quiet"]), "", "no image is left");
    }

    /// What the image of that name consists of.
    pub fn contents(&self, reference: &str) -> Saved {
        let file = self.folder.path().join("saved.tar");
        self.run(&["save", "--output", &file.display().to_string(), reference]);
        let saved = read_archive(&file);
        fs::remove_file(file).expect("the archive can be removed");
        saved
    }

    /// The digest under which the registry knows the image of that name.
    pub fn repository_digest(&self, reference: &str) -> String {
        let digest = self.run(&["image", "inspect", "--format", "{{index .RepoDigests 0}}", reference]);
        digest.trim().rsplit_once('@').expect("a pulled image has a repository digest").1.to_owned()
    }

    /// Makes a manifest list of images that are in the registry and pushes it there.
    pub fn push_list(&self, images: &[String], reference: &str) {
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        self.run(&[&["manifest", "create", "--insecure", reference], &images[..]].concat());
        self.run(&["manifest", "push", "--insecure", "--purge", reference]);
    }

    /// A program that finds this daemon when it runs `docker`.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        talking_to(self.folder.path(), program)
    }

    /// Makes an image of the archive of a root folder.
    pub fn import(&self, archive: &Path, reference: &str) {
        self.run(&["import", &archive.display().to_string(), reference]);
    }

    fn try_run(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = client(self.folder.path());
        try_run(command.args(arguments))
    }

    /// Runs `docker` with these arguments, which must succeed. Returns its standard output.
    pub fn run(&self, arguments: &[&str]) -> String {
        let mut command = client(self.folder.path());
        command.args(arguments);
        run(&mut command)
    }

    /// Makes another program talk to this daemon.
    pub fn point(&self, command: &mut Command) {
        // Its home stays its own.
        for (name, value) in self.command("docker").get_envs().filter(|(name, _)| *name != "HOME") {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.terminate_quietly();
        }
        // The daemon leaves this mounted after a container on the host's network, and the folder would stay with it.
        let mounted = self.folder.path().join("run/netns/default");
        if mounted.exists() {
            let _ = Command::new("umount").args(["--lazy"]).arg(mounted).output();
        }
    }
}

fn client(folder: &Path) -> Command {
    talking_to(folder, "docker")
}

fn talking_to(folder: &Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env("HOME", folder.join("home")).env("DOCKER_CONFIG", folder.join("home"));
    command.env("DOCKER_HOST", format!("unix://{}", folder.join("socket").display()));
    command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_TLS_VERIFY");
    command
}
