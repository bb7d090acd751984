//! How Google's XML API differs from its relatives: generations instead of entity tags, its own signatures, sessions
//! instead of uploads by parts.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, Result, async_trait};
use docker_registry_object_storage::{
    bucket::Limits,
    xml::{Dialect, Form, Payload},
};
use http::{HeaderMap, HeaderValue, request::Parts};

use crate::{sessions::MULTIPLE, signing::Signer};

/// Largest object, and so the largest of everything: 5 TiB.
pub(crate) const LARGEST: u64 = 5 << 40;

const GENERATION: &str = "x-goog-generation";
pub(crate) const IF_GENERATION: &str = "x-goog-if-generation-match";

/// The dialect.
pub(crate) struct Google {
    signer: Arc<Signer>,
    limits: Limits,
    form: Form,
}

impl Google {
    pub(crate) fn new(signer: Arc<Signer>) -> Self {
        let limits = Limits { largest_batch: 1, ..by_sessions(&signer) };
        // Google compares the content with its MD5; with keys of a customer the tag is no MD5.
        let form = Form { etag_is_md5: false, ..Form::gcs() };
        Self { signer, limits, form }
    }
}

/// The limits that both APIs have.
pub(crate) fn by_sessions(signer: &Signer) -> Limits {
    Limits {
        largest_put: LARGEST,
        smallest_part: MULTIPLE,
        part_multiple: MULTIPLE,
        parallel_parts: false,
        copied_parts: false,
        largest_copy: LARGEST,
        lists_begun: false,
        signs: signer.signs(),
        ..Limits::s3()
    }
}

/// The tag of a generation.
pub(crate) fn tag_of(generation: &str) -> Option<ETag> {
    generation.parse::<u64>().ok().map(|generation| ETag(format!("\"{generation}\"")))
}

/// The generation of a tag.
///
/// # Errors
/// `ConditionFailed`: a tag that is no generation was never given to an object.
pub(crate) fn generation_of(tag: &ETag) -> Result<u64> {
    let generation = tag.0.trim_matches('"').parse().ok().filter(|generation| *generation > 0);
    generation.ok_or_else(|| Error::new(ErrorKind::ConditionFailed, "this tag was not given by the store"))
}

/// The generation that an object must have for a write to happen; 0 for no object.
pub(crate) fn wanted_generation(condition: &Condition) -> Result<Option<u64>> {
    Ok(match condition {
        Condition::Always => None,
        Condition::IfAbsent => Some(0),
        Condition::IfMatch(tag) => Some(generation_of(tag)?),
    })
}

/// The tag in the headers of an answer.
pub(crate) fn tag_in(headers: &HeaderMap) -> Option<ETag> {
    tag_of(headers.get(GENERATION)?.to_str().ok()?)
}

#[async_trait]
impl Dialect for Google {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn form(&self) -> &Form {
        &self.form
    }

    async fn sign(&self, head: &mut Parts, payload: &Payload) -> Result<()> {
        self.signer.sign(head, payload.sha256.as_deref()).await
    }

    async fn presign(&self, head: &mut Parts, expires: Duration) -> Result<()> {
        self.signer.presign(head, expires).await
    }

    fn condition(&self, condition: &Condition, headers: &mut HeaderMap) -> Result<()> {
        let Some(generation) = wanted_generation(condition)? else { return Ok(()) };
        headers.insert(IF_GENERATION, HeaderValue::from(generation));
        Ok(())
    }

    fn read_condition(&self, tag: &ETag, headers: &mut HeaderMap) -> Result<()> {
        headers.insert(IF_GENERATION, HeaderValue::from(generation_of(tag)?));
        Ok(())
    }

    fn tag(&self, headers: &HeaderMap) -> Option<ETag> {
        tag_in(headers)
    }

    fn listed_tag(&self, _etag: Option<String>, generation: Option<String>) -> Option<ETag> {
        tag_of(&generation?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_generations_and_nothing_else_is_one() {
        let tag = tag_of("1360887697105000").unwrap();
        assert_eq!(tag.0, "\"1360887697105000\"");
        assert_eq!(generation_of(&tag).unwrap(), 1_360_887_697_105_000);
        for wrong in ["", "\"0\"", "\"d41d8cd98f00b204e9800998ecf8427e\"", "-1"] {
            let error = generation_of(&ETag(wrong.to_owned())).unwrap_err();
            assert_eq!(error.kind, ErrorKind::ConditionFailed, "{wrong}");
        }
    }
}
