//! Debian packages: one of the server and one of each driver.
//!
//! The server's package has another name than Debian's own docker-registry, whose program has the same path, and
//! takes its place. A driver's package asks for the driver API, that version or a later minor one, whoever provides it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};
use xshell::{Shell, cmd};

use super::release::{Built, Driver, Release};
use super::tree::Tree;

/// The server's package, and its service.
const SERVER: &str = "docker-registry-server";
/// The files whose changes by an administrator are kept.
const CONFIGURATION: &[&str] = &[
    "etc/default/docker-registry-server",
    "etc/docker-registry/config.yml",
    "etc/init.d/docker-registry-server",
    "etc/logrotate.d/docker-registry-server",
];
/// The revision of the packaging.
const REVISION: u32 = 1;

/// A package before it is packed.
struct Package {
    name: String,
    version: String,
    /// The fields of its control file that differ between packages, each a whole line.
    fields: Vec<String>,
    /// One line, then what else there is to say.
    description: String,
    files: Tree,
    scripts: Vec<(&'static str, String)>,
}

/// Writes all packages into a folder and returns their names.
pub(crate) fn write(shell: &Shell, release: &Release, folder: &Path, time: u64) -> Result<Vec<String>> {
    let architecture = cmd!(shell, "dpkg --print-architecture").quiet().read()?;
    let mut names = Vec::new();
    let drivers = release.drivers.iter().map(|driver| driver_package(shell, release, driver));
    for package in std::iter::once(server_package(shell, release)).chain(drivers) {
        let package = package?;
        let name = format!("{}_{}-{REVISION}_{architecture}.deb", package.name, package.version);
        package.write(shell, &folder.join(&name), &architecture, time)?;
        names.push(name);
    }
    Ok(names)
}

fn server_package(shell: &Shell, release: &Release) -> Result<Package> {
    let mut below = Tree::default();
    release.add_program(shell, &mut below)?;
    release.add_documents(&mut below, SERVER)?;
    let mut files = below_usr(below, SERVER, release)?;
    files.text(
        format!("usr/share/doc/{SERVER}/config_sample.yml"),
        fs::read(release.source("config/config_sample.yml"))?,
    );
    let template = |name: &str| release.template(name, "/usr", SERVER);
    files.text("etc/docker-registry/config.yml", template("init/config.yml")?);
    files.text(format!("etc/default/{SERVER}"), template("init/default")?);
    files.text(format!("etc/logrotate.d/{SERVER}"), template("init/logrotate")?);
    files.program(format!("etc/init.d/{SERVER}"), template("init/docker-registry.init")?);
    files.text(format!("lib/systemd/system/{SERVER}.service"), template("init/docker-registry.service")?);

    let (major, _) = release.api.split_once('.').context("the driver API has no minor version")?;
    let depends = dependencies(shell, release, &release.program)?;
    let scripts = ["postinst", "prerm", "postrm"];
    let scripts = scripts.map(|name| Ok((name, template(&format!("debian/{name}"))?)));
    Ok(Package {
        name: SERVER.to_owned(),
        version: release.version.clone(),
        fields: vec![
            format!("Depends: {depends}, adduser, init-system-helpers, sysvinit-utils | lsb-base"),
            "Recommends: ca-certificates, docker-registry-driver-local, logrotate".to_owned(),
            format!("Provides: docker-registry-driver-api-{major} (= {})", release.api),
            // Both have /usr/bin/docker-registry. The folder with the images is the same, and stays.
            "Conflicts: docker-registry".to_owned(),
            "Replaces: docker-registry".to_owned(),
        ],
        description: "container registry whose storage drivers are shared libraries\n\
            It speaks the V2/OCI API and the legacy V1 API on one port. Where images are kept is the business of a\n\
            driver: install docker-registry-driver-local for a folder of this machine."
            .to_owned(),
        files,
        scripts: scripts.into_iter().collect::<Result<_>>()?,
    })
}

fn driver_package(shell: &Shell, release: &Release, driver: &Driver) -> Result<Package> {
    let mut below = Tree::default();
    driver.add(&mut below)?;
    let (major, _) = release.api.split_once('.').context("the driver API has no minor version")?;
    let depends = dependencies(shell, release, &driver.built)?;
    Ok(Package {
        name: driver.package.clone(),
        version: driver.version.clone(),
        fields: vec![
            format!("Depends: {depends}, docker-registry-driver-api-{major} (>= {})", release.api),
            format!("Enhances: {SERVER}"),
        ],
        description: format!(
            "storage driver of docker-registry\n{}.\nA server that runs goes on with the driver that it has \
             loaded; restart it after an upgrade.",
            driver.description.trim_end_matches('.')
        ),
        files: below_usr(below, &driver.package, release)?,
        scripts: Vec::new(),
    })
}

/// The files with `/usr` in front, manual pages compressed, and the copyright of the package beside them.
fn below_usr(below: Tree, package: &str, release: &Release) -> Result<Tree> {
    let mut files = Tree::default();
    for (path, file) in below.files() {
        // Where Debian's zsh looks for what packages bring.
        let path = format!("usr/{}", path.replace("zsh/site-functions", "zsh/vendor-completions"));
        // Debian has the licence itself.
        if path.ends_with("/LICENSE") {
            continue;
        }
        if path.contains("/man/") {
            files.text(format!("{path}.gz"), compressed(&file.content)?);
        } else if file.mode & 0o111 == 0 {
            files.text(path, file.content.clone());
        } else {
            files.program(path, file.content.clone());
        }
    }
    let copyright = fs::read(release.source("xtask/packaging/debian/copyright"))?;
    files.text(format!("usr/share/doc/{package}/copyright"), copyright);
    Ok(files)
}

fn compressed(content: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(content)?;
    Ok(gzip.finish()?)
}

/// The packages that a built file needs: the C library by its version, other libraries by who brought them here.
fn dependencies(shell: &Shell, release: &Release, built: &Built) -> Result<String> {
    let mut packages = BTreeSet::from([format!("libc6 (>= {})", release.glibc)]);
    for library in &built.libraries {
        let owners = cmd!(shell, "dpkg-query --search */{library}").quiet().read();
        let owners = owners.with_context(|| format!("no Debian package has {library}"))?;
        let owner = owners.split(':').next().unwrap_or_default();
        if owner != "libc6" {
            packages.insert(owner.to_owned());
        }
    }
    Ok(packages.into_iter().collect::<Vec<_>>().join(", "))
}

impl Package {
    fn write(&self, shell: &Shell, target: &Path, architecture: &str, time: u64) -> Result<()> {
        let staged = tempfile::tempdir()?;
        let root = staged.path();
        fs::set_permissions(root, fs::Permissions::from_mode(0o755))?;
        self.files.write(root)?;
        let control = self.control(shell, root, architecture)?;
        control.write(root)?;
        // What packages of a build have in common is their time.
        let _time = shell.push_env("SOURCE_DATE_EPOCH", time.to_string());
        for folder in self.files.folders().into_iter().chain(["DEBIAN"]) {
            fs::set_permissions(root.join(folder), fs::Permissions::from_mode(0o755))?;
        }
        cmd!(shell, "dpkg-deb --root-owner-group --build {root} {target}").quiet().ignore_stdout().run()?;
        Ok(())
    }

    /// The files of the folder DEBIAN.
    fn control(&self, shell: &Shell, root: &Path, architecture: &str) -> Result<Tree> {
        let size: usize = self.files.files().map(|(_, file)| file.content.len().div_ceil(1024)).sum();
        let (first, rest) = self.description.split_once('\n').unwrap_or((&self.description, ""));
        let mut fields = vec![
            format!("Package: {}", self.name),
            format!("Version: {}-{REVISION}", self.version),
            format!("Architecture: {architecture}"),
            "Maintainer: the authors of docker-registry <docker-registry@localhost>".to_owned(),
            format!("Installed-Size: {size}"),
            "Section: net".to_owned(),
            "Priority: optional".to_owned(),
        ];
        fields.extend(self.fields.iter().cloned());
        fields.push(format!("Description: {first}"));
        fields.extend(rest.lines().map(|line| format!(" {line}")));

        let mut control = Tree::default();
        control.text("DEBIAN/control", fields.join("\n") + "\n");
        let kept: Vec<&str> = CONFIGURATION.iter().copied().filter(|path| root.join(path).exists()).collect();
        if !kept.is_empty() {
            control
                .text("DEBIAN/conffiles", kept.iter().map(|path| format!("/{path}\n")).collect::<String>());
        }
        let sums: Vec<&str> =
            self.files.files().map(|(path, _)| path).filter(|path| !CONFIGURATION.contains(path)).collect();
        let _folder = shell.push_dir(root);
        control.text("DEBIAN/md5sums", cmd!(shell, "md5sum {sums...}").quiet().read()? + "\n");
        for (name, script) in &self.scripts {
            control.program(format!("DEBIAN/{name}"), script.clone());
        }
        Ok(control)
    }
}
