//! Answers in JSON, with the headers that 0.9.1 puts around them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::Value;

use crate::{
    http::exchange::{Response, empty, set, whole},
    registry::v1::json::to_text,
};

pub(super) const X_DOCKER_CHECKSUM_PAYLOAD: HeaderName = HeaderName::from_static("x-docker-checksum-payload");
pub(super) const X_DOCKER_ENDPOINTS: HeaderName = HeaderName::from_static("x-docker-endpoints");
pub(super) const X_DOCKER_REGISTRY_CONFIG: HeaderName = HeaderName::from_static("x-docker-registry-config");
pub(super) const X_DOCKER_REGISTRY_STANDALONE: HeaderName =
    HeaderName::from_static("x-docker-registry-standalone");
pub(super) const X_DOCKER_REGISTRY_VERSION: HeaderName = HeaderName::from_static("x-docker-registry-version");
pub(super) const X_DOCKER_SIZE: HeaderName = HeaderName::from_static("x-docker-size");
pub(super) const X_DOCKER_TOKEN: HeaderName = HeaderName::from_static("x-docker-token");

/// How long what never changes may be kept: a year.
const KEPT_FOR: Duration = Duration::from_secs(31_536_000);
/// What 0.9.1 says of it.
const KEPT_BY_ALL: &str = "public, max-age=31536000";
/// What is said instead when there are passwords: a cache that others share would give it to everybody.
const KEPT_BY_ONE: &str = "private, max-age=31536000";
/// The time of the last change that all images share (0.9.1).
pub(super) const LAST_MODIFIED: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

/// An answer that must not be kept.
pub(super) fn answer(status: StatusCode, value: &Value) -> Response {
    verbatim(status, to_text(value))
}

/// An answer that must not be kept, from JSON text.
pub(super) fn verbatim(status: StatusCode, text: impl Into<Bytes>) -> Response {
    let mut response = whole(status, "application/json", text);
    do_not_keep(&mut response);
    response
}

/// "Done": the answer of 0.9.1 where there is nothing to say.
pub(super) fn done() -> Response {
    answer(StatusCode::OK, &Value::Bool(true))
}

/// 204, which 0.9.1 sends with the type and the headers of all its answers.
pub(super) fn no_content() -> Response {
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    do_not_keep(&mut response);
    response
}

/// Keeps an answer out of every cache.
pub(super) fn do_not_keep(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::EXPIRES, HeaderValue::from_static("-1"));
}

/// Marks an answer as one that never changes.
pub(super) fn keep(response: &mut Response) {
    let expires = httpdate::fmt_http_date(SystemTime::now() + KEPT_FOR);
    set(response, header::CACHE_CONTROL, KEPT_BY_ALL);
    set(response, header::EXPIRES, &expires);
    set(response, header::LAST_MODIFIED, LAST_MODIFIED);
    response.headers_mut().remove(header::PRAGMA);
}

/// Leaves an answer that may be kept to the cache of the client alone.
pub(super) fn keep_from_others(response: &mut Response) {
    if response.headers().get(header::CACHE_CONTROL).is_some_and(|value| value == KEPT_BY_ALL) {
        set(response, header::CACHE_CONTROL, KEPT_BY_ONE);
    }
}

/// The answer to a client that has it already.
pub(super) fn not_modified() -> Response {
    let mut response = empty(StatusCode::NOT_MODIFIED);
    keep(&mut response);
    response.headers_mut().remove(header::LAST_MODIFIED);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_a_login_is_kept_by_its_client_alone() {
        for (mut response, said) in
            [(not_modified(), "private, max-age=31536000"), (done(), "no-cache"), (no_content(), "no-cache")]
        {
            keep_from_others(&mut response);
            assert_eq!(response.headers()[header::CACHE_CONTROL], said);
        }
    }
}
