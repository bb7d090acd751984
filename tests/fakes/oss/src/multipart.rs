//! Objects that are uploaded in parts.

use http::{Response, header};
use hyper::body::Incoming;
use serde::Deserialize;
use uuid::Uuid;

use crate::call::Call;
use crate::content::Content;
use crate::deleting::read_document;
use crate::fault::Fault;
use crate::objects::{kept_headers, receive, same_tag};
use crate::reply::{Body, document, element, empty, encoded, iso};
use crate::store::{Kind, Object, Part, Store, Upload, now};

/// Smallest part that may have another one behind it.
const SMALLEST: u64 = 100 << 10;
/// Highest number of a part.
const MOST: u32 = 10_000;

/// InitiateMultipartUpload.
pub(crate) fn begin(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    let id = Uuid::new_v4().simple().to_string().to_uppercase();
    let upload = Upload { headers: kept_headers(call), begun: now(), parts: Default::default() };
    let mut xml = String::new();
    element(&mut xml, "Bucket", call.bucket.as_deref().unwrap_or_default());
    element(&mut xml, "Key", &name(call, &call.key)?);
    element(&mut xml, "UploadId", &id);
    store.with(call, |bucket| {
        bucket.may_write(call)?;
        bucket.uploads.insert((call.key.clone(), id), upload);
        Ok(document("InitiateMultipartUploadResult", &xml))
    })
}

/// The number of the part that a call is about.
pub(crate) fn checked_number(call: &Call) -> Result<u32, Fault> {
    match call.number("partNumber")? {
        Some(number) if (1..=MOST).contains(&number) => Ok(number),
        _ => Err(Fault::argument("Part number must be an integer between 1 and 10000.")),
    }
}

/// UploadPart.
pub(crate) async fn part(store: &Store, call: &Call, body: Incoming) -> Result<Response<Body>, Fault> {
    let number = checked_number(call)?;
    let key = upload_key(call);
    store
        .with(call, |bucket| bucket.uploads.get(&key).map(|_| ()).ok_or_else(|| Fault::no_upload(&key.1)))?;
    let (content, digests) = receive(store, call, body).await?;
    let part = Part { content, digests, modified: now() };
    let mut response = empty(200);
    response.headers_mut().insert(header::ETAG, digests.etag().parse().expect("a header value"));
    response.headers_mut().insert("x-oss-hash-crc64ecma", digests.crc64.into());
    store.with(call, |bucket| {
        let upload = bucket.uploads.get_mut(&key).ok_or_else(|| Fault::no_upload(&key.1))?;
        upload.parts.insert(number, part);
        Ok(response)
    })
}

#[derive(Debug, Deserialize)]
struct Finish {
    #[serde(rename = "Part", default)]
    parts: Vec<FinishPart>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct FinishPart {
    part_number: u32,
    #[serde(rename = "ETag")]
    etag: String,
}

/// CompleteMultipartUpload.
pub(crate) async fn finish(store: &Store, call: &Call, body: Incoming) -> Result<Response<Body>, Fault> {
    let wanted: Finish = read_document(body).await?;
    let key = upload_key(call);
    let upload = store
        .with(call, |bucket| bucket.uploads.get(&key).cloned().ok_or_else(|| Fault::no_upload(&key.1)))?;
    if wanted.parts.is_empty() {
        return Err(Fault::new(400, "MalformedXML", "There must be a part."));
    }
    if !wanted.parts.is_sorted_by(|one, other| one.part_number < other.part_number) {
        return Err(Fault::new(400, "InvalidPartOrder", "The list of parts was not in ascending order."));
    }
    let mut content = Content::default();
    let mut tags = Vec::new();
    for (place, asked) in wanted.parts.iter().enumerate() {
        let part = upload
            .parts
            .get(&asked.part_number)
            .filter(|part| same_tag(&asked.etag, &part.digests.etag()) && asked.etag != "*")
            .ok_or_else(|| {
                Fault::new(400, "InvalidPart", "One or more of the specified parts could not be found.")
                    .detail("PartNumber", asked.part_number.to_string())
            })?;
        if place + 1 < wanted.parts.len() && part.content.size() < SMALLEST {
            return Err(Fault::new(400, "EntityTooSmall", "A part is smaller than the minimum.")
                .detail("PartNumber", asked.part_number.to_string()));
        }
        content = content.followed_by(&part.content);
        tags.extend_from_slice(&part.digests.md5);
    }
    let digests =
        tokio::task::block_in_place(|| content.digests()).map_err(|error| Fault::internal(&error))?;
    use md5::{Digest, Md5};
    let tag = crate::signature::hexadecimal(&Md5::digest(&tags)).to_uppercase();
    let object = Object {
        content,
        kind: Kind::Multipart,
        etag: format!("\"{tag}-{}\"", wanted.parts.len()),
        crc64: digests.crc64,
        modified: now(),
        headers: upload.headers,
    };
    let mut xml = String::new();
    element(&mut xml, "Location", &format!("http://{}/{}", call.host, encoded(&call.key)));
    element(&mut xml, "Bucket", call.bucket.as_deref().unwrap_or_default());
    element(&mut xml, "Key", &name(call, &call.key)?);
    element(&mut xml, "ETag", &object.etag);
    let mut response = document("CompleteMultipartUploadResult", &xml);
    response.headers_mut().insert("x-oss-hash-crc64ecma", object.crc64.into());
    store.with(call, |bucket| {
        bucket.may_write(call)?;
        // Of two that finish the same upload only one does.
        bucket.uploads.remove(&key).ok_or_else(|| Fault::no_upload(&key.1))?;
        bucket.objects.insert(call.key.clone(), object.into());
        Ok(response)
    })
}

/// AbortMultipartUpload.
pub(crate) fn abandon(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    let key = upload_key(call);
    store.with(call, |bucket| {
        bucket.uploads.remove(&key).ok_or_else(|| Fault::no_upload(&key.1))?;
        Ok(empty(204))
    })
}

/// ListParts.
pub(crate) fn list_parts(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    let key = upload_key(call);
    let limit = call.number::<usize>("max-parts")?.unwrap_or(1000).clamp(1, 1000);
    let after = call.number::<u32>("part-number-marker")?.unwrap_or(0);
    let upload = store
        .with(call, |bucket| bucket.uploads.get(&key).cloned().ok_or_else(|| Fault::no_upload(&key.1)))?;
    let mut parts = upload.parts.range(after + 1..);
    let mut listed = String::new();
    let mut last = 0;
    for (number, part) in parts.by_ref().take(limit) {
        listed.push_str("<Part>");
        element(&mut listed, "PartNumber", &number.to_string());
        element(&mut listed, "LastModified", &iso(part.modified));
        element(&mut listed, "ETag", &part.digests.etag());
        element(&mut listed, "HashCrc64ecma", &part.digests.crc64.to_string());
        element(&mut listed, "Size", &part.content.size().to_string());
        listed.push_str("</Part>");
        last = *number;
    }
    let mut xml = String::new();
    element(&mut xml, "Bucket", call.bucket.as_deref().unwrap_or_default());
    if call.encodes_names()? {
        element(&mut xml, "EncodingType", "url");
    }
    element(&mut xml, "Key", &name(call, &call.key)?);
    element(&mut xml, "UploadId", &key.1);
    element(&mut xml, "NextPartNumberMarker", &last.to_string());
    element(&mut xml, "MaxParts", &limit.to_string());
    element(&mut xml, "IsTruncated", if parts.next().is_some() { "true" } else { "false" });
    xml.push_str(&listed);
    Ok(document("ListPartsResult", &xml))
}

/// ListMultipartUploads.
pub(crate) fn list_uploads(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    let limit = call.number::<usize>("max-uploads")?.unwrap_or(1000).clamp(1, 1000);
    let prefix = call.value("prefix").unwrap_or_default();
    let key_marker = call.value("key-marker").unwrap_or_default();
    let id_marker = call.value("upload-id-marker").unwrap_or_default();
    let (found, more) = store.with(call, |bucket| {
        let mut found: Vec<((String, String), i64)> = bucket
            .uploads
            .iter()
            .filter(|((key, _), _)| key.starts_with(prefix))
            .filter(|((key, id), _)| {
                key.as_str() > key_marker
                    || (key == key_marker && id.as_str() > id_marker && !id_marker.is_empty())
            })
            .take(limit + 1)
            .map(|(key, upload)| (key.clone(), upload.begun))
            .collect();
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    })?;
    let mut xml = String::new();
    element(&mut xml, "Bucket", call.bucket.as_deref().unwrap_or_default());
    if call.encodes_names()? {
        element(&mut xml, "EncodingType", "url");
    }
    element(&mut xml, "KeyMarker", &name(call, key_marker)?);
    element(&mut xml, "UploadIdMarker", id_marker);
    let next = found.last().filter(|_| more).map(|(key, _)| key);
    element(&mut xml, "NextKeyMarker", &name(call, next.map_or("", |(key, _)| key))?);
    element(&mut xml, "NextUploadIdMarker", next.map_or("", |(_, id)| id));
    element(&mut xml, "Prefix", &name(call, prefix)?);
    element(&mut xml, "MaxUploads", &limit.to_string());
    element(&mut xml, "IsTruncated", if more { "true" } else { "false" });
    for ((key, id), begun) in &found {
        xml.push_str("<Upload>");
        element(&mut xml, "Key", &name(call, key)?);
        element(&mut xml, "UploadId", id);
        element(&mut xml, "StorageClass", "Standard");
        element(&mut xml, "Initiated", &iso(*begun));
        xml.push_str("</Upload>");
    }
    Ok(document("ListMultipartUploadsResult", &xml))
}

fn upload_key(call: &Call) -> (String, String) {
    (call.key.clone(), call.value("uploadId").unwrap_or_default().to_owned())
}

/// A name, encoded when the client wants that.
fn name(call: &Call, text: &str) -> Result<String, Fault> {
    Ok(if call.encodes_names()? { encoded(text) } else { text.to_owned() })
}
