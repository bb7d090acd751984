//! Where clients come in: addresses, unix sockets, sockets of systemd; TLS and the PROXY protocol on them.
//!
//! Guarantees: nothing above this room needs to know which of them a request came through.

mod address;
mod proxy_protocol;
mod tls;
mod tls_files;
mod unix_socket;
mod wire;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll, ready},
};

use docker_registry_config::{ProxyProtocol, TrustedProxies};
use tokio::net::{TcpListener, UnixListener};

use self::unix_socket::SocketFile;
pub use self::{
    address::ListenAddress,
    tls::{Tls, common_name},
    tls_files::{FileProblem, doubts},
};
pub(crate) use self::{
    proxy_protocol::{Introduced, introduce},
    wire::{Channel, Wire},
};

/// What a connection passes before HTTP begins.
#[derive(Debug, Default)]
pub struct Entrance {
    /// TLS on everything but unix sockets.
    pub tls: Option<Arc<Tls>>,
    /// Who is believed on whose behalf it connects.
    pub trusted_proxies: TrustedProxies,
    /// Whether it says so before anything else.
    pub proxy_protocol: ProxyProtocol,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {source}")]
pub struct BindError {
    /// The address as it was configured.
    pub address: String,
    /// The system's reason.
    pub source: io::Error,
}

/// One open door. A unix socket's file is removed when this is dropped.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// Present when the file is ours.
        _file: Option<SocketFile>,
    },
}

impl Listener {
    /// Opens what the address names; with systemd that may be several.
    pub(crate) async fn open(address: &ListenAddress) -> Result<Vec<Self>, BindError> {
        let opened = match address {
            ListenAddress::Tcp(address) => TcpListener::bind(address).await.map(|tcp| vec![Self::Tcp(tcp)]),
            ListenAddress::Unix(path) => SocketFile::bind(path)
                .map(|(listener, file)| vec![Self::Unix { listener, _file: Some(file) }]),
            ListenAddress::Systemd => from_systemd(),
        };
        opened.map_err(|source| BindError { address: address.to_string(), source })
    }

    /// The TCP address, if it is one.
    pub(crate) fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix { .. } => None,
        }
    }

    /// How the log names it.
    pub(crate) fn url(&self, encrypted: bool) -> String {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) if encrypted => format!("https://{address}"),
                Ok(address) => format!("http://{address}"),
                Err(error) => error.to_string(),
            },
            Self::Unix { listener, .. } => match listener.local_addr() {
                Ok(address) => {
                    let path = address.as_pathname().unwrap_or(std::path::Path::new(""));
                    ListenAddress::Unix(path.to_owned()).to_string()
                }
                Err(error) => error.to_string(),
            },
        }
    }

    /// The next connection, with its address unless it came through a unix socket.
    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Wire, Option<SocketAddr>)>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                // The system's answer does not matter: without it the connection is only slower.
                let _ = stream.set_nodelay(true);
                Ok((Wire::from(stream), Some(peer)))
            }
            Self::Unix { listener, .. } => {
                let (stream, _) = ready!(listener.poll_accept(cx))?;
                Ok((Wire::from(stream), None))
            }
        })
    }
}

/// The sockets that systemd opened for this process (`LISTEN_FDS`, `LISTEN_PID`).
fn from_systemd() -> io::Result<Vec<Listener>> {
    let mut sockets = listenfd::ListenFd::from_env();
    let mut listeners = Vec::new();
    for index in 0..sockets.len() {
        if let Ok(Some(listener)) = sockets.take_tcp_listener(index) {
            listener.set_nonblocking(true)?;
            listeners.push(Listener::Tcp(TcpListener::from_std(listener)?));
        } else if let Some(listener) = sockets.take_unix_listener(index)? {
            listener.set_nonblocking(true)?;
            // The file is systemd's, and stays.
            listeners.push(Listener::Unix { listener: UnixListener::from_std(listener)?, _file: None });
        }
    }
    if listeners.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "systemd passed no socket to this process"));
    }
    Ok(listeners)
}
