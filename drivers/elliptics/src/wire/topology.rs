//! Who is in the cluster and which ids are whose.

use bytes::BytesMut;

use super::{Command, Header, ID_SIZE, Id, Malformed, Reader, WireAddress, address::ADDRESS_SIZE, flags};

/// Bytes of a backend before its ids.
const BACKEND_SIZE: usize = 16;
/// The backend has gone.
const DISABLED: u32 = 1;

/// A backend of a node: a part of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backend {
    pub(crate) number: u32,
    pub(crate) group: u32,
    /// Where its ranges begin.
    pub(crate) ids: Vec<Id>,
    pub(crate) is_gone: bool,
}

/// What a node says about itself when it is greeted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Introduction {
    pub(crate) addresses: Vec<WireAddress>,
    pub(crate) backends: Vec<Backend>,
}

impl Introduction {
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "the answer to the greeting is cut off");
        reader.u32()?;
        let addresses = addresses(&mut reader)?;
        Ok(Self { addresses, backends: backends(reader.rest())? })
    }
}

fn addresses(reader: &mut Reader<'_>) -> Result<Vec<WireAddress>, Malformed> {
    let count = reader.count(ADDRESS_SIZE)?;
    (0..count).map(|_| WireAddress::parse(reader.take(ADDRESS_SIZE)?)).collect()
}

/// Backends with their ids.
pub(crate) fn backends(bytes: &[u8]) -> Result<Vec<Backend>, Malformed> {
    let mut reader = Reader::new(bytes, "the ids of a node are cut off");
    let count = reader.count(BACKEND_SIZE)?;
    let mut backends = Vec::with_capacity(count);
    for _ in 0..count {
        let (number, group, flags) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let ids = reader.count(ID_SIZE)?;
        let ids = (0..ids).map(|_| reader.id()).collect::<Result<Vec<Id>, Malformed>>()?;
        backends.push(Backend { number, group, ids, is_gone: flags & DISABLED != 0 });
    }
    Ok(backends)
}

/// A request for the other nodes that a node knows. It needs no disk, so that it is asked as well to find out
/// whether a node is alive.
pub(crate) fn route_list() -> BytesMut {
    let mut bytes = BytesMut::new();
    let flags = flags::NEED_ACK | flags::DIRECT | flags::NOLOCK;
    Header::request(Command::RouteList, Id::ZERO, 0, flags, 0).put(&mut bytes);
    bytes
}

/// The other nodes, each with all of its addresses.
pub(crate) fn parse_route_list(bytes: &[u8]) -> Result<Vec<Vec<WireAddress>>, Malformed> {
    let mut reader = Reader::new(bytes, "a list of nodes is cut off");
    let each = reader.u32()? as usize;
    let all = addresses(&mut reader)?;
    Ok(all.chunks(each.max(1)).map(<[WireAddress]>::to_vec).collect())
}
