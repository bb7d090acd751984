//! Secondary indexes: the commands of nodes up to 2.26.9.
//!
//! An index is cut into shards, objects of their own whose ids are made of the index and the number of the shard.

use bytes::{BufMut, Bytes, BytesMut};
use rmpv::Value;
use sha2::{Digest, Sha512};

use super::{Command, Header, ID_SIZE, Id, Malformed, flags, put_id};

/// Bytes of a request before its entries.
const REQUEST_SIZE: usize = 136;
/// Bytes of an entry without data.
const ENTRY_SIZE: usize = 124;
/// Only objects that have all the indexes.
const INTERSECT: u32 = 1;
/// How deep an answer may be nested, at two for each level.
const DEPTH: usize = 16;

/// The shards of a node that does not say how many it has.
pub(crate) const USUAL_SHARDS: u32 = 16;

/// The id of one shard of an index.
pub(crate) fn shard_id(index: &Id, shard: u32, shards: u32) -> Id {
    let mut id = derived(index, b"\0index_table\0");
    id.0[..ID_SIZE / 2].fill(0);
    let start = (1_u64 << 32) * u64::from(shard) / u64::from(shards.max(1));
    id.0[..4].copy_from_slice(&(start as u32).to_be_bytes());
    id
}

/// The id of the table in which an object's own indexes are.
pub(crate) fn object_table_id(object: &Id) -> Id {
    derived(object, b"\0object_table\0")
}

fn derived(id: &Id, suffix: &[u8]) -> Id {
    let mut hash = Sha512::new();
    hash.update(id.0);
    hash.update(suffix);
    Id(hash.finalize().into())
}

/// A request for the objects of one shard that have all the indexes.
pub(crate) fn find(group: u32, shards_of_indexes: &[Id]) -> BytesMut {
    let first = shards_of_indexes.first().copied().unwrap_or(Id::ZERO);
    let size = REQUEST_SIZE + ENTRY_SIZE * shards_of_indexes.len();
    let mut bytes = BytesMut::with_capacity(super::HEADER_SIZE + size);
    Header::request(Command::IndexesFind, first, group, flags::NEED_ACK, size).put(&mut bytes);
    put_request(&mut bytes, &first, group, INTERSECT, shards_of_indexes.len());
    for id in shards_of_indexes {
        bytes.put_slice(&id.0);
        bytes.put_bytes(0, ENTRY_SIZE - ID_SIZE);
    }
    bytes
}

/// A request that takes an object out of all of its indexes.
pub(crate) fn clear(group: u32, object: &Id) -> BytesMut {
    let mut bytes = BytesMut::new();
    let table = object_table_id(object);
    Header::request(Command::IndexesUpdate, table, group, flags::NEED_ACK, REQUEST_SIZE).put(&mut bytes);
    put_request(&mut bytes, object, group, 0, 0);
    bytes
}

fn put_request(bytes: &mut BytesMut, id: &Id, group: u32, flags: u32, entries: usize) {
    put_id(bytes, id, group);
    bytes.put_u32_le(flags);
    // Shard, number of shards, and five reserved numbers.
    bytes.put_bytes(0, 4 + 4 + 40);
    bytes.put_u64_le(entries as u64);
}

/// The data that the found objects have in the first of the indexes.
pub(crate) fn parse_found(bytes: &[u8]) -> Result<Vec<Bytes>, Malformed> {
    const WRONG: Malformed = Malformed("the answer about an index makes no sense");
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let value = rmpv::decode::read_value_with_max_depth(&mut &bytes[..], DEPTH).map_err(|_| WRONG)?;
    let entries = value.as_array().ok_or(WRONG)?;
    entries
        .iter()
        .map(|entry| {
            let [version, _id, indexes] = entry.as_array().ok_or(WRONG)?.as_slice() else {
                return Err(WRONG);
            };
            if version.as_u64() != Some(1) {
                return Err(WRONG);
            }
            let first = indexes.as_array().and_then(|indexes| indexes.first()?.as_array()).ok_or(WRONG)?;
            first.get(1).and_then(raw).map(Bytes::copy_from_slice).ok_or(WRONG)
        })
        .collect()
}

/// Bytes, in whichever of the two ways they were packed.
fn raw(value: &Value) -> Option<&[u8]> {
    match value {
        Value::String(text) => Some(text.as_bytes()),
        Value::Binary(bytes) => Some(bytes),
        _ => None,
    }
}
