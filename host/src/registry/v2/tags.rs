//! Tags: names that point to manifests.

use docker_registry_driver_api::{CallContext, ListRequest};
use futures::{StreamExt, TryStreamExt, stream};

use super::{Failure, PARALLEL_CALLS, Registry, RepositoryName, Result, Tag};
use crate::{layout::v2 as layout, registry::digest::Digest};

/// Some of a repository's tags, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagPage {
    /// The tags.
    pub tags: Vec<Tag>,
    /// Whether there are more after the last one.
    pub more: bool,
}

impl Registry {
    /// At most `limit` tags greater than `after`.
    ///
    /// # Errors
    /// [`Failure::RepositoryUnknown`] when the repository has neither tags nor anything else.
    pub async fn list_tags(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        after: Option<&Tag>,
        limit: usize,
    ) -> Result<TagPage> {
        let page = if limit == 0 {
            TagPage { tags: Vec::new(), more: false }
        } else {
            self.tags_after(call, name, after, limit).await?
        };
        if page.tags.is_empty() && !self.repository_exists(call, name).await? {
            return Err(Failure::RepositoryUnknown);
        }
        Ok(page)
    }

    async fn tags_after(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        after: Option<&Tag>,
        limit: usize,
    ) -> Result<TagPage> {
        let folder = layout::tags(name);
        let mut request = ListRequest::children(folder.clone());
        request.after = after.map(|tag| format!("{}{tag}", folder.start()));
        let mut tags = Vec::new();
        loop {
            // One more than wanted tells whether there is another page.
            let missing = (limit + 1 - tags.len()).min(docker_registry_driver_api::MAX_PAGE as usize);
            request.limit = missing as u32;
            let page = self.storage.list(call, &request).await?;
            for entry in page.entries.iter().filter(|entry| entry.object.is_none()) {
                tags.extend(entry.path.strip_prefix(&folder.start()).and_then(Tag::parse));
            }
            if tags.len() > limit {
                tags.truncate(limit);
                return Ok(TagPage { tags, more: true });
            }
            request.after = page.next;
            if request.after.is_none() {
                return Ok(TagPage { tags, more: false });
            }
        }
    }

    /// Takes a tag away. The manifest stays.
    ///
    /// # Errors
    /// [`Failure::ManifestUnknown`] when there is no such tag.
    pub async fn delete_tag(&self, call: &CallContext, name: &RepositoryName, tag: &Tag) -> Result<()> {
        let _alone = self.tag_locks.of(&(name, tag)).write().await;
        if self.read_link(call, &layout::tag_link(name, tag)).await?.is_none() {
            return Err(Failure::ManifestUnknown);
        }
        self.remove_tag(call, name, tag).await
    }

    /// Points a tag to a manifest that the repository has.
    pub(super) async fn write_tag(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<()> {
        let _shared = self.tag_locks.of(&(name, tag)).read().await;
        // The history comes last: a tag with history alone would be listed and lead nowhere.
        self.write_link(call, &layout::tag_link(name, tag), digest).await?;
        self.saw_tag(name, tag, digest);
        self.write_link(call, &layout::tag_history_link(name, tag, digest), digest).await
    }

    /// Remembers what a tag points to.
    pub(super) fn saw_tag(&self, name: &RepositoryName, tag: &Tag, digest: &Digest) {
        self.recent_tags.insert((name.clone(), tag.clone()), digest.clone(), 0);
    }

    /// Forgets a tag that is no more.
    pub(super) fn missed_tag(&self, name: &RepositoryName, tag: &Tag, failure: &Failure) {
        if matches!(failure, Failure::ManifestUnknown) {
            self.recent_tags.remove(&(name.clone(), tag.clone()));
        }
    }

    /// What a tag pointed to when this process last had to do with it. It may point elsewhere by now, or be gone.
    pub(super) fn tag_seen_lately(&self, name: &RepositoryName, tag: &Tag) -> Option<Digest> {
        self.recent_tags.get(&(name.clone(), tag.clone()))
    }

    /// Takes away all tags that point to a manifest.
    pub(super) async fn delete_tags_of(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.tags_after(call, name, after.as_ref(), 500).await?;
            let last = page.tags.last().cloned();
            stream::iter(page.tags)
                .map(|tag| async move { self.delete_tag_of(call, name, &tag, digest).await })
                .buffer_unordered(PARALLEL_CALLS)
                .try_collect::<()>()
                .await?;
            if !page.more {
                return Ok(());
            }
            after = last;
        }
    }

    async fn delete_tag_of(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        tag: &Tag,
        digest: &Digest,
    ) -> Result<()> {
        let link = layout::tag_link(name, tag);
        if !self.is_linked(call, &link, digest).await? {
            return Ok(());
        }
        // Only now alone, and so look again: most tags point elsewhere and need no lock.
        let _alone = self.tag_locks.of(&(name, tag)).write().await;
        if self.is_linked(call, &link, digest).await? {
            self.remove_tag(call, name, tag).await?;
        }
        Ok(())
    }

    /// The history goes first: until the link itself is gone, the tag is as it was.
    async fn remove_tag(&self, call: &CallContext, name: &RepositoryName, tag: &Tag) -> Result<()> {
        self.storage.delete_tree(call, &layout::tag_history(name, tag)).await?;
        match self.storage.delete(call, &layout::tag_link(name, tag)).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether the repository has manifests or blobs. Uploads in flight do not count.
    async fn repository_exists(&self, call: &CallContext, name: &RepositoryName) -> Result<bool> {
        let manifests = layout::own_folder(name, layout::MANIFESTS_FOLDER);
        let layers = layout::own_folder(name, layout::LAYERS_FOLDER);
        let (manifests, layers) =
            futures::join!(self.storage.stat(call, &manifests), self.storage.stat(call, &layers));
        for stat in [manifests, layers] {
            match stat {
                Ok(_) => return Ok(true),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(false)
    }
}
