//! Pages of a listing: the names of the indexes, each looked at before it is shown.

use std::collections::BTreeSet;

use docker_registry_driver_api::Result;
use docker_registry_object_storage::bucket::{ListCall, Listed, Listing};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::{names, objects::Objects, walk::Walk};

/// Objects that are looked at at once.
const LOOKS_AT_ONCE: usize = 64;
/// Entries of a page that are looked at at once where some are folders.
const ENTRIES_AT_ONCE: usize = 32;
/// Folders of what was begun that are read at once.
const FOLDERS_AT_ONCE: usize = 32;
/// Objects that are looked at at once to find out whether a folder has any.
const LOOKS_INTO_FOLDER: usize = 4;

/// An entry of a page.
enum Entry {
    Object(Listed),
    Folder(String),
}

impl Objects {
    /// One page.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn list(&self, call: &ListCall) -> Result<Listing> {
        let limit = call.limit.clamp(1, 1_000) as usize;
        let after = call.token.as_ref().or(call.after.as_ref()).cloned();
        // A prefix may end within a name.
        let begin = call.prefix.rfind('/').map_or(0, |place| place + 1);
        let folder = &call.prefix[..begin];
        let mut entries = self.entries(folder).await?;
        entries.retain(|path| path.starts_with(&call.prefix));
        // One more than fits tells whether the page is the last.
        let mut found: Vec<Entry> = if call.delimited {
            entries.retain(|path| after.as_ref().is_none_or(|after| path > after));
            // Each look is made when its turn comes: a folder may have any number of entries.
            let objects = self.clone();
            let looks = stream::iter(entries).map(move |path| objects.clone().look(path));
            let looks = looks.buffered(ENTRIES_AT_ONCE.min(limit + 1));
            looks.try_filter_map(|entry| async { Ok(entry) }).take(limit + 1).try_collect().await?
        } else {
            let objects = self.walk(entries, after, LOOKS_AT_ONCE.min(limit + 1));
            objects.map_ok(Entry::Object).take(limit + 1).try_collect().await?
        };
        let is_cut = found.len() > limit;
        found.truncate(limit);
        let key = |entry: &Entry| match entry {
            Entry::Object(object) => object.key.clone(),
            Entry::Folder(folder) => folder.clone(),
        };
        let next = found.last().map(key).filter(|_| is_cut);
        let mut listing = Listing { next, ..Listing::default() };
        for entry in found {
            match entry {
                Entry::Object(object) => listing.objects.push(object),
                Entry::Folder(folder) => listing.prefixes.push(folder),
            }
        }
        Ok(listing)
    }

    /// One page of the records of what was begun. They are spread over many folders, of which some are read at once.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn list_begun(&self, after: Option<&str>, limit: usize) -> Result<Listing> {
        let mut folders = self.entries(names::BEGUN).await?;
        folders
            .retain(|folder| after.is_none_or(|after| folder.as_str() > after || after.starts_with(folder)));
        let reads = folders.into_iter().map(|folder| async move { self.entries(&folder).await });
        // Collected, so that the closure's borrows do not get in the way of `Send`.
        let reads: Vec<_> = reads.collect();
        let mut objects: Vec<Listed> = stream::iter(reads)
            .buffered(FOLDERS_AT_ONCE)
            .map_ok(|paths| stream::iter(paths.into_iter().map(Ok)))
            .try_flatten()
            .try_filter(|path| std::future::ready(after.is_none_or(|after| path.as_str() > after)))
            .map_ok(|path| self.clone().listed(path))
            .try_buffered(LOOKS_AT_ONCE)
            .try_filter_map(|listed| std::future::ready(Ok(listed)))
            .take(limit + 1)
            .try_collect()
            .await?;
        let is_cut = objects.len() > limit;
        objects.truncate(limit);
        let next = objects.last().map(|object| object.key.clone()).filter(|_| is_cut);
        Ok(Listing { objects, next, ..Listing::default() })
    }

    /// The paths that may be in a folder, in byte order; those of folders end with `/`.
    pub(crate) async fn entries(&self, folder: &str) -> Result<Vec<String>> {
        let (own, legacy) = futures::future::join(self.index.names(folder), self.legacy.names(folder)).await;
        let mut names: BTreeSet<String> = own?.into_keys().collect();
        names.extend(legacy?);
        Ok(names.into_iter().map(|name| format!("{folder}{name}")).collect())
    }

    /// What is really at a path.
    async fn look(self, path: String) -> Result<Option<Entry>> {
        if !path.ends_with('/') {
            return Ok(self.listed(path).await?.map(Entry::Object));
        }
        let entries = self.entries(&path).await?;
        let found = self.walk(entries, None, LOOKS_INTO_FOLDER).boxed().try_next().await?;
        Ok(found.map(|_| Entry::Folder(path)))
    }

    /// The object at a path; `None` when there is none.
    async fn listed(self, path: String) -> Result<Option<Listed>> {
        match self.find(&path).await {
            Ok(found) => {
                let facts = found.facts();
                Ok(Some(Listed { key: path, size: facts.size, modified: facts.modified, etag: facts.etag }))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects at and below some paths, behind `after`, in byte order.
    fn walk(
        &self,
        entries: Vec<String>,
        after: Option<String>,
        looks_at_once: usize,
    ) -> impl Stream<Item = Result<Listed>> + Send + use<> {
        let walk = Walk::new(self.clone(), entries, after, looks_at_once);
        let objects = self.clone();
        stream::try_unfold(walk, |mut walk| async move { Ok(walk.next().await?.map(|path| (path, walk))) })
            .map_ok(move |path| objects.clone().listed(path))
            .try_buffered(looks_at_once)
            .try_filter_map(|listed| async { Ok(listed) })
    }
}

/// The numbers of what was begun, from a page of their records.
pub(crate) fn begun_ids(listing: &Listing) -> impl Iterator<Item = (u128, &Listed)> {
    listing.objects.iter().filter_map(|object| Some((names::begun_id(&object.key)?, object)))
}
