//! Large blobs: blocks that are staged, and a list that makes them a blob.
//!
//! # Whose blocks
//! Azure keeps the staged blocks of a blob in one heap, whoever staged them. Their ids begin with the random
//! text of one `begin`, so that two uploads of one blob never mix; all ids have one length, as Azure demands.
//! Staging a number again replaces the block, so a repeated attempt harms nothing.
//!
//! # What a rival does
//! Making a blob throws away every staged block that is not in the list, those of others included. Whoever
//! comes second then finds the blob made while it was uploading. A write without a condition has happened by
//! then as far as anybody can tell: it was replaced at once. That is what [`finish`] reports when the blob is of
//! the same size, as two pushes of one layer are; otherwise that the blocks are gone.
//!
//! # What is left behind
//! Azure forgets staged blocks a week after the last one; nothing else can be done about them alone.

use std::{
    ops::Range,
    time::{Duration, SystemTime},
};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::{NewPart, Part},
    http::{Call, Subject},
};
use http::{Method, StatusCode};
use uuid::Uuid;

use crate::{
    account::{Account, Ask, Place, Refused},
    blobs, headers,
    signing::Delegation,
    sources,
};

/// Clocks of server and service may differ by this much.
const CLOCKS: Duration = Duration::from_secs(15 * 60);

/// One `begin`, as it is written into the id: who, when, and the mark of the write.
#[derive(Debug, PartialEq, Eq)]
struct Upload {
    who: Uuid,
    begun: SystemTime,
    mark: Option<String>,
}

impl Upload {
    fn id(&self) -> String {
        let begun = self.begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mark = self.mark.as_ref().map(|mark| format!(".{}", BASE64_URL_SAFE_NO_PAD.encode(mark)));
        format!("{}.{begun}{}", self.who.simple(), mark.unwrap_or_default())
    }

    fn parse(id: &str) -> Result<Self> {
        let broken = || Error::new(ErrorKind::NotFound, "this is no id of an upload");
        let mut parts = id.split('.');
        let who = parts.next().and_then(|text| Uuid::try_parse(text).ok()).ok_or_else(broken)?;
        let seconds = parts.next().and_then(|text| text.parse().ok()).ok_or_else(broken)?;
        let begun = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).ok_or_else(broken)?;
        let mark = match parts.next() {
            None => None,
            Some(text) => {
                let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| broken())?;
                Some(String::from_utf8(bytes).map_err(|_| broken())?)
            }
        };
        Ok(Self { who, begun, mark })
    }

    fn block(&self, number: u32) -> String {
        BASE64_STANDARD.encode(format!("{}{number:010}", self.who.simple()))
    }
}

/// Begins an upload: a name for it is all it takes.
pub(crate) fn begin(mark: Option<&str>) -> String {
    Upload { who: Uuid::new_v4(), begun: SystemTime::now(), mark: mark.map(str::to_owned) }.id()
}

/// Stages one block.
pub(crate) async fn part(account: &Account, key: &str, id: &str, part: NewPart) -> Result<Part> {
    let block = Upload::parse(id)?.block(part.number);
    let size = part.content.content_length() as u64;
    // There is no empty block.
    if size > 0 {
        let ask = Ask::new(Call::writing("put block", Subject::Object), Method::PUT, Place::Blob(key))
            .query("comp", "block")
            .query("blockid", &*block)
            .content(part.content);
        account.send(ask).await.map_err(|refused| match refused.code.as_str() {
            // An upload of another program with ids of another length.
            "InvalidBlobOrBlock" => Error::new(
                ErrorKind::Conflict,
                "another program is uploading blocks to this blob; Azure forgets them a week after the last",
            )
            .caused_by(&refused.error),
            _ => refused.error,
        })?;
    }
    Ok(Part { number: part.number, size, tag: block })
}

/// Makes a block of a range of another blob, at the service.
pub(crate) async fn copy_part(
    account: &Account,
    signing: &Delegation,
    key: &str,
    id: &str,
    number: u32,
    from: &str,
    range: Range<u64>,
) -> Result<Part> {
    let block = Upload::parse(id)?.block(number);
    let size = range.end.saturating_sub(range.start);
    put_block_from(account, signing, key, &block, from, range).await?;
    Ok(Part { number, size, tag: block })
}

async fn put_block_from(
    account: &Account,
    signing: &Delegation,
    key: &str,
    block: &str,
    from: &str,
    range: Range<u64>,
) -> Result<(), Refused> {
    let call = Call::writing("put block from URL", Subject::Object).slow();
    let ask = Ask::new(call, Method::PUT, Place::Blob(key))
        .query("comp", "block")
        .query("blockid", block)
        .header("x-ms-source-range", format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
    account.send(sources::readable(account, signing, ask, from).await?).await?;
    Ok(())
}

/// Whether the service copies ranges: Azure does, its emulator does not. Asked with a source that is not there,
/// so that nothing is written.
pub(crate) async fn copies_ranges(account: &Account, signing: &Delegation, folder: &str) -> Result<bool> {
    let name = |kind: &str| format!("{folder}{kind}-{}", Uuid::new_v4().simple());
    let block = Upload::parse(&begin(None))?.block(1);
    match put_block_from(account, signing, &name("to"), &block, &name("from"), 0..1).await {
        Ok(()) => Ok(true),
        // The source was looked for, and the credentials for it were good.
        Err(refused) if refused.error.is_not_found() => Ok(true),
        // With a shared access signature, Azurite has nothing but 500 for it.
        Err(refused)
            if refused.error.retryable && refused.status != Some(StatusCode::INTERNAL_SERVER_ERROR) =>
        {
            Err(refused.error)
        }
        Err(refused) => {
            tracing::debug!(error = %refused.error, "the service does not copy ranges; they go through this server");
            Ok(false)
        }
    }
}

/// Makes the blocks a blob, atomically.
pub(crate) async fn finish(
    account: &Account,
    key: &str,
    id: &str,
    parts: &[Part],
    condition: &Condition,
) -> Result<Option<ETag>> {
    let upload = Upload::parse(id)?;
    let mut list = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>");
    for part in parts.iter().filter(|part| part.size > 0) {
        // Of either kind: a repeated attempt finds the blocks in the blob already.
        list.push_str(&format!("<Latest>{}</Latest>", part.tag));
    }
    list.push_str("</BlockList>");
    let mut ask = Ask::new(Call::writing("put block list", Subject::Upload), Method::PUT, Place::Blob(key))
        .query("comp", "blocklist")
        .header("content-type", "application/xml")
        .content(Bytes::from(list));
    ask.headers.extend(headers::conditional(condition));
    if let Some(mark) = &upload.mark {
        ask = ask.header(headers::mark(), &**mark);
    }
    match account.send(ask).await {
        Ok(answer) => Ok(headers::etag(answer.headers())),
        Err(refused) if refused.code == "InvalidBlockList" => {
            let size = parts.iter().map(|part| part.size).sum();
            after_loss(account, key, &upload, size, condition, refused.error).await
        }
        Err(refused) => Err(refused.error),
    }
}

/// What became of an upload whose blocks are not there any more.
async fn after_loss(
    account: &Account,
    key: &str,
    upload: &Upload,
    size: u64,
    condition: &Condition,
    loss: Error,
) -> Result<Option<ETag>> {
    let gone = |kind, text: &str| Err(Error::new(kind, text).caused_by(&loss));
    let facts = match blobs::head(account, key).await {
        Ok(facts) => facts,
        Err(error) if error.is_not_found() => {
            return gone(ErrorKind::NotFound, "the blocks of this upload are gone");
        }
        Err(error) => return Err(error),
    };
    if facts.mark.is_some() && facts.mark == upload.mark {
        return Ok(facts.etag);
    }
    let replaced = facts.modified.is_some_and(|modified| modified + CLOCKS >= upload.begun);
    match condition {
        Condition::IfAbsent => gone(ErrorKind::ConditionFailed, "somebody else has made this blob"),
        Condition::IfMatch(etag) if facts.etag.as_ref() != Some(etag) => {
            gone(ErrorKind::ConditionFailed, "somebody else has replaced this blob")
        }
        Condition::Always if replaced && facts.size == size => {
            tracing::debug!(key, "another upload of the same blob was finished first");
            Ok(None)
        }
        _ => gone(ErrorKind::NotFound, "the blocks of this upload are gone"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_who_when_and_with_which_mark() {
        for mark in [None, Some("a mark. with = dots"), Some("")] {
            let begun = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
            let upload = Upload { who: Uuid::new_v4(), begun, mark: mark.map(str::to_owned) };
            assert_eq!(Upload::parse(&upload.id()).unwrap(), upload);
        }
        for id in ["", "x", "x.1", &format!("{}.x", Uuid::new_v4().simple())] {
            assert!(Upload::parse(id).unwrap_err().is_not_found(), "{id}");
        }
    }

    #[test]
    fn the_blocks_of_two_uploads_differ_and_all_ids_have_one_length() {
        let (one, other) = (Upload::parse(&begin(None)).unwrap(), Upload::parse(&begin(Some("m"))).unwrap());
        assert_ne!(one.block(1), other.block(1));
        assert_ne!(one.block(1), one.block(2));
        assert_eq!(one.block(1), one.block(1));
        assert_eq!(one.block(1).len(), other.block(50_000).len());
        // Azure takes ids of at most 64 bytes.
        assert!(BASE64_STANDARD.decode(one.block(50_000)).unwrap().len() <= 64);
    }
}
