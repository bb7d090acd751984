//! What no registry can beat: programs that do one part of the work and nothing else.
//!
//! nginx sends files by `sendfile`; the two references live in [`super::reference`] and are started as a process of
//! their own, so that processor time and memory are measured alike.

use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use docker_registry_tests::content::Content;
use docker_registry_tests::process::{PATIENCE, Process, wait_for};
use docker_registry_tests::server::{Server, free_address};
use tempfile::TempDir;

use super::fixture::{Fixture, REPOSITORY, SIZES};
use crate::workspace::Workspace;

/// A program that is measured beside the registries. Dropping it ends it.
pub(super) struct Limit {
    process: Process,
    address: SocketAddr,
    /// Deleted after it.
    folders: Vec<TempDir>,
}

impl Limit {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// This server once more, on the folder of one that runs, over TLS.
    pub(super) fn over_tls(workspace: &Workspace, server: &Server) -> Result<Limit> {
        let certificates = tempfile::Builder::new().prefix("docker-registry-bench-").tempdir()?;
        certify(workspace, certificates.path())?;
        let file = |name: &str| certificates.path().join(name).into_os_string();
        let variables =
            [("REGISTRY_TLS_CERTIFICATE", file("registry.crt")), ("REGISTRY_TLS_KEY", file("registry.key"))];
        let server = Self::serving(workspace, &server.place().storage(), &variables)?;
        // Its files are read once more from time to time, so they stay as long as the server.
        let Limit { process, address, mut folders } = server;
        folders.push(certificates);
        wait_for("the server listens for TLS", PATIENCE, || TcpStream::connect(address).ok());
        Ok(Limit { process, address, folders })
    }

    /// This server on a folder, which may not listen yet.
    pub(super) fn serving(
        workspace: &Workspace,
        storage: &Path,
        variables: &[(&str, OsString)],
    ) -> Result<Limit> {
        let folder = tempfile::Builder::new().prefix("docker-registry-bench-").tempdir()?;
        let artifacts = workspace.artifacts(true);
        let address = free_address();
        let mut command = Command::new(artifacts.join("docker-registry"));
        command.env_clear().arg("serve").arg(workspace.file("config/config_sample.yml"));
        command.args(["--bind", &address.to_string()]);
        command.envs([("SETTINGS_FLAVOR", "dev"), ("LOGLEVEL", "warn"), ("REGISTRY_ADMIN", "off")]);
        command.env("STORAGE_PATH", storage).envs(variables.iter().map(|(name, value)| (name, value)));
        command.env("DOCKER_REGISTRY_DRIVER_PATH", &artifacts);
        let index = format!("sqlite:///{}", folder.path().join("search.db").display());
        command.env("SQLALCHEMY_INDEX_DATABASE", index).current_dir(folder.path());
        let process = Process::start("docker-registry", &mut command, &folder.path().join("output.log"));
        Ok(Limit { process, address, folders: vec![folder] })
    }

    /// nginx with the blobs and the manifest of the fixture as files, below the paths that a registry has them at; and
    /// where it answers over TLS.
    pub(super) fn nginx(workspace: &Workspace, fixture: &Fixture) -> Result<(Limit, SocketAddr)> {
        let folder = tempfile::Builder::new().prefix("docker-registry-bench-").tempdir()?;
        let repository = folder.path().join("root/v2").join(REPOSITORY);
        fs::create_dir_all(repository.join("blobs"))?;
        fs::create_dir_all(repository.join("manifests"))?;
        for (seed, size) in SIZES {
            let mut file = fs::File::create(repository.join("blobs").join(fixture.digest_of(size)))?;
            std::io::copy(&mut Content::new(seed, size), &mut file)?;
        }
        for reference in ["latest", &fixture.manifest_digest] {
            fs::write(repository.join("manifests").join(reference), &fixture.manifest)?;
        }
        certify(workspace, folder.path())?;
        let (address, secure) = (free_address(), free_address());
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/error.log error;\n\
             events {{ worker_connections 12000; }}\nhttp {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  \
             keepalive_requests 100000000;\n  client_body_temp_path {root}/body;\n  proxy_temp_path {root}/proxy;\n  \
             fastcgi_temp_path {root}/fastcgi;\n  uwsgi_temp_path {root}/uwsgi;\n  scgi_temp_path {root}/scgi;\n  \
             server {{ listen {address}; listen {secure} ssl; root {root}/root;\n  \
             ssl_certificate {root}/registry.crt; ssl_certificate_key {root}/registry.key; }}\n}}\n",
            root = folder.path().display(),
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(folder.path()).args(["-e", "error.log"]);
        Ok((Self::start("nginx", &mut command, address, folder), secure))
    }

    /// hyper, with the fixture's manifest in memory as the answer to everything.
    pub(super) fn hyper(workspace: &Workspace, fixture: &Fixture) -> Result<Limit> {
        Self::reference(workspace, "answer", |folder| {
            fs::write(folder.join("manifest"), &fixture.manifest).context("no file for the reference")
        })
    }

    /// Socket to SHA-256 to file to `fsync`.
    pub(super) fn receiver(workspace: &Workspace) -> Result<Limit> {
        Self::reference(workspace, "receive", |_| Ok(()))
    }

    fn reference(workspace: &Workspace, kind: &str, prepare: impl Fn(&Path) -> Result<()>) -> Result<Limit> {
        let folder = tempfile::Builder::new().prefix("docker-registry-bench-").tempdir()?;
        prepare(folder.path())?;
        let address = free_address();
        // This program itself.
        let mut command = Command::new(workspace.artifacts(false).join("xtask"));
        command.args(["reference", kind, &address.to_string()]).arg(folder.path());
        Ok(Self::start(kind, &mut command, address, folder))
    }

    fn start(name: &str, command: &mut Command, address: SocketAddr, folder: TempDir) -> Limit {
        let process = Process::start(name, command, &folder.path().join("output.log"));
        wait_for(&format!("{name} listens"), PATIENCE, || TcpStream::connect(address).ok());
        Limit { process, address, folders: vec![folder] }
    }
}

/// Makes a certificate for the loopback in a folder: `registry.crt` and `registry.key`.
fn certify(workspace: &Workspace, folder: &Path) -> Result<()> {
    let mut command = Command::new(workspace.artifacts(true).join("docker-registry"));
    let made = command.args(["cert", "new", "127.0.0.1"]).current_dir(folder).output()?;
    ensure!(made.status.success(), "no certificate: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}
