//! A driver of a stranger: made by `driver new` in an empty folder outside this tree, built there, installed,
//! chosen by a flavor, and used by real clients. And the tutorial, followed word for word.

mod new_project;
mod serving;
mod tutorial;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use docker_registry_tests::artifacts;

/// The program, in `folder`, without any of the caller's settings for it.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(artifacts::folder().join("docker-registry"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).current_dir(folder);
    command
}

/// Exit code and both outputs.
fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("the program runs");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().expect("an exit code"), text.into_owned())
}

/// An empty folder outside of this tree.
fn empty_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("docker-registry-outside-").tempdir().expect("a folder");
    assert!(!folder.path().starts_with(artifacts::workspace()));
    folder
}

/// A project of `driver new NAME` in `folder`.
fn new_driver(folder: &Path, name: &str, more: &[&str]) -> PathBuf {
    let (code, output) = run(program(folder).args(["driver", "new", name]).args(more));
    assert_eq!(code, 0, "{output}");
    folder.join(format!("docker-registry-driver-{name}"))
}
