//! How connections to a store are made. Every driver reads these from its own keys.

use std::{fmt, path::PathBuf, time::Duration};

/// How connections are made and how many.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Longest time for name resolution, TCP and TLS together.
    pub connect_timeout: Duration,
    /// Longest time without any progress in either direction while a request is under way.
    pub idle_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// Most unused connections that are kept for one host.
    pub pool_idle_per_host: usize,
    /// Most requests that wait for their answer at the same time. A body that is being read does not count:
    /// slow readers must not keep others from writing.
    pub most_requests: usize,
    /// Interval of TCP keepalive probes; `None` for none.
    pub tcp_keepalive: Option<Duration>,
    /// A file with PEM certificates that are trusted besides those of the system.
    pub ca_bundle: Option<PathBuf>,
    /// Whether certificates are verified.
    pub verify: bool,
    /// The proxy, if there is one. The environment's own proxy variables are not read.
    pub proxy: Option<ProxyOptions>,
    /// `User-Agent` of the requests.
    pub user_agent: String,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            pool_idle_timeout: Duration::from_secs(60),
            pool_idle_per_host: 64,
            most_requests: 256,
            tcp_keepalive: Some(Duration::from_secs(30)),
            ca_bundle: None,
            verify: true,
            proxy: None,
            user_agent: concat!("docker-registry/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// A proxy that the requests go through.
#[derive(Clone)]
pub struct ProxyOptions {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    pub url: String,
    /// User name, if the proxy wants one.
    pub user: Option<String>,
    /// Password of that user.
    pub password: Option<String>,
    /// Hosts that are reached directly, as in the variable `no_proxy`.
    pub except: Option<String>,
}

impl fmt::Debug for ProxyOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password too.
        f.debug_struct("ProxyOptions").finish_non_exhaustive()
    }
}
