//! `cargo xtask dist`: what is handed out. A release archive, Debian packages, and the container image.
//!
//! All three and `cargo xtask install` lay out one [`Tree`] of files, so that they cannot differ in what they bring.
//! The same sources, built by the same compiler, give the same bytes.

mod debian;
mod image;
mod install;
mod release;
mod requirements;
mod tarball;
mod tree;

use std::env;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use xshell::{Shell, cmd};

use crate::workspace::Workspace;
use release::Release;

pub(crate) use release::{DEBUG, Which};

pub(crate) use install::{Arguments as InstallArguments, run as install};

/// The newest glibc that a release may need: that of RHEL 9. Ubuntu 22.04 has 2.35, Debian 12 has 2.36.
const GLIBC_FLOOR: requirements::Version = requirements::Version(2, 34);

/// Options of `cargo xtask dist`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Folder for the archive, the packages and SHA256SUMS [default: dist/ in the target folder, dist-debug/ with
    /// --debug].
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Build the container image with docker under this name, and nothing else.
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// The image that the container image takes the C library from.
    #[arg(long, value_name = "NAME", requires = "image", default_value = "debian:bookworm-slim")]
    base: String,
    #[command(flatten)]
    which: Which,
}

/// Builds the release and packs it, or makes the image of it.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    let shell = workspace.shell()?;
    if let Some(name) = &arguments.image {
        return image::build(
            &shell,
            &Release::build(workspace, &shell, arguments.which)?,
            name,
            &arguments.base,
        );
    }
    let folder = arguments.out.unwrap_or_else(|| arguments.which.folder(workspace));
    for file in write(workspace, &shell, arguments.which, &folder)? {
        println!("{}", folder.join(file).display());
    }
    Ok(())
}

/// Builds the release and writes archive, packages and digests into a folder. Returns the names of the files.
pub(crate) fn write(
    workspace: &Workspace,
    shell: &Shell,
    which: Which,
    folder: &Path,
) -> Result<Vec<String>> {
    let release = Release::build(workspace, shell, which)?;
    // What an earlier run left must not be taken for a part of this one.
    remove_earlier(folder).with_context(|| format!("{} cannot be cleared", folder.display()))?;
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let time = source_time(shell);
    let mut files = vec![tarball::write(&release, folder, time)?];
    files.extend(debian::write(shell, &release, folder, time)?);
    write_sums(folder, &files)?;
    Ok(files)
}

/// The list of digests beside the files, as `sha256sum --check` reads it. It says what an earlier run wrote.
const SUMS: &str = "SHA256SUMS";

/// Removes the files that the list in a folder names, and the list. Whatever else is in the folder is somebody's.
fn remove_earlier(folder: &Path) -> Result<()> {
    let sums = folder.join(SUMS);
    if !sums.exists() {
        return Ok(());
    }
    for name in fs::read_to_string(&sums)?.lines().filter_map(|line| Some(line.split_once("  ")?.1)) {
        // Only what lies in the folder itself.
        let file = folder.join(name);
        if file.parent() == Some(folder) && file.is_file() {
            fs::remove_file(file)?;
        }
    }
    Ok(fs::remove_file(sums)?)
}

fn write_sums(folder: &Path, files: &[String]) -> Result<()> {
    let mut sums = String::new();
    for file in files {
        let mut content = Vec::new();
        fs::File::open(folder.join(file))?.read_to_end(&mut content)?;
        let digest: String = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        sums.push_str(&format!("{digest}  {file}\n"));
    }
    Ok(fs::write(folder.join(SUMS), sums)?)
}

/// The time that every packed file gets: SOURCE_DATE_EPOCH, else that of the last commit, else the oldest there is.
fn source_time(shell: &Shell) -> u64 {
    let given = env::var("SOURCE_DATE_EPOCH").ok();
    let committed = || cmd!(shell, "git log -1 --format=%ct").quiet().ignore_stderr().read().ok();
    given.or_else(committed).and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_an_earlier_run_are_removed() {
        let outside = tempfile::tempdir().unwrap();
        let folder = outside.path().join("out");
        fs::create_dir_all(folder.join("photos")).unwrap();
        for file in ["ours.deb", "theirs.txt", "photos/one.jpg", "../outside.txt"] {
            fs::write(folder.join(file), "content").unwrap();
        }
        remove_earlier(&folder).unwrap();
        assert!(folder.join("ours.deb").exists(), "without a list nothing is removed");

        let names = ["ours.deb", "gone.deb", "photos", "photos/one.jpg", "../outside.txt"];
        let sums: String = names.iter().map(|name| format!("{}  {name}\n", "0".repeat(64))).collect();
        fs::write(folder.join(SUMS), sums).unwrap();
        remove_earlier(&folder).unwrap();
        assert!(!folder.join("ours.deb").exists() && !folder.join(SUMS).exists());
        for kept in ["theirs.txt", "photos/one.jpg", "../outside.txt"] {
            assert!(folder.join(kept).exists(), "{kept} is gone");
        }
    }
}
