//! Copies that the store makes itself: of an object, and of a range of one as a part.

use http::Response;
use percent_encoding::percent_decode_str;

use crate::call::Call;
use crate::fault::Fault;
use crate::multipart::checked_number;
use crate::objects::{kept_headers, same_tag};
use crate::reply::{Body, document, element, iso};
use crate::store::{Kind, Object, Part, Store, now};

/// Largest object of one CopyObject.
const LARGEST: u64 = 1 << 30;

/// CopyObject.
pub(crate) fn copy(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    let source = source(store, call)?;
    if source.content.size() > LARGEST {
        return Err(Fault::new(400, "EntityTooLarge", "Copy an object of this size in parts."));
    }
    let replaces = call.header("x-oss-metadata-directive").is_some_and(|text| text == "REPLACE");
    let copy = Object {
        kind: if source.kind == Kind::Appendable { Kind::Normal } else { source.kind },
        modified: now(),
        headers: if replaces { kept_headers(call) } else { source.headers.clone() },
        ..source
    };
    let mut xml = String::new();
    element(&mut xml, "ETag", &copy.etag);
    element(&mut xml, "LastModified", &iso(copy.modified));
    store.with(call, |bucket| {
        bucket.may_write(call)?;
        bucket.objects.insert(call.key.clone(), copy.into());
        Ok(document("CopyObjectResult", &xml))
    })
}

/// UploadPartCopy.
pub(crate) fn copy_part(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    let number = checked_number(call)?;
    let id = call.value("uploadId").unwrap_or_default();
    let source = source(store, call)?;
    let content = match call.header("x-oss-copy-source-range") {
        None => source.content,
        Some(text) => {
            let range = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
            let numbers = range.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
            let Some((first, last)): Option<(u64, u64)> = numbers else {
                return Err(Fault::argument("x-oss-copy-source-range is invalid"));
            };
            if first > last || last >= source.content.size() {
                return Err(Fault::new(416, "InvalidRange", "The range is not within the source."));
            }
            source.content.range(first, last - first + 1)
        }
    };
    let digests =
        tokio::task::block_in_place(|| content.digests()).map_err(|error| Fault::internal(&error))?;
    let part = Part { content, digests, modified: now() };
    let mut xml = String::new();
    element(&mut xml, "ETag", &digests.etag());
    element(&mut xml, "LastModified", &iso(part.modified));
    store.with(call, |bucket| {
        let upload = bucket.uploads.get_mut(&(call.key.clone(), id.to_owned()));
        upload.ok_or_else(|| Fault::no_upload(id))?.parts.insert(number, part);
        Ok(document("CopyPartResult", &xml))
    })
}

/// The object that is to be copied, when it meets the conditions.
fn source(store: &Store, call: &Call) -> Result<Object, Fault> {
    let text = call.header("x-oss-copy-source").unwrap_or_default();
    let text =
        percent_decode_str(text).decode_utf8().map_err(|_| Fault::argument("the source is not UTF-8"))?;
    let Some((bucket, key)) = text.strip_prefix('/').and_then(|text| text.split_once('/')) else {
        return Err(Fault::argument("x-oss-copy-source must be /bucket/key"));
    };
    let object = store.bucket(bucket, |bucket| bucket.object(key))?;
    if call.header("x-oss-copy-source-if-match").is_some_and(|tag| !same_tag(tag, &object.etag)) {
        return Err(Fault::precondition("x-oss-copy-source-if-match"));
    }
    Ok(Object::clone(&object))
}
