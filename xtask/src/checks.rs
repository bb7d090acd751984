//! `cargo xtask test`: everything that must hold before a change is merged, cheapest first.

use std::env;
use std::path::PathBuf;
use std::time::Instant;

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

    let mut clock = Clock::start();
    cmd!(shell, "{cargo} fmt --all --check").run()?;
    cmd!(shell, "{cargo} clippy --workspace --all-targets --all-features -- -D warnings").run()?;
    check_dependencies(workspace, &shell, arguments.long)?;
    clock.passed("lints");

    // The end-to-end tests start the server and load the drivers as files. Cargo does not know about that, and a
    // test run alone would leave old ones in place.
    cmd!(shell, "{cargo} build --workspace").run()?;
    clock.passed("build");
    let _built = shell.push_env("DOCKER_REGISTRY_TEST_ARTIFACTS", workspace.artifacts(false));
    // What is handed out is tested as well: packages and image, in a long run those of the optimised build.
    let which = Which { debug: !arguments.long };
    let _which = shell.push_env(dist::DEBUG, which.debug.to_string());
    dist::write(workspace, &shell, which, &which.folder(workspace))?;
    clock.passed("packages");
    let _packed = shell.push_env("DOCKER_REGISTRY_TEST_DIST", which.folder(workspace));
    let long: &[&str] = if arguments.long { &["--features", "docker-registry-tests/long"] } else { &[] };
    // Built apart, so that their own time is seen.
    cmd!(shell, "{cargo} test --workspace --no-run --quiet {long...}").run()?;
    clock.passed("build of the tests");
    cmd!(shell, "{cargo} test --workspace --no-fail-fast {long...}").run()?;
    clock.passed("tests");

    if !arguments.long {
        eprintln!("xtask: all passed. Not run: the long tests (cargo xtask test --long).");
    }
    Ok(())
}

/// Says how long each part took.
struct Clock(Instant);

impl Clock {
    fn start() -> Clock {
        Clock(Instant::now())
    }

    fn passed(&mut self, part: &str) {
        eprintln!("xtask: {part}: {} s", self.0.elapsed().as_secs());
        self.0 = Instant::now();
    }
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
