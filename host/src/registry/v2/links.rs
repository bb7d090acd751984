//! Links: small objects that hold a digest.

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Condition, ObjectPath};

use super::{Registry, Result};
use crate::{registry::digest::Digest, storage::Storage};

/// More than the longest digest; what is larger is no link.
const MAX_LINK_BYTES: u64 = 1024;

impl Registry {
    /// The digest in a link, `None` when there is no link.
    ///
    /// Text that is no digest counts as no link as well: a power cut can leave empty links in a store
    /// that another server wrote, and then a new push must be able to heal it.
    pub(super) async fn read_link(&self, call: &CallContext, path: &ObjectPath) -> Result<Option<Digest>> {
        read_link(&self.storage, call, path).await
    }

    /// Whether the link at `path` leads to `digest`, in this storage: the one that answers clients where one asks, and
    /// the storage itself where a write follows from it.
    pub(super) async fn is_linked_in(
        &self,
        storage: &Storage,
        call: &CallContext,
        path: &ObjectPath,
        digest: &Digest,
    ) -> Result<bool> {
        Ok(read_link(storage, call, path).await?.as_ref() == Some(digest))
    }

    /// Whether the link at `path` leads to `digest`, for a decision about a write.
    pub(super) async fn is_linked(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        digest: &Digest,
    ) -> Result<bool> {
        self.is_linked_in(&self.storage, call, path, digest).await
    }

    /// Writes a link.
    pub(super) async fn write_link(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        digest: &Digest,
    ) -> Result<()> {
        let content = Bytes::copy_from_slice(digest.as_str().as_bytes());
        self.storage.put(call, path, content, &Condition::Always).await?;
        Ok(())
    }
}

/// The digest in a link of this storage or of its cache; see [`Registry::read_link`].
pub(super) async fn read_link(
    storage: &Storage,
    call: &CallContext,
    path: &ObjectPath,
) -> Result<Option<Digest>> {
    let link = match storage.get(call, path, MAX_LINK_BYTES).await {
        Ok(link) => link,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let digest = std::str::from_utf8(&link.content).ok().and_then(|text| Digest::parse(text.trim()).ok());
    if digest.is_none() {
        tracing::warn!(path = path.as_str(), "a link holds no digest and is taken as absent");
    }
    Ok(digest)
}
