//! Single blobs. Facts and writes go through `object_store`; reading and deleting do not, because it deletes one
//! blob by a batch whose answer it cannot tell from another, and Azurite answers a range that begins at the very
//! end of a blob with nothing instead of 416.

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result};
use docker_registry_object_storage::{
    bucket::{Content, Facts, MARK, Opened},
    http::{Call, Subject},
};
use http::{HeaderMap, Method, StatusCode};

use crate::{
    account::{Account, Ask, Place},
    headers::{etag, text, time},
};

pub(crate) async fn get(
    account: &Account,
    key: &str,
    range: ReadRange,
    if_match: Option<&ETag>,
) -> Result<Opened> {
    let mut ask = Ask::new(Call::reading("get blob", Subject::Object), Method::GET, Place::Blob(key));
    match range {
        ReadRange::Full => {}
        ReadRange::From { offset } => ask = ask.header("range", format!("bytes={offset}-")),
        ReadRange::Window { offset, length } => {
            let last = offset.saturating_add(length.saturating_sub(1));
            ask = ask.header("range", format!("bytes={offset}-{last}"));
        }
        ReadRange::Last { .. } => return Err(Error::unsupported("suffix ranges")),
    }
    if let Some(ETag(tag)) = if_match {
        ask = ask.header("if-match", &**tag);
    }
    let (head, body) = account.send(ask).await?.into_parts();
    let missing = |name: &str| Error::new(ErrorKind::Corrupt, format!("the answer has no good {name}"));
    let number = |name| text(&head.headers, name)?.parse::<u64>().ok();
    let length = number("content-length").ok_or_else(|| missing("Content-Length"))?;
    let (offset, size) = if head.status == StatusCode::PARTIAL_CONTENT {
        content_range(&head.headers).ok_or_else(|| missing("Content-Range"))?
    } else {
        (0, length)
    };
    let (wanted_offset, wanted) = range.resolve(size)?;
    if (offset, length) != (wanted_offset, wanted) {
        return Err(missing("Content-Range"));
    }
    let facts = Facts {
        size,
        modified: text(&head.headers, "last-modified").and_then(time),
        etag: etag(&head.headers),
        mark: text(&head.headers, &format!("x-ms-meta-{MARK}")).map(str::to_owned),
    };
    Ok(Opened { facts, offset, length, body: body.stream(length) })
}

pub(crate) async fn head(account: &Account, key: &str) -> Result<Facts> {
    account.blobs.head(key).await
}

pub(crate) async fn put(
    account: &Account,
    key: &str,
    content: Content,
    condition: &Condition,
    mark: Option<&str>,
) -> Result<Option<ETag>> {
    account.blobs.put(keepable(key)?, content, condition, mark).await
}

pub(crate) async fn delete(account: &Account, key: &str) -> Result<()> {
    let call = Call::writing("delete blob", Subject::Object);
    account.send(Ask::new(call, Method::DELETE, Place::Blob(key))).await?;
    Ok(())
}

/// A key that the service keeps and lists as it must. It replaces a backslash by `/`, so that the blob would be
/// another one. It lists by UTF-16 and not by bytes, which differ for the characters from U+E000 to U+FFFF, and
/// cannot list the last two of them at all.
pub(crate) fn keepable(key: &str) -> Result<&str> {
    if key.contains(|c| c == '\\' || ('\u{e000}'..='\u{ffff}').contains(&c)) {
        let text = "no names with a backslash or a character from U+E000 to U+FFFF are kept in Azure";
        return Err(Error::new(ErrorKind::InvalidPath, text).at(key));
    }
    Ok(key)
}

/// First byte and whole size of `bytes 5-9/20`.
fn content_range(headers: &HeaderMap) -> Option<(u64, u64)> {
    let (range, size) = text(headers, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, size.parse().ok()?))
}
