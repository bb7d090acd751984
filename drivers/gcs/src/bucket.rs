//! The bucket as the engine sees it: one of the two APIs, with tokens that are replaced when they are refused.

use std::{ops::Range, sync::Arc};

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait};
use docker_registry_object_storage::bucket::{
    Begun, Bucket, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall,
};

use crate::tokens::Tokens;

/// A bucket whose refused tokens are worth another attempt with a fresh one.
pub(crate) struct Renewing {
    bucket: Box<dyn Bucket>,
    tokens: Option<Arc<Tokens>>,
}

impl Renewing {
    pub(crate) fn new(bucket: Box<dyn Bucket>, tokens: Option<Arc<Tokens>>) -> Self {
        Self { bucket, tokens }
    }

    /// Learns from an answer what the token is worth.
    fn seen<T>(&self, result: Result<T>) -> Result<T> {
        let Some(tokens) = &self.tokens else { return result };
        match result {
            Err(mut error) if error.kind == ErrorKind::Unauthenticated => {
                error.retryable = tokens.reject();
                Err(error)
            }
            Ok(value) => {
                tokens.prove();
                Ok(value)
            }
            other => other,
        }
    }
}

#[async_trait]
impl Bucket for Renewing {
    fn limits(&self) -> &Limits {
        self.bucket.limits()
    }

    async fn probe(&self) -> Result<()> {
        self.seen(self.bucket.probe().await)
    }

    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        self.seen(self.bucket.get(key, range, if_match).await)
    }

    async fn head(&self, key: &str) -> Result<Facts> {
        self.seen(self.bucket.head(key).await)
    }

    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        self.seen(self.bucket.put(key, content, condition, mark).await)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.seen(self.bucket.delete(key).await)
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        self.seen(self.bucket.delete_batch(keys).await)
    }

    async fn list(&self, call: &ListCall) -> Result<Listing> {
        self.seen(self.bucket.list(call).await)
    }

    async fn copy(&self, from: &str, to: &str, size: u64) -> Result<()> {
        self.seen(self.bucket.copy(from, to, size).await)
    }

    async fn begin(&self, key: &str, condition: &Condition, mark: Option<&str>) -> Result<String> {
        self.seen(self.bucket.begin(key, condition, mark).await)
    }

    async fn part(&self, key: &str, id: &str, part: NewPart) -> Result<Part> {
        self.seen(self.bucket.part(key, id, part).await)
    }

    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        self.seen(self.bucket.copy_part(key, id, number, from, range).await)
    }

    async fn finish(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.seen(self.bucket.finish(key, id, parts, condition).await)
    }

    async fn abandon(&self, key: &str, id: &str) -> Result<()> {
        self.seen(self.bucket.abandon(key, id).await)
    }

    async fn list_begun(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        self.seen(self.bucket.list_begun(prefix, after).await)
    }

    async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        self.bucket.sign(call).await
    }
}
