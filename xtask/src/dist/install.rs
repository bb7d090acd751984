//! `cargo xtask install`: the build of this working copy, laid out below a prefix as the release archive is.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use super::release::{Release, Which};
use crate::workspace::Workspace;

/// Options of `cargo xtask install`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where bin/, lib/, etc/ and share/ go; DESTDIR is put in front of it.
    #[arg(long, value_name = "FOLDER", default_value = "/usr/local")]
    prefix: PathBuf,
    #[command(flatten)]
    which: Which,
}

/// Builds the release and installs it.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    let prefix = &arguments.prefix;
    ensure!(prefix.is_absolute(), "--prefix takes a whole path, from / on");
    let shell = workspace.shell()?;
    let release = Release::build(workspace, &shell, arguments.which)?;
    let tree =
        release.tree(&shell, prefix.to_str().context("the prefix is not UTF-8")?.trim_end_matches('/'))?;
    let root = match env::var_os("DESTDIR").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder).join(prefix.strip_prefix("/")?),
        None => prefix.clone(),
    };
    tree.write(&root)?;
    println!("{}", root.join("bin/docker-registry").display());
    Ok(())
}
