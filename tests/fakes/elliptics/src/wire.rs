//! The frames: `dnet_cmd`, `dnet_io_attr`, addresses and `dnet_file_info`, byte for byte.
//!
//! Rules from `include/elliptics/packet.h` and `core.h` of 2.26.11.1. All of it is little-endian. All structures but
//! `dnet_file_info` are packed; that one has four bytes of padding after its checksum, because nobody packed it.
//! Before 2.26.2.0 a reply has the highest bit of its transaction instead of a flag, before 2.26.0.0 there is no backend
//! in the head, and in 2.24 its id is shorter; such servers are not played. Before 2.26.6.0 the record flags are bytes
//! without a meaning.

use std::net::SocketAddrV4;

use bytes::{Buf, BufMut};

use crate::id::Id;

/// The commands that have a meaning here. Others have a number and are refused.
pub(crate) mod command {
    pub(crate) const LOOKUP: i32 = 1;
    pub(crate) const REVERSE_LOOKUP: i32 = 2;
    pub(crate) const JOIN: i32 = 3;
    pub(crate) const WRITE: i32 = 4;
    pub(crate) const READ: i32 = 5;
    pub(crate) const EXEC: i32 = 7;
    pub(crate) const ROUTE_LIST: i32 = 8;
    pub(crate) const DEL: i32 = 11;
    pub(crate) const STATUS: i32 = 13;
    pub(crate) const AUTH: i32 = 16;
    pub(crate) const BULK_READ: i32 = 17;
    pub(crate) const INDEXES_UPDATE: i32 = 20;
    pub(crate) const INDEXES_INTERNAL: i32 = 21;
    pub(crate) const INDEXES_FIND: i32 = 22;
    pub(crate) const MONITOR_STAT: i32 = 23;
    pub(crate) const UPDATE_IDS: i32 = 24;
    pub(crate) const BACKEND_CONTROL: i32 = 25;
    pub(crate) const BACKEND_STATUS: i32 = 26;

    const NAMES: [&str; 28] = [
        "",
        "LOOKUP",
        "REVERSE_LOOKUP",
        "JOIN",
        "WRITE",
        "READ",
        "LIST",
        "EXEC",
        "ROUTE_LIST",
        "STAT",
        "NOTIFY",
        "DEL",
        "STAT_COUNT",
        "STATUS",
        "READ_RANGE",
        "DEL_RANGE",
        "AUTH",
        "BULK_READ",
        "DEFRAG",
        "ITERATOR",
        "INDEXES_UPDATE",
        "INDEXES_INTERNAL",
        "INDEXES_FIND",
        "MONITOR_STAT",
        "UPDATE_IDS",
        "BACKEND_CONTROL",
        "BACKEND_STATUS",
        "SEND",
    ];

    /// What a command is called in logs.
    pub(crate) fn name(number: i32) -> &'static str {
        let position = usize::try_from(number).unwrap_or(0);
        NAMES.get(position).filter(|name| !name.is_empty()).copied().unwrap_or("UNKNOWN")
    }

    /// The number of a command.
    pub(crate) fn number(name: &str) -> Option<i32> {
        let position = NAMES.iter().position(|known| *known == name && !name.is_empty())?;
        i32::try_from(position).ok()
    }
}

/// Flags of a command.
pub(crate) mod flag {
    pub(crate) const NEED_ACK: u64 = 1;
    pub(crate) const MORE: u64 = 1 << 1;
    /// The transaction ends; nobody sets it in a request.
    pub(crate) const DESTROY: u64 = 1 << 2;
    pub(crate) const DIRECT: u64 = 1 << 3;
    pub(crate) const NOLOCK: u64 = 1 << 4;
    pub(crate) const CHECKSUM: u64 = 1 << 5;
    pub(crate) const DIRECT_BACKEND: u64 = 1 << 7;
    pub(crate) const REPLY: u64 = 1 << 9;
    /// All that 2.26 knows of the lower half.
    pub(crate) const KNOWN: u64 = (1 << 10) - 1;
}

/// Flags of reading and writing.
pub(crate) mod io_flag {
    pub(crate) const SKIP_SENDING: u32 = 1;
    pub(crate) const APPEND: u32 = 1 << 1;
    pub(crate) const PREPARE: u32 = 1 << 4;
    pub(crate) const COMMIT: u32 = 1 << 5;
    pub(crate) const NOCSUM: u32 = 1 << 8;
    pub(crate) const PLAIN_WRITE: u32 = 1 << 9;
    pub(crate) const CACHE_ONLY: u32 = 1 << 11;
    pub(crate) const COMPARE_AND_SWAP: u32 = 1 << 13;
    /// In a request to read: the checksum comes back in `parent`.
    pub(crate) const CHECKSUM: u32 = 1 << 14;
    /// The same bit in a request to write: nothing comes back but an acknowledgement.
    pub(crate) const WRITE_NO_FILE_INFO: u32 = 1 << 14;
    pub(crate) const CAS_TIMESTAMP: u32 = 1 << 15;
    /// A flag of the server's own: the cache is not asked.
    pub(crate) const NOCACHE: u32 = 1 << 28;
    /// All that 2.26.11 knows.
    pub(crate) const KNOWN: u32 = 0x1fff3 | NOCACHE;
}

/// The head of every frame, `dnet_cmd`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: Id,
    pub(crate) group: u32,
    pub(crate) reserved: u64,
    pub(crate) status: i32,
    pub(crate) command: i32,
    pub(crate) backend: i32,
    pub(crate) trace: u64,
    pub(crate) flags: u64,
    pub(crate) transaction: u64,
    /// How many bytes follow the head.
    pub(crate) size: u64,
}

impl Header {
    /// Its length in bytes.
    pub(crate) const SIZE: usize = 120;

    /// The head in these bytes.
    pub(crate) fn read(bytes: &[u8; Self::SIZE]) -> Self {
        let (id, mut rest) = (Id::read(bytes), &bytes[Id::SIZE..]);
        Self {
            id,
            group: rest.get_u32_le(),
            reserved: rest.get_u64_le(),
            status: rest.get_i32_le(),
            command: rest.get_i32_le(),
            backend: rest.get_i32_le(),
            trace: rest.get_u64_le(),
            flags: rest.get_u64_le(),
            transaction: rest.get_u64_le(),
            size: rest.get_u64_le(),
        }
    }

    /// The head as bytes, with `body` behind it and the size that fits.
    pub(crate) fn frame(&self, body: &[u8], beyond: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::SIZE + body.len());
        bytes.put_slice(&self.id.0);
        bytes.put_u32_le(self.group);
        bytes.put_u64_le(self.reserved);
        bytes.put_i32_le(self.status);
        bytes.put_i32_le(self.command);
        bytes.put_i32_le(self.backend);
        bytes.put_u64_le(self.trace);
        bytes.put_u64_le(self.flags);
        bytes.put_u64_le(self.transaction);
        bytes.put_u64_le(body.len() as u64 + beyond);
        bytes.put_slice(body);
        bytes
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

/// A time as records have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time {
    pub(crate) seconds: u64,
    pub(crate) nanoseconds: u64,
}

/// What is read or written, `dnet_io_attr`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IoAttribute {
    pub(crate) parent: Id,
    pub(crate) id: Id,
    pub(crate) start: u64,
    /// In a write: how many bytes are prepared or committed.
    pub(crate) number: u64,
    pub(crate) timestamp: Time,
    pub(crate) user_flags: u64,
    pub(crate) total_size: u64,
    pub(crate) record_flags: u64,
    pub(crate) reserved: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

impl IoAttribute {
    /// Its length in bytes.
    pub(crate) const SIZE: usize = 208;

    /// The attribute at the beginning of `bytes`; `None` when they are too few.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < Self::SIZE {
            return None;
        }
        let mut rest = &bytes[2 * Id::SIZE..];
        Some(Self {
            parent: Id::read(bytes),
            id: Id::read(&bytes[Id::SIZE..]),
            start: rest.get_u64_le(),
            number: rest.get_u64_le(),
            timestamp: Time { seconds: rest.get_u64_le(), nanoseconds: rest.get_u64_le() },
            user_flags: rest.get_u64_le(),
            total_size: rest.get_u64_le(),
            record_flags: rest.get_u64_le(),
            reserved: rest.get_u32_le(),
            flags: rest.get_u32_le(),
            offset: rest.get_u64_le(),
            size: rest.get_u64_le(),
        })
    }

    /// The attribute as bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::SIZE);
        bytes.put_slice(&self.parent.0);
        bytes.put_slice(&self.id.0);
        bytes.put_u64_le(self.start);
        bytes.put_u64_le(self.number);
        bytes.put_u64_le(self.timestamp.seconds);
        bytes.put_u64_le(self.timestamp.nanoseconds);
        bytes.put_u64_le(self.user_flags);
        bytes.put_u64_le(self.total_size);
        bytes.put_u64_le(self.record_flags);
        bytes.put_u32_le(self.reserved);
        bytes.put_u32_le(self.flags);
        bytes.put_u64_le(self.offset);
        bytes.put_u64_le(self.size);
        bytes
    }

    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

/// An address, `dnet_addr`: a socket address in a field of 28 bytes, its length, its family.
pub(crate) fn put_address(bytes: &mut Vec<u8>, address: SocketAddrV4) {
    bytes.put_u16_le(2);
    bytes.put_u16(address.port());
    bytes.put_slice(&address.ip().octets());
    // The rest of a sockaddr_in, then the rest of the field.
    bytes.put_bytes(0, 8 + 12);
    bytes.put_u16_le(16);
    bytes.put_u16_le(2);
}

/// What a write or a lookup says of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileInfo {
    /// The SHA-512 of the content, or zeros when nobody asked for it.
    pub(crate) checksum: Id,
    pub(crate) record_flags: u64,
    pub(crate) size: u64,
    /// Where the content begins in the server's file.
    pub(crate) offset: u64,
    pub(crate) timestamp: Time,
    /// The server's file.
    pub(crate) path: String,
}

impl FileInfo {
    /// The body of the answer: the node's address, `dnet_file_info`, and the path with its zero byte.
    pub(crate) fn body(&self, address: SocketAddrV4) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_address(&mut bytes, address);
        bytes.put_i32_le(self.path.len() as i32 + 1);
        bytes.put_slice(&self.checksum.0);
        bytes.put_u32_le(0);
        bytes.put_u64_le(self.record_flags);
        bytes.put_u64_le(self.size);
        bytes.put_u64_le(self.offset);
        bytes.put_u64_le(self.timestamp.seconds);
        bytes.put_u64_le(self.timestamp.nanoseconds);
        bytes.put_slice(self.path.as_bytes());
        bytes.put_u8(0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn commands_have_the_numbers_of_their_place_in_the_published_list() {
        let numbers = [
            ("LOOKUP", command::LOOKUP, 1),
            ("REVERSE_LOOKUP", command::REVERSE_LOOKUP, 2),
            ("JOIN", command::JOIN, 3),
            ("WRITE", command::WRITE, 4),
            ("READ", command::READ, 5),
            ("EXEC", command::EXEC, 7),
            ("ROUTE_LIST", command::ROUTE_LIST, 8),
            ("DEL", command::DEL, 11),
            ("STATUS", command::STATUS, 13),
            ("AUTH", command::AUTH, 16),
            ("BULK_READ", command::BULK_READ, 17),
            ("INDEXES_UPDATE", command::INDEXES_UPDATE, 20),
            ("INDEXES_INTERNAL", command::INDEXES_INTERNAL, 21),
            ("INDEXES_FIND", command::INDEXES_FIND, 22),
            ("MONITOR_STAT", command::MONITOR_STAT, 23),
            ("UPDATE_IDS", command::UPDATE_IDS, 24),
            ("BACKEND_CONTROL", command::BACKEND_CONTROL, 25),
            ("BACKEND_STATUS", command::BACKEND_STATUS, 26),
        ];
        for (name, constant, number) in numbers {
            assert_eq!(
                (constant, command::number(name), command::name(number)),
                (number, Some(number), name)
            );
        }
        assert_eq!((command::name(0), command::name(99), command::number("")), ("UNKNOWN", "UNKNOWN", None));
    }
}
