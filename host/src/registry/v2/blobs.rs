//! Blobs: content by digest, linked into repositories.
//!
//! Content is stored once for all repositories. A repository has a blob when it has a link to it, and
//! nobody sees content except through such a link. Unlinking leaves the content for other repositories
//! and for garbage collection.

use std::time::{Duration, Instant};

use docker_registry_driver_api::{CallContext, Error, ErrorKind, ReadRange, Reading};

use super::{Failure, Registry, RepositoryName, Result};
use crate::{
    layout::v2 as layout,
    registry::{addresses, digest::Digest},
    storage::Storage,
};

/// How long content counts as there after it was seen.
const SEEN_LATELY: Duration = Duration::from_secs(10 * 60);

/// What is known of a blob without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobFacts {
    /// Size in bytes.
    pub size: u64,
}

/// What came of an attempt to mount a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mount {
    /// The repository has the blob now.
    Done,
    /// The source does not have it: the client has to upload.
    NotThere,
}

impl Registry {
    /// Facts of a blob of the repository, in two storage calls at once.
    ///
    /// # Errors
    /// [`Failure::BlobUnknown`].
    pub async fn stat_blob(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<BlobFacts> {
        self.stat_blob_in(&self.reads, call, name, digest).await
    }

    /// The same, with the link as this storage has it: what a write follows from is not asked of a cache.
    async fn stat_blob_in(
        &self,
        links: &Storage,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<BlobFacts> {
        let (link, path) = (layout::layer_link(name, digest), layout::blob(digest));
        let (linked, info) =
            futures::join!(self.is_linked_in(links, call, &link, digest), self.storage.head(call, &path));
        if !linked? {
            return Err(Failure::BlobUnknown);
        }
        let info = info.inspect_err(|error| self.missed_content(digest, error));
        let info = info.map_err(Failure::absent_as(Failure::BlobUnknown))?;
        self.saw_content(digest);
        Ok(BlobFacts { size: info.size })
    }

    /// Opens a blob of the repository, in two storage calls at once.
    ///
    /// # Errors
    /// [`Failure::BlobUnknown`]; [`Failure::BlobRange`] when it has no byte in the range.
    pub async fn open_blob(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
        range: ReadRange,
    ) -> Result<Reading> {
        let (link, path) = (layout::layer_link(name, digest), layout::blob(digest));
        let (linked, reading) = futures::join!(
            self.is_linked_in(&self.reads, call, &link, digest),
            self.storage.read(call, &path, range)
        );
        if !linked? {
            return Err(Failure::BlobUnknown);
        }
        match reading {
            Err(error) if error.kind == ErrorKind::InvalidRange => {
                let info = self.storage.head(call, &path).await;
                let size = info.map_err(Failure::absent_as(Failure::BlobUnknown))?.size;
                Err(Failure::BlobRange { size })
            }
            reading => reading
                .inspect_err(|error| self.missed_content(digest, error))
                .map_err(Failure::absent_as(Failure::BlobUnknown)),
        }
    }

    /// An address of the storage where the blob of the repository can be fetched for a while; `None` where the
    /// storage makes none.
    ///
    /// # Errors
    /// [`Failure::BlobUnknown`].
    pub async fn blob_address(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<String>> {
        if !addresses::are_made_by(&self.storage) {
            return Ok(None);
        }
        self.stat_blob(call, name, digest).await?;
        Ok(addresses::of(&self.storage, call, layout::blob(digest)).await)
    }

    /// Takes a blob out of the repository.
    ///
    /// # Errors
    /// [`Failure::BlobUnknown`].
    pub async fn unlink_blob(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<()> {
        let link = layout::layer_link(name, digest);
        // Not every storage tells whether it deleted something, so the link is looked at first.
        if self.read_link(call, &link).await?.is_none() {
            return Err(Failure::BlobUnknown);
        }
        self.storage.delete(call, &link).await.map_err(Failure::absent_as(Failure::BlobUnknown))
    }

    /// Makes a blob of the repository `source` a blob of `name` too, without moving a byte.
    ///
    /// Without a source only a blob that the repository has already is found. The specification allows
    /// a search through all others, and that would tell anybody which content exists anywhere.
    ///
    /// # Errors
    /// Only the storage's.
    pub async fn mount_blob(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
        source: Option<&RepositoryName>,
    ) -> Result<Mount> {
        match self.stat_blob_in(&self.storage, call, source.unwrap_or(name), digest).await {
            Ok(_) => {}
            Err(Failure::BlobUnknown) => return Ok(Mount::NotThere),
            Err(failure) => return Err(failure),
        }
        if source.is_some_and(|source| source != name) {
            self.write_link(call, &layout::layer_link(name, digest), digest).await?;
        }
        Ok(Mount::Done)
    }

    /// Whether the repository has the blob and the blob has content.
    pub(super) async fn has_blob(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<bool> {
        if self.saw_content_lately(digest) {
            return self.is_linked(call, &layout::layer_link(name, digest), digest).await;
        }
        match self.stat_blob_in(&self.storage, call, name, digest).await {
            Ok(_) => Ok(true),
            Err(Failure::BlobUnknown) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Remembers that the content with this digest is in the storage.
    pub(super) fn saw_content(&self, digest: &Digest) {
        self.recent_contents.insert(digest.clone(), Instant::now(), 0);
    }

    /// Forgets content that is not there after all.
    fn missed_content(&self, digest: &Digest, error: &Error) {
        if error.is_not_found() {
            self.recent_contents.remove(digest);
        }
    }

    /// Whether this process wrote or saw the content so lately that it need not look again.
    ///
    /// Only for the check of what a manifest refers to: its blobs were pushed a moment ago, and their links, which
    /// say whose they are, are looked at in any case. Nobody deletes content but a garbage collection, and one that
    /// takes what is a few minutes old breaks pushes with or without this.
    pub(super) fn saw_content_lately(&self, digest: &Digest) -> bool {
        self.recent_contents.get(digest).is_some_and(|seen| seen.elapsed() < SEEN_LATELY)
    }
}
