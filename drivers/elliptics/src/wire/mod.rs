//! The packets of Elliptics 2.26, byte for byte.
//!
//! Everything is little-endian and packed. A packet is a header of 120 bytes, and behind it as many bytes as the
//! header says. Commands that read and write begin their bytes with an attribute of 208 bytes. Nothing in here knows
//! connections: bytes go in, values come out, and bytes that make no sense are a [`Malformed`].

pub(crate) mod address;
pub(crate) mod attribute;
pub(crate) mod indexes;
mod reader;
pub(crate) mod topology;
#[cfg(test)]
mod vectors;

use std::fmt;

use bytes::{BufMut, BytesMut};
use sha2::{Digest, Sha512};

pub(crate) use self::{
    address::WireAddress,
    attribute::{FileInfo, IoAttribute, Timestamp},
    reader::Reader,
};

/// Bytes of an id and of a checksum.
pub(crate) const ID_SIZE: usize = 64;
/// Bytes of a packet's header.
pub(crate) const HEADER_SIZE: usize = 120;
/// The version of the protocol that is spoken: nodes refuse others by the first two numbers.
pub(crate) const VERSION: [u32; 4] = [2, 26, 3, 27];

/// Status of what a node does not let its clients do.
pub(crate) const EPERM: i32 = -1;
/// Status of an object that is not there.
pub(crate) const ENOENT: i32 = -2;
/// Status of a read that begins behind the end.
pub(crate) const E2BIG: i32 = -7;
/// Status of what a node does not let this client do.
pub(crate) const EACCES: i32 = -13;
/// Status of a request that makes no sense to the node.
pub(crate) const EINVAL: i32 = -22;
/// Status of a node without room.
pub(crate) const ENOSPC: i32 = -28;
/// Status of a node that takes no writes.
pub(crate) const EROFS: i32 = -30;
/// Status of a command that the node is built without.
pub(crate) const ENOSYS: i32 = -38;
/// Status of a write whose comparison failed.
pub(crate) const EBADFD: i32 = -77;
/// Status of content that is not what its checksum says.
pub(crate) const EILSEQ: i32 = -84;
/// Status of a command that the node does not know, and of every command when the backend is not there.
pub(crate) const ENOTSUP: i32 = -95;

/// Commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Command {
    Lookup = 1,
    ReverseLookup = 2,
    Write = 4,
    Read = 5,
    RouteList = 8,
    Delete = 11,
    IndexesUpdate = 20,
    IndexesFind = 22,
}

/// What a node sends by itself when a backend of it comes or goes.
pub(crate) const UPDATE_IDS: i32 = 24;

/// Flags of a header.
pub(crate) mod flags {
    /// The node is to say how it ended.
    pub(crate) const NEED_ACK: u64 = 1 << 0;
    /// More replies of the same transaction follow.
    pub(crate) const MORE: u64 = 1 << 1;
    /// The node is to do it itself and not to hand it on.
    pub(crate) const DIRECT: u64 = 1 << 3;
    /// The id is not locked.
    pub(crate) const NOLOCK: u64 = 1 << 4;
    /// A lookup computes the checksum as well.
    pub(crate) const CHECKSUM: u64 = 1 << 5;
    /// It is a reply.
    pub(crate) const REPLY: u64 = 1 << 9;
}

/// The place of an object: SHA-512 of what it is called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Id(pub(crate) [u8; ID_SIZE]);

impl Id {
    pub(crate) const ZERO: Self = Self([0; ID_SIZE]);

    /// The id of a key in a namespace.
    pub(crate) fn of(namespace: &str, key: &str) -> Self {
        let mut hash = Sha512::new();
        // Without a namespace there is no separator either.
        if !namespace.is_empty() {
            hash.update(namespace.as_bytes());
            hash.update([0]);
        }
        hash.update(key.as_bytes());
        Self(hash.finalize().into())
    }

    /// The checksum that nodes compute of content: zeros of none.
    pub(crate) fn checksum(content: &[u8]) -> Self {
        if content.is_empty() { Self::ZERO } else { Self(Sha512::digest(content).into()) }
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// Bytes that are no packet of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the node sent what is no packet of Elliptics: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// The header of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: Id,
    pub(crate) group: u32,
    pub(crate) status: i32,
    pub(crate) command: i32,
    pub(crate) backend: i32,
    pub(crate) trace: u64,
    pub(crate) flags: u64,
    /// Number of the transaction, the same in request and replies.
    pub(crate) transaction: u64,
    /// Bytes behind the header.
    pub(crate) size: u64,
}

impl Header {
    /// The header of a request.
    pub(crate) fn request(command: Command, id: Id, group: u32, flags: u64, size: usize) -> Self {
        Self {
            id,
            group,
            status: 0,
            command: command as i32,
            backend: 0,
            trace: 0,
            flags,
            transaction: 0,
            size: size as u64,
        }
    }

    pub(crate) fn is_reply(&self) -> bool {
        self.flags & flags::REPLY != 0
    }

    /// Whether more replies of the transaction follow.
    pub(crate) fn has_more(&self) -> bool {
        self.flags & flags::MORE != 0
    }

    pub(crate) fn put(&self, bytes: &mut BytesMut) {
        bytes.reserve(HEADER_SIZE);
        put_id(bytes, &self.id, self.group);
        bytes.put_i32_le(self.status);
        bytes.put_i32_le(self.command);
        bytes.put_i32_le(self.backend);
        bytes.put_u64_le(self.trace);
        bytes.put_u64_le(self.flags);
        bytes.put_u64_le(self.transaction);
        bytes.put_u64_le(self.size);
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "a header is cut off");
        let (id, group) = take_id(&mut reader)?;
        Ok(Self {
            id,
            group,
            status: reader.i32()?,
            command: reader.i32()?,
            backend: reader.i32()?,
            trace: reader.u64()?,
            flags: reader.u64()?,
            transaction: reader.u64()?,
            size: reader.u64()?,
        })
    }
}

/// An id with its group, as it stands in headers and in requests about indexes: 76 bytes.
pub(crate) fn put_id(bytes: &mut BytesMut, id: &Id, group: u32) {
    bytes.put_slice(&id.0);
    bytes.put_u32_le(group);
    bytes.put_u64_le(0);
}

fn take_id(reader: &mut Reader<'_>) -> Result<(Id, u32), Malformed> {
    let (id, group) = (reader.id()?, reader.u32()?);
    reader.u64()?;
    Ok((id, group))
}

/// The first packet on a connection: who speaks which version. Its answer has no transaction.
pub(crate) fn greeting() -> BytesMut {
    let mut id = Id::ZERO;
    for (place, number) in id.0.chunks_exact_mut(4).zip(VERSION) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let mut bytes = BytesMut::new();
    Header::request(Command::ReverseLookup, id, 0, flags::DIRECT | flags::NOLOCK, 0).put(&mut bytes);
    bytes
}

/// The version and the number of index shards in the header of the greeting's answer.
pub(crate) fn version_of(header: &Header) -> ([u32; 4], u32) {
    let number = |place: usize| {
        let bytes = &header.id.0[place * 4..place * 4 + 4];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
    };
    ([number(0), number(1), number(2), number(3)], number(5))
}
