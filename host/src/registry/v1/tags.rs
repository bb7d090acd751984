//! Tags, their metadata, and the deletion of repositories.
//!
//! A tag moves in one write, the last one of its request: after a failed request it points to where it
//! pointed before. Deleting takes the tag first; metadata without a tag is never shown as one.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Error as StorageError, ErrorKind, ListRequest, ObjectPath};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::{
    Error, Registry, Result, json,
    names::{ImageId, RepositoryName},
    present,
};
use crate::{
    layout::v1::{ImagePaths, RepositoryPaths, tag_of_file},
    storage::Storage,
};

/// Tags of a repository that are read at the same time.
const CONCURRENT_READS: usize = 32;
/// Largest content of a tag in bytes. It is an image id; metadata that may be in its place is small too.
const MAX_TAG: u64 = 64 << 10;

/// What a client says of itself, kept as a tag's metadata.
#[derive(Debug, Clone, Default)]
pub struct PushedBy {
    /// The `User-Agent` header.
    pub user_agent: String,
}

impl PushedBy {
    /// The metadata as it is stored. 0.9.1 picks `name/value` pairs: `docker/1.6.2 go/go1.4.2 os/linux …`.
    fn metadata(&self, now: SystemTime) -> String {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut metadata = json!({ "last_update": seconds });
        for word in self.user_agent.split_whitespace() {
            let mut parts = word.split('/');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
            if name.is_empty() || value.is_empty() {
                continue;
            }
            match name {
                "docker" => metadata["docker_version"] = value.into(),
                "go" => metadata["docker_go_version"] = value.into(),
                "arch" | "kernel" | "os" => metadata[name] = value.to_lowercase().into(),
                _ => {}
            }
        }
        json::to_text(&metadata)
    }
}

/// What is said of a tag without metadata.
fn unknown_metadata() -> Value {
    json!({
        "arch": "amd64", "docker_go_version": null, "docker_version": null,
        "kernel": null, "last_update": null, "os": "linux",
    })
}

/// Whether the content is metadata and not a tag's image id: in a repository's folder the metadata of a
/// tag `_x` and the tag `x_json` have one name.
fn is_metadata(content: &[u8]) -> bool {
    content.trim_ascii_start().starts_with(b"{")
}

impl Registry {
    /// All tags with the ids they point to; `None` for content that cannot be an id.
    ///
    /// # Errors
    /// [`Error::RepositoryNotFound`] when the repository's folder holds nothing, or the storage's.
    pub async fn tags(
        &self,
        call: &CallContext,
        repository: &RepositoryName,
    ) -> Result<BTreeMap<String, Option<String>>> {
        let files = self.files_of(call, repository).await?;
        let tags = files.into_iter().filter_map(|path| Some((tag_of_file(path.name())?, path)));
        let read = stream::iter(tags.map(|(tag, path)| async move {
            match self.reads.get(call, &path, MAX_TAG).await {
                Ok(object) if is_metadata(&object.content) => Ok(None),
                Ok(object) => Ok(Some((tag, Some(String::from_utf8_lossy(&object.content).into_owned())))),
                Err(error) if error.is_not_found() => Ok(None),
                Err(error) if error.kind == ErrorKind::TooLarge => Ok(Some((tag, None))),
                Err(error) => Err(Error::from(error)),
            }
        }))
        .buffer_unordered(CONCURRENT_READS);
        read.try_filter_map(|tag| async { Ok(tag) }).try_collect().await
    }

    /// Paths of everything in a repository's folder.
    async fn files_of(&self, call: &CallContext, repository: &RepositoryName) -> Result<Vec<ObjectPath>> {
        let mut request = ListRequest::children(RepositoryPaths::new(repository).folder()?);
        let mut files = Vec::new();
        loop {
            let page = self.storage.list(call, &request).await?;
            for entry in page.entries {
                files.push(ObjectPath::new(entry.path)?);
            }
            match page.next {
                Some(next) => request.after = Some(next),
                None if files.is_empty() => return Err(Error::RepositoryNotFound),
                None => return Ok(files),
            }
        }
    }

    /// The image id that a tag points to.
    ///
    /// # Errors
    /// [`Error::TagNotFound`], or the storage's.
    pub async fn tag(&self, call: &CallContext, repository: &RepositoryName, tag: &str) -> Result<String> {
        let (_, content) =
            self.find_tag(&self.reads, call, repository, tag).await?.ok_or(Error::TagNotFound)?;
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// A tag under its own name, or under the stored name that 0.9.1 would have listed it by.
    async fn find_tag(
        &self,
        storage: &Storage,
        call: &CallContext,
        repository: &RepositoryName,
        tag: &str,
    ) -> Result<Option<(ObjectPath, Bytes)>> {
        let paths = RepositoryPaths::new(repository);
        for path in [Some(paths.tag(tag)?), paths.tag_as_listed(tag)].into_iter().flatten() {
            if let Some(object) = present(storage.get(call, &path, MAX_TAG).await)?
                && !is_metadata(&object.content)
            {
                return Ok(Some((path, object.content)));
            }
        }
        Ok(None)
    }

    /// Points a tag to the image whose id is the JSON text in `content`. An image whose push has not
    /// ended is accepted: docker tags right after the layer.
    ///
    /// # Errors
    /// [`Error::InvalidData`], [`Error::ImageNotFound`], or the storage's.
    pub async fn put_tag(
        &self,
        call: &CallContext,
        repository: &RepositoryName,
        tag: &str,
        content: Bytes,
        pushed_by: &PushedBy,
    ) -> Result<()> {
        let id = match json::parse(content).await {
            Some(Value::String(id)) if !id.is_empty() => id,
            _ => return Err(Error::InvalidData),
        };
        let paths = RepositoryPaths::new(repository);
        let (tag_path, metadata_path) = (paths.tag(tag)?, paths.tag_metadata(tag)?);
        let id = ImageId::parse(&id).ok_or(Error::ImageNotFound)?;
        self.head(call, &ImagePaths(&id).json()?).await?.ok_or(Error::ImageNotFound)?;

        let _order = self.locks.lock(&repository.to_string()).await;
        let metadata = pushed_by.metadata(SystemTime::now());
        // The metadata of `_x` would overwrite the tag `x_json`.
        if !tag.starts_with('_') {
            self.put(call, &metadata_path, metadata.clone()).await?;
        }
        if tag == "latest" {
            self.put(call, &paths.metadata()?, metadata).await?;
        }
        self.put(call, &tag_path, id.as_str().to_owned()).await
    }

    /// Deletes a tag and its metadata.
    ///
    /// # Errors
    /// [`Error::NoTagToDelete`], or the storage's.
    pub async fn delete_tag(&self, call: &CallContext, repository: &RepositoryName, tag: &str) -> Result<()> {
        let paths = RepositoryPaths::new(repository);
        let _order = self.locks.lock(&repository.to_string()).await;
        let (path, _) = self
            .find_tag(&self.storage, call, repository, tag)
            .await?
            .ok_or_else(|| Error::NoTagToDelete(tag.to_owned()))?;
        self.delete(call, &path).await?;
        let mut metadata = vec![paths.tag_metadata(tag)?];
        if tag == "latest" {
            metadata.push(paths.metadata()?);
        }
        for path in metadata {
            if let Err(error) = self.delete_metadata(call, &path).await {
                // The tag is gone, which is what was asked for; the rest is not visible.
                tracing::warn!(%error, "metadata of a deleted tag is left over");
            }
        }
        Ok(())
    }

    async fn delete_metadata(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        match present(self.storage.get(call, path, MAX_TAG).await)? {
            Some(object) if is_metadata(&object.content) => self.delete(call, path).await,
            _ => Ok(()),
        }
    }

    /// Deletes a repository with all its tags. Images stay, for other repositories may use them.
    ///
    /// # Errors
    /// [`Error::RepositoryNotFound`], or the storage's; some of it may then be gone.
    pub async fn delete_repository(&self, call: &CallContext, repository: &RepositoryName) -> Result<()> {
        let _order = self.locks.lock(&repository.to_string()).await;
        self.files_of(call, repository).await?;
        self.storage.delete_tree(call, &RepositoryPaths::new(repository).folder()?).await?;
        Ok(())
    }

    /// Who pushed the tag last, and when.
    ///
    /// # Errors
    /// The storage's.
    pub async fn tag_metadata(
        &self,
        call: &CallContext,
        repository: &RepositoryName,
        tag: &str,
    ) -> Result<Value> {
        self.metadata(call, RepositoryPaths::new(repository).tag_metadata(tag)).await
    }

    /// Who pushed `latest` last, and when.
    ///
    /// # Errors
    /// The storage's.
    pub async fn repository_metadata(
        &self,
        call: &CallContext,
        repository: &RepositoryName,
    ) -> Result<Value> {
        self.metadata(call, RepositoryPaths::new(repository).metadata()).await
    }

    async fn metadata(
        &self,
        call: &CallContext,
        path: std::result::Result<ObjectPath, StorageError>,
    ) -> Result<Value> {
        let Some(stored) = present(self.reads.get(call, &path?, MAX_TAG).await)? else {
            return Ok(unknown_metadata());
        };
        match json::parse(stored.content).await {
            Some(metadata @ Value::Object(_)) => Ok(metadata),
            _ => Ok(unknown_metadata()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn metadata_is_picked_from_the_user_agent() {
        let user_agent =
            "docker/1.6.2 go/go1.4.2 git-commit/7c8fca2 kernel/3.16.0 os/Linux arch/amd64 x /y z/";
        let pushed_by = PushedBy { user_agent: user_agent.to_owned() };
        assert_eq!(
            pushed_by.metadata(UNIX_EPOCH + Duration::from_secs(7)),
            r#"{"arch": "amd64", "docker_go_version": "go1.4.2", "docker_version": "1.6.2", "kernel": "3.16.0", "last_update": 7, "os": "linux"}"#
        );
        assert_eq!(PushedBy::default().metadata(UNIX_EPOCH), r#"{"last_update": 0}"#);
    }
}
