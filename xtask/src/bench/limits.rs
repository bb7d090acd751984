//! What no registry can beat: programs that do one part of the work and nothing else.
//!
//! nginx sends files by `sendfile`; the two references live in [`super::reference`] and are started as a process of
//! their own, so that processor time and memory are measured alike.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use docker_registry_tests::content::Content;
use docker_registry_tests::process::{PATIENCE, Process, wait_for};
use docker_registry_tests::server::{Launch, Place, Product, Server, free_address};

use super::fixture::{Fixture, REPOSITORY, SIZES};
use crate::workspace::Workspace;

/// A program that is measured beside the registries. Dropping it ends it.
pub(super) struct Limit {
    process: Process,
    address: SocketAddr,
    /// Deleted after it.
    _place: Place,
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
        let place = Place::new();
        certify(workspace, &place)?;
        let environment = [
            ("STORAGE_PATH", server.place().storage()),
            ("REGISTRY_TLS_CERTIFICATE", place.file("registry.crt")),
            ("REGISTRY_TLS_KEY", place.file("registry.key")),
        ];
        let environment =
            environment.map(|(name, file)| (name.to_owned(), file.display().to_string())).into();
        let launch = Launch { environment, ..Launch::silent(Product::Ours, workspace.artifacts(true)) };
        let limit = Self::begin(&launch, place);
        limit.listens("the server over TLS");
        Ok(limit)
    }

    /// This server, which may not listen yet.
    pub(super) fn begin(launch: &Launch, place: Place) -> Limit {
        let address = free_address();
        let process = launch.begin_silently(&place, address, &place.file("output.log"));
        Limit { process, address, _place: place }
    }

    /// nginx with the blobs and the manifest of the fixture as files, below the paths that a registry has them at; and
    /// where it answers over TLS.
    pub(super) fn nginx(workspace: &Workspace, fixture: &Fixture) -> Result<(Limit, SocketAddr)> {
        let place = Place::new();
        let repository = place.file("root/v2").join(REPOSITORY);
        fs::create_dir_all(repository.join("blobs"))?;
        fs::create_dir_all(repository.join("manifests"))?;
        for (seed, size) in SIZES {
            let mut file = fs::File::create(repository.join("blobs").join(fixture.digest_of(size)))?;
            std::io::copy(&mut Content::new(seed, size), &mut file)?;
        }
        for reference in ["latest", &fixture.manifest_digest] {
            fs::write(repository.join("manifests").join(reference), &fixture.manifest)?;
        }
        certify(workspace, &place)?;
        let (address, secure) = (free_address(), free_address());
        let configuration = format!(
            "daemon off;\nmaster_process off;\npid {root}/pid;\nerror_log {root}/error.log error;\n\
             events {{ worker_connections 12000; }}\nhttp {{\n  access_log off;\n  sendfile on;\n  tcp_nopush on;\n  \
             keepalive_requests 100000000;\n  client_body_temp_path {root}/body;\n  proxy_temp_path {root}/proxy;\n  \
             fastcgi_temp_path {root}/fastcgi;\n  uwsgi_temp_path {root}/uwsgi;\n  scgi_temp_path {root}/scgi;\n  \
             server {{ listen {address}; listen {secure} ssl; root {root}/root;\n  \
             ssl_certificate {root}/registry.crt; ssl_certificate_key {root}/registry.key; }}\n}}\n",
            root = place.folder().display(),
        );
        let file = place.file("nginx.conf");
        fs::write(&file, configuration)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(place.folder()).args(["-e", "error.log"]);
        Ok((Self::start("nginx", &mut command, address, place), secure))
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
        let place = Place::new();
        prepare(place.folder())?;
        let address = free_address();
        // This program itself.
        let mut command = Command::new(workspace.artifacts(false).join("xtask"));
        command.args(["reference", kind, &address.to_string()]).arg(place.folder());
        Ok(Self::start(kind, &mut command, address, place))
    }

    fn start(name: &str, command: &mut Command, address: SocketAddr, place: Place) -> Limit {
        let process = Process::start(name, command, &place.file("output.log"));
        let limit = Limit { process, address, _place: place };
        limit.listens(name);
        limit
    }

    fn listens(&self, name: &str) {
        wait_for(&format!("{name} listens"), PATIENCE, || TcpStream::connect(self.address).ok());
    }
}

/// Makes a certificate for the loopback: `registry.crt` and `registry.key`.
fn certify(workspace: &Workspace, place: &Place) -> Result<()> {
    let mut command = Command::new(workspace.artifacts(true).join("docker-registry"));
    let made = command.args(["cert", "new", "127.0.0.1"]).current_dir(place.folder()).output()?;
    ensure!(made.status.success(), "no certificate: {}", String::from_utf8_lossy(&made.stderr));
    Ok(())
}
