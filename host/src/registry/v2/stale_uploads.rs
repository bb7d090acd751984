//! Files of uploads that nobody will finish: the counterpart of [`crate::registry::abandoned`] in the
//! repositories.
//!
//! A client that dies after its first bytes leaves the folder of its upload. Every such folder that nothing was written to for
//! the configured age goes, those that distribution left in a shared store included. A client that comes
//! back later is told that its upload is unknown and starts again.
//!
//! The walk goes through folders and not through the catalog: a first push that was broken off leaves a
//! repository with nothing but uploads, which the catalog rightly does not list.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{CallContext, Entry, ListRequest};

use super::{Registry, RepositoryName, Result, UploadId};
use crate::layout::v2 as layout;

/// Uploads of one repository, each with the time of the last write to it. `None` when a file has no time:
/// then nothing tells that the upload is old.
type LastWrites = BTreeMap<String, Option<SystemTime>>;

impl Registry {
    /// Deletes the files of every upload that nothing was written to for more than `age`, and returns how
    /// many uploads those were. A repository or an upload that fails is logged and left for the next time.
    ///
    /// What the driver holds of these uploads is not touched; [`crate::registry::abandoned::purge`] is for
    /// that.
    ///
    /// # Errors
    /// Only that the repositories cannot be listed at all.
    pub async fn purge_stale_uploads(&self, call: &CallContext, age: Duration) -> Result<u64> {
        // An age beyond the beginning of time means that nothing is old enough.
        let Some(older_than) = SystemTime::now().checked_sub(age) else { return Ok(0) };
        let mut deleted = 0;
        // Pages of folders still to be read: `None` for the root of all repositories.
        let mut agenda = vec![(None, ListRequest::children(layout::repositories()))];
        while let Some((folder, mut request)) = agenda.pop() {
            let page = match self.storage.list(call, &request).await {
                Ok(page) => page,
                Err(error) => {
                    let Some(name) = folder else { return Err(error.into()) };
                    tracing::warn!(%error, repository = %name, "stale uploads could not be looked for");
                    continue;
                }
            };
            if page.next.is_some() {
                request.after = page.next;
                agenda.push((folder.clone(), request));
            }
            for entry in page.entries.iter().filter(|entry| entry.object.is_none()) {
                match (child_repository(entry), &folder) {
                    (Some(name), _) => {
                        let children = ListRequest::children(layout::repository(&name));
                        agenda.push((Some(name), children));
                    }
                    (None, Some(name)) if entry.path.rsplit('/').next() == Some(layout::UPLOADS_FOLDER) => {
                        deleted += self.purge_repository(call, name, older_than).await;
                    }
                    _ => {}
                }
            }
        }
        Ok(deleted)
    }

    /// Deletes the stale uploads of one repository, and returns how many those were.
    async fn purge_repository(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        older_than: SystemTime,
    ) -> u64 {
        let uploads = match self.last_writes(call, name).await {
            Ok(uploads) => uploads,
            Err(error) => {
                tracing::warn!(%error, repository = %name, "stale uploads could not be looked for");
                return 0;
            }
        };
        let mut deleted = 0;
        for (id, last_write) in uploads {
            // What is not named as an upload is somebody else's.
            let Some(id) = UploadId::parse(&id) else { continue };
            if last_write.is_none_or(|last_write| last_write >= older_than) {
                continue;
            }
            match self.storage.delete_tree(call, &layout::upload(name, &id)).await {
                Ok(_) => deleted += 1,
                Err(error) => {
                    tracing::warn!(%error, repository = %name, upload = %id, "a stale upload is left behind");
                }
            }
        }
        deleted
    }

    async fn last_writes(&self, call: &CallContext, name: &RepositoryName) -> Result<LastWrites> {
        let folder = layout::own_folder(name, layout::UPLOADS_FOLDER);
        let start = folder.start();
        let mut request = ListRequest::below(folder);
        let mut uploads = LastWrites::new();
        loop {
            let page = self.storage.list(call, &request).await?;
            for entry in page.entries {
                let Some((id, _)) = entry.path.strip_prefix(&start).and_then(|path| path.split_once('/'))
                else {
                    continue;
                };
                let written = entry.object.and_then(|object| object.modified);
                uploads
                    .entry(id.to_owned())
                    .and_modify(|last| *last = last.zip(written).map(|(last, written)| last.max(written)))
                    .or_insert(written);
            }
            request.after = page.next;
            if request.after.is_none() {
                return Ok(uploads);
            }
        }
    }
}

/// The name of the repository that a folder may be. The folders of a repository's own begin with `_`,
/// which no name does.
fn child_repository(entry: &Entry) -> Option<RepositoryName> {
    entry.path.strip_prefix(&layout::repositories().start()).and_then(RepositoryName::parse)
}
