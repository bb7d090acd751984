//! A registry with a proxy in front of it, as clients see the two.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use docker_registry_tests::{artifacts, http::Client, process::run, server::Server};
use tempfile::TempDir;

use crate::proxy::{Program, Proxy};

/// The user of every proxy that asks for a password.
pub(crate) const USER: &str = "user1";
/// Its password.
pub(crate) const PASSWORD: &str = "a pass:word";

/// A registry and the proxy before it.
pub(crate) struct Front {
    // Dropped in this order: whoever is in front first.
    tunnel: Option<Proxy>,
    proxy: Proxy,
    certificates: Option<Certificates>,
    asks_for_password: bool,
    server: Server,
}

impl Front {
    /// A proxy that speaks HTTP.
    pub(crate) fn plain(proxy: Proxy, server: Server) -> Front {
        Front { tunnel: None, proxy, certificates: None, asks_for_password: false, server }
    }

    /// A proxy that speaks HTTPS with these certificates.
    pub(crate) fn tls(proxy: Proxy, certificates: Certificates, server: Server) -> Front {
        let tunnel = Some(tunnel(proxy.address(), &certificates));
        Front { tunnel, proxy, certificates: Some(certificates), asks_for_password: false, server }
    }

    /// The same, where the proxy asks for a password.
    pub(crate) fn with_password(self) -> Front {
        Front { asks_for_password: true, ..self }
    }

    /// The registry itself.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// `127.0.0.1:PORT` of the proxy, the registry part of an image name.
    pub(crate) fn registry(&self) -> String {
        self.proxy.address().to_string()
    }

    /// Whether the proxy asks for [`USER`] and [`PASSWORD`].
    pub(crate) fn asks_for_password(&self) -> bool {
        self.asks_for_password
    }

    /// The certificates, if it speaks HTTPS.
    pub(crate) fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// A plain client whose requests go through the proxy, without a password.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(self.tunnel.as_ref().unwrap_or(&self.proxy).address())
    }

    /// The same, with the password if one is asked for.
    pub(crate) fn client(&self) -> Client {
        match self.asks_for_password {
            // Of `user1:a pass:word`.
            true => self.stranger().with_header("Authorization", "Basic dXNlcjE6YSBwYXNzOndvcmQ="),
            false => self.stranger(),
        }
    }

    /// curl for a path at the proxy, with trust and password.
    pub(crate) fn curl(&self, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "60"]);
        let scheme = match &self.certificates {
            Some(certificates) => {
                curl.arg("--cacert").arg(certificates.certificate());
                "https"
            }
            None => "http",
        };
        if self.asks_for_password {
            curl.args(["--user", &format!("{USER}:{PASSWORD}")]);
        }
        curl.arg(format!("{scheme}://{}{path}", self.proxy.address()));
        curl
    }
}

/// A certificate for the loopback as `cert new` makes it, its key, and the folder from which clients trust it.
pub(crate) struct Certificates {
    folder: TempDir,
}

impl Certificates {
    pub(crate) fn new() -> Certificates {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = Command::new(artifacts::folder().join("docker-registry"));
        command.args(["cert", "new", "127.0.0.1", "localhost", "--out"]).arg(folder.path());
        run(&mut command);
        let made = Certificates { folder };
        fs::create_dir(made.trusted()).expect("a folder in it");
        fs::copy(made.certificate(), made.trusted().join("ca.crt")).expect("a copy");
        made
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("registry.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("registry.key")
    }

    /// What a client has in `certs.d/HOST:PORT`.
    pub(crate) fn trusted(&self) -> PathBuf {
        self.folder.path().join("trusted")
    }

    /// Certificate and key in one text, as HAProxy wants them.
    pub(crate) fn both(&self) -> String {
        let read = |path: &Path| fs::read_to_string(path).expect("a readable file");
        read(&self.certificate()) + &read(&self.key())
    }
}

/// Plain TCP for a test's own client, TLS to the proxy: HAProxy as the client, which verifies the certificate.
fn tunnel(to: SocketAddr, certificates: &Certificates) -> Proxy {
    let authority = certificates.certificate();
    Proxy::start(Program::Haproxy, |folder, address| {
        let configuration = format!(
            "defaults\n  mode tcp\n  timeout connect 1m\n  timeout client 10m\n  timeout server 10m\n\
             listen tunnel\n  bind {address}\n  server proxy {to} ssl verify required ca-file {}\n",
            authority.display()
        );
        fs::write(folder.join("haproxy.cfg"), configuration).expect("a configuration can be written");
    })
}
