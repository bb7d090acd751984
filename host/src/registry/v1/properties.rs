//! A repository's only property: whether it is private.

use bytes::Bytes;
use docker_registry_driver_api::CallContext;
use serde_json::Value;

use super::{Error, Registry, Result, json, names::RepositoryName};
use crate::layout::v1::RepositoryPaths;

impl Registry {
    /// Whether the repository is private. One that does not exist is public.
    ///
    /// # Errors
    /// The storage's.
    pub async fn is_private(&self, call: &CallContext, repository: &RepositoryName) -> Result<bool> {
        Ok(self.head(call, &RepositoryPaths::new(repository).private()?).await?.is_some())
    }

    /// Sets the access that `content`, an object with `access`, names. Values other than `private` and
    /// `public` change nothing, as in 0.9.1.
    ///
    /// # Errors
    /// [`Error::InvalidData`], or the storage's.
    pub async fn put_properties(
        &self,
        call: &CallContext,
        repository: &RepositoryName,
        content: Bytes,
    ) -> Result<()> {
        let properties = json::parse(content).await.unwrap_or_default();
        let access = properties.get("access").ok_or(Error::InvalidData)?;
        let path = RepositoryPaths::new(repository).private()?;
        match access {
            Value::String(access) if access == "private" => self.put(call, &path, Bytes::new()).await,
            Value::String(access) if access == "public" => self.delete(call, &path).await,
            _ => Ok(()),
        }
    }
}
