//! Uploads: content that becomes an object in steps, and the fence against stale callers.
//!
//! What to put here: how your storage takes content in parts (a multipart upload, a temporary file).
//! Three rules are easy to miss. When `append` returns, its bytes are durable. Nothing is visible at
//! the final path before `commit`. And an [`UploadState`] stands for one point of one upload: here
//! it holds an id and a generation, and every change makes a new generation, so that of two callers
//! who go on from the same state the second is refused.

use std::{
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::SystemTime,
};

use docker_registry_driver_api::{
    ByteStream, Bytes, Condition, Error, ErrorKind, ObjectInfo, ObjectPath, PendingUpload, Result,
    UploadPage, UploadProgress, UploadState, futures::TryStreamExt,
};

use crate::contents::{Contents, full};

/// An upload that was neither committed nor aborted.
pub(crate) struct Pending {
    pieces: Vec<Bytes>,
    size: u64,
    generation: u64,
    touched: SystemTime,
}

/// Content that one call received and nobody else sees yet. A call that fails or is dropped leaves
/// nothing to clean up.
pub(crate) struct Received {
    pieces: Vec<Bytes>,
    size: u64,
}

/// Takes in a whole body of at most `room` bytes.
///
/// # Errors
/// `BodyFailed` when the server's stream fails, which is no fault of the storage; `StorageFull`.
pub(crate) async fn receive(mut body: ByteStream, room: u64) -> Result<Received> {
    let mut received = Received { pieces: Vec::new(), size: 0 };
    let failed =
        |error: Error| Error::new(ErrorKind::BodyFailed, "the content ended with an error").caused_by(&error);
    while let Some(chunk) = body.try_next().await.map_err(failed)? {
        received.size += chunk.len() as u64;
        if received.size > room {
            return Err(full());
        }
        if !chunk.is_empty() {
            received.pieces.push(Bytes::copy_from_slice(&chunk));
        }
    }
    Ok(received)
}

impl Contents {
    /// Begins an upload.
    pub(crate) fn open_upload(&mut self) -> Result<UploadState> {
        let number = self.next_number();
        let id = format!("{}-{number:x}", self.process);
        let pending = Pending { pieces: Vec::new(), size: 0, generation: 0, touched: SystemTime::now() };
        let state = record(&id, pending.generation)?;
        self.uploads.insert(id, pending);
        Ok(state)
    }

    /// Fails unless an append may start here. Returns how many bytes it may bring.
    pub(crate) fn check_append(&self, state: &UploadState, expected_offset: u64) -> Result<u64> {
        let (_, pending) = self.current(state)?;
        if pending.size == expected_offset {
            return Ok(self.room());
        }
        let message = format!("the upload stands at {}, not at {expected_offset}", pending.size);
        Err(Error::new(ErrorKind::Conflict, message))
    }

    /// Adds what was received, if nobody else went on from `state` meanwhile.
    pub(crate) fn append(
        &mut self,
        state: &UploadState,
        expected_offset: u64,
        received: Received,
    ) -> Result<UploadProgress> {
        self.check_append(state, expected_offset)?;
        let (id, _) = self.current(state)?;
        let id = id.to_owned();
        self.take_room(received.size)?;
        let pending = self.uploads.get_mut(&id).ok_or_else(gone)?;
        pending.pieces.extend(received.pieces);
        pending.size += received.size;
        pending.generation += 1;
        pending.touched = SystemTime::now();
        Ok(UploadProgress { state: record(&id, pending.generation)?, offset: pending.size })
    }

    /// Makes the upload an object. When that fails the upload is still there.
    pub(crate) fn commit(
        &mut self,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let (id, _) = self.current(state)?;
        let id = id.to_owned();
        self.check_write(final_path, condition)?;
        let pending = self.uploads.remove(&id).ok_or_else(gone)?;
        Ok(self.insert(final_path.as_str(), Arc::new(pending.pieces), pending.size))
    }

    /// Discards the upload. Whoever knows any state of it may end it.
    pub(crate) fn abort(&mut self, state: &UploadState) {
        let known = parse(state).map(|(id, _)| id.to_owned());
        if let Some(pending) = known.and_then(|id| self.uploads.remove(&id)) {
            self.free_room(pending.size);
        }
    }

    /// Uploads that were last touched before `older_than`, in the order of their ids.
    pub(crate) fn pending(
        &self,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        let from = after.map_or(Unbounded, Excluded);
        let mut page = UploadPage::default();
        let mut last = None;
        for (id, pending) in self.uploads.range::<str, _>((from, Unbounded)) {
            if pending.touched >= older_than {
                continue;
            }
            if page.uploads.len() >= limit.max(1) as usize {
                page.next = last;
                break;
            }
            last = Some(id.clone());
            page.uploads.push(PendingUpload {
                state: record(id, pending.generation)?,
                touched: pending.touched,
                size: pending.size,
            });
        }
        Ok(page)
    }

    /// The upload of a state, if the state is its latest.
    fn current<'a>(&'a self, state: &'a UploadState) -> Result<(&'a str, &'a Pending)> {
        let (id, generation) = parse(state).ok_or_else(foreign)?;
        let pending = self.uploads.get(id).ok_or_else(gone)?;
        if pending.generation != generation {
            let message = "the upload has gone on from another state";
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Ok((id, pending))
    }
}

/// The record inside an [`UploadState`]. Nobody else reads it, so any format will do.
fn record(id: &str, generation: u64) -> Result<UploadState> {
    UploadState::new(format!("{id}.{generation}"))
}

fn parse(state: &UploadState) -> Option<(&str, u64)> {
    let (id, generation) = std::str::from_utf8(state.as_bytes()).ok()?.split_once('.')?;
    Some((id, generation.parse().ok()?))
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such upload")
}

fn foreign() -> Error {
    Error::new(ErrorKind::Conflict, "the upload state is not one of this driver's")
}
