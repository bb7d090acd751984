//! The attribute of reads and writes, and what nodes say of an object.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};

use super::{Command, Header, Id, Malformed, Reader, WireAddress, address::ADDRESS_SIZE, flags};

/// Bytes of an attribute.
pub(crate) const ATTRIBUTE_SIZE: usize = 208;
/// The write takes place only if the content there has the checksum that is given, or nothing is there.
pub(crate) const COMPARE_AND_SWAP: u32 = 1 << 13;
/// The node is not to check or keep checksums.
pub(crate) const NO_CHECKSUM: u32 = 1 << 8;

/// The time of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Timestamp {
    pub(crate) seconds: u64,
    pub(crate) nanoseconds: u64,
}

impl Timestamp {
    pub(crate) fn of_nanoseconds(nanoseconds: u64) -> Self {
        Self { seconds: nanoseconds / 1_000_000_000, nanoseconds: nanoseconds % 1_000_000_000 }
    }

    pub(crate) fn system_time(self) -> Option<SystemTime> {
        let nanoseconds = u32::try_from(self.nanoseconds).ok().filter(|count| *count < 1_000_000_000)?;
        UNIX_EPOCH.checked_add(Duration::new(self.seconds, nanoseconds))
    }
}

/// The attribute in front of what is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IoAttribute {
    /// The checksum to compare with, of a write with [`COMPARE_AND_SWAP`]; the id again, of a read.
    pub(crate) parent: Id,
    pub(crate) id: Id,
    pub(crate) start: u64,
    /// Bytes that the object will have, of a write.
    pub(crate) number: u64,
    pub(crate) timestamp: Timestamp,
    /// Kept with the object, and free for its owner.
    pub(crate) user_flags: u64,
    /// Bytes of the whole object, of a read.
    pub(crate) total_size: u64,
    pub(crate) record_flags: u64,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl IoAttribute {
    pub(crate) fn of(id: Id) -> Self {
        Self {
            parent: Id::ZERO,
            id,
            start: 0,
            number: 0,
            timestamp: Timestamp::default(),
            user_flags: 0,
            total_size: 0,
            record_flags: 0,
            flags: 0,
            offset: 0,
            size: 0,
        }
    }

    pub(crate) fn put(&self, bytes: &mut BytesMut) {
        bytes.reserve(ATTRIBUTE_SIZE);
        bytes.put_slice(&self.parent.0);
        bytes.put_slice(&self.id.0);
        bytes.put_u64_le(self.start);
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.timestamp.seconds);
        bytes.put_u64_le(self.timestamp.nanoseconds);
        bytes.put_u64_le(self.user_flags);
        bytes.put_u64_le(self.total_size);
        bytes.put_u64_le(self.record_flags);
        bytes.put_u32_le(0);
        bytes.put_u32_le(self.flags);
        bytes.put_u64_le(self.offset);
        bytes.put_u64_le(self.size);
    }

    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "an attribute is cut off");
        let (parent, id) = (reader.id()?, reader.id()?);
        let (start, number) = (reader.u64()?, reader.u64()?);
        let timestamp = Timestamp { seconds: reader.u64()?, nanoseconds: reader.u64()? };
        let (user_flags, total_size, record_flags) = (reader.u64()?, reader.u64()?, reader.u64()?);
        reader.u32()?;
        let flags = reader.u32()?;
        let (offset, size) = (reader.u64()?, reader.u64()?);
        Ok(Self {
            parent,
            id,
            start,
            number,
            timestamp,
            user_flags,
            total_size,
            record_flags,
            flags,
            offset,
            size,
        })
    }
}

/// A request to read `size` bytes from `offset`; no size is all to the end.
pub(crate) fn read(id: Id, group: u32, offset: u64, size: u64, flags: u32) -> BytesMut {
    let attribute = IoAttribute { parent: id, offset, size, flags, ..IoAttribute::of(id) };
    with_attribute(Command::Read, group, &attribute, 0)
}

/// What is written beside the content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Writing {
    pub(crate) id: Id,
    pub(crate) timestamp: Timestamp,
    pub(crate) user_flags: u64,
    pub(crate) flags: u32,
    /// The checksum that what is there must have.
    pub(crate) expected: Option<Id>,
}

/// A request to write whole content, up to where the content begins.
pub(crate) fn write(group: u32, writing: &Writing, size: usize) -> BytesMut {
    let compare = if writing.expected.is_some() { COMPARE_AND_SWAP } else { 0 };
    let attribute = IoAttribute {
        parent: writing.expected.unwrap_or(Id::ZERO),
        number: size as u64,
        timestamp: writing.timestamp,
        user_flags: writing.user_flags,
        flags: writing.flags | compare,
        size: size as u64,
        ..IoAttribute::of(writing.id)
    };
    with_attribute(Command::Write, group, &attribute, size)
}

/// A request to delete.
pub(crate) fn delete(id: Id, group: u32) -> BytesMut {
    let attribute = IoAttribute { parent: id, ..IoAttribute::of(id) };
    with_attribute(Command::Delete, group, &attribute, 0)
}

/// A request for facts of an object, and for its checksum if that is wanted.
pub(crate) fn lookup(id: Id, group: u32, with_checksum: bool) -> BytesMut {
    let checksum = if with_checksum { flags::CHECKSUM } else { 0 };
    let mut bytes = BytesMut::new();
    Header::request(Command::Lookup, id, group, flags::NEED_ACK | checksum, 0).put(&mut bytes);
    bytes
}

fn with_attribute(command: Command, group: u32, attribute: &IoAttribute, content: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    let size = ATTRIBUTE_SIZE + content;
    Header::request(command, attribute.id, group, flags::NEED_ACK, size).put(&mut bytes);
    attribute.put(&mut bytes);
    bytes
}

/// What a node answers to a lookup and to a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileInfo {
    /// All zeros when it was not asked for.
    pub(crate) checksum: Id,
}

impl FileInfo {
    /// Reads it from behind the address of the node.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes, "the facts of an object are cut off");
        WireAddress::parse(reader.take(ADDRESS_SIZE)?)?;
        // The length of the file's name, which follows.
        reader.u32()?;
        // Sizes, times and flags follow.
        Ok(Self { checksum: reader.id()? })
    }
}
