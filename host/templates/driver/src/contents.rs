//! What stands for the storage: all objects, all pending uploads, and how much room is left.
//!
//! What to put here: your client, connection pool or folder, and the few primitive steps that the
//! other files are made of. Whatever you use, keep this property: a reader sees an object as it was
//! before a write or after it, never between.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use docker_registry_driver_api::{Bytes, ETag, Error, ErrorKind, ObjectInfo, Result};

use crate::uploads::Pending;

/// Content in the pieces in which it arrived. Pieces are never empty and never change, so that an
/// open reading is not disturbed by a replacement.
pub(crate) type Pieces = Arc<Vec<Bytes>>;

/// One object.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) pieces: Pieces,
    pub(crate) size: u64,
    modified: SystemTime,
    version: u64,
}

impl Stored {
    /// What is known of the object. The tag is a number that is never used twice; a time would not
    /// do, because two writes may fall into one tick of the clock.
    pub(crate) fn info(&self) -> ObjectInfo {
        ObjectInfo {
            size: self.size,
            modified: Some(self.modified),
            etag: Some(ETag(format!("v{}", self.version))),
        }
    }
}

/// Everything that is kept.
pub(crate) struct Contents {
    pub(crate) objects: BTreeMap<String, Stored>,
    pub(crate) uploads: BTreeMap<String, Pending>,
    /// Begins the ids of uploads, so that the id of an earlier process fits none of this one.
    pub(crate) process: String,
    counter: u64,
    used: u64,
    capacity: u64,
}

impl Contents {
    /// Nothing yet, and room for `capacity` bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
            process: format!("{:x}-{:x}", now.as_nanos(), std::process::id()),
            counter: 0,
            used: 0,
            capacity,
        }
    }

    /// A number that was not given before.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// Bytes that may still come.
    pub(crate) fn room(&self) -> u64 {
        self.capacity.saturating_sub(self.used)
    }

    /// Fails when fewer than `size` bytes are free.
    pub(crate) fn check_room(&self, size: u64) -> Result<()> {
        if size <= self.room() { Ok(()) } else { Err(full()) }
    }

    /// Counts bytes that are kept from now on.
    pub(crate) fn take_room(&mut self, size: u64) -> Result<()> {
        self.check_room(size)?;
        self.used += size;
        Ok(())
    }

    /// Gives back the room of bytes that are gone.
    pub(crate) fn free_room(&mut self, size: u64) {
        self.used = self.used.saturating_sub(size);
    }

    /// Makes `pieces`, whose room is taken already, the object at `path`.
    pub(crate) fn insert(&mut self, path: &str, pieces: Pieces, size: u64) -> ObjectInfo {
        let version = self.next_number();
        let stored = Stored { pieces, size, modified: SystemTime::now(), version };
        let info = stored.info();
        if let Some(replaced) = self.objects.insert(path.to_owned(), stored) {
            self.free_room(replaced.size);
        }
        info
    }
}

/// The error for a storage without room.
pub(crate) fn full() -> Error {
    Error::new(ErrorKind::StorageFull, "the capacity is used up")
}
