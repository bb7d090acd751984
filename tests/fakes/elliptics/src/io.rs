//! `READ`, `WRITE`, `LOOKUP`, `DEL` and `BULK_READ`.
//!
//! Rules from `library/dnet.c` (`dnet_process_cmd_with_backend_raw`, the two compare-and-swaps, `dnet_cmd_bulk_read`,
//! `dnet_send_file_info_ts`), `example/eblob_backend.c` and `include/elliptics/backends.h` of 2.26.11.1:
//!
//! - `READ` and `WRITE` go by the id in the attribute, `LOOKUP`, `DEL` and the comparison of checksums by that in the head.
//! - Reading at or behind the end is E2BIG, unless the offset is zero. A size of zero means all.
//! - A record is checked before it is read (EILSEQ), unless `NOCSUM` is set.
//! - `CAS_TIMESTAMP` refuses (EBADFD) a write that is older than what is there; an equal one is let in. It is checked
//!   before `COMPARE_AND_SWAP`, which compares `parent` with the SHA-512 of the whole record, or with zeros if it has
//!   no bytes, and lets every write in where there is no record.
//! - A backend without a cache, as these are, does not know `CACHE_ONLY` (ENOTSUP).
//!
//! Older servers of the line are played too, as far as a driver can tell: without record flags before 2.26.6.0, without
//! `CAS_TIMESTAMP` before 2.26.9.0; before 2.26.10.2 a write's reply says 48 bytes more than the record has, and
//! the checksum of a real one is of those bytes too, here only of the record. Not played is that before 2.26.5.0 a prepared record is found.
//!
//! Where a real server would read beyond the end of the request, this one refuses it (EINVAL).

use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use crate::call::{Body, Call};
use crate::cluster::since;
use crate::content::Content;
use crate::errno::{E2BIG, EBADFD, EINVAL, ENOENT, ENOTSUP, EROFS};
use crate::id::Id;
use crate::records::{Record, Records, status};
use crate::wire::{FileInfo, Header, IoAttribute, command, flag, io_flag};

/// Up to here content is read at once, so that no later write changes it.
const AT_ONCE: u64 = 1 << 20;

/// Where records begin in a server's file: behind its header and theirs.
const RECORD_OFFSET: u64 = 96 + EXTENDED_HEADER;

/// The timestamp and the user's flags in front of every content.
const EXTENDED_HEADER: u64 = 48;

fn records(call: &Call, backend: usize) -> MutexGuard<'_, Records> {
    call.backend_at(backend).records.lock().expect("no holder panics")
}

/// What is the same for commands with an attribute.
fn attribute(call: &Call, backend: usize, body: Body) -> Result<(IoAttribute, Content), i32> {
    let changes = matches!(call.header.command, command::WRITE | command::DEL);
    if changes && call.backend_at(backend).read_only.load(Ordering::SeqCst) {
        return Err(EROFS);
    }
    let Some((io, content)) = body.attribute() else {
        call.problem("the body is shorter than its attribute");
        return Err(EINVAL);
    };
    let name = command::name(call.header.command);
    if io.flags & !io_flag::KNOWN != 0 {
        call.problem(&format!("{name} has unknown flags {:#x}", io.flags));
    }
    if io.reserved != 0 {
        call.problem(&format!("{name} has something in a reserved place"));
    }
    // The reads of a bulk read have ids of their own.
    if io.id != call.header.id && !call.header.has(flag::MORE) {
        call.problem(&format!("{name} has another id in its attribute"));
    }
    Ok((io, content))
}

/// `READ`.
pub(crate) fn read(call: &mut Call, backend: usize, body: Body) -> i32 {
    attribute(call, backend, body).and_then(|(io, _)| send_content(call, backend, io)).err().unwrap_or(0)
}

fn send_content(call: &mut Call, backend: usize, mut io: IoAttribute) -> Result<(), i32> {
    if io.has(io_flag::CACHE_ONLY) {
        return Err(if io.has(io_flag::NOCACHE) { 0 } else { ENOTSUP });
    }
    call.header.flags &= !flag::NEED_ACK;
    let records = records(call, backend);
    let record = records.get(&io.id)?;
    io.timestamp = record.timestamp;
    io.user_flags = record.user_flags;
    io.total_size = record.size;
    if io.offset > 0 && io.offset >= record.size {
        return Err(E2BIG);
    }
    let rest = record.size - io.offset;
    if io.size == 0 || io.size > rest {
        io.size = rest;
    }
    if call.cluster.settings.has(since::RECORD_FLAGS) {
        io.record_flags = record.flags;
    }
    if !io.has(io_flag::NOCSUM) {
        record.verify()?;
    }
    if io.has(io_flag::SKIP_SENDING) {
        return Ok(());
    }
    let piece = record.piece(io.offset, io.size)?;
    if io.has(io_flag::CHECKSUM) {
        io.parent = piece.checksum().map_err(|error| status(&error))?;
    }
    let header = Header {
        id: io.id,
        reserved: 0,
        status: 0,
        command: command::READ,
        flags: call.header.flags | flag::REPLY,
        ..call.header.clone()
    };
    let mut bytes = io.bytes();
    if io.size <= AT_ONCE {
        bytes.extend(piece.bytes().map_err(|error| status(&error))?);
        drop(records);
        call.send(&header, &bytes, None);
    } else {
        drop(records);
        call.send(&header, &bytes, Some(piece));
    }
    Ok(())
}

/// `WRITE`.
pub(crate) fn write(call: &mut Call, backend: usize, body: Body) -> i32 {
    attribute(call, backend, body)
        .and_then(|(io, content)| store(call, backend, &io, content))
        .err()
        .unwrap_or(0)
}

fn store(call: &mut Call, backend: usize, io: &IoAttribute, content: Content) -> Result<(), i32> {
    let mut records = records(call, backend);
    let by_time = io.has(io_flag::CAS_TIMESTAMP) && call.cluster.settings.has(since::CAS_TIMESTAMP);
    if by_time
        && let Ok(record) = records.get(&io.id)
        && record.timestamp > io.timestamp
    {
        return Err(EBADFD);
    }
    let mut compared = if io.has(io_flag::NOCACHE) { 0 } else { ENOTSUP };
    if by_time {
        compared = 0;
    }
    if io.has(io_flag::COMPARE_AND_SWAP) {
        compared = compare(&records, &call.header.id, &io.parent)?;
    }
    if io.has(io_flag::CACHE_ONLY) {
        return Err(compared);
    }
    if io.size > content.length() {
        call.problem("WRITE says more bytes than it has");
        return Err(EINVAL);
    }
    if io.size < content.length() {
        call.problem("WRITE has more bytes than it says");
    }
    if io.has(io_flag::APPEND) && (io.has(io_flag::PREPARE) || records.is_prepared(&io.id)) {
        call.problem("a real server spoils a record that is appended to before it is committed");
    }
    let written = records.write(io, content);
    drop(records);
    call.header.flags &= !flag::NEED_ACK;
    let (record, mut size) = written?;
    if io.has(io_flag::WRITE_NO_FILE_INFO) {
        call.header.flags |= flag::NEED_ACK;
        return Ok(());
    }
    if size > 0 && !call.cluster.settings.has(since::CONTENT_SIZE) {
        size += EXTENDED_HEADER;
    }
    send_info(call, backend, &record, size)
}

/// The checksum rule. What it returns is the status where the command ends here.
fn compare(records: &Records, id: &Id, expected: &Id) -> Result<i32, i32> {
    let Ok(record) = records.get(id) else { return Ok(ENOENT) };
    let checksum = if record.size == 0 {
        Id([0; Id::SIZE])
    } else {
        record.piece(0, record.size)?.checksum().map_err(|error| status(&error))?
    };
    if checksum == *expected { Ok(0) } else { Err(EBADFD) }
}

/// `LOOKUP`.
pub(crate) fn lookup(call: &mut Call, backend: usize) -> i32 {
    call.header.flags &= !flag::NEED_ACK;
    let found = records(call, backend).get(&call.header.id).cloned();
    let sent = found.and_then(|record| {
        if record.size == 0 {
            return Err(ENOENT);
        }
        if call.header.has(flag::CHECKSUM) {
            record.verify()?;
        }
        let size = record.size;
        send_info(call, backend, &record, size)
    });
    sent.err().unwrap_or(0)
}

fn send_info(call: &mut Call, backend: usize, record: &Record, size: u64) -> Result<(), i32> {
    let checksum = if call.header.has(flag::CHECKSUM) && size > 0 {
        // Bytes that are not the record's are of no use to anybody.
        record.piece(0, size.min(record.size))?.checksum().map_err(|error| status(&error))?
    } else {
        Id([0; Id::SIZE])
    };
    let info = FileInfo {
        checksum,
        record_flags: if call.cluster.settings.has(since::RECORD_FLAGS) { record.flags } else { 0 },
        size,
        offset: RECORD_OFFSET,
        timestamp: record.timestamp,
        path: format!("/srv/elliptics/{}/data-0.0", call.backend_at(backend).number),
    };
    let body = info.body(call.node().address);
    call.reply(&body, false);
    Ok(())
}

/// `DEL`.
pub(crate) fn delete(call: &mut Call, backend: usize, body: Body) -> i32 {
    let io = match attribute(call, backend, body) {
        Ok((io, _)) => io,
        Err(status) => return status,
    };
    if io.has(io_flag::CACHE_ONLY) {
        return if io.has(io_flag::NOCACHE) { 0 } else { ENOTSUP };
    }
    records(call, backend).remove(&call.header.id).err().unwrap_or(0)
}

/// `BULK_READ`: an attribute whose size is that of the attributes behind it. Each is a `READ` with an answer of its
/// own that says `MORE`; the acknowledgement ends them.
pub(crate) fn bulk_read(call: &mut Call, backend: usize, body: &Body) -> i32 {
    let Some(io) = IoAttribute::read(&body.bytes) else {
        call.problem("BULK_READ is shorter than its attribute");
        return EINVAL;
    };
    let attributes = &body.bytes[IoAttribute::SIZE..];
    if io.size > attributes.len() as u64 {
        call.problem("BULK_READ says more attributes than it has");
        return EINVAL;
    }
    let whole = call.header.clone();
    let mut result = -1;
    for attribute in attributes[..io.size as usize].chunks_exact(IoAttribute::SIZE) {
        call.header = whole.clone();
        call.header.command = command::READ;
        call.header.flags |= flag::MORE;
        let one = call.step(Some(backend), Body::of(attribute.to_vec()), true);
        if one == 0 {
            result = 0;
        } else if result == -1 {
            result = one;
        }
    }
    call.header = whole;
    result
}
