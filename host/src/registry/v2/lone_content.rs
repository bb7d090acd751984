//! Small content that lies by itself until it is a blob, so that it is written once.
//!
//! Where a rename costs nothing ([`Capability::CheapRename`]) and listings are up to date, the first chunk of an
//! upload, when it is small but not tiny, has no record around it: it is an object under the name of its SHA-256. In
//! most pushes it is all there is, and then the last request moves it to its name as a blob. A chunk behind it leads
//! to a record as everywhere else, and the object goes. What is tiny costs nothing to write again, and so its client
//! need not wait for link and blob one after the other.
//!
//! # What makes the move safe
//! The name says what the content is, and nobody can put another one there, so that what is moved to the name of a
//! digest is right whoever else is at work. The link comes before the move: one that leads nowhere is no blob, and as
//! long as the content was not moved the upload can be finished again.
//!
//! # Two first chunks
//! Within one process one of them wins, as with records, also when it has forgotten the upload: then it looks. Two
//! processes may take one each in the same moment. When both lie by themselves, each client goes on from its own,
//! because its location says which it was, and what nobody ends is left to the purge. When one of them is a record, that
//! is where the upload stands for everybody who has to look.

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Capability, Condition, ListRequest};

use super::{
    Registry, RepositoryName, Result, UploadId,
    names::Revision,
    recorded_uploads::{Replaced, Seen, Stored, transient},
    upload_record::UploadRecord,
};
use crate::{
    layout::v2 as layout,
    registry::{
        digest::{Algorithm, Digest},
        gathering::MOST_GATHERED,
        hashing,
    },
};

/// Least content that lies by itself, in bytes.
const LEAST_ALONE: u64 = 64 << 10;

impl Registry {
    /// Whether content of uploads may lie by itself in this storage.
    pub(super) fn moves_cheaply(&self) -> bool {
        let capabilities = self.storage.capabilities();
        capabilities.has(Capability::CheapRename) && capabilities.has(Capability::StrongConsistency)
    }

    /// The name that this content gets when it lies by itself; `None` when it is to be kept in a record.
    pub(super) fn may_lie_alone(&self, seen: &Seen, record: &UploadRecord) -> Option<Digest> {
        let is_first = seen.is_nothing() && record.state.is_none() && record.offset >= LEAST_ALONE;
        let hasher = record.hasher.as_ref().filter(|hasher| hasher.algorithm() == Algorithm::Sha256)?;
        (is_first && self.moves_cheaply()).then(|| hasher.clone().finish())
    }

    /// Keeps the first content of an upload by itself, if this process has not kept another one meanwhile.
    pub(super) async fn keep_alone(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        record: UploadRecord,
        hash: Digest,
    ) -> Result<Replaced> {
        let _turn = self.upload_locks.of(&(name, id)).write().await;
        if !self.may_begin(call, name, id).await? {
            return Ok(Replaced::No);
        }
        let path = layout::upload_content(name, id, &hash);
        match self.storage.put(&transient(call), &path, record.content.clone(), &Condition::Always).await {
            Ok(_) => {
                self.remember_upload(name, id, record, None, Some(hash));
                Ok(Replaced::Yes)
            }
            Err(error) => {
                self.forget_upload(name, id);
                Err(error.into())
            }
        }
    }

    /// The content of an upload that lies by itself, if there is any that is what its name says; of several the one
    /// that was `shown`.
    pub(super) async fn look_for_lone_content(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        shown: Option<Revision>,
    ) -> Result<Stored> {
        let folder = layout::upload(name, id);
        let start = folder.start();
        let page = self.storage.list(call, &ListRequest::below(folder)).await?;
        let names = page.entries.iter().filter_map(|entry| entry.path.strip_prefix(&start));
        let mut hashes: Vec<Digest> = names.filter_map(layout::hash_of_upload_content).collect();
        hashes.sort_by_key(|hash| Some(Revision::of_content(hash)) != shown);
        let mut found = Stored::Nothing;
        for hash in hashes {
            let path = layout::upload_content(name, id, &hash);
            let content = match self.storage.get(call, &path, MOST_GATHERED).await {
                Ok(object) => object.content,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let hasher = hashing::hasher_over(Algorithm::Sha256, &content).await?;
            if hasher.clone().finish() != hash {
                tracing::warn!(
                    path = path.as_str(),
                    "content of an upload is not what was written and is lost"
                );
                found = Stored::Unreadable;
                continue;
            }
            let record = UploadRecord {
                offset: content.len() as u64,
                state: None,
                content,
                algorithm: Algorithm::Sha256,
                hasher: Some(hasher),
                revision: Some(Revision::of_content(&hash)),
            };
            return Ok(Stored::Record(Box::new(record), Seen::lone(hash)));
        }
        Ok(found)
    }

    /// Makes the content that was `seen` a blob of the repository, where it lies. `content` is the same, and is written
    /// anew when it cannot be moved.
    pub(super) async fn move_to_blob(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        seen: &Seen,
        content: Bytes,
        digest: &Digest,
    ) -> Result<()> {
        self.write_link(call, &layout::layer_link(name, digest), digest).await?;
        let (lone, blob) = (seen.path(name, id), layout::blob(digest));
        // Whoever is about to write a record for it has done so by now, or learns of the end.
        let _turn = self.upload_locks.of(&(name, id)).write().await;
        // That it is gone from where it lay need not survive a power cut: what came back would be left to the purge.
        match self.storage.rename(&transient(call), &lone, &blob).await {
            Ok(()) => self.remember_end(name, id),
            Err(error) => {
                // Another request has ended the upload or went on with it, or the storage is in trouble: then a `put`
                // is tried again, which a move is not.
                tracing::debug!(upload = %id, %error, "content of an upload is written anew instead of moved");
                self.storage.put(call, &blob, content, &Condition::Always).await?;
                self.remove_what_was_seen(call, name, id, seen).await;
                // Also the record of one who went on with it that this process does not remember.
                self.delete_upload_file(call, id, &layout::upload_record(name, id)).await;
            }
        }
        self.saw_content(digest);
        Ok(())
    }
}
