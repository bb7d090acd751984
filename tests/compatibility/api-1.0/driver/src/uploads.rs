//! Pending uploads and the fence against stale callers.
//!
//! An [`UploadState`] names an upload and a *generation*. Every change of the upload makes a new
//! generation, and a call with any other one is refused. That is the whole fence: of two callers
//! that go on from the same state, the first to finish makes the state of the other stale.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
    time::SystemTime,
};

use docker_registry_driver_api::{
    Error, ErrorKind, PendingUpload, Result, UploadPage, UploadProgress, UploadState,
};

use crate::content::{Budget, Content};

/// One upload that was neither committed nor aborted.
struct Upload {
    content: Content,
    generation: u64,
    touched: SystemTime,
}

/// All pending uploads, by id.
pub(crate) struct Uploads {
    pending: BTreeMap<u64, Upload>,
    ids: RandomState,
    opened: u64,
}

impl Uploads {
    /// No uploads.
    pub(crate) fn new() -> Self {
        Self { pending: BTreeMap::new(), ids: RandomState::new(), opened: 0 }
    }

    /// Begins an upload.
    pub(crate) fn open(&mut self, empty: Content) -> Result<UploadState> {
        let id = self.fresh_id();
        self.pending.insert(id, Upload { content: empty, generation: 0, touched: SystemTime::now() });
        record(id, 0)
    }

    /// Fails unless `state` is the latest of its upload and the upload stands at `expected_offset`.
    /// Returns the id.
    ///
    /// # Errors
    /// `NotFound` when the upload is gone; `Conflict` for a stale state or another offset.
    pub(crate) fn check(&self, state: &UploadState, expected_offset: u64) -> Result<u64> {
        let id = self.current(state)?;
        let offset = self.pending.get(&id).map_or(0, |upload| upload.content.size());
        if offset != expected_offset {
            let message = format!("the upload stands at {offset}, not at {expected_offset}");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Ok(id)
    }

    /// Fails unless `state` is the latest of its upload. Returns the id.
    ///
    /// # Errors
    /// `NotFound` when the upload is gone; `Conflict` for a stale state.
    pub(crate) fn current(&self, state: &UploadState) -> Result<u64> {
        let (id, generation) = parse(state)?;
        let upload = self.pending.get(&id).ok_or_else(gone)?;
        if upload.generation != generation {
            return Err(Error::new(ErrorKind::Conflict, "the upload has gone on from another state"));
        }
        Ok(id)
    }

    /// Adds what was received, if nobody else went on from `state` meanwhile.
    ///
    /// # Errors
    /// As [`Uploads::check`]; nothing was changed then.
    pub(crate) fn append(
        &mut self,
        state: &UploadState,
        expected_offset: u64,
        received: Content,
    ) -> Result<UploadProgress> {
        let id = self.check(state, expected_offset)?;
        let upload = self.pending.get_mut(&id).ok_or_else(gone)?;
        upload.content.extend(received);
        // An append of no bytes makes a new generation as well. The rule has no exceptions.
        upload.generation += 1;
        upload.touched = SystemTime::now();
        Ok(UploadProgress { state: record(id, upload.generation)?, offset: upload.content.size() })
    }

    /// Ends the upload and returns its content; empty when there is no such upload.
    pub(crate) fn take(&mut self, id: u64, budget: &Arc<Budget>) -> Content {
        self.pending.remove(&id).map_or_else(|| Content::empty(budget), |upload| upload.content)
    }

    /// Discards the upload. The generation does not matter: whoever knows any state of it may end it.
    pub(crate) fn abort(&mut self, state: &UploadState) {
        if let Ok((id, _)) = parse(state) {
            self.pending.remove(&id);
        }
    }

    /// At most `limit` uploads that were last touched before `older_than`, in the order of their ids.
    ///
    /// # Errors
    /// `Conflict` when `after` is not a cursor of this driver.
    pub(crate) fn page(
        &self,
        older_than: SystemTime,
        after: Option<&str>,
        limit: usize,
    ) -> Result<UploadPage> {
        let from = match after {
            None => Unbounded,
            Some(cursor) => Excluded(u64::from_str_radix(cursor, 16).map_err(|_| foreign("the cursor"))?),
        };
        let mut page = UploadPage::default();
        let mut last = None;
        for (id, upload) in self.pending.range((from, Unbounded)) {
            if upload.touched >= older_than {
                continue;
            }
            if page.uploads.len() == limit.max(1) {
                page.next = last;
                break;
            }
            last = Some(format!("{id:016x}"));
            page.uploads.push(PendingUpload {
                state: record(*id, upload.generation)?,
                touched: upload.touched,
                size: upload.content.size(),
            });
        }
        Ok(page)
    }

    /// Ids are random, because states outlive the process: the state of an upload that died with an
    /// earlier process must not fit an upload of this one.
    fn fresh_id(&mut self) -> u64 {
        loop {
            self.opened += 1;
            let id = self.ids.hash_one(self.opened);
            if !self.pending.contains_key(&id) {
                return id;
            }
        }
    }
}

/// The record inside an [`UploadState`]. Only this driver reads it, so any format will do. It is not
/// signed: the server keeps it from clients.
fn record(id: u64, generation: u64) -> Result<UploadState> {
    UploadState::new(format!("{id:016x}.{generation}"))
}

fn parse(state: &UploadState) -> Result<(u64, u64)> {
    let parts = || {
        let (id, generation) = std::str::from_utf8(state.as_bytes()).ok()?.split_once('.')?;
        Some((u64::from_str_radix(id, 16).ok()?, generation.parse().ok()?))
    };
    parts().ok_or_else(|| foreign("the upload state"))
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such upload")
}

fn foreign(what: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("{what} is not one of this driver's"))
}
