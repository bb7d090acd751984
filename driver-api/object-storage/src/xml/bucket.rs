//! The bucket: the calls of the family, one request each.

use std::ops::Range;

use docker_registry_driver_api::{Condition, ETag, Error, ReadRange, Result};

use super::dialect::{Address, Dialect};
use crate::{
    bucket::{Begun, Bucket, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall},
    http::Transport,
};

/// A bucket of a store of the S3 family.
pub struct XmlBucket<D> {
    pub(super) transport: Transport,
    pub(super) dialect: D,
    pub(super) address: Address,
    pub(super) public: Address,
}

impl<D: Dialect> XmlBucket<D> {
    /// A bucket at `address`.
    pub fn new(transport: Transport, dialect: D, address: Address) -> Self {
        let public = address.clone();
        Self { transport, dialect, address, public }
    }

    /// The same, with another address in signed addresses: the one that clients reach, where the server itself
    /// takes an internal one.
    #[must_use]
    pub fn with_public_address(mut self, public: Address) -> Self {
        self.public = public;
        self
    }

    /// The dialect.
    pub fn dialect(&self) -> &D {
        &self.dialect
    }
}

#[docker_registry_driver_api::async_trait]
impl<D: Dialect> Bucket for XmlBucket<D> {
    fn limits(&self) -> &Limits {
        self.dialect().limits()
    }

    async fn probe(&self, root: &str) -> Result<()> {
        self.probe_bucket(root).await
    }

    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        self.get_object(key, range, if_match).await
    }

    async fn head(&self, key: &str) -> Result<Facts> {
        self.head_object(key).await
    }

    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        self.put_object(key, content, condition, mark).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.delete_object(key).await
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        self.delete_objects(keys).await
    }

    async fn list(&self, call: &ListCall) -> Result<Listing> {
        self.list_objects(call).await
    }

    async fn copy(&self, from: &str, to: &str, size: u64) -> Result<()> {
        let _ = size;
        self.copy_object(from, to).await
    }

    async fn begin(&self, key: &str, condition: &Condition, mark: Option<&str>) -> Result<String> {
        let _ = condition;
        self.create_upload(key, mark).await
    }

    async fn part(&self, key: &str, id: &str, part: NewPart) -> Result<Part> {
        self.upload_part(key, id, part).await
    }

    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        self.upload_part_copy(key, id, number, from, range).await
    }

    async fn finish(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.complete_upload(key, id, parts, condition).await
    }

    async fn abandon(&self, key: &str, id: &str) -> Result<()> {
        self.abort_upload(key, id).await
    }

    async fn list_begun(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        self.list_uploads(prefix, after).await
    }

    async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        self.signed_address(call).await
    }
}
