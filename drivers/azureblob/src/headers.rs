//! What the service writes into headers, and what it wants to find there.

use std::time::SystemTime;

use docker_registry_driver_api::{Condition, ETag};
use docker_registry_object_storage::bucket::MARK;
use http::HeaderMap;

/// The header of the mark of a write.
pub(crate) fn mark() -> String {
    format!("x-ms-meta-{MARK}")
}

/// The header that says when a write is to take effect.
pub(crate) fn conditional(condition: &Condition) -> Option<(String, String)> {
    match condition {
        Condition::Always => None,
        Condition::IfAbsent => Some(("if-none-match".to_owned(), "*".to_owned())),
        Condition::IfMatch(ETag(tag)) => Some(("if-match".to_owned(), tag.clone())),
    }
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

pub(crate) fn etag(headers: &HeaderMap) -> Option<ETag> {
    text(headers, "etag").map(quoted)
}

/// A tag as headers have it. Listings leave the quotes out.
pub(crate) fn quoted(tag: &str) -> ETag {
    ETag(if tag.ends_with('"') { tag.to_owned() } else { format!("\"{tag}\"") })
}

pub(crate) fn time(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}
