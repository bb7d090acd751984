//! Uploads: how content of unknown length, in any number of pieces, becomes a blob.
//!
//! The bytes go to the driver while the hash runs beside them. Nothing is open at the driver before the
//! first byte, so that a body that comes with its digest can be stored where it belongs at once. The
//! record of the upload (see [`super::upload_record`]) is written after the bytes it speaks of are
//! durable. A finished, cancelled or failed upload leaves no files.

use std::time::Duration;

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Condition, Error, ErrorKind, ObjectPath, ReadRange, ReadingBody, UploadHint,
    UploadState,
};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::time::sleep;

use super::{
    Failure, Registry, RepositoryName, Result, UploadId,
    upload_record::{Replaced, Seen, UploadRecord},
};
use crate::{
    layout::v2 as layout,
    registry::{
        digest::{Algorithm, Digest},
        hashing::{self, Ending, Hasher, OnBreak, intake},
    },
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
    /// Number of durable bytes.
    pub offset: u64,
}

/// What an append has led to.
struct Taken {
    state: UploadState,
    offset: u64,
    hasher: Option<Hasher>,
    ending: Ending,
    bytes: u64,
}

impl Registry {
    /// Begins an upload whose content is hashed with `algorithm` as it arrives.
    ///
    /// # Errors
    /// Only the storage's.
    pub async fn start_upload(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        algorithm: Algorithm,
    ) -> Result<UploadId> {
        let id = UploadId::random();
        let now = humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string();
        let started_at = layout::upload_started_at(name, &id);
        let record = UploadRecord::new(algorithm);
        let (first, second) = futures::join!(
            self.storage.put(call, &started_at, Bytes::from(now), &Condition::Always),
            self.create_upload_record(call, name, &id, &record),
        );
        if let Err(failure) = first.map_err(Failure::from).and(second) {
            self.remove_upload_files(call, name, &id).await;
            return Err(failure);
        }
        Ok(id)
    }

    /// Where an upload stands.
    ///
    /// # Errors
    /// [`Failure::UploadUnknown`].
    pub async fn upload_status(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
    ) -> Result<UploadStatus> {
        let (record, _) = self.read_upload_record(call, name, id).await?.ok_or(Failure::UploadUnknown)?;
        Ok(UploadStatus { offset: record.offset })
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
        id: &UploadId,
        chunk: Chunk,
    ) -> Result<UploadStatus> {
        let (record, seen) = self.read_upload_record(call, name, id).await?.ok_or(Failure::UploadUnknown)?;
        check_start(&chunk, &record)?;
        let hasher = record.hasher.clone();
        let taken = self.take_in(call, name, id, &record, chunk, hasher, UploadHint::default()).await?;
        let (ending, offset) = (taken.ending, taken.offset);
        self.save_progress(call, name, id, &record, &seen, taken).await?;
        if ending == Ending::Broken { Err(Failure::BodyBroken) } else { Ok(UploadStatus { offset }) }
    }

    /// Adds the last chunk, if there is one, and makes the upload a blob of the repository.
    ///
    /// # Errors
    /// Those of [`Registry::append_upload`]; [`Failure::DigestMismatch`], and then the upload is gone.
    pub async fn finish_upload(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
        chunk: Chunk,
    ) -> Result<()> {
        let (record, seen) = self.read_upload_record(call, name, id).await?.ok_or(Failure::UploadUnknown)?;
        check_start(&chunk, &record)?;
        let hasher = match &record.hasher {
            // Nothing is hashed yet, so any algorithm will do.
            _ if record.offset == 0 => Some(Hasher::new(digest.algorithm())),
            Some(hasher) if hasher.algorithm() == digest.algorithm() => Some(hasher.clone()),
            _ => None,
        };
        let path = layout::blob(digest);
        let hint = UploadHint { final_path: Some(path.clone()), size: chunk.announced };
        let (state, hasher, taken) = match (without_empty_body(chunk).await?, &record.state) {
            (None, Some(state)) => (state.clone(), hasher, None),
            (None, None) => (self.storage.open_upload(call, &hint).await?, hasher, None),
            (Some(chunk), _) => {
                let taken = self.take_in(call, name, id, &record, chunk, hasher, hint).await?;
                if taken.ending == Ending::Broken {
                    self.save_progress(call, name, id, &record, &seen, taken).await?;
                    return Err(Failure::BodyBroken);
                }
                (taken.state.clone(), taken.hasher.clone(), Some(taken))
            }
        };
        let hashed = hasher.is_some();
        if let Some(found) = hasher.map(Hasher::finish).filter(|found| found != digest) {
            self.discard(call, &state).await;
            self.remove_upload_files(call, name, id).await;
            return Err(Failure::DigestMismatch { found });
        }
        // What is not hashed yet waits beside the record until it is.
        let target = if hashed { path.clone() } else { layout::upload_data(name, id) };
        if let Err(error) = self.storage.commit(call, &state, &target, &Condition::Always).await {
            // An earlier attempt may have died after this very step. The hash shows that this client has
            // the content, so the blob that is there may be linked.
            if !(hashed && error.is_not_found() && self.storage.head(call, &path).await.is_ok()) {
                if record.state.is_some() {
                    // The state in the record is stale since the append: without the new one nobody could
                    // go on with the upload.
                    if let Some(taken) = taken.filter(|_| !error.is_not_found()) {
                        self.save_progress(call, name, id, &record, &seen, taken).await?;
                    }
                    return Err(self.fenced(call, name, id, Some(&state), error).await);
                }
                // Nobody else knows of an upload that was opened just now, and the client may try again
                // from the start.
                if !error.outcome_unknown {
                    self.discard(call, &state).await;
                }
                return Err(self.fenced(call, name, id, None, error).await);
            }
        }
        // The bytes have their name now; whatever comes, the record speaks of nothing any more.
        let linked = match hashed {
            true => self.write_link(call, &layout::layer_link(name, digest), digest).await,
            false => self.name_by_hashing_again(call, name, &target, digest).await,
        };
        self.remove_upload_files(call, name, id).await;
        linked
    }

    /// Discards an upload and what it holds.
    ///
    /// # Errors
    /// [`Failure::UploadUnknown`].
    pub async fn cancel_upload(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
    ) -> Result<()> {
        let (record, _) = self.read_upload_record(call, name, id).await?.ok_or(Failure::UploadUnknown)?;
        if let Some(state) = &record.state {
            self.storage.abort(call, state).await?;
        }
        self.remove_upload_files(call, name, id).await;
        Ok(())
    }

    /// Stores a whole blob whose digest is known in advance. A failure leaves nothing behind.
    ///
    /// # Errors
    /// [`Failure::DigestMismatch`]; [`Failure::LengthMismatch`]; [`Failure::BodyBroken`].
    pub async fn push_blob(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
        body: ByteStream,
        announced: Option<u64>,
    ) -> Result<()> {
        let path = layout::blob(digest);
        let hint = UploadHint { final_path: Some(path.clone()), size: announced };
        let state = self.storage.open_upload(call, &hint).await?;
        let stored = self.store_whole(call, &state, &path, digest, body, announced).await;
        if let Err(failure) = stored {
            self.discard(call, &state).await;
            return Err(failure);
        }
        self.write_link(call, &layout::layer_link(name, digest), digest).await
    }

    async fn store_whole(
        &self,
        call: &CallContext,
        state: &UploadState,
        path: &ObjectPath,
        digest: &Digest,
        body: ByteStream,
        announced: Option<u64>,
    ) -> Result<()> {
        let hasher = Hasher::new(digest.algorithm());
        let (stream, receipt) = intake(body, Some(hasher), announced, OnBreak::Fail);
        let appended = self.storage.append(call, state, 0, stream).await;
        let received = receipt.take();
        let progress = appended
            .map_err(|error| body_failure(received.as_ref().map(|received| received.ending), error))?;
        let found = received.and_then(|received| received.hasher).ok_or_else(unread)?.finish();
        if found != *digest {
            return Err(Failure::DigestMismatch { found });
        }
        self.storage.commit(call, &progress.state, path, &Condition::Always).await?;
        Ok(())
    }

    /// Gives a chunk to the driver. An upload that is opened for it is gone again when this fails.
    #[expect(clippy::too_many_arguments, reason = "one step of two methods, with all that they know")]
    async fn take_in(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        record: &UploadRecord,
        chunk: Chunk,
        hasher: Option<Hasher>,
        hint: UploadHint,
    ) -> Result<Taken> {
        let state = match &record.state {
            Some(state) => state.clone(),
            None => self.storage.open_upload(call, &hint).await?,
        };
        let (stream, receipt) = intake(chunk.body, hasher, chunk.announced, OnBreak::Keep);
        let appended = self.storage.append(call, &state, record.offset, stream).await;
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
    async fn save_progress(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        record: &UploadRecord,
        seen: &Seen,
        taken: Taken,
    ) -> Result<()> {
        let opened_here = record.state.is_none();
        if taken.bytes == 0 && opened_here {
            // Nothing to keep: the upload stays as it was.
            self.discard(call, &taken.state).await;
            return Ok(());
        }
        let progress = UploadRecord {
            offset: taken.offset,
            state: Some(taken.state.clone()),
            algorithm: taken.hasher.as_ref().map_or(record.algorithm, Hasher::algorithm),
            hasher: taken.hasher,
        };
        match self.replace_upload_record(call, name, id, seen, &progress).await {
            Ok(Replaced::Yes) => Ok(()),
            Ok(Replaced::No) => {
                let now = self.read_upload_record(call, name, id).await?;
                // What this call opened is its own. What it went on with belongs to whoever wrote the
                // record since, and to nobody when the record is gone.
                if opened_here || now.is_none() {
                    self.discard(call, &taken.state).await;
                }
                Err(now
                    .map_or(Failure::UploadUnknown, |(now, _)| Failure::UploadOffset { offset: now.offset }))
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

    /// Makes a blob of content whose hash is not known in the algorithm of `digest`: it was put at
    /// `staged`, is read once more, and is moved to its name when it is right.
    async fn name_by_hashing_again(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        staged: &ObjectPath,
        digest: &Digest,
    ) -> Result<()> {
        let found = self.hash_object(call, staged, digest.algorithm()).await?;
        if found != *digest {
            return Err(Failure::DigestMismatch { found });
        }
        self.storage.rename(call, staged, &layout::blob(digest)).await?;
        self.write_link(call, &layout::layer_link(name, digest), digest).await
    }

    async fn hash_object(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        algorithm: Algorithm,
    ) -> Result<Digest> {
        let reading = self.storage.read(call, path, ReadRange::Full).await?;
        let body = match reading.body {
            ReadingBody::File(region) => return Ok(hashing::digest_of_file(algorithm, region).await?),
            ReadingBody::Stream(body) => body,
        };
        let (mut body, receipt) =
            intake(body, Some(Hasher::new(algorithm)), Some(reading.length), OnBreak::Fail);
        while body.try_next().await?.is_some() {}
        let hasher = receipt.take().and_then(|received| received.hasher).ok_or_else(unread)?;
        Ok(hasher.finish())
    }

    /// What a driver's refusal of an upload state means to the client. `recorded` is the state that the
    /// record held when the driver was called.
    ///
    /// Whoever won writes the record soon, and then the client learns the new offset. When the record
    /// stays as it is, the server that went on with the upload has most likely died before it could write.
    /// Then no state is known that the driver takes, and the client has to begin anew. Nothing is aborted,
    /// because a winner who only takes long must not suffer.
    async fn fenced(
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
            match self.read_upload_record(call, name, id).await {
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
    async fn discard(&self, call: &CallContext, state: &UploadState) {
        if let Err(error) = self.storage.abort(call, state).await {
            tracing::warn!(%error, "a discarded upload is left behind in the storage");
        }
    }
}

fn check_start(chunk: &Chunk, record: &UploadRecord) -> Result<()> {
    match chunk.start {
        Some(start) if start != record.offset => Err(Failure::UploadOffset { offset: record.offset }),
        _ => Ok(()),
    }
}

/// `None` when the chunk has no bytes. A body of unknown length is asked for its first piece to find out.
async fn without_empty_body(mut chunk: Chunk) -> Result<Option<Chunk>> {
    match chunk.announced {
        Some(0) => Ok(None),
        Some(_) => Ok(Some(chunk)),
        None => loop {
            match chunk.body.next().await {
                None => return Ok(None),
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    chunk.body = stream::iter([Ok(piece)]).chain(chunk.body).boxed();
                    return Ok(Some(chunk));
                }
                Some(Err(_)) => return Err(Failure::BodyBroken),
            }
        },
    }
}

/// Tells a failed body from a failed storage.
fn body_failure(ending: Option<Ending>, error: Error) -> Failure {
    match ending {
        Some(Ending::TooLong) => Failure::LengthMismatch,
        Some(Ending::Broken) => Failure::BodyBroken,
        _ if error.kind == ErrorKind::BodyFailed => Failure::BodyBroken,
        _ => Failure::Storage(error),
    }
}

/// The driver claims success without having read the body to its end.
fn unread() -> Failure {
    Error::new(ErrorKind::Corrupt, "the driver did not take the whole body and reported no error").into()
}
