//! Whole objects by the JSON API.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use docker_registry_driver_api::{Condition, ETag, ErrorKind, ReadRange, Result};
use docker_registry_object_storage::{
    bucket::{Content, Facts, ListCall, Listed, Listing, MARK, Opened, SignCall},
    http::{Call, Subject},
    sums, xml,
};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{FIELDS, JsonBucket, Resource, document};
use crate::{
    dialect::{LARGEST, generation_of, tag_in, wanted_generation},
    service::corrupt,
    signature::encode,
};

/// Type of everything that the driver writes.
const CONTENT_TYPE: &str = "application/octet-stream";

/// Headers that a signed address can ask for.
const RESPONSE_HEADERS: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Resource>,
    #[serde(default)]
    prefixes: Vec<String>,
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rewritten {
    done: bool,
    rewrite_token: Option<String>,
}

impl JsonBucket {
    pub(super) async fn probe_bucket(&self, root: &str) -> Result<()> {
        let call = Call::reading("probe", Subject::Bucket);
        let target = format!("{}?maxResults=1&fields=nextPageToken&prefix={}", self.objects, encode(root));
        let answer = self.service.send(call, Method::GET, &target, &[], Content::default()).await?;
        document::<serde_json::Map<String, Value>>(call, answer).await.map(drop).map_err(|error| {
            if error.kind != ErrorKind::Corrupt {
                return error;
            }
            let advice = self.service.transport.advice();
            crate::settings::invalid(format!(
                "what answers is no {}: check {}",
                advice.store, advice.endpoint
            ))
        })
    }

    pub(super) async fn get_object(
        &self,
        key: &str,
        range: ReadRange,
        if_match: Option<&ETag>,
    ) -> Result<Opened> {
        let mut target = format!("{}?alt=media", self.object(key));
        if let Some(tag) = if_match {
            target += &format!("&ifGenerationMatch={}", generation_of(tag)?);
        }
        let range_text = match range {
            ReadRange::Full => None,
            ReadRange::From { offset } => Some(format!("bytes={offset}-")),
            ReadRange::Window { offset, length } => Some(match offset.checked_add(length.max(1) - 1) {
                Some(last) if last < LARGEST => format!("bytes={offset}-{last}"),
                // Behind the end of every object, where not every server can count.
                _ => format!("bytes={offset}-"),
            }),
            ReadRange::Last { length } => Some(format!("bytes=-{length}")),
        };
        // Content that somebody compressed is to come as it is stored.
        let mut headers = vec![("accept-encoding", "gzip")];
        headers.extend(range_text.as_deref().map(|range| ("range", range)));
        let call = Call::reading("get", Subject::Object);
        let answer = self.service.send(call, Method::GET, &target, &headers, Content::default()).await?;
        let (head, body) = answer.into_parts();
        let text = |name: header::HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let length = || text(header::CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
        let (offset, length, size) = if head.status == StatusCode::PARTIAL_CONTENT {
            content_range(&head.headers).ok_or_else(|| corrupt("does not say which bytes it has"))?
        } else {
            let length = length().ok_or_else(|| corrupt("does not say how long the object is"))?;
            (0, length, length)
        };
        if range.resolve(size)? != (offset, length) {
            return Err(corrupt("has other bytes than were asked for"));
        }
        let modified = text(header::LAST_MODIFIED).and_then(|time| httpdate::parse_http_date(time).ok());
        let facts = Facts { size, modified, etag: tag_in(&head.headers), mark: None };
        Ok(Opened { facts, offset, length, body: body.stream(length) })
    }

    pub(super) async fn head_object(&self, key: &str) -> Result<Facts> {
        let call = Call::reading("head", Subject::Object);
        let target = format!("{}?fields={}", self.object(key), encode(FIELDS));
        let answer = self.service.send(call, Method::GET, &target, &[], Content::default()).await?;
        document::<Resource>(call, answer).await?.facts()
    }

    /// One request with the description before the content, which is neither copied nor joined.
    pub(super) async fn put_object(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        let mut target = format!("/upload{}?uploadType=multipart&name={}", self.objects, encode(key));
        target += &format!("&fields={}", encode(FIELDS));
        if let Some(generation) = wanted_generation(condition)? {
            target += &format!("&ifGenerationMatch={generation}");
        }
        let mut described = described(mark);
        described["md5Hash"] = json!(BASE64_STANDARD.encode(sums::md5(&content).await?));
        let boundary = Uuid::new_v4().simple().to_string();
        let before = format!(
            "--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n{described}\r\n\
             --{boundary}\r\nContent-Type: {CONTENT_TYPE}\r\n\r\n"
        );
        let after = format!("\r\n--{boundary}--\r\n");
        let whole: Content = std::iter::once(Bytes::from(before))
            .chain(content)
            .chain(std::iter::once(Bytes::from(after)))
            .collect();
        let kind = format!("multipart/related; boundary={boundary}");
        let call = Call::writing("put", Subject::Bucket);
        let answer =
            self.service.send(call, Method::POST, &target, &[("content-type", &kind)], whole).await?;
        Ok(document::<Resource>(call, answer).await?.etag())
    }

    pub(super) async fn delete_object(&self, key: &str) -> Result<()> {
        let call = Call::writing("delete", Subject::Object);
        self.service.send(call, Method::DELETE, &self.object(key), &[], Content::default()).await?;
        Ok(())
    }

    pub(super) async fn list_objects(&self, call: &ListCall) -> Result<Listing> {
        let fields = "nextPageToken,prefixes,items(name,size,generation,updated)";
        let mut target =
            format!("{}?maxResults={}&fields={}", self.objects, call.limit.clamp(1, 1_000), encode(fields));
        if !call.prefix.is_empty() {
            target += &format!("&prefix={}", encode(&call.prefix));
        }
        if call.delimited {
            target += "&delimiter=%2F";
        }
        match (&call.token, &call.after) {
            (Some(token), _) => target += &format!("&pageToken={}", encode(token)),
            (None, Some(after)) if !after.is_empty() => target += &format!("&startOffset={}", encode(after)),
            _ => {}
        }
        let list = Call::reading("list", Subject::Bucket);
        let answer = self.service.send(list, Method::GET, &target, &[], Content::default()).await?;
        let page = document::<Page>(list, answer).await?;
        let mut objects = Vec::with_capacity(page.items.len());
        for item in page.items {
            // The offset is where a listing starts, not what it starts behind.
            if call.token.is_none() && call.after.as_ref() == Some(&item.name) {
                continue;
            }
            let (size, modified, etag) = (item.size()?, item.modified(), item.etag());
            objects.push(Listed { key: item.name, size, modified, etag });
        }
        let next = page.next_page_token.filter(|token| !token.is_empty());
        Ok(Listing { objects, prefixes: page.prefixes, next })
    }

    /// Copies at the store, in as many steps as it wants.
    pub(super) async fn rewrite(&self, from: &str, to: &str) -> Result<()> {
        let call = Call::writing("copy", Subject::Object).slow();
        // The mark of the source belongs to the write that made the source.
        let described = described(None).to_string();
        let mut token: Option<String> = None;
        loop {
            let to = self.object(to);
            let to = to.trim_start_matches("/storage/v1");
            let mut target = format!("{}/rewriteTo{to}?fields=done%2CrewriteToken", self.object(from));
            if let Some(token) = &token {
                target += &format!("&rewriteToken={}", encode(token));
            }
            let content = Content::from(Bytes::from(described.clone()));
            let headers = [("content-type", "application/json")];
            let answer = self.service.send(call, Method::POST, &target, &headers, content).await?;
            let rewritten = document::<Rewritten>(call, answer).await?;
            if rewritten.done {
                return Ok(());
            }
            token = Some(rewritten.rewrite_token.ok_or_else(|| corrupt("does not say how a copy goes on"))?);
        }
    }

    pub(super) async fn signed_address(&self, call: &SignCall) -> Result<Option<String>> {
        if !self.service.signer.signs() {
            return Ok(None);
        }
        let mut text = format!("{}/{}", self.address.base, xml::encode(&call.key));
        let wanted =
            call.response_headers.iter().filter(|(name, _)| RESPONSE_HEADERS.contains(&name.as_str()));
        for (index, (name, value)) in wanted.enumerate() {
            text += if index == 0 { "?" } else { "&" };
            text += &format!("response-{name}={}", encode(value));
        }
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = call.method.clone();
        head.uri = text
            .parse::<Uri>()
            .map_err(|_| crate::settings::invalid("gs_endpoint and boto_bucket make no address"))?;
        self.service.signer.presign(&mut head, call.expires).await?;
        Ok(Some(head.uri.to_string()))
    }
}

/// What is said of an object when it is written.
pub(super) fn described(mark: Option<&str>) -> Value {
    let mut described = json!({"contentType": CONTENT_TYPE, "metadata": {}});
    if let Some(mark) = mark {
        described["metadata"][MARK] = json!(mark);
    }
    described
}

/// Offset and length of the bytes, and the size of the whole object.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64, u64)> {
    let text = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (first, last - first + 1, size))
}
