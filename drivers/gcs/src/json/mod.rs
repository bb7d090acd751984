//! The JSON API: the bucket and what all its calls share.

mod batch;
mod objects;

use std::{ops::Range, time::SystemTime};

use bytes::Bytes;
use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait};
use docker_registry_object_storage::{
    bucket::{
        Begun, Bucket, Content, Facts, Limits, ListCall, Listing, MARK, NewPart, Opened, Part, SignCall,
    },
    http::{AnswerBody, Call},
    xml::Address,
};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::HashMap;

use self::objects::described;
use crate::{
    dialect::{by_sessions, tag_of, wanted_generation},
    service::{Service, corrupt},
    sessions::Sessions,
    signature::encode,
};

/// Largest JSON document: a page of 1,000 long names.
const LARGEST_DOCUMENT: usize = 16 << 20;

/// A bucket by the JSON API.
pub(crate) struct JsonBucket {
    service: Service,
    sessions: Sessions,
    /// Path of the objects, without `/` at the end.
    objects: String,
    /// Where signed addresses lead.
    address: Address,
    limits: Limits,
}

/// What the API says of an object, as far as it is asked.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Resource {
    name: String,
    size: Option<String>,
    generation: Option<String>,
    updated: Option<String>,
    metadata: HashMap<String, String>,
}

/// The fields of [`Resource`].
const FIELDS: &str = "name,size,generation,updated,metadata";

impl Resource {
    fn size(&self) -> Result<u64> {
        let size = self.size.as_ref().and_then(|size| size.parse().ok());
        size.ok_or_else(|| corrupt("does not say how large the object is"))
    }

    pub(crate) fn etag(&self) -> Option<ETag> {
        tag_of(self.generation.as_deref()?)
    }

    fn modified(&self) -> Option<SystemTime> {
        SystemTime::try_from(self.updated.as_ref()?.parse::<Timestamp>().ok()?).ok()
    }

    fn facts(mut self) -> Result<Facts> {
        let (size, modified, etag) = (self.size()?, self.modified(), self.etag());
        Ok(Facts { size, modified, etag, mark: self.metadata.remove(MARK) })
    }
}

impl JsonBucket {
    pub(crate) fn new(service: Service, address: Address) -> Self {
        let limits = Limits { largest_batch: batch::MOST, ..by_sessions(&service.signer) };
        let objects = format!("/storage/v1/b/{}/o", encode(&address.bucket));
        let sessions = Sessions::new(service.clone(), "/upload/".to_owned());
        Self { service, sessions, objects, address, limits }
    }

    /// Path of an object.
    fn object(&self, key: &str) -> String {
        format!("{}/{}", self.objects, encode(key))
    }
}

/// Reads a document.
pub(crate) async fn document<T: DeserializeOwned>(
    call: Call,
    answer: http::Response<AnswerBody>,
) -> Result<T> {
    let unknown = |error: Error| if call.writes { error.outcome_unknown() } else { error };
    let document = answer.into_body().bytes(LARGEST_DOCUMENT).await.map_err(unknown)?;
    serde_json::from_slice(&document)
        .map_err(|error| unknown(corrupt("is not the JSON that belongs here").caused_by(&error)))
}

#[async_trait]
impl Bucket for JsonBucket {
    fn limits(&self) -> &Limits {
        &self.limits
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

    async fn copy(&self, from: &str, to: &str, _size: u64) -> Result<()> {
        self.rewrite(from, to).await
    }

    async fn begin(&self, key: &str, condition: &Condition, mark: Option<&str>) -> Result<String> {
        let mut target = format!("/upload{}?uploadType=resumable&name={}", self.objects, encode(key));
        target += &format!("&fields={}", encode(FIELDS));
        if let Some(generation) = wanted_generation(condition)? {
            target += &format!("&ifGenerationMatch={generation}");
        }
        let content = Content::from(Bytes::from(described(mark).to_string()));
        let headers = [("content-type", "application/json; charset=UTF-8")];
        self.sessions.begin(&target, &headers, content).await
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
        self.signed_address(call).await
    }
}
