//! Whole objects: reading, writing, copying.

use std::time::{Duration, SystemTime};

use docker_registry_driver_api::{ETag, Error, ErrorKind, ReadRange, Result};
use docker_registry_object_storage::{
    bucket::{Content, Facts, Opened},
    http::{Call, Refusal, Subject, content_length, content_range, range_header},
    sums,
};
use http::{HeaderMap, Method, StatusCode};

use crate::account::{Account, Ask, Place, corrupt, quoted, text};

/// Type of everything that the driver writes.
pub(crate) const CONTENT_TYPE: &str = "application/octet-stream";
/// Header of the mark of a write.
pub(crate) const MARK_HEADER: &str = "x-object-meta-dockerregistrymark";
/// Header that says which segments a large object of the driver has.
pub(crate) const SEGMENTS_HEADER: &str = "x-object-meta-dockerregistrysegments";

/// Facts in the headers of an answer.
fn facts(headers: &HeaderMap, size: u64) -> Facts {
    // The other header has whole seconds.
    let exact = text(headers, "x-timestamp").and_then(|time| time.parse::<f64>().ok());
    let exact = exact.and_then(|time| Duration::try_from_secs_f64(time).ok());
    let modified = exact.map(|since| SystemTime::UNIX_EPOCH + since);
    let rounded = || text(headers, "last-modified").and_then(|time| httpdate::parse_http_date(time).ok());
    Facts {
        size,
        modified: modified.or_else(rounded),
        etag: text(headers, "etag").filter(|tag| !tag.is_empty()).map(quoted),
        mark: text(headers, MARK_HEADER).map(str::to_owned),
    }
}

pub(crate) async fn get(
    account: &Account,
    key: &str,
    range: ReadRange,
    if_match: Option<&ETag>,
) -> Result<Opened> {
    let mut ask = reading(Call::reading("get", Subject::Object), Method::GET, key, account.settings.newest);
    if let Some(range) = range_header(range) {
        ask = ask.header("range", range);
    }
    let answer = account.send(ask).await?;
    let (head, body) = answer.into_parts();
    let (offset, length, size) = if head.status == StatusCode::PARTIAL_CONTENT {
        content_range(&head.headers).ok_or_else(|| corrupt("does not say which bytes it has"))?
    } else {
        let length =
            content_length(&head.headers).ok_or_else(|| corrupt("does not say how long the object is"))?;
        (0, length, length)
    };
    if range.resolve(size)? != (offset, length) {
        return Err(corrupt("has other bytes than were asked for"));
    }
    let facts = facts(&head.headers, size);
    // Asked with If-Match, Swift compares a copy of a large object with the tag of its source: 412 for the copy's own.
    if if_match.is_some() && facts.etag.as_ref() != if_match {
        return Err(Error::new(ErrorKind::ConditionFailed, "the object is another one"));
    }
    Ok(Opened { facts, offset, length, body: body.stream(length) })
}

pub(crate) async fn head(account: &Account, key: &str) -> Result<Facts> {
    let headers = headers(account, key, account.settings.newest).await?;
    let size = content_length(&headers).ok_or_else(|| corrupt("does not say how long the object is"))?;
    Ok(facts(&headers, size))
}

/// The headers of an object, on request those of the newest of its copies.
pub(crate) async fn headers(account: &Account, key: &str, newest: bool) -> Result<HeaderMap> {
    let ask = reading(Call::reading("head", Subject::Object), Method::HEAD, key, newest);
    Ok(account.send(ask).await?.into_parts().0.headers)
}

fn reading(call: Call, method: Method, key: &str, newest: bool) -> Ask<'_> {
    let ask = Ask::new(call, method, Place::Object(key));
    if newest { ask.header("x-newest", "true") } else { ask }
}

pub(crate) async fn put(
    account: &Account,
    call: Call,
    key: &str,
    content: Content,
    mark: Option<&str>,
) -> Result<Option<ETag>> {
    let sum = sums::hexadecimal(&sums::md5(&content).await?);
    let mut ask = Ask::new(call, Method::PUT, Place::Object(key))
        .header("content-type", CONTENT_TYPE)
        // What arrives changed is refused by the cluster.
        .header("etag", sum.clone())
        .content(content);
    if let Some(mark) = mark {
        ask = ask.header(MARK_HEADER, mark);
    }
    let answer = account.send(ask).await.map_err(of_write)?;
    if answer.status() != StatusCode::CREATED {
        return Err(overtaken());
    }
    let tag = text(answer.headers(), "etag").unwrap_or_default();
    if !tag.trim_matches('"').eq_ignore_ascii_case(&sum) {
        let message = "the entity tag that the cluster gave is not the MD5 of what was sent: something on the way changes \
                       content or answers";
        return Err(Error::new(ErrorKind::Unavailable, message).outcome_unknown());
    }
    Ok(Some(quoted(tag)))
}

/// Swift's 202 for a write that came later and has an earlier time, by the clock of another proxy: nothing was written.
pub(crate) fn overtaken() -> Error {
    let message =
        "another write of the same object has a later time: check that the clocks of the cluster agree";
    Error::new(ErrorKind::Unavailable, message).outcome_unknown()
}

/// The error of a write. What is absent then is the container, and what is too large is too much for a quota: nothing is
/// sent that is larger than the cluster allows for one object.
pub(crate) fn of_write(refusal: Refusal) -> Error {
    let mut error = Error::from(refusal);
    match error.kind {
        ErrorKind::NotFound => {
            error.kind = ErrorKind::InvalidConfiguration;
            error.message = format!("the container is gone: check swift_container [{}]", error.message);
        }
        ErrorKind::TooLarge => {
            error.kind = ErrorKind::StorageFull;
            error.message = format!("a quota of the account or the container is used up [{}]", error.message);
        }
        _ => {}
    }
    error
}

/// Copies an object, or a range of one, into one object. The proxy of the cluster moves the bytes.
pub(crate) async fn copy(
    account: &Account,
    call: Call,
    (from, range): (&str, Option<ReadRange>),
    to: &str,
) -> Result<Option<ETag>> {
    let mut ask = Ask::new(call.slow(), Method::PUT, Place::Object(to))
        .header("x-copy-from", account.path(from))
        .header("content-type", CONTENT_TYPE)
        // The mark of the source belongs to the write that made the source.
        .header("x-fresh-metadata", "true");
    if let Some(range) = range.and_then(range_header) {
        ask = ask.header("range", range);
    }
    let answer = account.send(ask).await.map_err(|refusal| match refusal.error.is_not_found() {
        // It is the source that is absent.
        true => refusal.into(),
        false => of_write(refusal),
    })?;
    if answer.status() != StatusCode::CREATED {
        return Err(overtaken());
    }
    Ok(text(answer.headers(), "etag").filter(|tag| !tag.is_empty()).map(quoted))
}

#[cfg(test)]
mod tests {
    use docker_registry_object_storage::bucket::MARK;

    use super::*;

    #[test]
    fn the_mark_is_kept_under_the_name_that_all_stores_have_for_it() {
        assert_eq!(MARK_HEADER, format!("x-object-meta-{MARK}"));
    }

    #[test]
    fn the_exact_time_counts() {
        let mut headers = HeaderMap::new();
        headers.insert("last-modified", "Fri, 27 Nov 2026 19:08:12 GMT".parse().unwrap());
        headers.insert("etag", "d41d8cd98f00b204e9800998ecf8427e".parse().unwrap());
        let rounded = facts(&headers, 0).modified.unwrap();
        headers.insert("x-timestamp", "1795806491.25000".parse().unwrap());
        let facts = facts(&headers, 0);
        assert_eq!(
            facts.modified.unwrap(),
            SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_806_491_250)
        );
        assert!(facts.modified.unwrap() < rounded);
        assert_eq!(facts.etag.unwrap().0, "\"d41d8cd98f00b204e9800998ecf8427e\"");
    }
}
