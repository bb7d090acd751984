//! Listings and trees over both sides, in byte order.
//!
//! Glance sorts by what it knows, which is not the path, and databases sort texts in their own ways. So all images of
//! the scope are looked at for each page, and the smallest paths are kept: a listing of images is slow, and exact. The
//! registry lists repositories, tags and uploads, which are the other driver's, and no images.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use docker_registry_driver_api::{
    CallContext, Entry, Error, ErrorKind, ListPage, ListRequest, ObjectInfo, ObjectPath, Prefix, Result, Stat,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    GlanceDriver,
    client::Glance,
    document::{ID, Image, PATH},
    routing::{Scope, covers_staging, is_below, is_image, is_staged, may_hold_images, scope, staging_folder},
};

/// Objects of a tree that are deleted before it is looked at again.
const BATCH: usize = 1_000;
/// Requests of one call at a time.
const AT_ONCE: usize = 8;

/// What there is at a path or in a folder below the one that is listed: the image that counts, in the order of images;
/// `None` for a folder.
type Found = Option<(u64, String, ObjectInfo)>;

impl Glance {
    /// Shows every complete image at or below a folder to `visit` with its path, some perhaps twice, until it has seen
    /// enough.
    async fn visit(
        &self,
        call: &CallContext,
        folder: &str,
        mut visit: impl FnMut(&str, &Image) -> bool + Send,
    ) -> Result<()> {
        let scope = scope(folder);
        let filter = match &scope {
            Scope::Nothing => return Ok(()),
            Scope::DockerImage(id) => Some((ID, id.as_str())),
            Scope::Path(path) => Some((PATH, path.as_str())),
            Scope::Registry => None,
        };
        let mut marker = None::<String>;
        loop {
            let page = self.page(call, filter.as_slice(), marker.as_deref()).await?;
            for image in &page.images {
                let Some(path) = self.path(image).filter(|path| is_image(path)) else { continue };
                let is_wanted = path == folder || is_below(path, folder);
                if is_wanted && image.complete_size().is_some() && !visit(path, image) {
                    return Ok(());
                }
            }
            marker = page.images.last().map(|image| image.id.clone());
            if page.next.is_none() || marker.is_none() {
                return Ok(());
            }
        }
    }

    /// The smallest entries of a listing, one more than are wanted if there are.
    async fn entries(&self, call: &CallContext, request: &ListRequest) -> Result<BTreeMap<String, Found>> {
        let start = request.prefix.start();
        let most = request.limit as usize + 1;
        let mut entries = BTreeMap::<String, Found>::new();
        self.visit(call, request.prefix.as_str(), |path, image| {
            let Some(rest) = path.strip_prefix(&start) else { return true };
            let (name, is_folder) = match rest.split_once('/') {
                Some((name, _)) if !request.recursive => (name, true),
                _ => (rest, false),
            };
            let entry = format!("{start}{name}");
            if request.after.as_ref().is_some_and(|after| entry <= *after) {
                return true;
            }
            let found = entries.entry(entry).or_default();
            if !is_folder && let Some(info) = image.info() {
                let order = found.as_ref().map(|(revision, id, _)| (*revision, id.as_str()));
                if order.is_none_or(|order| order < image.order()) {
                    *found = Some((image.revision(), image.id.clone(), info));
                }
            }
            if entries.len() > most {
                entries.pop_last();
            }
            true
        })
        .await?;
        Ok(entries)
    }

    /// Whether there is an image below a folder.
    async fn holds_images(&self, call: &CallContext, folder: &str) -> Result<bool> {
        let mut holds = false;
        self.visit(call, folder, |path, _| {
            holds = path != folder;
            !holds
        })
        .await?;
        Ok(holds)
    }

    /// Deletes all images at and below a folder; returns how many objects that were.
    async fn delete_images(self: &Arc<Self>, call: &CallContext, folder: &str) -> Result<u64> {
        let mut deleted = 0;
        loop {
            let mut paths = HashSet::new();
            self.visit(call, folder, |path, _| {
                paths.insert(path.to_owned());
                paths.len() < BATCH
            })
            .await?;
            if paths.is_empty() {
                return Ok(deleted);
            }
            let deletions = stream::iter(paths).map(|path| async move {
                match self.delete_object(call, &ObjectPath::new(path)?).await {
                    Ok(()) => Ok(1),
                    // Somebody else was faster.
                    Err(error) if error.is_not_found() => Ok(0),
                    Err(error) => Err(error),
                }
            });
            let counts: Vec<u64> = deletions.buffer_unordered(AT_ONCE).try_collect().await?;
            deleted += counts.iter().sum::<u64>();
        }
    }
}

impl GlanceDriver {
    /// Whether the other driver has anything below a folder that is not hidden by Glance's side.
    async fn alternate_holds(&self, call: &CallContext, folder: &Prefix) -> Result<bool> {
        let mut request = ListRequest::below(folder.clone());
        loop {
            let page = self.alternate.list(call, &request).await?;
            if page.entries.iter().any(|entry| !is_image(&entry.path)) {
                return Ok(true);
            }
            let Some(next) = page.next else { return Ok(false) };
            request.after = Some(next);
        }
    }

    /// See [`Driver::stat`](docker_registry_driver_api::Driver::stat).
    pub(crate) async fn stat_both(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        let text = path.as_str();
        if is_image(text) {
            match self.glance.head(call, &ObjectPath::new(text)?).await {
                Ok(info) => return Ok(Stat::Object(info)),
                Err(error) if !error.is_not_found() => return Err(error),
                Err(_) => {}
            }
        }
        let absent = match self.alternate.stat(call, path).await {
            // What is at such a path is hidden.
            Ok(Stat::Object(_)) if is_image(text) => Error::not_found(path),
            Ok(Stat::Object(info)) => return Ok(Stat::Object(info)),
            Ok(Stat::Folder) if path.is_root() || !may_hold_images(text) => return Ok(Stat::Folder),
            Ok(Stat::Folder) if self.alternate_holds(call, path).await? => return Ok(Stat::Folder),
            Ok(Stat::Folder) => Error::not_found(path),
            Err(error) if error.is_not_found() => error,
            Err(error) => return Err(error),
        };
        if may_hold_images(text) && self.glance.holds_images(call, text).await? {
            return Ok(Stat::Folder);
        }
        Err(absent)
    }

    /// See [`Driver::list`](docker_registry_driver_api::Driver::list).
    pub(crate) async fn list_both(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        if request.limit == 0 {
            return Err(Error::new(ErrorKind::Internal, "a page of no entries was asked for"));
        }
        let folder = request.prefix.as_str();
        if !may_hold_images(folder) {
            return self.alternate.list(call, request).await;
        }
        let (mut found, page) =
            futures::try_join!(self.glance.entries(call, request), self.alternate.list(call, request))?;
        // Up to where each side has told everything.
        let mut end = page.next.clone();
        if found.len() > request.limit as usize {
            found.pop_last();
            let last = found.keys().next_back().cloned();
            end = [end, last].into_iter().flatten().min();
        }
        let mut entries: BTreeMap<String, Option<ObjectInfo>> = BTreeMap::new();
        for entry in page.entries {
            let is_hidden = match &entry.object {
                Some(_) => is_image(&entry.path),
                // A folder may be there only for what is hidden in it.
                None => {
                    may_hold_images(&entry.path)
                        && !found.contains_key(&entry.path)
                        && !self.alternate_holds(call, &Prefix::new(entry.path.clone())?).await?
                }
            };
            if !is_hidden {
                entries.insert(entry.path, entry.object);
            }
        }
        for (path, found) in found {
            let object = found.map(|(_, _, info)| info);
            let entry = entries.entry(path).or_default();
            *entry = entry.take().or(object);
        }
        let entries = entries.into_iter().map(|(path, object)| Entry { path, object });
        let mut entries: Vec<Entry> =
            entries.filter(|entry| end.as_ref().is_none_or(|end| entry.path <= *end)).collect();
        if entries.len() > request.limit as usize {
            entries.truncate(request.limit as usize);
            end = entries.last().map(|entry| entry.path.clone());
        }
        Ok(ListPage { entries, next: end })
    }

    /// See [`Driver::delete_tree`](docker_registry_driver_api::Driver::delete_tree).
    pub(crate) async fn delete_both(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        let folder = prefix.as_str();
        let images = self.glance.delete_images(call, folder).await?;
        // What is hidden was never an object.
        let hidden = if covers_staging(folder) { self.hidden(call, folder).await? } else { 0 };
        let others = self.alternate.delete_tree(call, prefix).await?;
        Ok(images + others.saturating_sub(hidden))
    }

    /// How many contents on their way to Glance lie at or below a folder of the other driver.
    async fn hidden(&self, call: &CallContext, folder: &str) -> Result<u64> {
        let mut request = ListRequest::below(staging_folder()?);
        let mut hidden = 0;
        loop {
            let page = self.alternate.list(call, &request).await?;
            let counts = |path: &str| is_staged(path) && (path == folder || is_below(path, folder));
            hidden += page.entries.iter().filter(|entry| counts(&entry.path)).count() as u64;
            let Some(next) = page.next else { return Ok(hidden) };
            request.after = Some(next);
        }
    }
}
