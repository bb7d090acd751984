//! podman and buildah, each with a storage of its own. For images their command lines are the same.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::images::{Image, Layout, Saved, read_archive};
use crate::process::{run, try_run};

/// Which of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// podman.
    Podman,
    /// buildah.
    Buildah,
}

impl Program {
    /// The name of the executable.
    pub fn name(self) -> &'static str {
        match self {
            Program::Podman => "podman",
            Program::Buildah => "buildah",
        }
    }
}

/// A program with an empty image storage. Dropping it deletes the storage.
#[derive(Debug)]
pub struct Engine {
    program: Program,
    folder: TempDir,
}

impl Engine {
    /// An empty storage.
    pub fn new(program: Program) -> Engine {
        let folder =
            tempfile::Builder::new().prefix("docker-registry-test-").tempdir().expect("a temporary folder");
        for name in ["root", "run", "home", "temporary"] {
            fs::create_dir(folder.path().join(name)).expect("a folder in it");
        }
        Engine { program, folder }
    }

    /// Takes an image out of an OCI layout. Returns its id, the digest of its configuration.
    pub fn load(&self, layout: &Layout, image: &Image) -> String {
        // The programs make a name out of the path, and a name has no capitals, which temporary folders do have.
        let (parent, name) = (layout.folder().parent(), layout.folder().file_name());
        let source = format!("oci:{}:{}", name.expect("the layout has a name").display(), image.tag);
        let mut command = self.command(&["pull", "--quiet", &source]);
        command.current_dir(parent.expect("the layout is in a folder"));
        id_in(&run(&mut command))
    }

    /// Logs in to a registry. Returns what the program says when the registry refuses.
    pub fn log_in(&self, registry: &str, user: &str, password: &str) -> Result<(), String> {
        let arguments = ["login", "--tls-verify=false", "--username", user, "--password", password, registry];
        try_run(&mut self.command(&arguments))
    }

    /// Pushes an image of the storage, or returns what the program says.
    pub fn try_push(&self, id: &str, reference: &str) -> Result<(), String> {
        let target = format!("docker://{reference}");
        try_run(&mut self.command(&["push", "--quiet", "--tls-verify=false", id, &target]))
    }

    /// Pushes an image of the storage to a registry.
    pub fn push(&self, id: &str, reference: &str) {
        self.run(&["push", "--quiet", "--tls-verify=false", id, &format!("docker://{reference}")]);
    }

    /// Pulls an image from a registry; from a manifest list, the one for this machine. Returns its id.
    pub fn pull(&self, reference: &str) -> String {
        id_in(&self.run(&["pull", "--quiet", "--tls-verify=false", &format!("docker://{reference}")]))
    }

    /// What an image of the storage consists of.
    pub fn contents(&self, id: &str) -> Saved {
        let file = self.folder.path().join("saved.tar");
        let _ = fs::remove_file(&file);
        self.run(&["push", "--quiet", id, &format!("docker-archive:{}:saved:latest", file.display())]);
        let saved = read_archive(&file);
        fs::remove_file(&file).expect("the archive can be removed");
        saved
    }

    /// Makes a manifest list of images that are in the registry and pushes it there.
    pub fn push_list(&self, images: &[String], reference: &str) {
        let name = "localhost/list";
        self.run(&["manifest", "create", name]);
        for image in images {
            self.run(&["manifest", "add", "--tls-verify=false", name, &format!("docker://{image}")]);
        }
        self.run(&[
            "manifest",
            "push",
            "--all",
            "--tls-verify=false",
            name,
            &format!("docker://{reference}"),
        ]);
    }

    fn run(&self, arguments: &[&str]) -> String {
        run(&mut self.command(arguments))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let path = |name: &str| self.folder.path().join(name);
        let mut command = Command::new(self.program.name());
        command
            .args(["--storage-driver", "vfs", "--root"])
            .arg(path("root"))
            .arg("--runroot")
            .arg(path("run"));
        command.args(arguments);
        command.env("HOME", path("home")).env("TMPDIR", path("temporary")).env_remove("XDG_RUNTIME_DIR");
        command
    }
}

/// The image id a pull writes on its last line.
fn id_in(output: &str) -> String {
    let id = output.lines().last().unwrap_or_default().trim();
    format!("sha256:{}", id.strip_prefix("sha256:").unwrap_or(id))
}
