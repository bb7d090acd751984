//! One running proxy: nginx, Apache or HAProxy with a folder of its own, on a free port of the loopback, ended by its
//! process id.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

use docker_registry_tests::{
    process::{PATIENCE, Process, wait_for},
    server::free_address,
};
use tempfile::TempDir;

/// Which proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Nginx,
    Apache,
    Haproxy,
}

impl Program {
    fn command(self, folder: &Path) -> Command {
        let file = |name: &str| folder.join(name);
        let mut command = match self {
            Program::Nginx => {
                let mut command = Command::new("/usr/sbin/nginx");
                command.arg("-p").arg(folder).arg("-c").arg(file("nginx.conf"));
                command.arg("-e").arg(file("error.log")).args(["-g", "daemon off;"]);
                command
            }
            Program::Apache => {
                let mut command = Command::new("/usr/sbin/apache2");
                command.arg("-d").arg(folder).arg("-f").arg(file("apache2.conf")).arg("-DFOREGROUND");
                command
            }
            Program::Haproxy => {
                let mut command = Command::new("/usr/sbin/haproxy");
                command.arg("-db").arg("-f").arg(file("haproxy.cfg"));
                command
            }
        };
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir(folder);
        command
    }
}

/// A proxy that accepts connections. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Proxy {
    process: Option<Process>,
    address: SocketAddr,
    // After the process, so that the folder is deleted when nobody writes to it any more.
    _folder: TempDir,
}

impl Proxy {
    /// Starts a proxy. `configure` writes its files into a folder, for it to listen at an address.
    pub(crate) fn start(program: Program, configure: impl Fn(&Path, SocketAddr)) -> Proxy {
        // A port that was free can be taken before the proxy binds it; then another one is tried.
        for _ in 0..5 {
            if let Some(proxy) = Proxy::try_start(program, free_address(), &configure) {
                return proxy;
            }
        }
        panic!("{program:?} found no free port in five tries")
    }

    /// Starts a proxy at an address. `None` when that is taken.
    pub(crate) fn try_start(
        program: Program,
        address: SocketAddr,
        configure: impl Fn(&Path, SocketAddr),
    ) -> Option<Proxy> {
        let folder =
            tempfile::Builder::new().prefix("docker-registry-proxy-").tempdir().expect("a temporary folder");
        configure(folder.path(), address);
        let log = folder.path().join("output.log");
        let mut process = Process::start(&format!("{program:?}"), &mut program.command(folder.path()), &log);
        let log = |process: &Process| {
            process.log() + &fs::read_to_string(folder.path().join("error.log")).unwrap_or_default()
        };
        let is_taken = |text: &str| text.to_ascii_lowercase().contains("address already in use");
        let accepts = wait_for("the proxy accepts connections", PATIENCE, || {
            let text = log(&process);
            if is_taken(&text) || text.contains("cannot bind socket") {
                return Some(false);
            }
            if !process.is_running() {
                panic!("{program:?} ended at its start:\n{text}");
            }
            TcpStream::connect(address).is_ok().then_some(true)
        });
        accepts.then(|| Proxy { process: Some(process), address, _folder: folder })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // With SIGTERM, so that it ends its workers.
        if let Some(process) = self.process.take() {
            process.terminate_quietly();
        }
    }
}
