//! The last step of an upload: its content becomes a blob of the repository. That of content which lies by itself
//! already is in [`super::lone_content`].
//!
//! Content is written at its final place and nowhere else, in one call, whenever its digest is known before its
//! last byte is. The link comes after the content, or beside it when the content is small and known to be right: a link
//! that leads nowhere is no blob. The record of the upload goes last, so that a crash between any two steps leaves an
//! upload that can be finished again, or garbage. A first push that failed so may leave an empty repository.

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Condition, ErrorKind, ObjectPath, ReadRange, ReadingBody, UploadHint,
};
use futures::{StreamExt, TryStreamExt, future, stream};

use super::{
    Failure, Registry, RepositoryName, Result, UploadId, UploadLocation,
    recorded_uploads::Seen,
    upload_record::UploadRecord,
    uploads::{Chunk, body_failure, unread},
};
use crate::{
    layout::v2 as layout,
    registry::{
        checked_body::{Judged, only_as},
        digest::{Algorithm, Digest},
        gathering::Gathered,
        hashing::{self, Ending, Hasher, OnBreak, Receipt, intake},
    },
};

impl Registry {
    /// Adds the last chunk, if there is one, and makes the upload a blob of the repository.
    ///
    /// When the client breaks off in the last chunk, what arrived is kept as long as the content is small or had
    /// been begun at the driver; else the upload stays as it was before this request.
    ///
    /// # Errors
    /// Those of [`Registry::append_upload`]; [`Failure::DigestMismatch`], and then the upload is gone.
    pub async fn finish_upload(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        at: &UploadLocation,
        digest: &Digest,
        chunk: Chunk,
    ) -> Result<()> {
        let (record, seen) = self.record_for(call, name, at, chunk.start).await?;
        match (without_empty_body(chunk).await?, record.state.is_some()) {
            (None, false) => self.finish_small(call, name, at, digest, (record, seen)).await,
            (Some(chunk), false) => {
                self.finish_with(call, name, &at.id, digest, (&record, &seen), chunk).await
            }
            (chunk, true) => self.finish_at_driver(call, name, &at.id, digest, (&record, &seen), chunk).await,
        }
    }

    /// All content is in the record.
    async fn finish_small(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        at: &UploadLocation,
        digest: &Digest,
        (mut record, mut seen): (UploadRecord, Seen),
    ) -> Result<()> {
        let hasher = record.hasher.take().filter(|hasher| hasher.algorithm() == digest.algorithm());
        let mut found = match hasher {
            Some(hasher) => hasher.finish(),
            None => hashing::digest_of(digest.algorithm(), &record.content).await?,
        };
        if found != *digest && seen.may_be_behind() {
            // Before the upload is given up: perhaps another process went on with it.
            (record, seen) =
                self.stored_upload_record(call, name, at).await?.ok_or(Failure::UploadUnknown)?;
            if record.state.is_some() {
                return self.finish_at_driver(call, name, &at.id, digest, (&record, &seen), None).await;
            }
            found = hashing::digest_of(digest.algorithm(), &record.content).await?;
        }
        if found == *digest && seen.is_lone_content() {
            return self.move_to_blob(call, name, &at.id, &seen, record.content, digest).await;
        }
        self.finish_content(call, name, &at.id, digest, &seen, record.content, found).await
    }

    /// Content that is held whole.
    #[expect(clippy::too_many_arguments, reason = "one step of two methods, with all that they know")]
    async fn finish_content(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
        seen: &Seen,
        content: Bytes,
        found: Digest,
    ) -> Result<()> {
        if found != *digest {
            self.remove_upload_record(call, name, id, seen).await;
            return Err(Failure::DigestMismatch { found });
        }
        // Side by side, because each waits for a disk or a network. A link that comes first leads nowhere until the
        // content is there, and is right from then on. It stays when the content fails: it may be an older one.
        let (blob, link) = (layout::blob(digest), layout::layer_link(name, digest));
        let (content, link) = future::join(
            self.storage.put(call, &blob, content, &Condition::Always),
            self.write_link(call, &link, digest),
        )
        .await;
        content?;
        self.saw_content(digest);
        link?;
        self.remove_upload_record(call, name, id, seen).await;
        Ok(())
    }

    /// The content of the record, which may be nothing, and a last chunk behind it.
    async fn finish_with(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
        (record, seen): (&UploadRecord, &Seen),
        chunk: Chunk,
    ) -> Result<()> {
        let hasher = match &record.hasher {
            Some(hasher) if hasher.algorithm() == digest.algorithm() => hasher.clone(),
            _ => hashing::hasher_over(digest.algorithm(), &record.content).await?,
        };
        let (body, receipt) = intake(chunk.body, Some(hasher), chunk.announced, OnBreak::Keep);
        let body = match self.room.gather(&record.content, body, chunk.announced).await {
            Ok(Gathered::More(body)) => body,
            Ok(Gathered::Whole(content, _room)) => {
                let received = receipt.take().ok_or_else(unread)?;
                if received.ending == Ending::Broken {
                    let receipt = Receipt::of(received);
                    self.keep_in_record(call, name, id, (record, seen), content, receipt).await?;
                    return Err(Failure::BodyBroken);
                }
                let found = received.hasher.ok_or_else(unread)?.finish();
                if found != *digest && seen.may_be_behind() {
                    self.record_is_still(call, name, id, (record, seen)).await?;
                }
                return self.finish_content(call, name, id, digest, seen, content, found).await;
            }
            Err(error) => return Err(body_failure(receipt.take().map(|received| received.ending), error)),
        };
        let size = chunk.announced.map(|announced| record.offset + announced);
        match self.write_blob(call, digest, body, receipt, size).await {
            Ok(()) => {}
            Err(failure @ Failure::DigestMismatch { .. }) => {
                if seen.may_be_behind() {
                    self.record_is_still(call, name, id, (record, seen)).await?;
                }
                self.remove_upload_record(call, name, id, seen).await;
                return Err(failure);
            }
            Err(failure) => return Err(failure),
        }
        self.link_new_blob(call, name, digest).await?;
        self.remove_upload_record(call, name, id, seen).await;
        Ok(())
    }

    /// Fails when another process went on with the upload, so that it is not given up for a digest that only
    /// this one found.
    async fn record_is_still(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        (record, seen): (&UploadRecord, &Seen),
    ) -> Result<()> {
        match self.read_upload_record(call, name, id, record.revision).await? {
            None if seen.is_nothing() => Ok(()),
            None => Err(Failure::UploadUnknown),
            Some((now, _)) if now.revision == record.revision => Ok(()),
            Some((now, _)) => Err(Failure::UploadOffset { offset: now.offset }),
        }
    }

    /// An upload that was begun at the driver.
    async fn finish_at_driver(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        digest: &Digest,
        (record, seen): (&UploadRecord, &Seen),
        chunk: Option<Chunk>,
    ) -> Result<()> {
        let hasher = record.hasher.clone().filter(|hasher| hasher.algorithm() == digest.algorithm());
        let path = layout::blob(digest);
        let (state, hasher, taken) = match chunk {
            None => (record.state.clone().ok_or(Failure::UploadUnknown)?, hasher, None),
            Some(chunk) => {
                let hint = UploadHint { final_path: Some(path.clone()), size: chunk.announced };
                let (body, receipt) = intake(chunk.body, hasher, chunk.announced, OnBreak::Keep);
                let taken = self.take_in(call, name, id, record, body, receipt, hint).await?;
                if taken.ending == Ending::Broken {
                    self.save_progress(call, name, id, record, seen, taken).await?;
                    return Err(Failure::BodyBroken);
                }
                (taken.state.clone(), taken.hasher.clone(), Some(taken))
            }
        };
        let hashed = hasher.is_some();
        if let Some(found) = hasher.map(Hasher::finish).filter(|found| found != digest) {
            if taken.is_none() && seen.may_be_behind() {
                self.record_is_still(call, name, id, (record, seen)).await?;
            }
            self.discard(call, &state).await;
            self.remove_upload_record(call, name, id, seen).await;
            return Err(Failure::DigestMismatch { found });
        }
        // What is not hashed yet waits beside the record until it is.
        let target = if hashed { path.clone() } else { layout::upload_data(name, id) };
        if let Err(error) = self.storage.commit(call, &state, &target, &Condition::Always).await {
            // An earlier attempt may have died after this very step. The hash shows that this client has
            // the content, so the blob that is there may be linked.
            if !(hashed && error.is_not_found() && self.storage.head(call, &path).await.is_ok()) {
                // The state in the record is stale since the append: without the new one nobody could
                // go on with the upload.
                if let Some(taken) = taken.filter(|_| !error.is_not_found()) {
                    self.save_progress(call, name, id, record, seen, taken).await?;
                }
                return Err(self.fenced(call, name, id, Some(&state), error).await);
            }
        }
        // The bytes have their name now; whatever comes, the record speaks of nothing any more.
        if hashed {
            let linked = self.link_new_blob(call, name, digest).await;
            self.remove_upload_record(call, name, id, seen).await;
            return linked;
        }
        let named = self.name_by_hashing_again(call, name, &target, digest).await;
        self.remove_upload_files(call, name, id).await;
        named
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
        let hasher = Hasher::new(digest.algorithm());
        let (body, receipt) = intake(body, Some(hasher), announced, OnBreak::Fail);
        self.write_blob(call, digest, body, receipt, announced).await?;
        self.link_new_blob(call, name, digest).await
    }

    /// Writes content at its final place, if it is what the digest names.
    async fn write_blob(
        &self,
        call: &CallContext,
        digest: &Digest,
        body: ByteStream,
        receipt: Receipt,
        size: Option<u64>,
    ) -> Result<()> {
        let path = layout::blob(digest);
        let (body, judgement) = only_as(digest, body, receipt);
        let written = self.storage.write(call, &path, size, body, &Condition::Always).await;
        match (written, judgement.take()) {
            (Ok(_), Some(Judged::Right)) => Ok(()),
            (Ok(_), _) => {
                // A driver that takes half of a body for all of it. What it made visible must not stay.
                if let Err(error) = self.storage.delete(call, &path).await {
                    tracing::error!(path = path.as_str(), %error, "content that is not whole is left behind");
                }
                Err(unread())
            }
            (Err(error), Some(Judged::Wrong(found))) if error.kind == ErrorKind::BodyFailed => {
                Err(Failure::DigestMismatch { found })
            }
            (Err(error), Some(Judged::NotWhole(ending))) => Err(body_failure(Some(ending), error)),
            (Err(error), _) => Err(body_failure(None, error)),
        }
    }

    /// Makes content that was just written a blob of the repository.
    async fn link_new_blob(&self, call: &CallContext, name: &RepositoryName, digest: &Digest) -> Result<()> {
        self.saw_content(digest);
        self.write_link(call, &layout::layer_link(name, digest), digest).await
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
        self.link_new_blob(call, name, digest).await
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
