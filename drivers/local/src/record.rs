//! The record of one upload: where it stands, and who is working on it.
//!
//! The record is a small file that is changed in place. It has three slots of one sector each:
//!
//! - two for the standing. A new one goes where its generation's parity says, so that the one before
//!   stays readable if the machine stops half way; the checksum tells whether a slot is whole.
//! - one for the claim: the number that the latest appender drew. It matters only among processes
//!   that live, and is never synced.
//!
//! Compared with a new file and a rename, a step costs one sync instead of three. Changes are made
//! under `flock(2)` on the record itself.

use std::{
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind as Io},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use docker_registry_driver_api::{Error, ErrorKind, Result};

/// Size of a slot in bytes: what disks write whole.
const SLOT: u64 = 512;
/// Offset of the claim.
const CLAIM: u64 = 2 * SLOT;
/// Identifies the format.
const MAGIC: &[u8; 8] = b"DRupld01";

/// Where an upload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Counts the appends; a state with another one is stale.
    pub(crate) generation: u64,
    /// Number of durable bytes.
    pub(crate) offset: u64,
    /// Which data file holds them; see [`data_name`].
    pub(crate) data: u64,
}

/// The open record of an upload.
#[derive(Debug)]
pub(crate) struct Record {
    file: File,
}

impl Record {
    /// Makes the record of a new, empty upload.
    pub(crate) fn create(path: &Path) -> io::Result<()> {
        let record = Self { file: File::options().write(true).create_new(true).open(path)? };
        record.file.set_len(3 * SLOT)?;
        record.write(Standing { generation: 0, offset: 0, data: 0 })
    }

    /// Opens a record.
    ///
    /// # Errors
    /// `NotFound` when the upload is gone.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        match File::options().read(true).write(true).open(path) {
            Ok(file) => Ok(Self { file }),
            Err(error) if error.kind() == Io::NotFound => Err(gone()),
            Err(error) => Err(error.into()),
        }
    }

    /// Locks the upload against every other process and thread.
    ///
    /// # Errors
    /// `NotFound` when the upload ended while the lock was waited for.
    pub(crate) fn lock(&self) -> Result<Locked<'_>> {
        self.file.lock()?;
        let locked = Locked { record: self };
        if self.is_gone()? { Err(gone()) } else { Ok(locked) }
    }

    /// Whether the upload was committed or aborted.
    pub(crate) fn is_gone(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() == 0)
    }

    /// Where the upload stands.
    ///
    /// # Errors
    /// `NotFound` when no slot is whole: the upload did not survive its first moment.
    pub(crate) fn standing(&self) -> Result<Standing> {
        let slots = [self.slot(0)?, self.slot(SLOT)?];
        slots.into_iter().flatten().max_by_key(|standing| standing.generation).ok_or_else(gone)
    }

    /// The number of the latest appender. May be asked without the lock.
    pub(crate) fn claim(&self) -> io::Result<u64> {
        let mut claim = [0; 8];
        self.file.read_exact_at(&mut claim, CLAIM)?;
        Ok(u64::from_le_bytes(claim))
    }

    fn slot(&self, at: u64) -> io::Result<Option<Standing>> {
        let mut slot = [0; 36];
        match self.file.read_exact_at(&mut slot, at) {
            Err(error) if error.kind() == Io::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let number =
            |at: usize| slot[at..at + 8].iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let sum = crc32fast::hash(&slot[..32]).to_le_bytes();
        let whole = slot[..8] == *MAGIC && slot[32..] == sum;
        Ok(whole.then(|| Standing { generation: number(8), offset: number(16), data: number(24) }))
    }

    fn write(&self, standing: Standing) -> io::Result<()> {
        let mut slot = [0; SLOT as usize];
        slot[..8].copy_from_slice(MAGIC);
        slot[8..16].copy_from_slice(&standing.generation.to_le_bytes());
        slot[16..24].copy_from_slice(&standing.offset.to_le_bytes());
        slot[24..32].copy_from_slice(&standing.data.to_le_bytes());
        let sum = crc32fast::hash(&slot[..32]);
        slot[32..36].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&slot, standing.generation % 2 * SLOT)
    }
}

/// A record whose lock is held. The lock ends with this value.
pub(crate) struct Locked<'a> {
    record: &'a Record,
}

impl Locked<'_> {
    /// Draws a new claim. Whoever had claimed the upload before has lost it.
    pub(crate) fn draw_claim(&self) -> io::Result<u64> {
        // Zero means that nobody ever claimed, and the data file with which an upload begins.
        let claim = RandomState::new().hash_one(std::process::id()).max(1);
        self.record.file.write_all_at(&claim.to_le_bytes(), CLAIM)?;
        Ok(claim)
    }

    /// Writes down where the upload stands now, and waits until it is on disk.
    pub(crate) fn advance(&self, standing: Standing) -> io::Result<()> {
        self.record.write(standing)?;
        self.record.file.sync_data()
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // Cannot fail for a lock that is held; the end of the file would release it in any case.
        let _ = self.record.file.unlock();
    }
}

/// Name of a data file.
pub(crate) fn data_name(data: u64) -> String {
    if data == 0 { "data".to_owned() } else { format!("data.{data:016x}") }
}

/// The upload was committed or aborted, or there never was one.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such upload")
}

/// The state is not the latest one.
pub(crate) fn stale() -> Error {
    Error::new(ErrorKind::Conflict, "the upload has gone on from another state")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (tempfile::TempDir, Record) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        Record::create(&path).unwrap();
        (folder, Record::open(&path).unwrap())
    }

    #[test]
    fn the_latest_whole_slot_counts() {
        let (_folder, record) = record();
        assert_eq!(record.standing().unwrap(), Standing { generation: 0, offset: 0, data: 0 });
        for generation in 1..=3 {
            let next = Standing { generation, offset: generation * 100, data: 7 };
            record.lock().unwrap().advance(next).unwrap();
            assert_eq!(record.standing().unwrap(), next);
        }
    }

    #[test]
    fn a_slot_that_was_written_by_half_leaves_the_one_before() {
        let (_folder, record) = record();
        let one = Standing { generation: 1, offset: 100, data: 0 };
        record.lock().unwrap().advance(one).unwrap();
        record.lock().unwrap().advance(Standing { generation: 2, offset: 200, data: 0 }).unwrap();
        // Generation 2 lies in the first slot. Its offset changes without its checksum.
        record.file.write_all_at(&[9], 16).unwrap();
        assert_eq!(record.standing().unwrap(), one);
    }

    #[test]
    fn a_removed_record_cannot_be_locked() {
        let (folder, record) = record();
        std::fs::remove_file(folder.path().join("record")).unwrap();
        assert_eq!(record.lock().err().unwrap().kind, ErrorKind::NotFound);
    }
}
