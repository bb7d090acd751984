//! Where uploads stand: their records are read, remembered, replaced and removed here.
//!
//! What a record is, and what it survives, is in [`super::upload_record`]. Where there is content by itself in its
//! place (see [`super::lone_content`]), that is read and remembered as the record would be that holds it.
//!
//! # Before the first byte
//! An upload that has only begun has no record: its location says that it is new, and how it is hashed, which is all
//! there is to know. Any process can go on from there, and a client that never sends anything leaves nothing behind.
//! For the same reason such a location tells nobody that the upload has ended: that is known where it ended, among the
//! last thousand or so. Elsewhere whoever comes back with the location from the very beginning begins anew. What was
//! written of an upload by another process than the one that ends it from such a location is left to the purge.
//!
//! # Without reading it again
//! Each record has a revision, drawn by lot (that of content by itself is the beginning of its hash), and clients
//! send back the one that they were shown, as part of the location. A process that remembers just this record from
//! its own last write need not read it. Another replica that went on meanwhile has shown the client another revision.
//! A new upload is not looked for either where it began; elsewhere it is, because a record may be there that its
//! client does not know of.

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Capability, Condition, ETag, ErrorKind, ObjectPath};

use super::{
    Registry, RepositoryName, Result, Shown, UploadId, UploadLocation, names::Revision,
    upload_record::UploadRecord,
};
use crate::{
    layout::v2 as layout,
    registry::{
        digest::{Algorithm, Digest},
        gathering::MOST_GATHERED,
    },
};

/// A record with the longest states that a driver may hand out fits well, and so does its content.
const MAX_RECORD_BYTES: u64 = 64 * 1024 + MOST_GATHERED;

/// What was read or remembered, for the condition of the next write.
#[derive(Clone)]
pub(super) struct Seen {
    etag: Option<ETag>,
    revision: Option<Revision>,
    origin: Origin,
    /// The hash of the content, when there is no record because that lies by itself.
    lone: Option<Digest>,
}

/// Where a record was seen.
#[derive(Clone)]
enum Origin {
    /// Nowhere: the upload is new, and nothing is stored of it.
    Nowhere,
    /// This process wrote it.
    Memory,
    /// It was read, and this is its text.
    Storage(Bytes),
}

impl Seen {
    /// There is no record yet.
    fn nothing() -> Self {
        Self { etag: None, revision: None, origin: Origin::Nowhere, lone: None }
    }

    /// Whether there may be a later record than what was seen, which a client with an old location goes on from.
    pub(super) fn may_be_behind(&self) -> bool {
        !matches!(self.origin, Origin::Storage(_))
    }

    /// Content of this hash was read from where it lies by itself.
    pub(super) fn lone(hash: Digest) -> Self {
        let revision = Some(Revision::of_content(&hash));
        // The revision is what tells it from what comes later, and nobody compares its text.
        Self { etag: None, revision, origin: Origin::Storage(Bytes::new()), lone: Some(hash) }
    }

    /// Whether there was content by itself, and no record.
    pub(super) fn is_lone_content(&self) -> bool {
        self.lone.is_some()
    }

    /// Whether there was a record: neither nothing nor content by itself.
    fn has_record(&self) -> bool {
        !self.is_nothing() && self.lone.is_none()
    }

    /// Where that which was seen lies.
    pub(super) fn path(&self, name: &RepositoryName, id: &UploadId) -> ObjectPath {
        match &self.lone {
            Some(hash) => layout::upload_content(name, id, hash),
            None => layout::upload_record(name, id),
        }
    }

    /// Whether there was no record.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.origin, Origin::Nowhere)
    }
}

/// What the storage has of an upload.
pub(super) enum Stored {
    Nothing,
    Unreadable,
    Record(Box<UploadRecord>, Seen),
}

/// What this process knows of an upload that it had to do with.
#[derive(Clone)]
pub(super) enum Remembered {
    /// Where it stood.
    Record(Box<UploadRecord>, Seen),
    /// That it has ended.
    Gone,
}

impl Remembered {
    fn is_nothing(&self) -> bool {
        matches!(self, Self::Record(_, seen) if seen.is_nothing())
    }
}

/// Whether a record could be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It was still the one that had been read.
    Yes,
    /// Another caller was faster, and this one has lost.
    No,
}

/// The same call, about what need not outlive the machine.
pub(super) fn transient(call: &CallContext) -> CallContext {
    CallContext { transient: true, ..call.clone() }
}

impl Registry {
    /// Remembers that an upload has begun, and what it would have as a record.
    pub(super) fn begin_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        algorithm: Algorithm,
    ) -> UploadRecord {
        let record = UploadRecord::new(algorithm);
        let begun = Remembered::Record(Box::new(record.clone()), Seen::nothing());
        self.recent_uploads.insert((name.clone(), id.clone()), begun, 0);
        record
    }

    /// The record of an upload, from memory when that is the one that the client was shown. `None` when there is
    /// no such upload (any more).
    pub(super) async fn current_upload_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        at: &UploadLocation,
    ) -> Result<Option<(UploadRecord, Seen)>> {
        if at.shown != Shown::Nothing
            && let Some(Remembered::Record(record, seen)) = self.remembered_upload(name, &at.id)
            && record.shown() == at.shown
        {
            return Ok(Some((*record, seen)));
        }
        self.stored_upload_record(call, name, at).await
    }

    /// The record of an upload as it is stored, or that of a new one. `None` when there is no such upload (any more).
    pub(super) async fn stored_upload_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        at: &UploadLocation,
    ) -> Result<Option<(UploadRecord, Seen)>> {
        let shown = match at.shown {
            Shown::Record(revision) => Some(revision),
            Shown::New(_) | Shown::Nothing => None,
        };
        Ok(match (self.look_for_record(call, name, &at.id, shown).await?, at.shown) {
            (Stored::Record(record, seen), _) => Some((*record, seen)),
            (Stored::Nothing, Shown::New(algorithm)) if !self.is_gone(name, &at.id) => {
                Some((UploadRecord::new(algorithm), Seen::nothing()))
            }
            (Stored::Nothing | Stored::Unreadable, _) => None,
        })
    }

    /// The record of an upload as it is stored, `None` when there is none that can be read. `shown` is what the client
    /// speaks of, should there be more than one content that lies by itself.
    pub(super) async fn read_upload_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        shown: Option<Revision>,
    ) -> Result<Option<(UploadRecord, Seen)>> {
        Ok(match self.look_for_record(call, name, id, shown).await? {
            Stored::Record(record, seen) => Some((*record, seen)),
            Stored::Nothing | Stored::Unreadable => None,
        })
    }

    /// `shown` is what the client speaks of, should there be more than one content that lies by itself.
    async fn look_for_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        shown: Option<Revision>,
    ) -> Result<Stored> {
        let mut stored = self.look_at_record(call, name, id).await?;
        if matches!(stored, Stored::Nothing) && self.moves_cheaply() {
            stored = self.look_for_lone_content(call, name, id, shown).await?;
            if matches!(stored, Stored::Nothing) {
                // Somebody may have written a record for it between the two looks.
                stored = self.look_at_record(call, name, id).await?;
            }
        }
        Ok(stored)
    }

    async fn look_at_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
    ) -> Result<Stored> {
        let path = layout::upload_record(name, id);
        let object = match self.storage.get(call, &path, MAX_RECORD_BYTES).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(Stored::Nothing),
            Err(error) => return Err(error.into()),
        };
        match UploadRecord::read(&object.content) {
            Some(record) if record.is_whole().await? => {
                let origin = Origin::Storage(object.content);
                let seen = Seen { etag: object.info.etag, revision: record.revision, origin, lone: None };
                Ok(Stored::Record(Box::new(record), seen))
            }
            _ => {
                tracing::warn!(path = path.as_str(), "an upload record cannot be read; its upload is lost");
                Ok(Stored::Unreadable)
            }
        }
    }

    /// Replaces the record if it is still the one that was `seen`.
    ///
    /// In a storage without conditional writes only the requests of this process are kept apart: what it
    /// remembers is then as good as the storage, and anything else is read again first. Between processes there
    /// is the driver's own fence on its upload state, and at the end the digest.
    pub(super) async fn replace_upload_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        seen: &Seen,
        mut record: UploadRecord,
    ) -> Result<Replaced> {
        let path = layout::upload_record(name, id);
        let can = |capability| self.storage.capabilities().has(capability);
        let _turn;
        let condition = match &seen.etag {
            Some(etag) if can(Capability::PutIfMatch) => Condition::IfMatch(etag.clone()),
            _ => {
                _turn = self.upload_locks.of(&(name, id)).write().await;
                if seen.is_nothing() && !self.may_begin(call, name, id).await? {
                    return Ok(Replaced::No);
                }
                // The storage says whether there is a record, and not whether there is content by itself.
                let is_guarded = !seen.has_record() && can(Capability::PutIfAbsent);
                let is_known = !can(Capability::PutIfMatch) && self.was_last(name, id, seen);
                let is_sure = is_known || (seen.is_nothing() && is_guarded);
                if !is_sure && !self.is_still(call, name, id, seen).await? {
                    return Ok(Replaced::No);
                }
                if is_guarded { Condition::IfAbsent } else { Condition::Always }
            }
        };
        let text = record.write();
        let leads_to_driver = record.state.is_some();
        let call = &if leads_to_driver { call.clone() } else { transient(call) };
        let mut put = self.storage.put(call, &path, text.clone(), &condition).await;
        if seen.may_be_behind()
            && put.as_ref().is_err_and(|error| error.kind == ErrorKind::ConditionFailed)
            && let Some((_, now)) = self.read_upload_record(call, name, id, record.revision).await?
        {
            if now.revision == record.revision {
                // The driver asked twice, and its first request had succeeded.
                put = Ok(now.etag);
            } else if now.revision == seen.revision
                && let Some(etag) = now.etag
            {
                // The same record under another tag: some storages draw the tag from more than the content.
                put = self.storage.put(call, &path, text, &Condition::IfMatch(etag)).await;
            }
        }
        match put {
            Ok(etag) => {
                self.remember_upload(name, id, record, etag, None);
                if seen.lone.is_some() {
                    self.delete_upload_file(call, id, &seen.path(name, id)).await;
                }
                Ok(Replaced::Yes)
            }
            Err(error) => {
                self.forget_upload(name, id);
                match error.kind {
                    ErrorKind::ConditionFailed | ErrorKind::NotFound => Ok(Replaced::No),
                    _ => Err(error.into()),
                }
            }
        }
    }

    /// Whether the storage still has the record that was `seen`.
    async fn is_still(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        seen: &Seen,
    ) -> Result<bool> {
        let same_text = |now: &Seen| match (&now.origin, &seen.origin) {
            (Origin::Storage(now), Origin::Storage(seen)) => now == seen,
            _ => false,
        };
        Ok(match self.look_for_record(call, name, id, seen.revision).await? {
            Stored::Nothing | Stored::Unreadable => seen.is_nothing(),
            Stored::Record(_, now) if seen.revision.is_some() => now.revision == seen.revision,
            Stored::Record(_, now) => same_text(&now),
        })
    }

    /// Whether what was `seen` is where this process left the upload.
    fn was_last(&self, name: &RepositoryName, id: &UploadId, seen: &Seen) -> bool {
        match self.remembered_upload(name, id) {
            Some(Remembered::Record(_, last)) if seen.is_nothing() => last.is_nothing(),
            Some(Remembered::Record(last, _)) => last.revision.is_some() && last.revision == seen.revision,
            _ => false,
        }
    }

    fn is_gone(&self, name: &RepositoryName, id: &UploadId) -> bool {
        matches!(self.remembered_upload(name, id), Some(Remembered::Gone))
    }

    /// Whether an upload of which nothing was seen has neither begun nor ended meanwhile. Its lock is held.
    ///
    /// What this process remembers tells. Where it remembers nothing any more, the storage is asked, unless it refuses
    /// a second beginning by itself: content that lies by itself is in nobody's way.
    pub(super) async fn may_begin(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
    ) -> Result<bool> {
        match self.remembered_upload(name, id) {
            Some(known) => Ok(known.is_nothing()),
            None if self.moves_cheaply() => self.is_still(call, name, id, &Seen::nothing()).await,
            None => Ok(true),
        }
    }

    /// Removes all that is known of an upload that stood as it was `seen`. A failure is logged and no more: what is
    /// left is garbage that the purge of old uploads finds.
    pub(super) async fn remove_upload_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        seen: &Seen,
    ) {
        // Whoever writes a first record in this moment has written it by now, or learns of the end.
        let _turn = match seen.has_record() {
            true => None,
            false => Some(self.upload_locks.of(&(name, id)).write().await),
        };
        self.remove_what_was_seen(call, name, id, seen).await;
    }

    /// The same, for whom has the lock of an upload without a record.
    pub(super) async fn remove_what_was_seen(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        seen: &Seen,
    ) {
        // What was written since. Where a record was seen, that is the one which goes.
        let last = if seen.has_record() { None } else { self.remembered_upload(name, id) };
        self.remember_end(name, id);
        // Content that lies by itself beside other such content is somebody else's.
        if let Some(Remembered::Record(written, last)) = last
            && (last.has_record() || (seen.is_nothing() && last.is_lone_content()))
        {
            if let Some(state) = &written.state {
                self.discard(call, state).await;
            }
            self.delete_upload_file(call, id, &last.path(name, id)).await;
        }
        if !seen.is_nothing() {
            self.delete_upload_file(call, id, &seen.path(name, id)).await;
        }
    }

    pub(super) async fn delete_upload_file(&self, call: &CallContext, id: &UploadId, path: &ObjectPath) {
        match self.storage.delete(&transient(call), path).await {
            Err(error) if !error.is_not_found() => {
                tracing::warn!(upload = %id, %error, "a file of an upload is left behind that is of no use");
            }
            _ => {}
        }
    }

    /// The same, and the content that waited to be hashed once more.
    pub(super) async fn remove_upload_files(&self, call: &CallContext, name: &RepositoryName, id: &UploadId) {
        self.remember_end(name, id);
        let paths = [layout::upload_record(name, id), layout::upload_data(name, id)];
        match self.storage.delete_many(&transient(call), &paths).await {
            Ok(failed) => {
                for (path, error) in failed {
                    tracing::warn!(path = path.as_str(), %error, "a file of a finished upload is left behind");
                }
            }
            Err(error) => tracing::warn!(upload = %id, %error, "files of a finished upload are left behind"),
        }
    }

    pub(super) fn remember_upload(
        &self,
        name: &RepositoryName,
        id: &UploadId,
        record: UploadRecord,
        etag: Option<ETag>,
        lone: Option<Digest>,
    ) {
        let weight = record.content.len();
        let seen = Seen { etag, revision: record.revision, origin: Origin::Memory, lone };
        self.recent_uploads.insert(
            (name.clone(), id.clone()),
            Remembered::Record(Box::new(record), seen),
            weight,
        );
    }

    pub(super) fn remember_end(&self, name: &RepositoryName, id: &UploadId) {
        self.recent_uploads.insert((name.clone(), id.clone()), Remembered::Gone, 0);
    }

    /// Forgets where an upload stands, but not that it has ended.
    pub(super) fn forget_upload(&self, name: &RepositoryName, id: &UploadId) {
        if !self.is_gone(name, id) {
            self.recent_uploads.remove(&(name.clone(), id.clone()));
        }
    }

    fn remembered_upload(&self, name: &RepositoryName, id: &UploadId) -> Option<Remembered> {
        self.recent_uploads.get(&(name.clone(), id.clone()))
    }
}
