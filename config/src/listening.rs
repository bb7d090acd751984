//! How clients come in, beside the address: the unix socket, and the proxies in front that speak for them.
//!
//! Guarantees: nobody is trusted who is not named, and a PROXY protocol that nobody may speak is an error.

use crate::reader::Reader;
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// The prefix of an address that is a unix socket, as gunicorn writes it.
pub(crate) const UNIX: &str = "unix:";

/// How clients come in.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Listening {
    /// The unix socket that `host` names instead of an address.
    pub unix_socket: Option<PathBuf>,
    /// Who may say on whose behalf it connects.
    pub trusted_proxies: TrustedProxies,
    /// Whether they say so before anything else.
    pub proxy_protocol: ProxyProtocol,
}

/// Who may say on whose behalf it connects; nobody by default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

/// Whether connections begin with the header of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ProxyProtocol {
    /// No. It is not looked for.
    #[default]
    Off,
    /// Those of trusted proxies may.
    Optional,
    /// All do, and so only trusted proxies can connect.
    Required,
}

impl TrustedProxies {
    /// Reads one entry.
    ///
    /// # Errors
    /// The entry itself, when it is none.
    pub fn add(&mut self, entry: &str) -> Result<(), String> {
        if entry.eq_ignore_ascii_case("unix") {
            self.unix = true;
            return Ok(());
        }
        let network = entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        self.networks.push(network.map_err(|_| entry.to_owned())?.trunc());
        Ok(())
    }

    /// Whether a connection from this address is trusted. `None` is a peer at the unix socket.
    pub fn trusts(&self, peer: Option<SocketAddr>) -> bool {
        peer.map_or(self.unix, |peer| self.contains(peer.ip()))
    }

    /// Whether the address is that of a trusted proxy. IPv4 counts as such also when it is written as IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

impl Reader<'_> {
    pub(crate) fn listening(&mut self) -> Listening {
        let trusted_proxies = self.trusted_proxies();
        let proxy_protocol = self.proxy_protocol();
        if proxy_protocol != ProxyProtocol::Off && trusted_proxies.is_empty() {
            self.problem(
                "proxy_protocol",
                "no proxy is trusted, so nobody may speak the PROXY protocol",
                "name its addresses in trusted_proxies",
            );
        }
        Listening { unix_socket: self.unix_socket(), trusted_proxies, proxy_protocol }
    }

    fn unix_socket(&mut self) -> Option<PathBuf> {
        let path = PathBuf::from(self.text("host")?.strip_prefix(UNIX)?);
        if !path.is_absolute() {
            let message = format!("unix:{} is not a whole path", path.display());
            self.problem("host", message, "write it from / on, for example unix:/run/registry.sock");
        }
        Some(path)
    }

    fn trusted_proxies(&mut self) -> TrustedProxies {
        let mut proxies = TrustedProxies::default();
        for entry in self.list("trusted_proxies") {
            if let Err(entry) = proxies.add(&entry) {
                self.problem(
                    "trusted_proxies",
                    format!("`{entry}` is neither an address nor a network"),
                    "10.0.0.7, 10.0.0.0/8, fd00::/8, or `unix` for the unix socket",
                );
            }
        }
        proxies
    }

    fn proxy_protocol(&mut self) -> ProxyProtocol {
        let text = self.text("proxy_protocol").unwrap_or_default();
        match text.to_ascii_lowercase().as_str() {
            "off" | "false" | "no" | "" => ProxyProtocol::Off,
            "optional" => ProxyProtocol::Optional,
            "required" => ProxyProtocol::Required,
            _ => {
                let message = format!("`{text}` says nothing about the PROXY protocol");
                self.problem("proxy_protocol", message, "off, optional or required");
                ProxyProtocol::Off
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_networks_and_the_unix_socket_are_trusted_and_nobody_else() {
        let mut proxies = TrustedProxies::default();
        for entry in ["10.1.2.3/8", "192.0.2.7", "fd00::/8"] {
            proxies.add(entry).unwrap();
        }
        for address in ["10.255.0.1", "192.0.2.7", "fd12::1", "::ffff:10.0.0.1"] {
            assert!(proxies.contains(address.parse().unwrap()), "{address}");
        }
        for address in ["11.0.0.1", "192.0.2.8", "fe80::1", "::1"] {
            assert!(!proxies.contains(address.parse().unwrap()), "{address}");
        }
        assert!(!proxies.trusts(None));
        proxies.add("unix").unwrap();
        assert!(proxies.trusts(None));
        assert!(proxies.add("proxy.example").is_err());
        assert!(!TrustedProxies::default().contains("127.0.0.1".parse().unwrap()));
    }
}
