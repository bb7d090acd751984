//! Uploads: how content of unknown length, in any number of pieces, becomes a blob. The last step is in
//! [`super::finishing`].
//!
//! Content that is small is kept in the record of the upload (see [`super::upload_record`]) or beside where that
//! would be (see [`super::lone_content`]). From some size on it goes to an upload of the driver's, while the hash
//! runs beside it; the record is then written after the bytes it speaks of are durable. A finished, cancelled or
//! failed upload leaves no files, save what another process wrote of it that its client has not heard of; the purge
//! of stale uploads takes that.

use std::time::Duration;

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, CallContext, Error, ErrorKind, UploadHint, UploadState};
use tokio::time::sleep;

use super::{
    Failure, Registry, RepositoryName, Result, UploadId, UploadLocation,
    names::Revision,
    recorded_uploads::{Replaced, Seen},
    upload_record::UploadRecord,
};
use crate::registry::{
    digest::Algorithm,
    gathering::Gathered,
    hashing::{Ending, Hasher, OnBreak, Receipt, intake},
};

/// How often the loser of a race looks whether the winner has written the record.
const LOOKS_FOR_WINNER: u32 = 20;
/// How long the winner is given between two looks.
const WINNER_WRITES: Duration = Duration::from_millis(100);

/// A piece of content as a client sends it.
pub struct Chunk {
    /// The bytes.
    pub body: ByteStream,
    /// How many there must be, if the client said so.
    pub announced: Option<u64>,
    /// Where in the content they begin, if the client said so; else they follow what is there.
    pub start: Option<u64>,
}

/// Where an upload stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadStatus {
    /// Where the client goes on.
    pub location: UploadLocation,
    /// Number of bytes that were acknowledged.
    pub offset: u64,
}

impl UploadStatus {
    fn of(id: &UploadId, record: &UploadRecord) -> Self {
        let location = UploadLocation { id: id.clone(), shown: record.shown() };
        Self { location, offset: record.offset }
    }
}

/// What an append at the driver has led to.
pub(super) struct Taken {
    pub(super) state: UploadState,
    pub(super) offset: u64,
    pub(super) hasher: Option<Hasher>,
    pub(super) ending: Ending,
    pub(super) bytes: u64,
}

impl Registry {
    /// Begins an upload whose content is hashed with `algorithm` as it arrives. Nothing is stored yet.
    pub fn start_upload(&self, name: &RepositoryName, algorithm: Algorithm) -> UploadStatus {
        let id = UploadId::random();
        UploadStatus::of(&id, &self.begin_upload(name, &id, algorithm))
    }

    /// Where an upload stands.
    ///
    /// # Errors
    /// [`Failure::UploadUnknown`].
    pub async fn upload_status(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        at: &UploadLocation,
    ) -> Result<UploadStatus> {
        let found = self.stored_upload_record(call, name, at).await?;
        let (record, _) = found.ok_or(Failure::UploadUnknown)?;
        Ok(UploadStatus::of(&at.id, &record))
    }

    /// Adds a chunk. When the client breaks off, what arrived is kept and the upload can go on from
    /// there.
    ///
    /// # Errors
    /// [`Failure::UploadUnknown`]; [`Failure::UploadOffset`] when the chunk does not begin where the
    /// upload stands or another caller went on with it; [`Failure::LengthMismatch`];
    /// [`Failure::BodyBroken`].
    pub async fn append_upload(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        at: &UploadLocation,
        chunk: Chunk,
    ) -> Result<UploadStatus> {
        let (record, seen) = self.record_for(call, name, at, chunk.start).await?;
        let (body, receipt) = intake(chunk.body, record.hasher.clone(), chunk.announced, OnBreak::Keep);
        let body = match record.state {
            Some(_) => body,
            None => match self.room.gather(&record.content, body, chunk.announced).await {
                Ok(Gathered::Whole(content, _room)) => {
                    return self.keep_in_record(call, name, &at.id, (&record, &seen), content, receipt).await;
                }
                Ok(Gathered::More(body)) => body,
                Err(error) => {
                    return Err(body_failure(receipt.take().map(|received| received.ending), error));
                }
            },
        };
        let taken = self.take_in(call, name, &at.id, &record, body, receipt, UploadHint::default()).await?;
        let ending = taken.ending;
        let status = self.save_progress(call, name, &at.id, &record, &seen, taken).await?;
        if ending == Ending::Broken { Err(Failure::BodyBroken) } else { Ok(status) }
    }

    /// The record that a request is to go on from, whose chunk begins at `start` if that is said.
    pub(super) async fn record_for(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        at: &UploadLocation,
        start: Option<u64>,
    ) -> Result<(UploadRecord, Seen)> {
        let fits = |record: &UploadRecord| start.is_none_or(|start| start == record.offset);
        let mut found = self.current_upload_record(call, name, at).await?;
        if found.as_ref().is_some_and(|(record, seen)| seen.may_be_behind() && !fits(record)) {
            found = self.stored_upload_record(call, name, at).await?;
        }
        let (record, seen) = found.ok_or(Failure::UploadUnknown)?;
        if fits(&record) { Ok((record, seen)) } else { Err(Failure::UploadOffset { offset: record.offset }) }
    }

    /// Keeps content that is still small, the new bytes included, in the record or by itself.
    pub(super) async fn keep_in_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        (record, seen): (&UploadRecord, &Seen),
        content: Bytes,
        receipt: Receipt,
    ) -> Result<UploadStatus> {
        let received = receipt.take().ok_or_else(unread)?;
        let mut status = UploadStatus::of(id, record);
        if received.bytes > 0 {
            let mut progress = UploadRecord {
                offset: content.len() as u64,
                state: None,
                content,
                algorithm: received.hasher.as_ref().map_or(record.algorithm, Hasher::algorithm),
                hasher: received.hasher,
                revision: Some(Revision::random()),
            };
            let lone = self.may_lie_alone(seen, &progress);
            if let Some(hash) = &lone {
                progress.revision = Some(Revision::of_content(hash));
            }
            status = UploadStatus::of(id, &progress);
            let replaced = match lone {
                Some(hash) => self.keep_alone(call, name, id, progress, hash).await?,
                None => self.replace_upload_record(call, name, id, seen, progress).await?,
            };
            if replaced == Replaced::No {
                return Err(self.somebody_was_faster(call, name, id).await);
            }
        }
        if received.ending == Ending::Broken { Err(Failure::BodyBroken) } else { Ok(status) }
    }

    async fn somebody_was_faster(&self, call: &CallContext, name: &RepositoryName, id: &UploadId) -> Failure {
        match self.read_upload_record(call, name, id, None).await {
            Ok(Some((now, _))) => Failure::UploadOffset { offset: now.offset },
            Ok(None) => Failure::UploadUnknown,
            Err(failure) => failure,
        }
    }

    /// Discards an upload and what it holds.
    ///
    /// # Errors
    /// [`Failure::UploadUnknown`].
    pub async fn cancel_upload(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        at: &UploadLocation,
    ) -> Result<()> {
        let found = self.stored_upload_record(call, name, at).await?;
        let (record, seen) = found.ok_or(Failure::UploadUnknown)?;
        if let Some(state) = &record.state {
            self.storage.abort(call, state).await?;
        }
        self.remove_upload_record(call, name, &at.id, &seen).await;
        Ok(())
    }

    /// Gives a body to the driver; when nothing is open there yet, it begins with the content of the record. An
    /// upload that is opened for it is gone again when this fails.
    #[expect(clippy::too_many_arguments, reason = "one step of two methods, with all that they know")]
    pub(super) async fn take_in(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        record: &UploadRecord,
        body: ByteStream,
        receipt: Receipt,
        hint: UploadHint,
    ) -> Result<Taken> {
        let (state, offset) = match &record.state {
            Some(state) => (state.clone(), record.offset),
            None => (self.storage.open_upload(call, &hint).await?, 0),
        };
        let appended = self.storage.append(call, &state, offset, body).await;
        let received = receipt.take();
        let failure = match (appended, received) {
            (Ok(progress), Some(received)) if progress.offset == record.offset + received.bytes => {
                return Ok(Taken {
                    state: progress.state,
                    offset: progress.offset,
                    hasher: received.hasher,
                    ending: received.ending,
                    bytes: received.bytes,
                });
            }
            (Ok(_), _) => unread(),
            (Err(error), received) => {
                match body_failure(received.as_ref().map(|received| received.ending), error) {
                    Failure::Storage(error) => {
                        self.fenced(call, name, id, record.state.as_ref(), error).await
                    }
                    failure => failure,
                }
            }
        };
        if record.state.is_none() {
            self.discard(call, &state).await;
        }
        Err(failure)
    }

    /// Writes down what an append has led to.
    pub(super) async fn save_progress(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        record: &UploadRecord,
        seen: &Seen,
        taken: Taken,
    ) -> Result<UploadStatus> {
        let opened_here = record.state.is_none();
        if taken.bytes == 0 && opened_here {
            // Nothing to keep: the upload stays as it was.
            self.discard(call, &taken.state).await;
            return Ok(UploadStatus::of(id, record));
        }
        let progress = UploadRecord {
            offset: taken.offset,
            state: Some(taken.state.clone()),
            content: Bytes::new(),
            algorithm: taken.hasher.as_ref().map_or(record.algorithm, Hasher::algorithm),
            hasher: taken.hasher,
            revision: Some(Revision::random()),
        };
        let status = UploadStatus::of(id, &progress);
        match self.replace_upload_record(call, name, id, seen, progress).await {
            Ok(Replaced::Yes) => Ok(status),
            Ok(Replaced::No) => {
                let failure = self.somebody_was_faster(call, name, id).await;
                // What this call opened is its own. What it went on with belongs to whoever wrote the
                // record since, and to nobody when the record is gone.
                if opened_here || matches!(failure, Failure::UploadUnknown) {
                    self.discard(call, &taken.state).await;
                }
                Err(failure)
            }
            Err(Failure::Storage(error)) => {
                if opened_here && !error.outcome_unknown {
                    self.discard(call, &taken.state).await;
                }
                Err(error.into())
            }
            Err(failure) => Err(failure),
        }
    }

    /// What a driver's refusal of an upload state means to the client. `recorded` is the state that the
    /// record held when the driver was called.
    ///
    /// Whoever won writes the record soon, and then the client learns the new offset. When the record
    /// stays as it is, the server that went on with the upload has most likely died before it could write.
    /// Then no state is known that the driver takes, and the client has to begin anew. Nothing is aborted,
    /// because a winner who only takes long must not suffer.
    pub(super) async fn fenced(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        recorded: Option<&UploadState>,
        error: Error,
    ) -> Failure {
        match error.kind {
            ErrorKind::NotFound => return Failure::UploadUnknown,
            ErrorKind::Conflict => {}
            _ => return error.into(),
        }
        for _ in 0..LOOKS_FOR_WINNER {
            match self.read_upload_record(call, name, id, None).await {
                Ok(Some((now, _))) if now.state.as_ref() == recorded => sleep(WINNER_WRITES).await,
                Ok(Some((now, _))) => return Failure::UploadOffset { offset: now.offset },
                Ok(None) => break,
                Err(failure) => return failure,
            }
        }
        Failure::UploadUnknown
    }

    /// Aborts an upload at the driver. A failure is logged and no more: the purge of old uploads finds
    /// what is left.
    pub(super) async fn discard(&self, call: &CallContext, state: &UploadState) {
        if let Err(error) = self.storage.abort(call, state).await {
            tracing::warn!(%error, "a discarded upload is left behind in the storage");
        }
    }
}

/// Tells a failed body from a failed storage.
pub(super) fn body_failure(ending: Option<Ending>, error: Error) -> Failure {
    match ending {
        Some(Ending::TooLong) => Failure::LengthMismatch,
        Some(Ending::Broken) => Failure::BodyBroken,
        _ if error.kind == ErrorKind::BodyFailed => Failure::BodyBroken,
        _ => Failure::Storage(error),
    }
}

/// The driver claims success without having read the body to its end.
pub(super) fn unread() -> Failure {
    Error::new(ErrorKind::Corrupt, "the driver did not take the whole body and reported no error").into()
}
