//! Addresses of nodes, as they travel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::{Malformed, Reader};

/// Bytes of an address.
pub(crate) const ADDRESS_SIZE: usize = 32;
/// Number of the family of IPv4.
pub(crate) const IPV4: u16 = 2;
/// Number of the family of IPv6 on Linux.
pub(crate) const IPV6: u16 = 10;
/// Bytes for the address of the system in it.
const SYSTEM_ADDRESS: usize = 28;

/// An address in a packet; `None` for a family that is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireAddress(pub(crate) Option<SocketAddr>);

impl WireAddress {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "an address is cut off");
        let address = reader.take(SYSTEM_ADDRESS)?;
        reader.u16()?;
        let family = reader.u16()?;
        // The port is in the order of the network, unlike everything else.
        let port = u16::from_be_bytes([address[2], address[3]]);
        let ip = match family {
            IPV4 => {
                let octets = [address[4], address[5], address[6], address[7]];
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(octets)), port))
            }
            IPV6 => {
                let octets: [u8; 16] =
                    address[8..24].try_into().map_err(|_| Malformed("an address is cut off"))?;
                let scope = u32::from_le_bytes([address[24], address[25], address[26], address[27]]);
                Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), port, 0, scope)))
            }
            _ => None,
        };
        // A wildcard is no place to go to.
        Ok(Self(ip.filter(|address| !address.ip().is_unspecified() && port != 0)))
    }
}
