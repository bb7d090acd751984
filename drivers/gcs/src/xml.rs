//! The XML API: that of the family for whole objects, sessions for large ones.
//!
//! The API has uploads by parts as well, but they are finished under no condition, and conditions are what keeps two writers
//! apart. A session takes its condition when it begins.

use std::ops::Range;

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait};
use docker_registry_object_storage::{
    bucket::{Begun, Bucket, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall},
    xml::{XmlBucket, encode},
};

use crate::{
    dialect::{Google, IF_GENERATION, wanted_generation},
    service::Service,
    sessions::Sessions,
};

/// Name of the header that carries the mark.
const MARK_HEADER: &str = "x-goog-meta-dockerregistrymark";

/// A bucket by the XML API.
pub(crate) struct XmlStore {
    xml: XmlBucket<Google>,
    sessions: Sessions,
    bucket: String,
}

impl XmlStore {
    pub(crate) fn new(xml: XmlBucket<Google>, service: Service, bucket: String) -> Self {
        let sessions = Sessions::new(service, format!("/{bucket}/"));
        Self { xml, sessions, bucket }
    }
}

#[async_trait]
impl Bucket for XmlStore {
    fn limits(&self) -> &Limits {
        self.xml.limits()
    }

    async fn probe(&self, root: &str) -> Result<()> {
        self.xml.probe(root).await
    }

    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        self.xml.get(key, range, if_match).await
    }

    async fn head(&self, key: &str) -> Result<Facts> {
        self.xml.head(key).await
    }

    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        self.xml.put(key, content, condition, mark).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.xml.delete(key).await
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        let mut stay = Vec::new();
        for key in keys {
            match self.xml.delete(key).await {
                Err(error) if !error.is_not_found() => stay.push((key.clone(), error)),
                _ => {}
            }
        }
        Ok(stay)
    }

    async fn list(&self, call: &ListCall) -> Result<Listing> {
        self.xml.list(call).await
    }

    async fn copy(&self, from: &str, to: &str, size: u64) -> Result<()> {
        self.xml.copy(from, to, size).await
    }

    async fn begin(&self, key: &str, condition: &Condition, mark: Option<&str>) -> Result<String> {
        let generation = wanted_generation(condition)?.map(|generation| generation.to_string());
        let mut headers = vec![("x-goog-resumable", "start")];
        headers.extend(generation.as_deref().map(|generation| (IF_GENERATION, generation)));
        headers.extend(mark.map(|mark| (MARK_HEADER, mark)));
        let target = format!("/{}/{}", self.bucket, encode(key));
        self.sessions.begin(&target, &headers, Content::default()).await
    }

    async fn part(&self, _key: &str, id: &str, part: NewPart) -> Result<Part> {
        self.sessions.chunk(id, part).await
    }

    async fn copy_part(&self, _: &str, _: &str, _: u32, _: &str, _: Range<u64>) -> Result<Part> {
        Err(Error::new(ErrorKind::Unsupported, "Google Cloud Storage does not copy parts"))
    }

    async fn finish(&self, _: &str, id: &str, parts: &[Part], _: &Condition) -> Result<Option<ETag>> {
        self.sessions.end(id, parts).await
    }

    async fn abandon(&self, _key: &str, id: &str) -> Result<()> {
        self.sessions.cancel(id).await
    }

    async fn list_begun(&self, _: &str, _: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        Err(Error::new(ErrorKind::Unsupported, "Google Cloud Storage does not list its sessions"))
    }

    async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        self.xml.sign(call).await
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_object_storage::bucket::MARK;

    use super::*;

    #[test]
    fn the_mark_is_found_where_the_family_looks_for_it() {
        assert_eq!(MARK_HEADER, format!("x-goog-meta-{MARK}"));
    }
}
