//! Tables of secondary indexes as they are stored and sent: msgpack, in its old form.
//!
//! Rules from `bindings/cpp/session_indexes.hpp` of 2.26. A table is the magic number in eight bytes and then an array
//! of version 2, entries, number of the shard and count of shards; an entry is an array of id, data, seconds and
//! nanoseconds (of id and data alone in old tables). Bytes are `raw` as msgpack had it before it knew strings: up to 31
//! bytes, 16 bits of length, or 32; there is no form with 8 bits. That is why no library of today writes them.

use bytes::BufMut;

use crate::id::Id;
use crate::wire::Time;

/// In front of every table.
const MAGIC: u64 = 0x5da3_8cfb_e773_4027;

/// One object of an index, or one index of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: Id,
    pub(crate) data: Vec<u8>,
    pub(crate) time: Time,
}

/// A table, sorted by id.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
    pub(crate) shard: u32,
    pub(crate) shards: u32,
}

/// What a search finds: an object, and for each index that it was found by the index and the object's data in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: Id,
    pub(crate) indexes: Vec<(Id, Vec<u8>)>,
}

impl Table {
    /// The table as it is stored.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_le_bytes().to_vec();
        put_array(&mut bytes, 4);
        put_number(&mut bytes, 2);
        put_array(&mut bytes, self.entries.len());
        for entry in &self.entries {
            put_array(&mut bytes, 4);
            put_raw(&mut bytes, &entry.id.0);
            put_raw(&mut bytes, &entry.data);
            put_number(&mut bytes, entry.time.seconds);
            put_number(&mut bytes, entry.time.nanoseconds);
        }
        put_number(&mut bytes, self.shard.into());
        put_number(&mut bytes, self.shards.into());
        bytes
    }

    /// A stored table. The servers take what they cannot read for an empty one.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        Self::parse(bytes).unwrap_or_default()
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes.strip_prefix(&MAGIC.to_le_bytes())?);
        if reader.array()? != 4 || reader.number()? != 2 {
            return None;
        }
        let count = reader.array()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let fields = reader.array()?;
            let id = reader.id()?;
            let data = reader.raw()?.to_vec();
            let time = match fields {
                2 => Time::default(),
                4 => Time { seconds: reader.number()?, nanoseconds: reader.number()? },
                _ => return None,
            };
            entries.push(Entry { id, data, time });
        }
        let (shard, shards) = (reader.number()?, reader.number()?);
        Some(Self { entries, shard: shard.try_into().ok()?, shards: shards.try_into().ok()? })
    }

    /// Where an id is, or where it belongs.
    pub(crate) fn position(&self, id: &Id) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| entry.id.cmp(id))
    }
}

/// What a search found, as the answer has it.
pub(crate) fn found_bytes(found: &[Found]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_array(&mut bytes, found.len());
    for object in found {
        put_array(&mut bytes, 3);
        put_number(&mut bytes, 1);
        put_raw(&mut bytes, &object.id.0);
        put_array(&mut bytes, object.indexes.len());
        for (index, data) in &object.indexes {
            put_array(&mut bytes, 2);
            put_raw(&mut bytes, &index.0);
            put_raw(&mut bytes, data);
        }
    }
    bytes
}

fn put_array(bytes: &mut Vec<u8>, length: usize) {
    match length {
        0..=15 => bytes.put_u8(0x90 | length as u8),
        16..=0xffff => {
            bytes.put_u8(0xdc);
            bytes.put_u16(length as u16);
        }
        _ => {
            bytes.put_u8(0xdd);
            bytes.put_u32(length as u32);
        }
    }
}

fn put_raw(bytes: &mut Vec<u8>, raw: &[u8]) {
    match raw.len() {
        0..=31 => bytes.put_u8(0xa0 | raw.len() as u8),
        32..=0xffff => {
            bytes.put_u8(0xda);
            bytes.put_u16(raw.len() as u16);
        }
        _ => {
            bytes.put_u8(0xdb);
            bytes.put_u32(raw.len() as u32);
        }
    }
    bytes.put_slice(raw);
}

fn put_number(bytes: &mut Vec<u8>, number: u64) {
    match number {
        0..=0x7f => bytes.put_u8(number as u8),
        0x80..=0xff => {
            bytes.put_u8(0xcc);
            bytes.put_u8(number as u8);
        }
        0x100..=0xffff => {
            bytes.put_u8(0xcd);
            bytes.put_u16(number as u16);
        }
        0x1_0000..=0xffff_ffff => {
            bytes.put_u8(0xce);
            bytes.put_u32(number as u32);
        }
        _ => {
            bytes.put_u8(0xcf);
            bytes.put_u64(number);
        }
    }
}

/// Reads msgpack; everything is `None` that does not fit.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn big_endian(&mut self, length: usize) -> Option<u64> {
        Some(self.take(length)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn array(&mut self) -> Option<u64> {
        match self.big_endian(1)? {
            kind @ 0x90..=0x9f => Some(kind & 0x0f),
            0xdc => self.big_endian(2),
            0xdd => self.big_endian(4),
            _ => None,
        }
    }

    fn raw(&mut self) -> Option<&'a [u8]> {
        let length = match self.big_endian(1)? {
            kind @ 0xa0..=0xbf => kind & 0x1f,
            0xda => self.big_endian(2)?,
            0xdb => self.big_endian(4)?,
            _ => return None,
        };
        self.take(usize::try_from(length).ok()?)
    }

    fn id(&mut self) -> Option<Id> {
        self.raw().filter(|raw| raw.len() == Id::SIZE).map(Id::read)
    }

    fn number(&mut self) -> Option<u64> {
        match self.big_endian(1)? {
            number @ 0..=0x7f => Some(number),
            0xcc => self.big_endian(1),
            0xcd => self.big_endian(2),
            0xce => self.big_endian(4),
            0xcf => self.big_endian(8),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(first: u8, data: &[u8], seconds: u64, nanoseconds: u64) -> Entry {
        let mut id = Id([0; Id::SIZE]);
        id.0[0] = first;
        Entry { id, data: data.to_vec(), time: Time { seconds, nanoseconds } }
    }

    #[test]
    fn a_table_is_these_bytes() {
        let table = Table { entries: vec![entry(0xab, b"key", 0x5566_7788, 200)], shard: 5, shards: 16 };
        let mut expected = vec![0x27, 0x40, 0x73, 0xe7, 0xfb, 0x8c, 0xa3, 0x5d]; // magic, little-endian
        expected.push(0x94); // an array of four
        expected.push(0x02); // version
        expected.push(0x91); // an array of one entry
        expected.push(0x94); // an array of four
        expected.extend([0xda, 0x00, 0x40, 0xab]); // raw with 16 bits of length: 64 bytes, of which the first
        expected.extend([0; 63]);
        expected.extend([0xa3, b'k', b'e', b'y']); // raw of three bytes
        expected.extend([0xce, 0x55, 0x66, 0x77, 0x88]); // seconds in 32 bits
        expected.extend([0xcc, 200]); // nanoseconds in 8 bits
        expected.extend([0x05, 0x10]); // shard, shards
        assert_eq!(table.bytes(), expected);
        assert_eq!(Table::read(&expected), table);
    }

    #[test]
    fn large_tables_and_data_come_back() {
        let entries =
            (0..40).map(|first| entry(first, &vec![first; first as usize * 2000], 1 << 40, 1 << 17));
        let table = Table { entries: entries.collect(), shard: 0, shards: 300 };
        assert_eq!(Table::read(&table.bytes()), table);
        assert_eq!(table.position(&entry(7, b"", 0, 0).id), Ok(7));
        assert_eq!(table.position(&entry(200, b"", 0, 0).id), Err(40));
    }

    #[test]
    fn what_is_no_table_is_an_empty_one() {
        let whole = Table { entries: vec![entry(1, b"x", 1, 1)], shard: 1, shards: 2 }.bytes();
        for length in 0..whole.len() {
            assert_eq!(Table::read(&whole[..length]), Table::default());
        }
    }

    #[test]
    fn what_a_search_found_is_these_bytes() {
        let found =
            Found { id: entry(1, b"", 0, 0).id, indexes: vec![(entry(2, b"", 0, 0).id, b"d".to_vec())] };
        let mut expected = vec![0x91, 0x93, 0x01]; // one object: an array of three, version
        expected.extend([0xda, 0x00, 0x40, 0x01]); // its id
        expected.extend([0; 63]);
        expected.extend([0x91, 0x92]); // one index: an array of two
        expected.extend([0xda, 0x00, 0x40, 0x02]); // its id
        expected.extend([0; 63]);
        expected.extend([0xa1, b'd']); // its data
        assert_eq!(found_bytes(&[found]), expected);
        assert_eq!(found_bytes(&[]), [0x90]);
    }
}
