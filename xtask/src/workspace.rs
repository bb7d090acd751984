//! Where the workspace and its build results are, and how cargo is called.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use xshell::{Shell, cmd};

/// The two folders every command works with.
pub(crate) struct Workspace {
    /// The folder of the root `Cargo.toml`.
    root: PathBuf,
    /// The folder that holds `debug/` and `release/`.
    target: PathBuf,
}

impl Workspace {
    /// Finds both folders.
    ///
    /// The target folder is the one this program was built into, which honours every way of moving it. It has to
    /// be asked for early: the first build may replace the running executable, whose path then ends in "(deleted)".
    pub(crate) fn locate() -> Result<Workspace> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask/ has no parent folder")?;
        let executable = env::current_exe().context("the path of this program is unknown")?;
        let target = executable
            .ancestors()
            .nth(2)
            .with_context(|| format!("{} is not in a target folder", executable.display()))?;
        Ok(Workspace { root: root.to_owned(), target: target.to_owned() })
    }

    /// A shell whose working folder is the workspace.
    pub(crate) fn shell(&self) -> Result<Shell> {
        let shell = Shell::new()?;
        shell.change_dir(&self.root);
        Ok(shell)
    }

    /// The folder with the executables and drivers of a build.
    pub(crate) fn artifacts(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" })
    }

    /// A folder for release files.
    pub(crate) fn dist(&self, name: &str) -> PathBuf {
        self.target.join(name)
    }

    /// What cargo says of the workspace's packages.
    pub(crate) fn packages(&self, shell: &Shell) -> Result<Vec<Value>> {
        let cargo = cargo();
        let metadata =
            cmd!(shell, "{cargo} metadata --format-version 1 --no-deps --offline").quiet().read()?;
        let metadata: Value = serde_json::from_str(&metadata).context("cargo metadata writes JSON")?;
        Ok(metadata["packages"].as_array().context("cargo metadata names no packages")?.clone())
    }

    /// Builds with optimisations what operators get.
    ///
    /// This program and everything below `tests/` stay out: they ask crates for features that only tests need, and
    /// features are united over everything that is built together.
    pub(crate) fn build_release(&self, shell: &Shell) -> Result<()> {
        let cargo = cargo();
        let packages = self.packages(shell)?;
        let ours = [self.file("tests"), self.file("xtask")];
        let mut excluded = Vec::new();
        for package in &packages {
            let manifest = Path::new(package["manifest_path"].as_str().context("a package has a manifest")?);
            if ours.iter().any(|folder| manifest.starts_with(folder)) {
                excluded.push("--exclude");
                excluded.push(package["name"].as_str().context("a package has a name")?);
            }
        }
        Ok(cmd!(shell, "{cargo} build --workspace --release {excluded...}").quiet().run()?)
    }

    /// A file of the workspace, by its path below the root.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The cargo that started this program, or the one on the path.
pub(crate) fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}
