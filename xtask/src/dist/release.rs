//! The build that is packed: the program, the drivers that are shipped, what they need, and the files around them.
//!
//! Which drivers there are comes from cargo: every library crate below `drivers/`. There is no list to keep.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xshell::{Shell, cmd};

use super::GLIBC_FLOOR;
use super::requirements::{Requirements, Version};
use super::tree::Tree;
use crate::workspace::{Workspace, cargo};

/// The name of the program and of its package.
const PROGRAM: &str = "docker-registry";

/// Where drivers lie below the prefix.
pub(crate) const DRIVERS: &str = "lib/docker-registry/drivers";

/// Which build is packed.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Which {
    /// Take the build that the tests use, without its debugging information, and not the optimised one: it is there
    /// in seconds, and shows whether it is packed and installed well.
    #[arg(long, env = DEBUG, value_parser = clap::builder::FalseyValueParser::new(), action = clap::ArgAction::SetTrue)]
    pub(crate) debug: bool,
}

impl Which {
    /// The folder that its files go to when nobody names another.
    pub(crate) fn folder(self, workspace: &Workspace) -> PathBuf {
        workspace.dist(if self.debug { "dist-debug" } else { "dist" })
    }
}

/// The variable that says it as well.
pub(crate) const DEBUG: &str = "DOCKER_REGISTRY_DIST_DEBUG";

/// A finished build.
pub(crate) struct Release {
    /// The version of the workspace.
    pub(crate) version: String,
    /// The driver API of the build, `major.minor`.
    pub(crate) api: String,
    /// The version of glibc that program and drivers need together.
    pub(crate) glibc: Version,
    /// The program.
    pub(crate) program: Built,
    /// The drivers that are shipped, by name.
    pub(crate) drivers: Vec<Driver>,
    root: PathBuf,
}

/// A built file.
pub(crate) struct Built {
    path: PathBuf,
    /// The shared libraries it needs.
    pub(crate) libraries: BTreeSet<String>,
    glibc: Version,
}

/// A driver that is shipped.
pub(crate) struct Driver {
    /// The name of its crate.
    pub(crate) package: String,
    /// The sentence about it in its manifest.
    pub(crate) description: String,
    /// Its version.
    pub(crate) version: String,
    /// The name of its file.
    pub(crate) file: String,
    /// Its file.
    pub(crate) built: Built,
}

impl Release {
    /// Builds what operators get, and looks at what came of it.
    ///
    /// # Errors
    /// When it does not build, or needs a newer glibc than may be asked for.
    pub(crate) fn build(workspace: &Workspace, shell: &Shell, which: Which) -> Result<Release> {
        let packages = workspace.packages(shell)?;
        let mut shipped = Vec::new();
        let mut version = None;
        for package in &packages {
            let manifest = Path::new(text(package, "manifest_path")?);
            if text(package, "name")? == PROGRAM {
                version = Some(text(package, "version")?.to_owned());
            }
            if manifest.starts_with(workspace.file("drivers")) {
                shipped.extend(library(package)?.map(|file| (package, file)));
            }
        }
        ensure!(!shipped.is_empty(), "there is no driver below drivers/");
        let artifacts = if which.debug {
            stripped(workspace, shell, shipped.iter().map(|(_, file)| file.as_str()).chain([PROGRAM]))?
        } else {
            workspace.build_release(shell)?;
            workspace.artifacts(true)
        };
        let drivers = shipped.into_iter().map(|(package, file)| Driver::of(package, file, &artifacts));
        let mut drivers = drivers.collect::<Result<Vec<_>>>()?;
        drivers.sort_by(|one, other| one.package.cmp(&other.package));
        let program = Built::at(artifacts.join(PROGRAM))?;
        let built = || drivers.iter().map(|driver| &driver.built).chain([&program]);
        let glibc = built().map(|built| built.glibc).max().expect("the program is one");
        if let Some(built) = built().find(|built| built.glibc > GLIBC_FLOOR) {
            bail!(
                "{} needs glibc {}, and a release may need {GLIBC_FLOOR} at most: build it on an older system, or raise \
                 GLIBC_FLOOR",
                built.path.display(),
                built.glibc
            );
        }
        let api = driver_api(workspace, shell, &artifacts, &drivers)?;
        let version = version.context("the workspace has no package docker-registry")?;
        Ok(Release { version, api, glibc, program, drivers, root: workspace.file("") })
    }

    /// A file of the workspace.
    pub(crate) fn source(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A template below `xtask/packaging`, for an installation below `prefix` as `service`.
    pub(crate) fn template(&self, path: &str, prefix: &str, service: &str) -> Result<String> {
        let path = self.source("xtask/packaging").join(path);
        let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let sample = if prefix == "/usr" {
            format!("/usr/share/doc/{service}/config_sample.yml")
        } else {
            format!("{prefix}/etc/docker-registry/config_sample.yml")
        };
        Ok(text
            .replace("@PREFIX@", prefix)
            .replace("@SERVICE@", service)
            .replace("@SAMPLE@", &sample)
            .replace("@VERSION@", &self.version)
            .replace("@GLIBC@", &self.glibc.to_string()))
    }

    /// Everything that is laid out below a prefix, drivers included.
    pub(crate) fn tree(&self, shell: &Shell, prefix: &str) -> Result<Tree> {
        let mut tree = Tree::default();
        self.add_program(shell, &mut tree)?;
        for driver in &self.drivers {
            driver.add(&mut tree)?;
        }
        tree.copy("etc/docker-registry/config_sample.yml", &self.source("config/config_sample.yml"))?;
        let share = "share/docker-registry";
        for name in
            ["docker-registry.service", "docker-registry.upstart", "default", "config.yml", "logrotate"]
        {
            let content = self.template(&format!("init/{name}"), prefix, "docker-registry")?;
            tree.text(format!("{share}/init/{name}"), content);
        }
        let init = self.template("init/docker-registry.init", prefix, "docker-registry")?;
        tree.program(format!("{share}/init/docker-registry.init"), init);
        tree.copy_folder(&format!("{share}/image"), &self.source("xtask/packaging/image"))?;
        self.add_documents(&mut tree, "docker-registry")?;
        let installing = self.template("INSTALL.md", prefix, "docker-registry")?;
        tree.text("share/doc/docker-registry/INSTALL.md", installing);
        Ok(tree)
    }

    /// The program, its manual pages and completions, and the scripts that go with it.
    pub(crate) fn add_program(&self, shell: &Shell, tree: &mut Tree) -> Result<()> {
        let program = &self.program.path;
        tree.program("bin/docker-registry", fs::read(program)?);
        let written = tempfile::tempdir()?;
        let folder = written.path();
        cmd!(shell, "{program} manual {folder}").quiet().run()?;
        tree.copy_folder("share/man/man1", &folder.join("man1"))?;
        for (written, path) in [
            ("docker-registry.bash", "share/bash-completion/completions/docker-registry"),
            ("_docker-registry", "share/zsh/site-functions/_docker-registry"),
            ("docker-registry.fish", "share/fish/vendor_completions.d/docker-registry.fish"),
        ] {
            tree.copy(path, &folder.join("completions").join(written))?;
        }
        let packaging = self.source("xtask/packaging");
        tree.copy_folder("share/docker-registry/scripts", &packaging.join("scripts"))?;
        tree.copy_folder("share/docker-registry/proxies", &packaging.join("proxies"))
    }

    /// Licence and documentation, below `share/doc/NAME`.
    pub(crate) fn add_documents(&self, tree: &mut Tree, name: &str) -> Result<()> {
        let folder = format!("share/doc/{name}");
        for file in ["LICENSE", "README.md", "CHANGELOG.md"] {
            tree.copy(format!("{folder}/{file}"), &self.source(file))?;
        }
        tree.copy_folder(&format!("{folder}/docs"), &self.source("docs"))?;
        tree.copy_folder(&format!("{folder}/driver-api"), &self.source("driver-api/docs"))?;
        tree.copy(
            "include/docker_registry_driver.h",
            &self.source("driver-api/include/docker_registry_driver.h"),
        )
    }
}

impl Built {
    fn at(path: PathBuf) -> Result<Built> {
        let Requirements { glibc, libraries } = Requirements::of(&path)?;
        Ok(Built { path, libraries, glibc })
    }
}

impl Driver {
    /// The driver of a crate, from the library that it makes.
    fn of(package: &Value, file: String, artifacts: &Path) -> Result<Driver> {
        Ok(Driver {
            package: text(package, "name")?.replace('_', "-"),
            description: package["description"].as_str().unwrap_or("A storage driver").to_owned(),
            version: text(package, "version")?.to_owned(),
            built: Built::at(artifacts.join(&file))?,
            file,
        })
    }

    /// Lays its library out.
    pub(crate) fn add(&self, tree: &mut Tree) -> Result<()> {
        tree.text(format!("{DRIVERS}/{}", self.file), fs::read(&self.built.path)?);
        Ok(())
    }
}

/// The file name of the shared library that a crate makes, if it makes one.
fn library(package: &Value) -> Result<Option<String>> {
    let targets = package["targets"].as_array().into_iter().flatten();
    let mut libraries = targets
        .filter(|target| target["kind"].as_array().is_some_and(|kinds| kinds.contains(&"cdylib".into())));
    let Some(library) = libraries.next() else { return Ok(None) };
    Ok(Some(format!("lib{}.so", text(library, "name")?.replace('-', "_"))))
}

/// Builds what the tests use and copies these files of it into a folder, without their debugging information.
fn stripped<'a>(
    workspace: &Workspace,
    shell: &Shell,
    files: impl Iterator<Item = &'a str>,
) -> Result<PathBuf> {
    let cargo = cargo();
    cmd!(shell, "{cargo} build --workspace").quiet().run()?;
    let artifacts = workspace.artifacts(false);
    let folder = artifacts.join("stripped");
    fs::create_dir_all(&folder)?;
    for file in files {
        // Another process may be packing the same build.
        let (from, made) = (artifacts.join(file), tempfile::NamedTempFile::new_in(&folder)?.into_temp_path());
        cmd!(shell, "strip --strip-debug -o {made} {from}").quiet().run()?;
        fs::set_permissions(&made, fs::metadata(&from)?.permissions())?;
        made.persist(folder.join(file))?;
    }
    Ok(folder)
}

/// The driver API of the drivers, by the program's own account, which also proves that it takes them.
fn driver_api(workspace: &Workspace, shell: &Shell, artifacts: &Path, drivers: &[Driver]) -> Result<String> {
    let program = artifacts.join(PROGRAM);
    let _path = shell.push_env("DOCKER_REGISTRY_DRIVER_PATH", env::join_paths([artifacts])?);
    let _sample = shell.push_env("DOCKER_REGISTRY_CONFIG", workspace.file("config/config_sample.yml"));
    let _flavor = shell.push_env("SETTINGS_FLAVOR", "dev");
    let list: Value = serde_json::from_str(&cmd!(shell, "{program} driver list --json").quiet().read()?)?;
    let listed = list.as_array().context("`driver list` writes a list")?;
    let mut apis = BTreeSet::new();
    for driver in drivers {
        let path = artifacts.join(&driver.file);
        let found = listed.iter().find(|listed| listed["path"].as_str() == path.to_str());
        let found = found.with_context(|| format!("`driver list` does not name {}", path.display()))?;
        if let Some(error) = found["error"].as_str() {
            bail!("{error}");
        }
        apis.insert(text(found, "api")?.to_owned());
    }
    ensure!(apis.len() == 1, "the drivers were built for several driver APIs: {apis:?}");
    Ok(apis.into_iter().next().expect("there is one"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key].as_str().with_context(|| format!("`{key}` is missing"))
}
