//! What can be listened at, as an operator writes it.

use std::{fmt, path::PathBuf};

/// What can be listened at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// `HOST:PORT`; port 0 takes a free one.
    Tcp(String),
    /// `unix:PATH`.
    Unix(PathBuf),
    /// `systemd`: the sockets that systemd opened for this process.
    Systemd,
}

impl ListenAddress {
    /// Reads an address.
    ///
    /// # Errors
    /// A sentence about what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "systemd" {
            return Ok(Self::Systemd);
        }
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("the path is missing, for example unix:/run/registry.sock".to_owned());
            }
            return Ok(Self::Unix(path.into()));
        }
        let (host, port) = text
            .rsplit_once(':')
            .ok_or("an address is HOST:PORT, for example 0.0.0.0:5000, or unix:PATH, or systemd")?;
        port.parse::<u16>().map_err(|_| format!("`{port}` is not a port"))?;
        if host.is_empty() {
            return Err("the host is missing; 0.0.0.0 means every address of this machine".to_owned());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => formatter.write_str(address),
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Systemd => formatter.write_str("systemd"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port_or_a_path() {
        for right in ["127.0.0.1:0", "[::1]:5000", "localhost:80", "unix:/run/registry.sock", "systemd"] {
            assert_eq!(ListenAddress::parse(right).map(|address| address.to_string()), Ok(right.to_owned()));
        }
        for wrong in ["5000", ":5000", "localhost:", "localhost:70000", "unix:", "/run/registry.sock"] {
            assert!(ListenAddress::parse(wrong).is_err(), "{wrong}");
        }
    }
}
