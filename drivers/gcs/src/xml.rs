//! The XML API: that of the family, and a conditional end for uploads by parts.
//!
//! Google takes no precondition when parts become an object. An upload that has a condition is therefore made
//! under a name of its own among the uploads, and becomes visible by a copy, which takes one.

use std::{ops::Range, sync::Arc, time::Duration};

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait};
use docker_registry_object_storage::{
    bucket::{Begun, Bucket, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall},
    http::{Call, Subject, fault},
    scratch_key,
    xml::{Dialect, Request, Write, XmlBucket, encode},
};
use http::{HeaderMap, Method};

use crate::dialect::{Google, tag_in};

/// How the id of a conditional upload begins. Google's own ids have no `:`.
const CONDITIONAL: &str = "conditional:";

/// How often an object is deleted later that could not be deleted at once, and how long the first pause is.
const ATTEMPTS_LATER: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Largest answer to a copy.
const LARGEST_ANSWER: usize = 64 << 10;

/// A bucket by the XML API.
pub(crate) struct XmlStore {
    xml: Arc<XmlBucket<Google>>,
    bucket: String,
    root: String,
}

impl XmlStore {
    pub(crate) fn new(xml: XmlBucket<Google>, bucket: String, root: String) -> Self {
        Self { xml: Arc::new(xml), bucket, root }
    }

    /// Key and id by which the store knows an upload, and whether it is conditional.
    fn real<'a>(&self, key: &str, id: &'a str) -> (String, &'a str, bool) {
        match id.strip_prefix(CONDITIONAL).and_then(|rest| rest.split_once(':')) {
            Some((name, id)) => (self.in_root(name), id, true),
            None => (key.to_owned(), id, false),
        }
    }

    fn in_root(&self, name: &str) -> String {
        if self.root.is_empty() { name.to_owned() } else { format!("{}/{name}", self.root) }
    }

    /// Copies with a condition; user metadata goes along, the mark included.
    async fn publish(&self, from: &str, to: &str, condition: &Condition) -> Result<Option<ETag>> {
        let mut headers = HeaderMap::new();
        self.xml.dialect().condition(Write::Copy, condition, &mut headers)?;
        let mut request = Request::new(Method::PUT, to)
            .header("x-goog-copy-source", &format!("/{}/{}", self.bucket, encode(from)))?
            .header("x-goog-metadata-directive", "COPY")?;
        for (name, value) in &headers {
            request = request.header(name.as_str(), value.to_str().unwrap_or_default())?;
        }
        let call = Call::writing("finish", Subject::Object).slow();
        let answer = self.xml.exchange(call, request, Content::default()).await?;
        let tag = tag_in(answer.headers());
        let document = answer.into_body().bytes(LARGEST_ANSWER).await.map_err(Error::outcome_unknown)?;
        if fault::is_error_document(&document) {
            let message = "Google Cloud Storage began to copy an object and failed";
            return Err(Error::new(ErrorKind::Unavailable, message).outcome_unknown());
        }
        Ok(tag)
    }

    async fn finish_conditionally(
        &self,
        (scratch, id): (&str, &str),
        key: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        match self.xml.finish(scratch, id, parts, &Condition::Always).await {
            // An earlier attempt may have come this far: then the copy finds its source.
            Err(error) if error.is_not_found() => {}
            Err(mut error) => {
                // Nothing is visible under the key yet.
                error.outcome_unknown = false;
                return Err(error);
            }
            Ok(_) => {}
        }
        let result = self.publish(scratch, key, condition).await;
        if matches!(&result, Ok(_) | Err(Error { kind: ErrorKind::ConditionFailed, .. }))
            && let Err(error) = self.xml.delete(scratch).await
            && !error.is_not_found()
        {
            // Nobody waits for it: the object has its name.
            tokio::spawn(delete_later(Arc::clone(&self.xml), scratch.to_owned()));
        }
        result
    }
}

/// Deletes an object that was copied to its name. What stays is found by `list_uploads`.
async fn delete_later(xml: Arc<XmlBucket<Google>>, key: String) {
    let mut pause = FIRST_PAUSE;
    for _ in 0..ATTEMPTS_LATER {
        tokio::time::sleep(pause).await;
        pause *= 2;
        match xml.delete(&key).await {
            Err(error) if !error.is_not_found() => {
                tracing::debug!(%error, key, "an object that was copied to its name stays for now");
            }
            _ => return,
        }
    }
    tracing::warn!(key, "an object that was copied to its name stays until uploads are purged");
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
        if *condition == Condition::Always {
            return self.xml.begin(key, condition, mark).await;
        }
        let scratch = scratch_key(&self.root, key);
        let name = scratch.strip_prefix(&self.in_root("")).unwrap_or(&scratch);
        let id = self.xml.begin(&scratch, &Condition::Always, mark).await?;
        Ok(format!("{CONDITIONAL}{name}:{id}"))
    }

    async fn part(&self, key: &str, id: &str, part: NewPart) -> Result<Part> {
        let (key, id, _) = self.real(key, id);
        self.xml.part(&key, id, part).await
    }

    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        let (key, id, _) = self.real(key, id);
        self.xml.copy_part(&key, id, number, from, range).await
    }

    async fn finish(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        match self.real(key, id) {
            (scratch, id, true) => self.finish_conditionally((&scratch, id), key, parts, condition).await,
            (key, id, false) => self.xml.finish(&key, id, parts, condition).await,
        }
    }

    async fn abandon(&self, key: &str, id: &str) -> Result<()> {
        let (key, id, is_conditional) = self.real(key, id);
        self.xml.abandon(&key, id).await?;
        if is_conditional {
            // It may have become an object whose copy never came.
            return match self.xml.delete(&key).await {
                Err(error) if !error.is_not_found() => Err(error),
                _ => Ok(()),
            };
        }
        Ok(())
    }

    async fn list_begun(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        self.xml.list_begun(prefix, after).await
    }

    async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        self.xml.sign(call).await
    }
}
