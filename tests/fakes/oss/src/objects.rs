//! Single objects: written whole, appended to, read in ranges.

use http::{Method, Response, header};
use hyper::body::Incoming;

use crate::call::Call;
use crate::content::{Content, Digests};
use crate::fault::Fault;
use crate::reply::{Body, empty, full};
use crate::store::{Kind, Object, Store, now};

/// Largest object of one call.
const LARGEST: u64 = 5 << 30;

/// Headers of a write that come back with a read.
const KEPT: &[&str] = &[
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-type",
    "expires",
    "x-oss-server-side-encryption",
    "x-oss-server-side-encryption-key-id",
    "x-oss-storage-class",
];

/// Headers of a read that its address can replace.
const REPLACED: &[(&str, &str)] = &[
    ("response-cache-control", "cache-control"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-content-type", "content-type"),
    ("response-expires", "expires"),
];

/// What is kept of a write's headers.
pub(crate) fn kept_headers(call: &Call) -> Vec<(String, String)> {
    let kept = |name: &str| KEPT.contains(&name) || name.starts_with("x-oss-meta-");
    call.headers
        .keys()
        .map(header::HeaderName::as_str)
        .filter(|name| kept(name))
        .filter_map(|name| Some((name.to_owned(), call.header(name)?.to_owned())))
        .collect()
}

/// Receives a body, and checks that it is what the client meant to send.
pub(crate) async fn receive(store: &Store, call: &Call, body: Incoming) -> Result<(Content, Digests), Fault> {
    let length = call.header("content-length").and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > LARGEST) {
        return Err(Fault::new(400, "EntityTooLarge", "The object is too large for one call."));
    }
    let (content, digests) = Content::receive(&store.folder, body).await?;
    let given = call.header("content-md5");
    use base64::{Engine, engine::general_purpose::STANDARD};
    if given.is_some_and(|given| given != STANDARD.encode(digests.md5)) {
        let message = "The Content-MD5 you specified did not match what we received.";
        return Err(Fault::new(400, "InvalidDigest", message));
    }
    Ok((content, digests))
}

/// PutObject.
pub(crate) async fn write(store: &Store, call: &Call, body: Incoming) -> Result<Response<Body>, Fault> {
    store.with(call, |bucket| bucket.may_write(call))?;
    let (content, digests) = receive(store, call, body).await?;
    let object = Object {
        content,
        kind: Kind::Normal,
        etag: digests.etag(),
        crc64: digests.crc64,
        modified: now(),
        headers: kept_headers(call),
    };
    let response = written(&object);
    store.with(call, |bucket| {
        bucket.may_write(call)?;
        bucket.objects.insert(call.key.clone(), object.into());
        Ok(response)
    })
}

/// AppendObject.
pub(crate) async fn append(store: &Store, call: &Call, body: Incoming) -> Result<Response<Body>, Fault> {
    let position: u64 = call.number("position")?.ok_or_else(|| Fault::argument("position is missing"))?;
    let (added, _) = receive(store, call, body).await?;
    let before = store.with(call, |bucket| Ok(bucket.objects.get(&call.key).cloned()))?;
    let content = match &before {
        Some(object) => object.content.followed_by(&added),
        None => added,
    };
    let digests =
        tokio::task::block_in_place(|| content.digests()).map_err(|error| Fault::internal(&error))?;
    store.with(call, |bucket| {
        let present = bucket.objects.get(&call.key);
        if present.is_some_and(|object| object.kind != Kind::Appendable) {
            return Err(Fault::new(409, "ObjectNotAppendable", "The object is not appendable."));
        }
        let size = present.map_or(0, |object| object.content.size());
        // Two that append at the same place: the second one finds the object longer than it saw it.
        if position != size || size != before.as_ref().map_or(0, |object| object.content.size()) {
            let message = "Position is not equal to file length.";
            return Err(Fault::new(409, "PositionNotEqualToLength", message)
                .header("x-oss-next-append-position", size.to_string()));
        }
        let next = content.size();
        let object = Object {
            kind: Kind::Appendable,
            etag: digests.etag(),
            crc64: digests.crc64,
            modified: now(),
            headers: present.map_or_else(|| kept_headers(call), |object| object.headers.clone()),
            content,
        };
        let mut response = written(&object);
        response.headers_mut().insert("x-oss-next-append-position", next.into());
        bucket.objects.insert(call.key.clone(), object.into());
        Ok(response)
    })
}

/// The answer to a write.
fn written(object: &Object) -> Response<Body> {
    let mut response = empty(200);
    let headers = response.headers_mut();
    headers.insert(header::ETAG, object.etag.parse().expect("a header value"));
    headers.insert("x-oss-hash-crc64ecma", object.crc64.into());
    response
}

/// GetObject, HeadObject and GetObjectMeta.
pub(crate) fn read(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    let object = store.with(call, |bucket| bucket.object(&call.key))?;
    if call.header("if-match").is_some_and(|tag| !same_tag(tag, &object.etag)) {
        return Err(Fault::precondition("If-Match"));
    }
    if call.header("if-none-match").is_some_and(|tag| same_tag(tag, &object.etag)) {
        return Ok(empty(304));
    }
    let size = object.content.size();
    let range = match call.header("range") {
        Some(range) => wanted(range, size, call.header("x-oss-range-behavior") == Some("standard"))?,
        None => None,
    };
    let (start, length) = range.unwrap_or((0, size));
    let content = object.content.range(start, length);
    let body = if call.method == Method::HEAD { full("") } else { content.body() };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    if range.is_some() {
        let text = format!("bytes {start}-{}/{size}", start + length - 1);
        headers.insert(header::CONTENT_RANGE, text.parse().expect("a header value"));
    }
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, "bytes".parse().expect("a header value"));
    headers.insert(header::ETAG, object.etag.parse().expect("a header value"));
    headers.insert(header::LAST_MODIFIED, http_date(object.modified));
    headers.insert("x-oss-object-type", object.kind.name().parse().expect("a header value"));
    headers.insert("x-oss-hash-crc64ecma", object.crc64.into());
    headers.insert(header::CONTENT_TYPE, "application/octet-stream".parse().expect("a header value"));
    headers.insert("x-oss-storage-class", "Standard".parse().expect("a header value"));
    if object.kind == Kind::Appendable {
        headers.insert("x-oss-next-append-position", size.into());
    }
    for (name, value) in &object.headers {
        let name = header::HeaderName::from_bytes(name.as_bytes()).expect("it was a header name");
        headers.insert(name, value.parse().expect("it was a header value"));
    }
    for (asked, name) in REPLACED {
        if let Some(value) = call.value(asked) {
            let value = value.parse().map_err(|_| Fault::argument(format!("{asked} is no header")))?;
            headers.insert(*name, value);
        }
    }
    if range.is_some() {
        *response.status_mut() = http::StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

/// Start and length of a range; `None` for the whole object.
///
/// Without the standard behaviour, which a client has to ask for, a range that is not wholly within the
/// object stands for the whole of it.
fn wanted(range: &str, size: u64, standard: bool) -> Result<Option<(u64, u64)>, Fault> {
    let Some((first, last)) = range.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    let (first, last) = (first.parse::<u64>().ok(), last.parse::<u64>().ok());
    let (start, end, whole) = match (first, last) {
        (Some(first), Some(last)) if first > last => return Ok(None),
        (Some(first), Some(last)) => (first, (last + 1).min(size), last < size),
        (Some(first), None) => (first, size, first < size),
        (None, Some(count)) => (size.saturating_sub(count), size, count <= size && count > 0),
        (None, None) => return Ok(None),
    };
    if !whole && !standard {
        return Ok(None);
    }
    if start >= end {
        return Err(Fault::new(416, "InvalidRange", "The requested range cannot be satisfied.")
            .detail("ActualObjectSize", size.to_string())
            .header("content-range", format!("bytes */{size}")));
    }
    Ok(Some((start, end - start)))
}

/// Whether a condition's tag is the object's. Quotes do not count.
pub(crate) fn same_tag(given: &str, tag: &str) -> bool {
    given == "*" || given.trim_matches('"').eq_ignore_ascii_case(tag.trim_matches('"'))
}

fn http_date(seconds: i64) -> http::HeaderValue {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.max(0) as u64);
    httpdate::fmt_http_date(time).parse().expect("a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_beyond_the_end_is_the_whole_object_unless_the_standard_is_asked_for() {
        assert_eq!(wanted("bytes=0-9", 100, false).unwrap(), Some((0, 10)));
        assert_eq!(wanted("bytes=90-200", 100, false).unwrap(), None);
        assert_eq!(wanted("bytes=90-200", 100, true).unwrap(), Some((90, 10)));
        assert_eq!(wanted("bytes=-10", 100, true).unwrap(), Some((90, 10)));
        assert_eq!(wanted("bytes=200-", 100, false).unwrap(), None);
        assert!(wanted("bytes=200-", 100, true).is_err());
        assert!(wanted("bytes=0-", 0, true).is_err());
    }
}
