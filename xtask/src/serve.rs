//! `cargo xtask run`: the server of this working copy, on port 5000, with nothing to configure.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, anyhow};
use xshell::cmd;

use crate::workspace::{Workspace, cargo};

/// Options of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build with optimisations.
    #[arg(long)]
    release: bool,
    /// Passed on to `docker-registry serve`, for example a configuration file or --bind 127.0.0.1:5001.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    serve: Vec<String>,
}

/// Builds the workspace, then becomes the server, so that signals reach it directly.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    let shell = workspace.shell()?;
    let cargo = cargo();
    let profile = arguments.release.then_some("--release");
    cmd!(shell, "{cargo} build --workspace {profile...}").quiet().run()?;

    let artifacts = workspace.artifacts(arguments.release);
    let mut server = Command::new(artifacts.join("docker-registry"));
    server.arg("serve").args(arguments.serve).env("DOCKER_REGISTRY_DRIVER_PATH", driver_path(&artifacts)?);
    // The developer's choice, else the sample of this working copy: a configuration that some package left in
    // /etc is nobody's choice here.
    if env::var_os("DOCKER_REGISTRY_CONFIG").is_none() {
        server.env("DOCKER_REGISTRY_CONFIG", workspace.file("config/config_sample.yml"));
    }
    if env::var_os("SETTINGS_FLAVOR").is_none() {
        server.env("SETTINGS_FLAVOR", "dev");
    }
    Err(anyhow!(server.exec()).context(format!("{} does not start", server.get_program().display())))
}

/// The drivers just built come first; folders the developer named stay behind them.
fn driver_path(artifacts: &std::path::Path) -> Result<std::ffi::OsString> {
    let named = env::var_os("DOCKER_REGISTRY_DRIVER_PATH").unwrap_or_default();
    let folders = env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty());
    Ok(env::join_paths(std::iter::once(artifacts.to_owned()).chain(folders))?)
}
