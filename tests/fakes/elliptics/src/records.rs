//! The records of one backend, by the rules of eblob.
//!
//! Rules from `example/eblob_backend.c` of 2.26.11.1 and `library/blob.c` of eblob 0.23 (github.com/reverbrain/eblob):
//!
//! - A write that is not plain ends the record where it ends, so that a shorter one cuts it off; it commits.
//! - An append to a record goes behind it. To none it is a write.
//! - A prepared record has room and no content: nobody can read it before it is committed. Plain writes go into
//!   that room only, and are refused (EPERM) once the record is committed.
//! - A write of nothing is no write: it fails (ENOENT) when there is no record, and changes none.
//! - A record of no bytes can be made by preparing and committing nothing. It can be read, and a lookup does not find
//!   it.
//! - Every write replaces the timestamp and the user's flags.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::content::{Content, Piece};
use crate::errno::{E2BIG, EILSEQ, EIO, ENOENT, EPERM, ERANGE};
use crate::id::Id;
use crate::wire::{IoAttribute, Time, io_flag};

/// What a record is like, as `READ` and `LOOKUP` say it.
pub(crate) mod record_flag {
    pub(crate) const NOCSUM: u64 = 1 << 1;
    pub(crate) const APPEND: u64 = 1 << 4;
    /// It has a timestamp and flags of the user: every record does.
    pub(crate) const EXTHDR: u64 = 1 << 6;
    pub(crate) const UNCOMMITTED: u64 = 1 << 7;
    pub(crate) const CHUNKED_CSUM: u64 = 1 << 8;
}

/// One record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) size: u64,
    /// What it may take of the disk.
    pub(crate) room: u64,
    pub(crate) flags: u64,
    pub(crate) timestamp: Time,
    pub(crate) user_flags: u64,
    /// Its content was spoiled on purpose.
    pub(crate) damaged: bool,
    pub(crate) file: PathBuf,
}

impl Record {
    fn is_committed(&self) -> bool {
        self.flags & record_flag::UNCOMMITTED == 0
    }

    /// Its length with the header; what is prepared and was never written has none.
    fn total(&self) -> u64 {
        if self.size == 0 && !self.is_committed() { 0 } else { self.size + HEADER }
    }

    /// Whether its content is what was written; the check is left out when the record has no checksum.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn verify(&self) -> Result<(), i32> {
        if self.damaged && self.flags & record_flag::NOCSUM == 0 { Err(EILSEQ) } else { Ok(()) }
    }

    /// Some of its content.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(crate) fn piece(&self, offset: u64, size: u64) -> Result<Piece, i32> {
        let file = File::open(&self.file).map_err(|error| status(&error))?;
        Ok(Piece { file, offset, size })
    }
}

/// The records of one backend.
#[derive(Debug)]
pub(crate) struct Records {
    folder: PathBuf,
    records: BTreeMap<Id, Record>,
}

impl Records {
    /// No records, with a folder for their content.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub(crate) fn new(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        Ok(Self { folder, records: BTreeMap::new() })
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        for record in std::mem::take(&mut self.records).into_values() {
            let _ = fs::remove_file(record.file);
        }
    }

    /// All records, in the order of their ids.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Id, &Record)> {
        self.records.iter()
    }

    /// A record that can be read.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn get(&self, id: &Id) -> Result<&Record, i32> {
        self.records.get(id).filter(|record| record.is_committed()).ok_or(ENOENT)
    }

    /// Whether a record is prepared and not committed.
    pub(crate) fn is_prepared(&self, id: &Id) -> bool {
        self.records.get(id).is_some_and(|record| !record.is_committed())
    }

    /// Removes a record, prepared ones too.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn remove(&mut self, id: &Id) -> Result<(), i32> {
        let record = self.records.remove(id).ok_or(ENOENT)?;
        let _ = fs::remove_file(record.file);
        Ok(())
    }

    /// Spoils the first byte of a record.
    ///
    /// # Errors
    /// When there is no such record or it has no byte.
    pub(crate) fn damage(&mut self, id: &Id) -> Result<(), i32> {
        let record = self.records.get_mut(id).filter(|record| record.size > 0).ok_or(ENOENT)?;
        let spoil = || -> io::Result<()> {
            let file = File::options().read(true).write(true).open(&record.file)?;
            let mut first = [0];
            file.read_exact_at(&mut first, 0)?;
            file.write_all_at(&[!first[0]], 0)
        };
        spoil().map_err(|error| status(&error))?;
        record.damaged = true;
        Ok(())
    }

    /// A `WRITE`: all that its flags ask for, in the order of the real one. Returns the record and the size that the
    /// answer says, which after an append is that of the appended bytes.
    ///
    /// # Errors
    /// The status of the answer. What was done until then stays done.
    pub(crate) fn write(&mut self, io: &IoAttribute, content: Content) -> Result<(Record, u64), i32> {
        let mut flags = record_flag::EXTHDR | record_flag::CHUNKED_CSUM;
        if io.has(io_flag::APPEND) {
            flags |= record_flag::APPEND;
        }
        if io.has(io_flag::NOCSUM) {
            flags |= record_flag::NOCSUM;
        }
        let plain = io.has(io_flag::PLAIN_WRITE);
        let end = io.offset.checked_add(io.size).ok_or(E2BIG)?;
        if io.has(io_flag::PREPARE) {
            self.prepare(io, flags)?;
        }
        let mut said = None;
        if io.size > 0 && plain {
            self.plain(io, flags, end)?;
            let file = self.path(&io.id);
            content.write_at(io.size, &file, io.offset).map_err(|error| status(&error))?;
        } else if io.size > 0 {
            self.whole(io, flags, end, content)?;
            said = Some(end);
        }
        if io.has(io_flag::COMMIT) && io.size == 0 {
            self.plain(io, flags, 0)?;
        }
        if io.has(io_flag::COMMIT) && plain {
            self.commit(io, flags, end)?;
        }
        let record = self.records.get(&io.id).ok_or(ENOENT)?;
        // What is prepared has no size yet.
        let size = said.unwrap_or(record.size);
        // The answer has the timestamp of the command, also when nothing was written.
        Ok((Record { timestamp: io.timestamp, ..record.clone() }, size))
    }

    fn path(&self, id: &Id) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn prepare(&mut self, io: &IoAttribute, flags: u64) -> Result<(), i32> {
        let file = self.path(&io.id);
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .map_err(|error| status(&error))?;
        let old = self.records.get(&io.id);
        let wanted = on_disk(io.number.saturating_add(HEADER));
        let kept = old.filter(|old| old.room >= wanted).map(|old| old.room);
        let record = Record {
            size: old.map_or(0, |old| old.size),
            room: kept.unwrap_or_else(|| wanted.max(on_disk(old.map_or(0, Record::total)))),
            flags: flags | record_flag::UNCOMMITTED,
            timestamp: io.timestamp,
            user_flags: io.user_flags,
            damaged: old.is_some_and(|old| old.damaged),
            file,
        };
        self.records.insert(io.id, record);
        Ok(())
    }

    /// The checks of a plain write that ends at `end`, and what it notes of the record.
    fn plain(&mut self, io: &IoAttribute, flags: u64, end: u64) -> Result<(), i32> {
        let record = self.records.get_mut(&io.id).ok_or(ENOENT)?;
        if on_disk(end.saturating_add(HEADER)) > record.room {
            return Err(E2BIG);
        }
        if record.is_committed() {
            return Err(EPERM);
        }
        record.timestamp = io.timestamp;
        record.user_flags = io.user_flags;
        record.flags = flags | record_flag::UNCOMMITTED;
        Ok(())
    }

    fn whole(&mut self, io: &IoAttribute, mut flags: u64, end: u64, content: Content) -> Result<(), i32> {
        let file = self.path(&io.id);
        let appends = io.has(io_flag::APPEND);
        let old = self.records.get(&io.id);
        let begin = old.filter(|_| appends).map_or(0, |old| old.size);
        let size = begin.checked_add(end).ok_or(E2BIG)?;
        let wanted = end.saturating_add(HEADER);
        let room = match old {
            // Who appends to nothing is likely to go on with it.
            None if appends => on_disk(wanted.saturating_mul(4)),
            None => on_disk(wanted),
            Some(old) => {
                let total = if appends { old.total().saturating_add(wanted) } else { wanted };
                match on_disk(total) {
                    fits if fits <= old.room => old.room,
                    grown if appends => grown.saturating_mul(2),
                    grown => grown,
                }
            }
        };
        if begin == 0 {
            flags &= !record_flag::APPEND;
        }
        let damaged = begin + io.offset > 0 && old.is_some_and(|old| old.damaged);
        let written = if begin + io.offset == 0 {
            content.become_file(io.size, &file)
        } else {
            content.write_at(io.size, &file, begin + io.offset).and_then(|()| cut(&file, size))
        };
        written.map_err(|error| status(&error))?;
        let (timestamp, user_flags) = (io.timestamp, io.user_flags);
        self.records.insert(io.id, Record { size, room, flags, timestamp, user_flags, damaged, file });
        Ok(())
    }

    fn commit(&mut self, io: &IoAttribute, flags: u64, end: u64) -> Result<(), i32> {
        let record = self.records.get_mut(&io.id).ok_or(ENOENT)?;
        if record.is_committed() {
            return Err(EPERM);
        }
        // Who prepares and commits in one command commits what he has written; the rest is room.
        let size = if io.has(io_flag::PREPARE) { end } else { io.number };
        if size.saturating_add(HEADER) > record.room {
            return Err(ERANGE);
        }
        let file = record.file.clone();
        record.size = size;
        record.flags = flags;
        cut(&file, size).map_err(|error| status(&error))
    }
}

/// In front of every content: its timestamp and its user's flags.
const HEADER: u64 = 48;

/// The bytes on disk for a header and content that are so long together: a head, and a checksum for each MiB and one
/// more. A commit may take all of them for content.
fn on_disk(data: u64) -> u64 {
    let checksums = if data == 0 { 0 } else { (data - 1) / (1 << 20) + 2 };
    data.saturating_add(96 + 8 * checksums)
}

/// Gives a file this length, with zeros where nothing was written.
fn cut(file: &PathBuf, size: u64) -> io::Result<()> {
    File::options().create(true).truncate(false).write(true).open(file)?.set_len(size)
}

/// The status for an error of the file system.
pub(crate) fn status(error: &io::Error) -> i32 {
    error.raw_os_error().map_or(EIO, |number| -number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> (tempfile::TempDir, Records) {
        let folder = tempfile::tempdir().expect("a folder");
        let records = Records::new(folder.path().join("records")).expect("a folder in it");
        (folder, records)
    }

    fn io(flags: u32, offset: u64, size: usize, number: u64) -> IoAttribute {
        let mut attribute = IoAttribute::read(&[0; IoAttribute::SIZE]).expect("enough bytes");
        attribute.timestamp = Time { seconds: 5, nanoseconds: 6 };
        (attribute.flags, attribute.offset, attribute.size) = (flags, offset, size as u64);
        attribute.number = number;
        attribute
    }

    fn write(records: &mut Records, flags: u32, offset: u64, bytes: &[u8], number: u64) -> Result<u64, i32> {
        let attribute = io(flags, offset, bytes.len(), number);
        records.write(&attribute, Content::Memory(bytes.to_vec())).map(|(_, size)| size)
    }

    fn content(records: &Records) -> Result<Vec<u8>, i32> {
        let record = records.get(&Id([0; Id::SIZE]))?;
        record.piece(0, record.size)?.bytes().map_err(|error| status(&error))
    }

    #[test]
    fn a_write_ends_the_record_where_it_ends() {
        let (_folder, mut records) = empty();
        assert_eq!(write(&mut records, 0, 0, b"0123456789", 0), Ok(10));
        assert_eq!(write(&mut records, 0, 4, b"ab", 0), Ok(6));
        assert_eq!(content(&records).as_deref(), Ok(&b"0123ab"[..]));
        assert_eq!(write(&mut records, 0, 0, b"z", 0), Ok(1));
        assert_eq!(content(&records).as_deref(), Ok(&b"z"[..]));
        assert_eq!(write(&mut records, 0, 3, b"y", 0), Ok(4));
        assert_eq!(content(&records).as_deref(), Ok(&b"z\0\0y"[..]));
    }

    #[test]
    fn an_append_goes_behind_the_record_and_says_its_own_size() {
        let (_folder, mut records) = empty();
        assert_eq!(write(&mut records, io_flag::APPEND, 0, b"abc", 0), Ok(3));
        assert_eq!(records.get(&Id([0; 64])).map(|record| record.flags & record_flag::APPEND), Ok(0));
        assert_eq!(write(&mut records, io_flag::APPEND, 0, b"de", 0), Ok(2));
        assert_eq!(content(&records).as_deref(), Ok(&b"abcde"[..]));
        let flags = records.get(&Id([0; 64])).map(|record| record.flags);
        assert_eq!(flags, Ok(record_flag::EXTHDR | record_flag::CHUNKED_CSUM | record_flag::APPEND));
    }

    #[test]
    fn a_write_of_nothing_is_no_write() {
        let (_folder, mut records) = empty();
        assert_eq!(write(&mut records, 0, 0, b"", 0), Err(ENOENT));
        assert_eq!(write(&mut records, io_flag::COMMIT, 0, b"", 0), Err(ENOENT));
        write(&mut records, 0, 0, b"abc", 0).expect("written");
        assert_eq!(write(&mut records, 0, 0, b"", 0), Ok(3));
        assert_eq!(content(&records).as_deref(), Ok(&b"abc"[..]));
    }

    #[test]
    fn what_is_prepared_is_read_after_its_commit_only() {
        let (_folder, mut records) = empty();
        let (prepare, plain) = (io_flag::PREPARE | io_flag::PLAIN_WRITE, io_flag::PLAIN_WRITE);
        let commit = io_flag::COMMIT | io_flag::PLAIN_WRITE;
        assert_eq!(write(&mut records, plain, 0, b"abc", 0), Err(ENOENT));
        assert_eq!(write(&mut records, prepare, 0, b"abc", 6), Ok(0));
        assert_eq!(content(&records), Err(ENOENT));
        assert_eq!(write(&mut records, plain, 3, b"defg", 0), Err(E2BIG));
        assert_eq!(write(&mut records, plain, 3, b"def", 0), Ok(0));
        assert_eq!(write(&mut records, commit, 0, b"", 119), Err(ERANGE));
        assert_eq!(write(&mut records, commit, 0, b"", 6), Ok(6));
        assert_eq!(content(&records).as_deref(), Ok(&b"abcdef"[..]));
        assert_eq!(write(&mut records, plain, 0, b"x", 0), Err(EPERM));
        assert_eq!(write(&mut records, commit, 0, b"", 6), Err(EPERM));
        // Preparing again hides what is there.
        assert_eq!(write(&mut records, prepare, 0, b"x", 2), Ok(6));
        assert_eq!(content(&records), Err(ENOENT));
        assert_eq!(records.remove(&Id([0; 64])), Ok(()));
        assert_eq!(records.remove(&Id([0; 64])), Err(ENOENT));
    }

    #[test]
    fn a_record_of_no_bytes_is_prepared_and_committed() {
        let (_folder, mut records) = empty();
        let all = io_flag::PREPARE | io_flag::PLAIN_WRITE | io_flag::COMMIT;
        assert_eq!(write(&mut records, all, 0, b"", 0), Ok(0));
        assert_eq!(content(&records).as_deref(), Ok(&b""[..]));
        assert_eq!(write(&mut records, all, 0, b"abc", 100), Ok(3));
        assert_eq!(content(&records).as_deref(), Ok(&b"abc"[..]));
    }

    #[test]
    fn a_spoiled_record_is_found_out_unless_it_has_no_checksum() {
        let (_folder, mut records) = empty();
        write(&mut records, 0, 0, b"abc", 0).expect("written");
        records.damage(&Id([0; 64])).expect("damaged");
        assert_eq!(records.get(&Id([0; 64])).and_then(Record::verify), Err(EILSEQ));
        write(&mut records, io_flag::NOCSUM, 0, b"abc", 0).expect("written");
        records.damage(&Id([0; 64])).expect("damaged");
        assert_eq!(records.get(&Id([0; 64])).and_then(Record::verify), Ok(()));
        assert_ne!(content(&records).as_deref(), Ok(&b"abc"[..]));
    }
}
