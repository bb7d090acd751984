//! `cargo xtask test`: everything that must hold before a change is merged, cheapest first.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};
use xshell::{Shell, cmd};

use crate::dist::{self, Which};
use crate::packages;
use crate::workspace::{Workspace, cargo};

/// The release of cargo-deny that is installed where none is found.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also run the tests that take long: 1 GiB layers with every client, soaks, and the dependency check.
    #[arg(long)]
    long: bool,
}

/// Runs every check and stops at the first that fails.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    let shell = workspace.shell()?;
    let cargo = cargo();
    packages::install_missing(&shell, packages::FOR_TESTS)?;

    cmd!(shell, "{cargo} fmt --all --check").run()?;
    cmd!(shell, "{cargo} clippy --workspace --all-targets --all-features -- -D warnings").run()?;
    check_dependencies(workspace, &shell, arguments.long)?;

    // The end-to-end tests start the server and load the drivers as files. Cargo does not know about that, and a
    // test run alone would leave old ones in place.
    cmd!(shell, "{cargo} build --workspace").run()?;
    let _built = shell.push_env("DOCKER_REGISTRY_TEST_ARTIFACTS", workspace.artifacts(false));
    // What is handed out is tested as well: packages and image, in a long run those of the optimised build.
    let _which = (!arguments.long).then(|| shell.push_env(dist::DEBUG, "true"));
    dist::write(workspace, &shell, Which { debug: !arguments.long }, &workspace.dist())?;
    let _packed = shell.push_env("DOCKER_REGISTRY_TEST_DIST", workspace.dist());
    let long = arguments.long.then_some(["--features", "docker-registry-tests/long"]).into_iter().flatten();
    cmd!(shell, "{cargo} test --workspace --no-fail-fast {long...}").run()?;

    if !arguments.long {
        eprintln!("xtask: all passed. Not run: the long tests (cargo xtask test --long).");
    }
    Ok(())
}

/// Checks licences, banned and duplicate crates and sources of the dependencies.
///
/// The check runs where cargo-deny is at hand. Compiling it takes minutes, so only a long run installs it, into a
/// folder of the user's cache that later runs find.
fn check_dependencies(workspace: &Workspace, shell: &Shell, install: bool) -> Result<()> {
    if !workspace.file("deny.toml").exists() {
        eprintln!("xtask: dependencies not checked: there is no deny.toml");
        return Ok(());
    }
    let cargo = cargo();
    let installed = cache_folder()?.join("cargo-deny");
    let cached = installed.join("bin/cargo-deny");
    let program = if cached.exists() {
        cached
    } else if cmd!(shell, "cargo-deny --version").quiet().ignore_stdout().ignore_stderr().run().is_ok() {
        PathBuf::from("cargo-deny")
    } else if install {
        cmd!(shell, "{cargo} install --quiet --locked --root {installed} cargo-deny@{CARGO_DENY_VERSION}")
            .run()?;
        cached
    } else {
        eprintln!(
            "xtask: dependencies not checked: cargo-deny is not installed (cargo xtask test --long does it)"
        );
        return Ok(());
    };
    // Advisories are left out: they need a database from the network, and the rest must work without one.
    cmd!(shell, "{program} check licenses bans sources").run()?;
    Ok(())
}

/// Where tools that are built once are kept, outside of the working copy.
fn cache_folder() -> Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
            .join(".cache"),
    };
    Ok(cache.join("docker-registry-tests"))
}
