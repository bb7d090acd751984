//! Manifests: small documents by digest, linked into repositories and named by tags.
//!
//! A manifest's bytes are never changed: what was pushed is what is pulled.

use std::{pin::pin, sync::Arc, task::Poll};

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Condition};
use futures::{
    StreamExt, TryStreamExt,
    future::{Either, select},
    poll, stream,
};

use super::{
    Failure, MissingReference, PARALLEL_CALLS, Registry, RepositoryName, Result, Tag,
    links::read_link,
    references::{self, Reference, Target},
};
use crate::{
    layout::v2 as layout,
    registry::{
        digest::{Algorithm, Digest},
        hashing,
    },
};

/// A stored manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type.
    pub media_type: Arc<str>,
    /// Its bytes as they were pushed.
    pub content: Bytes,
}

/// A manifest to be stored.
#[derive(Debug, Clone)]
pub struct PutManifest {
    /// The media type that the client sent, without parameters.
    pub media_type: Option<String>,
    /// The digest that the client says it has, if it said so.
    pub digest: Option<Digest>,
    /// Tags that shall point to it.
    pub tags: Vec<Tag>,
    /// The bytes.
    pub content: Bytes,
}

impl Registry {
    /// The digest that a tag points to.
    ///
    /// # Errors
    /// [`Failure::ManifestUnknown`].
    async fn resolve_tag(&self, call: &CallContext, name: &RepositoryName, tag: &Tag) -> Result<Digest> {
        let link = layout::tag_link(name, tag);
        read_link(&self.reads, call, &link).await?.ok_or(Failure::ManifestUnknown)
    }

    /// The manifest that a tag points to, in three storage calls: the tag, then the two of [`Self::get_manifest`], or
    /// all at once where this process knows what the tag pointed to a while ago and it still does.
    ///
    /// What is remembered is a guess. The tag is read every time, and where it points elsewhere by now, or what it was
    /// thought to point to cannot be had, the guess has done no more than cost two calls.
    ///
    /// # Errors
    /// [`Failure::ManifestUnknown`].
    pub async fn get_tagged_manifest(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        tag: &Tag,
        max_size: u64,
    ) -> Result<Manifest> {
        let mut resolving = pin!(self.resolve_tag(call, name, tag));
        if let Poll::Ready(digest) = poll!(resolving.as_mut()) {
            // It came from memory, and no guess is any faster.
            return self.get_manifest(call, name, digest?, max_size).await;
        }
        let digest = match self.tag_seen_lately(name, tag) {
            None => resolving.await?,
            Some(known) => {
                // Gone at the end of this block: what nobody polls must hold no turn of the storage.
                let mut guess = pin!(self.get_manifest(call, name, known.clone(), max_size));
                let (digest, guessed) = match select(resolving, guess.as_mut()).await {
                    Either::Left((digest, _)) => (digest, None),
                    Either::Right((guessed, resolving)) => (resolving.await, Some(guessed)),
                };
                let digest = digest.inspect_err(|failure| self.missed_tag(name, tag, failure))?;
                if digest == known {
                    let guessed = match guessed {
                        Some(guessed) => guessed,
                        None => guess.await,
                    };
                    // What the tag points to may have come since the guess.
                    if !matches!(guessed, Err(Failure::ManifestUnknown)) {
                        return guessed;
                    }
                }
                digest
            }
        };
        self.saw_tag(name, tag, &digest);
        self.get_manifest(call, name, digest, max_size).await
    }

    /// A manifest of the repository, in two storage calls at once.
    ///
    /// # Errors
    /// [`Failure::ManifestUnknown`].
    pub async fn get_manifest(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: Digest,
        max_size: u64,
    ) -> Result<Manifest> {
        let (link, path) = (layout::revision_link(name, &digest), layout::blob(&digest));
        let (linked, object) = futures::join!(
            self.is_linked_in(&self.reads, call, &link, &digest),
            self.reads.get(call, &path, max_size)
        );
        if !linked? {
            return Err(Failure::ManifestUnknown);
        }
        let content = object.map_err(Failure::absent_as(Failure::ManifestUnknown))?.content;
        Ok(Manifest { media_type: self.media_types.of_stored(&digest, &content), digest, content })
    }

    /// Stores a manifest and points tags to it. Returns its digest.
    ///
    /// # Errors
    /// [`Failure::ManifestInvalid`], [`Failure::DigestMismatch`], [`Failure::MissingReferences`].
    pub async fn put_manifest(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        manifest: PutManifest,
    ) -> Result<Digest> {
        let algorithm = manifest.digest.as_ref().map_or(Algorithm::Sha256, Digest::algorithm);
        let digest = hashing::digest_of(algorithm, &manifest.content).await?;
        if manifest.digest.is_some_and(|said| said != digest) {
            return Err(Failure::DigestMismatch { found: digest });
        }
        let references = references::check(&manifest.content, manifest.media_type.as_deref())?;
        let missing = self.missing_references(call, name, references).await?;
        if !missing.is_empty() {
            return Err(Failure::MissingReferences(missing));
        }
        let path = layout::blob(&digest);
        self.storage.put(call, &path, manifest.content, &Condition::Always).await?;
        self.saw_content(&digest);
        // Until the last tag is there, no deletion may take the link that the tags lead through.
        let _shared = self.revision_locks.of(&(name, &digest)).read().await;
        self.write_link(call, &layout::revision_link(name, &digest), &digest).await?;
        for tag in &manifest.tags {
            self.write_tag(call, name, tag, &digest).await?;
        }
        Ok(digest)
    }

    /// Takes a manifest and all its tags out of the repository.
    ///
    /// # Errors
    /// [`Failure::ManifestUnknown`].
    pub async fn delete_manifest(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<()> {
        let link = layout::revision_link(name, digest);
        let _alone = self.revision_locks.of(&(name, digest)).write().await;
        if self.read_link(call, &link).await?.is_none() {
            return Err(Failure::ManifestUnknown);
        }
        // Tags first: a tag never points to a manifest that is gone.
        self.delete_tags_of(call, name, digest).await?;
        self.storage.delete(call, &link).await.map_err(Failure::absent_as(Failure::ManifestUnknown))
    }

    async fn missing_references(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        references: Vec<Reference>,
    ) -> Result<Vec<MissingReference>> {
        let mut missing: Vec<_> = stream::iter(references)
            .map(|reference| async move {
                let present = self.has_reference(call, name, &reference).await?;
                Ok::<_, Failure>((!present).then_some(MissingReference { digest: reference.digest }))
            })
            .buffer_unordered(PARALLEL_CALLS)
            .try_filter_map(|missing| async { Ok(missing) })
            .try_collect()
            .await?;
        missing.sort();
        Ok(missing)
    }

    async fn has_reference(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        reference: &Reference,
    ) -> Result<bool> {
        let digest = &reference.digest;
        match reference.target {
            Target::Blob => self.has_blob(call, name, digest).await,
            Target::Manifest => self.has_manifest(call, name, digest).await,
            Target::BlobOrManifest => {
                Ok(self.has_manifest(call, name, digest).await? || self.has_blob(call, name, digest).await?)
            }
        }
    }

    /// Whether the repository has the manifest and the manifest has content.
    async fn has_manifest(&self, call: &CallContext, name: &RepositoryName, digest: &Digest) -> Result<bool> {
        let (link, path) = (layout::revision_link(name, digest), layout::blob(digest));
        if self.saw_content_lately(digest) {
            return self.is_linked(call, &link, digest).await;
        }
        let (linked, info) =
            futures::join!(self.is_linked(call, &link, digest), self.storage.head(call, &path));
        match (linked?, info) {
            (false, _) => Ok(false),
            (true, Ok(_)) => Ok(true),
            (true, Err(error)) if error.is_not_found() => Ok(false),
            (true, Err(error)) => Err(error.into()),
        }
    }
}
