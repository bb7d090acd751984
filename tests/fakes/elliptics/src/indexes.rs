//! Secondary indexes: `INDEXES_UPDATE`, `INDEXES_INTERNAL` and `INDEXES_FIND`.
//!
//! Rules from `indexes/indexes.cpp`, `indexes/local_session.cpp` and `library/dnet_common.c` of 2.26:
//!
//! - A table is a record like any other. The list of an object's indexes lies under the id of the command; each shard
//!   of an index lies under an id of its own, which the client computes.
//! - `INDEXES_UPDATE` changes an object's list. With neither `UPDATE_ONLY` nor `REMOVE_ONLY` the list is replaced, and
//!   the server puts the object into new indexes and takes it out of old ones, also at other nodes. With one of the
//!   two the client does that with `INDEXES_INTERNAL`.
//! - `INDEXES_FIND` knows the tables of its own backend only. Where all indexes are wanted, a missing one is an error;
//!   where any is enough, it is one when all are missing.
//!
//! Collections with a limit are not played. Where a real server would read beyond the end of a request, this one refuses.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf, BufMut};

use crate::call::Call;
use crate::cluster::Place;
use crate::content::Content;
use crate::errno::{EINVAL, ENOENT, ENOTSUP};
use crate::id::Id;
use crate::index_table::{Entry, Found, Table, found_bytes};
use crate::records::status;
use crate::wire::{IoAttribute, Time, command, flag, io_flag};

const INTERSECT: u32 = 1;
const UNITE: u32 = 1 << 1;
const UPDATE_ONLY: u32 = 1 << 2;
const MORE: u32 = 1 << 3;
const REMOVE_ONLY: u32 = 1 << 4;

const INSERT: u64 = 1;
const REMOVE: u64 = 1 << 1;
const REMOVE_ALL: u64 = 1 << 2;
const CAPPED: u64 = 1 << 5;

/// `dnet_indexes_request` and its entries.
struct Request {
    id: Id,
    flags: u32,
    entries: Vec<RequestEntry>,
}

/// `dnet_indexes_request_entry` and its data.
struct RequestEntry {
    id: Id,
    flags: u64,
    shard: u32,
    shards: u32,
    data: Vec<u8>,
}

impl Request {
    /// The request at the beginning of `bytes`, which are shortened by it.
    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let (mut head, mut rest) = bytes.split_at_checked(136)?;
        let id = Id::read(head);
        head.advance(Id::SIZE + 4 + 8);
        let flags = head.get_u32_le();
        head.advance(4 + 4 + 40);
        let count = head.get_u64_le();
        let mut entries = Vec::new();
        for _ in 0..count {
            let (mut entry, behind) = rest.split_at_checked(124)?;
            let id = Id::read(entry);
            entry.advance(Id::SIZE);
            let flags = entry.get_u64_le();
            entry.advance(4);
            let (shard, shards) = (entry.get_u32_le(), entry.get_u32_le());
            entry.advance(32);
            let (data, behind) = behind.split_at_checked(usize::try_from(entry.get_u64_le()).ok()?)?;
            entries.push(RequestEntry { id, flags, shard, shards, data: data.to_vec() });
            rest = behind;
        }
        *bytes = rest;
        Some(Self { id, flags, entries })
    }
}

/// One of the three commands.
pub(crate) fn process(call: &mut Call, backend: usize, body: &[u8]) -> i32 {
    let mut rest = body;
    let Some(request) = Request::read(&mut rest) else {
        call.problem("a request for indexes is shorter than it says");
        return EINVAL;
    };
    match call.header.command {
        command::INDEXES_UPDATE => update(call, backend, &request),
        command::INDEXES_INTERNAL => internal(call, (call.place, backend), &request),
        _ => find(call, backend, request, rest),
    }
}

fn update(call: &mut Call, backend: usize, request: &Request) -> i32 {
    let (adds, removes) = (request.flags & UPDATE_ONLY != 0, request.flags & REMOVE_ONLY != 0);
    if adds && removes {
        return EINVAL;
    }
    let here = (call.place, backend);
    let id = call.header.id;
    let shards = call.cluster.settings.shards as u32;
    let shard = shard_of(&id, shards);
    let mut wanted: Vec<_> = request.entries.iter().map(|entry| plain(&entry.id, &entry.data)).collect();
    wanted.sort_by(|one, other| (one.id, &one.data).cmp(&(other.id, &other.data)));

    let old_bytes = read(call, here, &id).unwrap_or_default();
    let old = Table::read(&old_bytes);
    let mut entries = wanted.clone();
    if adds {
        entries.extend(old.entries.iter().cloned());
        entries.sort_by_key(|entry| entry.id);
        entries.dedup_by_key(|entry| entry.id);
    } else if removes {
        entries = old.entries.clone();
        entries.retain(|entry| !wanted.iter().any(|one| one.id == entry.id));
    }
    let new_bytes = Table { entries, shard, shards }.bytes();
    // The answers to an update are marked as if more came, and the acknowledgement ends them.
    let header = call.header.clone();
    call.header.flags |= flag::MORE;
    let mut done = Vec::new();
    let mut result = 0;
    if new_bytes != old_bytes {
        result = write(call, here, &id, new_bytes).err().unwrap_or(0);
        if result == 0 && !adds && !removes {
            let inserted = wanted
                .iter()
                .filter(|entry| !old.entries.iter().any(|one| one.id == entry.id && one.data == entry.data));
            let removed = old.entries.iter().filter(|one| !wanted.iter().any(|entry| entry.id == one.id));
            let steps: Vec<_> = inserted
                .map(|entry| (entry.clone(), INSERT))
                .chain(removed.map(|entry| (entry.clone(), REMOVE)))
                .collect();
            for (entry, action) in steps {
                let index = index_shard(&entry.id, shard, shards);
                // A real server sends this to the node that has the shard, and hands its answer on.
                let one = RequestEntry { id: index, flags: action, shard, shards, data: entry.data };
                let one = match call.cluster.owner(header.group, &index) {
                    Some(place) => change(call, place, &request.id, &one),
                    None => ENOENT,
                };
                done.push((index, one));
                if one != 0 {
                    result = one;
                    break;
                }
            }
        }
    }
    call.reply(&reply(&done), true);
    call.header = header;
    result
}

fn internal(call: &mut Call, place: Place, request: &Request) -> i32 {
    if request.entries.is_empty() {
        return EINVAL;
    }
    let mut done = Vec::new();
    let mut result = -1;
    for entry in &request.entries {
        let one = change(call, place, &request.id, entry);
        done.push((entry.id, one));
        if one == 0 {
            result = 0;
        } else if result == -1 {
            result = one;
        }
    }
    if result == 0 {
        call.header.flags &= flag::NEED_ACK | flag::MORE;
        call.reply(&reply(&done), false);
    }
    result
}

/// Puts an object into a shard of an index, or takes it out.
fn change(call: &Call, place: Place, object: &Id, entry: &RequestEntry) -> i32 {
    if entry.flags & CAPPED != 0 {
        call.problem("collections with a limit are not played");
        return ENOTSUP;
    }
    match entry.flags & (INSERT | REMOVE | REMOVE_ALL) {
        INSERT | REMOVE => {}
        REMOVE_ALL => {
            let backend = &call.cluster.nodes[place.0].backends[place.1];
            return backend.records.lock().expect("no holder panics").remove(&entry.id).err().unwrap_or(0);
        }
        _ => return EINVAL,
    }
    let old = read(call, place, &entry.id).unwrap_or_default();
    let mut table = Table::read(&old);
    let new = Entry { time: now(), ..plain(object, &entry.data) };
    match (table.position(object), entry.flags & INSERT != 0) {
        (Ok(position), true) if table.entries[position].data == entry.data => return 0,
        (Ok(position), true) => table.entries[position] = new,
        (Err(position), true) => table.entries.insert(position, new),
        (Ok(position), false) => {
            table.entries.remove(position);
        }
        (Err(_), false) => return 0,
    }
    (table.shard, table.shards) = (entry.shard, entry.shards);
    write(call, place, &entry.id, table.bytes()).err().unwrap_or(0)
}

fn find(call: &mut Call, backend: usize, first: Request, mut rest: &[u8]) -> i32 {
    let mut result = -1;
    let mut request = first;
    let mut id = call.header.id;
    loop {
        let more = request.flags & MORE != 0;
        let one = find_one(call, backend, &id, &request, more);
        if result == -1 || one == 0 {
            result = one;
        }
        if !more {
            return result;
        }
        let Some(next) = Request::read(&mut rest) else {
            call.problem("a search says that more follow, and none does");
            return EINVAL;
        };
        id = next.id;
        request = next;
    }
}

fn find_one(call: &mut Call, backend: usize, id: &Id, request: &Request, more: bool) -> i32 {
    let all = request.flags & INTERSECT != 0;
    if all == (request.flags & UNITE != 0) {
        return EINVAL;
    }
    let mut found: Vec<Found> = Vec::new();
    let mut result = -1;
    for (number, entry) in request.entries.iter().enumerate() {
        let table = match read(call, (call.place, backend), &entry.id) {
            Ok(bytes) => Table::read(&bytes),
            Err(status) if all => return status,
            Err(status) => {
                if result == -1 {
                    result = status;
                }
                continue;
            }
        };
        result = 0;
        if all && number > 0 {
            found.retain_mut(|object| {
                let Ok(position) = table.position(&object.id) else { return false };
                object.indexes.push((entry.id, table.entries[position].data.clone()));
                true
            });
            continue;
        }
        for object in table.entries {
            let known = found.iter().position(|one| one.id == object.id).filter(|_| !all);
            let position = known.unwrap_or_else(|| {
                found.push(Found { id: object.id, indexes: Vec::new() });
                found.len() - 1
            });
            found[position].indexes.push((entry.id, object.data));
        }
    }
    if result != 0 {
        return result;
    }
    if !more {
        call.header.flags &= !flag::NEED_ACK;
    }
    let own = std::mem::replace(&mut call.header.id, *id);
    call.reply(&found_bytes(&found), more);
    call.header.id = own;
    0
}

/// `dnet_indexes_reply` with its entries.
fn reply(done: &[(Id, i32)]) -> Vec<u8> {
    let mut bytes = vec![0; 40];
    bytes.put_u64_le(done.len() as u64);
    for (id, status) in done {
        bytes.put_slice(&id.0);
        bytes.put_i32_le(*status);
        bytes.put_bytes(0, 16);
    }
    bytes
}

fn read(call: &Call, place: Place, id: &Id) -> Result<Vec<u8>, i32> {
    let backend = &call.cluster.nodes[place.0].backends[place.1];
    let records = backend.records.lock().expect("no holder panics");
    let record = records.get(id)?;
    record.piece(0, record.size)?.bytes().map_err(|error| status(&error))
}

fn write(call: &Call, place: Place, id: &Id, bytes: Vec<u8>) -> Result<(), i32> {
    let io = IoAttribute {
        parent: *id,
        id: *id,
        start: 0,
        number: bytes.len() as u64,
        timestamp: now(),
        user_flags: 0,
        total_size: 0,
        record_flags: 0,
        reserved: 0,
        flags: io_flag::COMMIT | io_flag::NOCSUM,
        offset: 0,
        size: bytes.len() as u64,
    };
    let backend = &call.cluster.nodes[place.0].backends[place.1];
    let mut records = backend.records.lock().expect("no holder panics");
    records.write(&io, Content::Memory(bytes)).map(|_| ())
}

fn plain(id: &Id, data: &[u8]) -> Entry {
    Entry { id: *id, data: data.to_vec(), time: Time::default() }
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // The servers' clock counts microseconds.
    Time { seconds: since.as_secs(), nanoseconds: u64::from(since.subsec_micros()) * 1000 }
}

/// The shard that an object is in: the id of its list, as a number, modulo the count.
fn shard_of(id: &Id, shards: u32) -> u32 {
    let shards = u64::from(shards);
    id.0.iter().fold(0, |rest, byte| (rest * 256 + u64::from(*byte)) % shards) as u32
}

/// The id of a shard of an index: the second half of a digest, behind the place of the shard on the ring.
fn index_shard(index: &Id, shard: u32, shards: u32) -> Id {
    // The suffix is sent with the zero byte that ends it in C.
    let mut id = Id::of(&[&index.0[..], b"\0index_table\0"].concat());
    id.0[..Id::SIZE / 2].fill(0);
    let place = (u64::from(shard) << 32) / u64::from(shards);
    id.0[..4].copy_from_slice(&(place as u32).to_be_bytes());
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shard_of_an_object_is_its_id_modulo_the_count() {
        let mut id = Id([0; Id::SIZE]);
        (id.0[62], id.0[63]) = (1, 2);
        assert_eq!(shard_of(&id, 16), 258 % 16);
        assert_eq!(shard_of(&id, 7), 258 % 7);
    }

    #[test]
    fn the_id_of_a_shard_begins_with_its_place_on_the_ring() {
        let id = index_shard(&Id([9; Id::SIZE]), 5, 16);
        assert_eq!(id.0[..4], [0x50, 0, 0, 0]);
        assert_eq!(id.0[4..32], [0; 28]);
        assert_ne!(id.0[32..], [0; 32]);
    }
}
