//! Bytes in memory, counted against the configured limit.
//!
//! A [`Content`] takes its share of the [`Budget`] as it grows and gives it back when it is dropped.
//! Nothing has to remember to do so: a dropped call, a failed body and a deleted object all end in
//! the same `Drop`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, Error, ErrorKind, Result,
    futures::{StreamExt, stream},
};

/// Chunks that a reading yields have at most this many bytes: large enough to cost little at the
/// plug-in boundary, small enough to be sent at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// How much memory is used and how much may be.
pub(crate) struct Budget {
    used: AtomicU64,
    limit: u64,
}

impl Budget {
    /// A budget of `limit` bytes, all of it free.
    pub(crate) fn new(limit: Option<u64>) -> Self {
        Self { used: AtomicU64::new(0), limit: limit.unwrap_or(u64::MAX) }
    }

    /// Whether at least one more byte fits.
    pub(crate) fn has_room(&self) -> Result<()> {
        if self.used.load(Ordering::Relaxed) < self.limit { Ok(()) } else { Err(self.full()) }
    }

    fn take(&self, bytes: u64) -> Result<()> {
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|sum| *sum <= self.limit)
            })
            .map(|_| ())
            .map_err(|_| self.full())
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn full(&self) -> Error {
        Error::new(ErrorKind::StorageFull, format!("memory_limit of {} bytes is used up", self.limit))
    }
}

/// Content in pieces, as they arrived.
pub(crate) struct Content {
    chunks: Vec<Bytes>,
    size: u64,
    budget: Arc<Budget>,
}

impl Content {
    /// No bytes yet.
    pub(crate) fn empty(budget: &Arc<Budget>) -> Self {
        Self { chunks: Vec::new(), size: 0, budget: Arc::clone(budget) }
    }

    /// Size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a copy of `bytes`.
    ///
    /// # Errors
    /// `StorageFull` when the limit is reached; nothing was added then.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.budget.take(bytes.len() as u64)?;
        self.size += bytes.len() as u64;
        if !bytes.is_empty() {
            self.chunks.push(Bytes::copy_from_slice(bytes));
        }
        Ok(())
    }

    /// Adds all of `other`, and with it its share of the budget.
    pub(crate) fn extend(&mut self, mut other: Self) {
        self.chunks.append(&mut other.chunks);
        self.size += std::mem::take(&mut other.size);
    }

    /// All bytes in one piece.
    pub(crate) fn whole(&self) -> Bytes {
        match self.chunks.as_slice() {
            [] => Bytes::new(),
            // The usual case of small objects; a clone of `Bytes` is a new reference.
            [only] => only.clone(),
            chunks => Bytes::from(chunks.concat()),
        }
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.budget.give_back(self.size);
    }
}

/// `length` bytes of the content from `offset` on. The range must lie inside the content.
///
/// The stream owns its reference, as every stream of a driver must: it outlives the call.
pub(crate) fn stream(content: Arc<Content>, offset: u64, length: u64) -> ByteStream {
    let position = Position { content, chunk: 0, skip: offset, left: length };
    stream::iter(position).map(Ok).boxed()
}

/// Where a reading stands.
struct Position {
    content: Arc<Content>,
    chunk: usize,
    skip: u64,
    left: u64,
}

impl Iterator for Position {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.left > 0 {
            let chunk = self.content.chunks.get(self.chunk)?;
            if self.skip >= chunk.len() as u64 {
                self.skip -= chunk.len() as u64;
                self.chunk += 1;
                continue;
            }
            let start = self.skip as usize;
            let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
            let length = wanted.min(chunk.len() - start).min(CHUNK_BYTES);
            self.skip += length as u64;
            self.left -= length as u64;
            return Some(chunk.slice(start..start + length));
        }
        None
    }
}
