//! Cargo projects outside this workspace, built as a stranger would build them.
//!
//! All of them share one target folder, `target/outside`, and the versions of this workspace's lock file: each
//! crate of a third party is compiled once, and nothing is fetched. Builds in one folder wait for each other.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::artifacts;

/// The target folder of all such builds.
pub fn target() -> PathBuf {
    let test = env::current_exe().expect("the path of this program is known");
    // target/debug/deps/NAME-HASH
    test.ancestors().nth(3).expect("tests run from a target folder").join("outside")
}

/// Runs cargo in a project and returns what it wrote.
///
/// # Panics
/// When cargo fails, with everything that it wrote.
pub fn cargo(project: &Path, arguments: &[&str]) -> String {
    let output = try_cargo(project, arguments);
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?} in {} failed:\n{text}", project.display());
    text
}

/// Runs cargo in a project, without a network and with this workspace's versions of third-party crates.
pub fn try_cargo(project: &Path, arguments: &[&str]) -> Output {
    let lock = project.join("Cargo.lock");
    if !lock.exists() {
        // Cargo drops the entries that the project does not need and looks nothing up for the others.
        fs::copy(artifacts::workspace().join("Cargo.lock"), lock).expect("the lock file can be copied");
    }
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        // What cargo tells this test about its own package is not for another cargo.
        if ["CARGO_MANIFEST_", "CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "CARGO_TARGET_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .current_dir(project)
        .env("CARGO_NET_OFFLINE", "true")
        .env("CARGO_TARGET_DIR", target())
        // Nobody edits and rebuilds these.
        .env("CARGO_INCREMENTAL", "0")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .output()
        .unwrap_or_else(|error| panic!("cargo does not start: {error}"))
}

/// Builds a driver project and copies its library to `folder`, where the server finds it.
pub fn build_driver(project: &Path, name: &str, folder: &Path) -> PathBuf {
    cargo(project, &["build", "--quiet"]);
    let file = format!("libdocker_registry_driver_{name}.so");
    let built = target().join("debug").join(&file);
    fs::create_dir_all(folder).expect("a driver folder");
    let installed = folder.join(file);
    fs::copy(&built, &installed).unwrap_or_else(|error| panic!("{} is not there: {error}", built.display()));
    installed
}
