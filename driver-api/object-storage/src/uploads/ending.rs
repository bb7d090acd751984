//! Discarding uploads.

use std::sync::Arc;

use docker_registry_driver_api::{CallContext, Error, ErrorKind, Result, UploadState};
use uuid::Uuid;

use super::{known::End, state::State};
use crate::{bucket::Begun, engine::Engine};

/// How often is looked again for what an append elsewhere may have written meanwhile.
const LOOKS: u32 = 5;

impl Engine {
    /// See [`Driver::abort`](docker_registry_driver_api::Driver::abort).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn abort(self: &Arc<Self>, call: &CallContext, state: &UploadState) -> Result<()> {
        // A state that is not ours names no upload, so that there is nothing to discard.
        let Ok(state) = State::unpack(state) else { return Ok(()) };
        let (upload, generation) = match state {
            State::Standing(standing) => (standing.upload, standing.generation),
            State::Found(upload) => (upload, 0),
            State::Begun { key, id } => return self.abandon_write(call, &key, &id).await,
        };
        if self.known_uploads.end_of(upload) == Some(End::Committed) {
            // What is left of it is in the garbage.
            return Ok(());
        }
        self.known_uploads.ended(upload, End::Aborted);
        let mut newest = generation;
        for look in 0..LOOKS {
            let keys = self.upload_objects(call, upload).await?;
            let generations = keys.iter().filter_map(|key| self.parse_segment_key(key));
            newest = generations.map(|(_, (generation, _))| generation).fold(newest, u64::max);
            if look == 0 {
                self.abandon_appends(call, upload, newest).await?;
            }
            if keys.is_empty() {
                return Ok(());
            }
            self.delete_all_keys(call, keys).await?;
            if !self.limits().strongly_consistent {
                // Another look may show what is deleted already.
                return Ok(());
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the upload was not removed: others go on writing to it"))
    }

    /// Forgets the large objects that appends have begun.
    async fn abandon_appends(&self, call: &CallContext, upload: Uuid, newest: u64) -> Result<()> {
        if !self.limits().lists_begun {
            return Ok(());
        }
        let mut begun = self.list_all_begun(call, &self.upload_folder(upload)).await?;
        if begun.is_empty() {
            // Some stores only list what was begun at exactly the key that is asked for.
            let next = self.segment_key(upload, newest.saturating_add(1), None);
            begun = self.list_all_begun(call, &next).await?;
        }
        for Begun { key, id, .. } in begun {
            self.attempt(call, true, || self.bucket.abandon(&key, &id)).await.or_else(absent_is_fine)?;
        }
        Ok(())
    }

    async fn abandon_write(&self, call: &CallContext, key: &str, id: &str) -> Result<()> {
        // States travel through hands of others.
        if self.path(key).is_none() {
            return Ok(());
        }
        self.attempt(call, true, || self.bucket.abandon(key, id)).await.or_else(absent_is_fine)
    }

    /// All large objects that were begun under a prefix.
    pub(super) async fn list_all_begun(&self, call: &CallContext, prefix: &str) -> Result<Vec<Begun>> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let list = || self.bucket.list_begun(prefix, after.as_deref());
            let (begun, next) = self.attempt(call, false, list).await?;
            all.extend(begun);
            if next.is_none() || next == after {
                return Ok(all);
            }
            after = next;
        }
    }
}

fn absent_is_fine(error: Error) -> Result<()> {
    if error.is_not_found() { Ok(()) } else { Err(error) }
}
