//! Large objects: segments, and the manifest that makes them one.
//!
//! `.docker-registry/segments/KEY/ID/NUMBER` are the segments of one large object, and nobody else's: a copy has its own.
//! `.docker-registry/begun/KEY/ID` is there from before the first segment until after the manifest, so that what a crash
//! leaves is found. A manifest of more entries than the cluster takes has manifests as its segments.
//!
//! <https://docs.openstack.org/swift/latest/api/large_objects.html>

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use docker_registry_driver_api::{ETag, Error, ErrorKind, ReadRange, Result};
use docker_registry_object_storage::{
    bucket::{Begun, Content, ListCall, NewPart, Part},
    http::{Call, Subject},
    sums,
};
use futures::try_join;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

use crate::{
    account::{Account, Ask, Place, corrupt, quoted, text},
    deleting, listing,
    objects::{self, CONTENT_TYPE, MARK_HEADER, SEGMENTS_HEADER},
};

const OWN: &str = ".docker-registry";
/// Separates an upload's own id, that of what it replaces, and its mark.
const BETWEEN: char = ':';
/// What the cluster says of a segment whose tag is another one than the manifest has.
const OTHER_TAG: &str = "Etag Mismatch";
/// Largest answer to a manifest: every segment may be named as wrong.
const LARGEST_ANSWER: usize = 8 << 20;

/// Where the driver's own objects are for a key, below `segments` or `begun`.
pub(crate) fn folder(root: &str, kind: &str, key: &str) -> String {
    if root.is_empty() {
        return format!("{OWN}/{kind}/{key}");
    }
    let key = key.strip_prefix(root).map_or(key, |rest| rest.strip_prefix('/').unwrap_or(rest));
    format!("{root}/{OWN}/{kind}/{key}")
}

/// The key whose segment this is, and the id of the large object.
pub(crate) fn owner(root: &str, segment: &str) -> Option<(String, String)> {
    let rest = segment.strip_prefix(&folder(root, "segments", root))?;
    let mut words = rest.rsplitn(3, '/');
    let (_, id, key) = (words.next()?, words.next()?, words.next()?);
    let key = if root.is_empty() { key.to_owned() } else { format!("{root}/{key}") };
    Some((key, id.to_owned()))
}

/// What an upload is called outside: its own id, the large object that it replaces, its mark.
#[derive(Debug, PartialEq, Eq)]
struct Id<'a> {
    own: &'a str,
    replaced: Option<&'a str>,
    mark: Option<&'a str>,
}

impl<'a> Id<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let mut words = text.splitn(3, BETWEEN);
        let own = words.next().filter(|own| Uuid::try_parse(own).is_ok());
        let own = own.ok_or_else(|| Error::new(ErrorKind::NotFound, "this is no upload of the store"))?;
        let mut filled = || words.next().filter(|word| !word.is_empty());
        Ok(Self { own, replaced: filled(), mark: filled() })
    }
}

fn segment_key(root: &str, key: &str, own: &str, name: impl std::fmt::Display) -> String {
    format!("{}/{own}/{name:>010}", folder(root, "segments", key))
}

/// Begins a large object.
pub(crate) async fn begin(account: &Account, key: &str, mark: Option<&str>) -> Result<String> {
    let root = &account.settings.root;
    let own = Uuid::new_v4().simple().to_string();
    if segment_key(root, key, &own, 0).len() > account.learnt().longest_name {
        return Err(Error::new(
            ErrorKind::InvalidPath,
            "Swift cannot keep a large object under so long a path",
        ));
    }
    // Beginning twice leaves a record without segments, which is garbage and no damage.
    let ((), replaced) = try_join!(record(account, key, &own), replaced(account, key))?;
    Ok(format!("{own}{BETWEEN}{}{BETWEEN}{}", replaced.unwrap_or_default(), mark.unwrap_or_default()))
}

/// Puts down that there are segments of an object that is none, or may be none soon. `list_begun` finds it.
async fn record(account: &Account, key: &str, own: &str) -> Result<()> {
    let record = format!("{}/{own}", folder(&account.settings.root, "begun", key));
    let call = Call::reading("begin", Subject::Object);
    objects::put(account, call, &record, Content::default(), None).await.map(drop)
}

/// The large object that a write to the key is going to replace. It is put down, so that its segments go some day whatever
/// happens to this process.
pub(crate) async fn replaced(account: &Account, key: &str) -> Result<Option<String>> {
    // The engine gives its own objects a new name each time.
    if key.starts_with(&folder(&account.settings.root, "uploads", "")) {
        return Ok(None);
    }
    let replaced = segments_of(account, key).await?;
    if let Some(own) = &replaced {
        record(account, key, own).await?;
    }
    Ok(replaced)
}

/// The id of the large object at a key, if there is one of the driver's. The newest copy says it: what is deleted depends on
/// it.
async fn segments_of(account: &Account, key: &str) -> Result<Option<String>> {
    match objects::headers(account, key, true).await {
        Ok(headers) => Ok(text(&headers, SEGMENTS_HEADER).map(str::to_owned)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) async fn part(account: &Account, key: &str, id: &str, part: NewPart) -> Result<Part> {
    let segment = segment_key(&account.settings.root, key, Id::parse(id)?.own, part.number);
    let size = part.content.content_length() as u64;
    // Sending a segment again replaces it: its outcome need not be known.
    let call = Call::reading("part", Subject::Object);
    let sent = objects::put(account, call, &segment, part.content, None).await;
    let tag = sent.map_err(|mut error| {
        error.outcome_unknown = false;
        error
    })?;
    Ok(Part { number: part.number, size, tag: tag.map(unquoted).unwrap_or_default() })
}

pub(crate) async fn copy_part(
    account: &Account,
    key: &str,
    id: &str,
    number: u32,
    from: &str,
    range: Range<u64>,
) -> Result<Part> {
    let segment = segment_key(&account.settings.root, key, Id::parse(id)?.own, number);
    let size = range.end - range.start;
    let window = ReadRange::Window { offset: range.start, length: size };
    let call = Call::reading("copy part", Subject::Object);
    let tag = objects::copy(account, call, (from, Some(window)), &segment).await?;
    Ok(Part { number, size, tag: tag.map(unquoted).unwrap_or_default() })
}

/// Swift names the tags of segments without quotes.
fn unquoted(tag: ETag) -> String {
    tag.0.trim_matches('"').to_owned()
}

/// Makes the segments one object.
pub(crate) async fn finish(
    account: &Arc<Account>,
    key: &str,
    id: &str,
    parts: &[Part],
) -> Result<Option<ETag>> {
    let root = &account.settings.root;
    let upload = Id::parse(id)?;
    let most = account.learnt().most_segments;
    let mut is_checked = false;
    let mut parts: Vec<(String, Part)> =
        parts.iter().map(|part| (segment_key(root, key, upload.own, part.number), part.clone())).collect();
    let mut level = 0;
    while parts.len() > most {
        level += 1;
        let mut joined = Vec::new();
        for (index, group) in parts.chunks(most).enumerate() {
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let name = segment_key(root, key, upload.own, format_args!("{level}-{number:05}"));
            let call = Call::reading("join parts", Subject::Object);
            let tag = checked(account, call, &name, &mut group.to_vec(), &[], &mut is_checked).await?;
            let size = group.iter().map(|(_, part)| part.size).sum();
            // The tag of a manifest as a segment has its quotes.
            joined.push((name, Part { number, size, tag: tag.0 }));
        }
        parts = joined;
    }
    let mut headers = vec![(SEGMENTS_HEADER, upload.own.to_owned())];
    headers.extend(upload.mark.map(|mark| (MARK_HEADER, mark.to_owned())));
    let call = Call::writing("finish", Subject::Upload);
    let tag = checked(account, call, key, &mut parts, &headers, &mut is_checked).await?;
    // Nobody waits for it, and what stays is found by `list_begun`.
    let record = format!("{}/{}", folder(root, "begun", key), upload.own);
    let replaced = upload.replaced.map(str::to_owned);
    let (account, key) = (Arc::clone(account), key.to_owned());
    tokio::spawn(async move {
        if let Err(error) = persistently(|| deleting::alone(&account, &record)).await {
            tracing::debug!(%error, key, "the record of a finished object stays until uploads are purged");
        }
        if let Some(replaced) = replaced {
            let settled = persistently(|| abandon(&account, &key, &replaced)).await;
            if let Err(error) = settled {
                tracing::debug!(%error, key, "segments stay until uploads are purged");
            }
        }
    });
    Ok(Some(tag))
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "Response Status")]
    status: String,
    #[serde(rename = "Etag")]
    etag: Option<String>,
    #[serde(rename = "Errors", default)]
    errors: Vec<(String, String)>,
}

/// Writes a manifest, once more with the tags of the segments as they are when the cluster finds others: the answer to a copy
/// may have been changed on its way, and nothing else says what its tag is. What is sent has its tag checked before.
async fn checked(
    account: &Account,
    call: Call,
    key: &str,
    parts: &mut [(String, Part)],
    headers: &[(&'static str, String)],
    is_checked: &mut bool,
) -> Result<ETag> {
    match manifest(account, call, key, parts, headers).await {
        Err(error) if error.message.contains(OTHER_TAG) && !std::mem::replace(is_checked, true) => {
            tracing::warn!(%error, key, "segments have other tags than were told");
        }
        result => return result,
    }
    for (name, part) in parts.iter_mut().filter(|(_, part)| part.size > 0) {
        let found = objects::head(account, name).await?.etag.unwrap_or_else(|| quoted(""));
        part.tag = if part.tag.starts_with('"') { found.0 } else { unquoted(found) };
    }
    manifest(account, call, key, parts, headers).await
}

/// Writes a manifest. The cluster looks at every segment, which may take a while: it is asked for signs of life.
async fn manifest(
    account: &Account,
    call: Call,
    key: &str,
    parts: &[(String, Part)],
    headers: &[(&'static str, String)],
) -> Result<ETag> {
    let container = &account.settings.container;
    let entry = |(name, part): &(String, Part)| json!({"path": format!("/{container}/{name}"), "size_bytes": part.size, "etag": part.tag});
    // A segment without content is none: a large object without any is an object without content.
    let entries: Vec<_> = parts.iter().filter(|(_, part)| part.size > 0).map(entry).collect();
    let document = Content::from(Bytes::from(json!(entries).to_string()));
    let mut ask = Ask::new(call.slow(), Method::PUT, Place::Object(key))
        .query("multipart-manifest=put&heartbeat=on")
        .header("content-type", CONTENT_TYPE)
        .header("accept", "application/json")
        .content(document);
    ask.headers.extend(headers.iter().cloned());
    let answer = account.send(ask).await.map_err(objects::of_write)?;
    let tag = if answer.status() == StatusCode::ACCEPTED {
        let unknown = |error: Error| if call.writes { error.outcome_unknown() } else { error };
        let document = answer.into_body().bytes(LARGEST_ANSWER).await.map_err(unknown)?;
        let written: Written = serde_json::from_slice(document.trim_ascii())
            .map_err(|error| unknown(corrupt("is no result of a manifest").caused_by(&error)))?;
        if !written.status.starts_with("201") {
            return Err(refused(account, call, &written));
        }
        written.etag.unwrap_or_default()
    } else {
        text(answer.headers(), "etag").unwrap_or_default().to_owned()
    };
    let expected: String =
        parts.iter().filter(|(_, part)| part.size > 0).map(|(_, part)| part.tag.as_str()).collect();
    let expected = sums::hexadecimal(&sums::md5(&Content::from(Bytes::from(expected))).await?);
    if parts.len() > 1 && !tag.trim_matches('"').eq_ignore_ascii_case(&expected) {
        let message = "the entity tag of a large object is not that of its segments: something on the way changes \
                       content or answers";
        let error = Error::new(ErrorKind::Unavailable, message);
        return Err(if call.writes { error.outcome_unknown() } else { error });
    }
    Ok(quoted(&tag))
}

/// A manifest that was refused after the cluster had begun to answer.
fn refused(account: &Account, call: Call, written: &Written) -> Error {
    if written.errors.iter().any(|(_, reason)| reason.starts_with("404")) {
        return Error::new(ErrorKind::NotFound, "the store has no such upload (any more)");
    }
    if written.status.starts_with("202") {
        return objects::overtaken();
    }
    let first = written.errors.first().map(|(name, reason)| format!("{name}, {reason}"));
    deleting::failed(account, call, &written.status, &first.unwrap_or_default())
}

/// Work that nobody waits for, again after a while when the cluster is not in the mood.
async fn persistently<F>(make: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    for pause in [1, 2, 4, 8, 16] {
        match make().await {
            Err(error) if error.retryable => tokio::time::sleep(Duration::from_secs(pause)).await,
            result => return result,
        }
    }
    make().await
}

/// Ends a record: the segments go, unless they are the object's.
pub(crate) async fn settle(account: &Account, key: &str, own: &str) {
    if let Err(error) = abandon(account, key, own).await {
        tracing::debug!(%error, key, "segments stay until uploads are purged");
    }
}

async fn delete_segments(account: &Account, key: &str, own: &str) -> Result<()> {
    let prefix = format!("{}/{own}/", folder(&account.settings.root, "segments", key));
    loop {
        let call = Call::reading("list parts", Subject::Bucket);
        let wanted = listing::Wanted { prefix: &prefix, limit: 1000, ..listing::Wanted::default() };
        let page = listing::page(account, call, &wanted).await?;
        let is_last = page.next.is_none();
        let names: Vec<String> = page.objects.into_iter().map(|object| object.key).collect();
        for chunk in names.chunks(account.learnt().most_deletions) {
            if let Some((_, error)) = deleting::plain(account, chunk).await?.into_iter().next() {
                return Err(error);
            }
        }
        if is_last {
            return Ok(());
        }
    }
}

pub(crate) async fn abandon(account: &Account, key: &str, id: &str) -> Result<()> {
    let upload = Id::parse(id)?;
    let record = format!("{}/{}", folder(&account.settings.root, "begun", key), upload.own);
    // They may be the object by now.
    if segments_of(account, key).await?.as_deref() != Some(upload.own) {
        delete_segments(account, key, upload.own).await?;
    }
    match deleting::alone(account, &record).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}

pub(crate) async fn list_begun(
    account: &Account,
    prefix: &str,
    after: Option<&str>,
) -> Result<(Vec<Begun>, Option<String>)> {
    let root = &account.settings.root;
    let records = folder(root, "begun", root);
    let call = ListCall {
        prefix: folder(root, "begun", prefix),
        delimited: false,
        after: None,
        token: after.map(str::to_owned),
        limit: 1000,
    };
    let page = listing::list(account, &call).await?;
    let begun = page.objects.into_iter().filter_map(|record| {
        let (key, own) = record.key.strip_prefix(&records)?.rsplit_once('/')?;
        let key = if root.is_empty() { key.to_owned() } else { format!("{root}/{key}") };
        Some(Begun { key, id: own.to_owned(), begun: record.modified.unwrap_or(SystemTime::UNIX_EPOCH) })
    });
    Ok((begun.collect(), page.next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_of_a_segment_is_in_its_name() {
        for (root, key) in [("", "a/b"), ("registry", "registry/a/b"), ("r/s", "r/s/v2/blobs/x")] {
            let segment = segment_key(root, key, "0f", 7);
            assert!(segment.ends_with("/0f/0000000007"), "{segment}");
            assert_eq!(owner(root, &segment), Some((key.to_owned(), "0f".to_owned())));
        }
        assert_eq!(owner("registry", "registry/a/b/c"), None);
    }

    #[test]
    fn names_of_manifests_within_a_large_object_are_behind_those_of_its_segments() {
        let (segment, joined) =
            (segment_key("", "k", "i", 1), segment_key("", "k", "i", format_args!("{}-{:05}", 1, 2)));
        assert_ne!(segment, joined);
        assert!(joined.starts_with(".docker-registry/segments/k/i/"));
    }

    #[test]
    fn an_id_has_what_the_end_of_the_upload_needs() {
        let own = Uuid::new_v4().simple().to_string();
        for (replaced, mark) in [("", ""), ("aa", ""), ("", "s.1.2"), ("aa", "m")] {
            let text = format!("{own}:{replaced}:{mark}");
            let id = Id::parse(&text).unwrap();
            assert_eq!(id.own, own);
            assert_eq!((id.replaced.unwrap_or_default(), id.mark.unwrap_or_default()), (replaced, mark));
        }
        assert_eq!(Id::parse(&own).unwrap(), Id { own: &own, replaced: None, mark: None });
        assert_eq!(Id::parse("../elsewhere::").unwrap_err().kind, ErrorKind::NotFound);
    }
}
