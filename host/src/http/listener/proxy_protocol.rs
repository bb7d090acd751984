//! The PROXY protocol, versions 1 and 2: a proxy's first words about whom it connects for.
//!
//! Guarantees: only trusted proxies are listened to, anybody else who speaks it is refused; a header is at most as
//! long as the protocol allows; what follows it is left as it came.

use std::{io, net::SocketAddr};

use bytes::BytesMut;
use docker_registry_config::ProxyProtocol;
use ppp::{PartialResult, v1, v2};
use tokio::io::AsyncReadExt;

use super::{Entrance, Wire};

/// What a header of version 1 begins with.
const TEXT: &[u8] = b"PROXY ";
/// Longest header of version 1 with its line end.
const LONGEST_TEXT: usize = 107;

/// Whom a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Introduced {
    /// The client, or the proxy next to it; `None` at the unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// Whether it may say in headers for whom it speaks.
    pub(crate) is_trusted: bool,
}

/// Reads the header where there may be one.
pub(crate) async fn introduce(
    wire: &mut Wire,
    peer: Option<SocketAddr>,
    entrance: &Entrance,
) -> io::Result<Introduced> {
    let trusted = &entrance.trusted_proxies;
    let direct = Introduced { peer, is_trusted: trusted.trusts(peer) };
    if entrance.proxy_protocol == ProxyProtocol::Off {
        return Ok(direct);
    }
    let is_required = entrance.proxy_protocol == ProxyProtocol::Required;
    if is_required && !direct.is_trusted {
        return Err(refused("only trusted proxies connect, and this is none"));
    }
    let mut read = BytesMut::with_capacity(4096);
    loop {
        let found = look(&read);
        if found != Found::Nothing && read.len() >= TEXT.len() && !direct.is_trusted {
            return Err(refused("it speaks the PROXY protocol and is no trusted proxy"));
        }
        match found {
            Found::Header { length, client } => {
                let rest = read.split_off(length);
                wire.unread(rest.freeze());
                return Ok(match client {
                    Some(client) => {
                        Introduced { peer: Some(client), is_trusted: trusted.contains(client.ip()) }
                    }
                    // The proxy itself, or somebody whom it does not know: not to be believed further.
                    None => Introduced { peer, is_trusted: false },
                });
            }
            Found::Nothing if is_required => {
                return Err(refused("the header of the PROXY protocol is missing"));
            }
            Found::Nothing => {
                wire.unread(read.freeze());
                return Ok(direct);
            }
            Found::Broken => return Err(refused("its header of the PROXY protocol is broken")),
            Found::Part if wire.read_buf(&mut read).await? > 0 => {}
            Found::Part if is_required => return Err(io::ErrorKind::UnexpectedEof.into()),
            // What came is too short to be a request as well; that is said where requests are read.
            Found::Part => {
                wire.unread(read.freeze());
                return Ok(direct);
            }
        }
    }
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// This is no header, whatever follows.
    Nothing,
    /// More bytes will tell.
    Part,
    Header {
        length: usize,
        client: Option<SocketAddr>,
    },
    Broken,
}

fn look(read: &[u8]) -> Found {
    if TEXT.starts_with(read) || v2::PROTOCOL_PREFIX.starts_with(read) {
        return Found::Part;
    }
    if read.starts_with(TEXT) {
        let longest = &read[..read.len().min(LONGEST_TEXT)];
        return match longest.windows(2).position(|pair| pair == b"\r\n") {
            Some(end) => text(&read[..end + 2]),
            None if read.len() < LONGEST_TEXT => Found::Part,
            None => Found::Broken,
        };
    }
    if read.starts_with(v2::PROTOCOL_PREFIX) {
        return binary(read);
    }
    Found::Nothing
}

fn text(line: &[u8]) -> Found {
    let client = match v1::Header::try_from(line).map(|header| header.addresses) {
        Ok(v1::Addresses::Tcp4(v4)) => Some((v4.source_address, v4.source_port).into()),
        Ok(v1::Addresses::Tcp6(v6)) => Some((v6.source_address, v6.source_port).into()),
        Ok(v1::Addresses::Unknown) => None,
        Err(_) => return Found::Broken,
    };
    Found::Header { length: line.len(), client }
}

fn binary(read: &[u8]) -> Found {
    let header = v2::Header::try_from(read);
    if header.is_incomplete() {
        return Found::Part;
    }
    let Ok(header) = header else { return Found::Broken };
    let client = match (header.command, header.addresses) {
        (v2::Command::Local, _) => None,
        (v2::Command::Proxy, v2::Addresses::IPv4(v4)) => Some((v4.source_address, v4.source_port).into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(v6)) => Some((v6.source_address, v6.source_port).into()),
        (v2::Command::Proxy, _) => None,
    };
    Found::Header { length: header.len(), client }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\x7f\0\0\x01\x11\x5c\x13\x88";

    fn header(length: usize, client: &str) -> Found {
        Found::Header { length, client: client.parse().ok() }
    }

    #[test]
    fn headers_of_both_versions_name_the_client_and_end_where_they_end() {
        let line = b"PROXY TCP4 203.0.113.7 127.0.0.1 4444 5000\r\nGET / HTTP/1.1\r\n";
        assert_eq!(look(line), header(44, "203.0.113.7:4444"));
        assert_eq!(look(b"PROXY TCP6 2001:db8::1 ::1 9 5\r\n\x16\x03"), header(32, "[2001:db8::1]:9"));
        assert_eq!(look(b"PROXY UNKNOWN\r\n"), header(15, ""));
        assert_eq!(look(&[BINARY, b"GET"].concat()), header(28, "203.0.113.7:4444"));
        let mut local = BINARY.to_vec();
        local[12] = 0x20;
        assert_eq!(look(&local), header(28, ""));
    }

    #[test]
    fn a_part_waits_for_more_and_a_request_is_no_header() {
        for length in 0..BINARY.len() {
            assert_eq!(look(&BINARY[..length]), Found::Part, "{length}");
        }
        for part in ["", "P", "PROXY", "PROXY ", "PROXY TCP4 1.2.3.4"] {
            assert_eq!(look(part.as_bytes()), Found::Part, "{part}");
        }
        for request in ["PUT / HTTP/1.1\r\n", "PRI * HTTP/2.0", "PROXYX", "\r\nGET /", "GET /"] {
            assert_eq!(look(request.as_bytes()), Found::Nothing, "{request}");
        }
        assert_eq!(look(b"\x16\x03\x01"), Found::Nothing);
    }

    #[test]
    fn a_broken_header_is_no_request() {
        let long = format!("PROXY {}", "x".repeat(200));
        let mut version = BINARY.to_vec();
        version[12] = 0x31;
        for broken in [&b"PROXY nonsense\r\n"[..], b"PROXY TCP4 a b c d\r\n", long.as_bytes(), &version] {
            assert_eq!(look(broken), Found::Broken, "{}", broken.escape_ascii());
        }
    }
}
