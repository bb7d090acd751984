//! Deleting: one object with its segments, or many in one request.
//!
//! A plain deletion of a large object leaves its segments, and the deletion that takes them along refuses plain objects. What
//! is which is told by the names of segments, which hold the key of their object.
//!
//! <https://docs.openstack.org/swift/latest/api/bulk-delete.html>

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::Content,
    http::{Call, Record, Subject, fault},
};
use futures::{StreamExt, stream};
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::{
    account::{Account, Ask, Place, corrupt},
    listing,
    segments::{folder, owner},
};

/// Most requests at once for what cannot go in one.
const AT_ONCE: usize = 8;
/// Most pages that are looked at for segments of the objects of one batch.
const MOST_PAGES: usize = 20;
const LARGEST_ANSWER: usize = 8 << 20;

/// What came of deleting many.
#[derive(Deserialize)]
struct Deleted {
    #[serde(rename = "Response Status")]
    status: String,
    #[serde(rename = "Response Body", default)]
    body: String,
    #[serde(rename = "Number Not Found", default)]
    absent: u64,
    #[serde(rename = "Number Deleted", default)]
    deleted: u64,
    #[serde(rename = "Errors", default)]
    errors: Vec<(String, String)>,
}

/// The error for a status inside of a document.
pub(crate) fn failed(account: &Account, call: Call, status: &str, details: &str) -> Error {
    let number = status.split_whitespace().next().and_then(|number| number.parse().ok());
    let status = number.and_then(|number| StatusCode::from_u16(number).ok());
    let record = Record {
        status: Some(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)),
        message: Some(details.chars().take(300).collect()),
        ..Record::default()
    };
    fault::error(account.transport().advice(), call, &record)
}

/// Deletes an object, whatever it is.
pub(crate) async fn delete(account: &Account, key: &str) -> Result<()> {
    let call = Call::writing("delete", Subject::Object);
    let ask = Ask::new(call.slow(), Method::DELETE, Place::Object(key))
        .query("multipart-manifest=delete")
        .header("accept", "application/json");
    let answer = account.send(ask).await?;
    if answer.status() == StatusCode::NO_CONTENT {
        return Ok(());
    }
    let result = document(answer).await?;
    if result.errors.iter().any(|(_, reason)| reason.contains("Not an SLO manifest")) {
        return alone(account, key).await;
    }
    if let Some((name, reason)) = result.errors.first() {
        return Err(failed(account, call, reason, name));
    }
    if !result.status.starts_with("200") {
        return Err(failed(account, call, &result.status, &result.body));
    }
    if result.deleted == 0 && result.absent > 0 {
        return Err(Error::new(ErrorKind::NotFound, "there is nothing at this path"));
    }
    Ok(())
}

/// Deletes an object that has no segments.
pub(crate) async fn alone(account: &Account, key: &str) -> Result<()> {
    let call = Call::writing("delete", Subject::Object);
    account.send(Ask::new(call, Method::DELETE, Place::Object(key))).await?;
    Ok(())
}

/// Deletes many objects, whatever they are. Returns those that stay.
pub(crate) async fn delete_batch(account: &Account, keys: &[String]) -> Result<Vec<(String, Error)>> {
    let large = large_ones(account, keys).await?;
    let (large, small): (Vec<String>, Vec<String>) =
        keys.iter().cloned().partition(|key| large.contains(key));
    let mut stay = Vec::new();
    if !small.is_empty() {
        stay = plain(account, &small).await?;
    }
    let mut deletions = stream::iter(large)
        .map(|key| async move {
            let result = delete(account, &key).await;
            (key, result)
        })
        .buffer_unordered(AT_ONCE);
    while let Some((key, result)) = deletions.next().await {
        match result {
            Err(error) if !error.is_not_found() => stay.push((key, error)),
            _ => {}
        }
    }
    Ok(stay)
}

/// Which of these keys may have segments. Where that takes too many pages, all that were not looked at.
async fn large_ones(account: &Account, keys: &[String]) -> Result<BTreeSet<String>> {
    let root = &account.settings.root;
    let prefix = folder(root, "segments", root);
    // By the folders of their segments, in the order of the listing.
    let wanted: BTreeMap<String, &String> =
        keys.iter().map(|key| (format!("{}/", folder(root, "segments", key)), key)).collect();
    let Some((first, last)) = wanted.first_key_value().zip(wanted.last_key_value()) else {
        return Ok(BTreeSet::new());
    };
    // `0` is the sign behind `/`.
    let (mut after, before) = (first.0.clone(), format!("{}0", last.0.trim_end_matches('/')));
    let mut large = BTreeSet::new();
    for _ in 0..MOST_PAGES {
        let call = Call::reading("look for segments", Subject::Bucket);
        let range = listing::Wanted {
            prefix: &prefix,
            after: Some(&after),
            before: Some(&before),
            limit: 1000,
            ..listing::Wanted::default()
        };
        let page = listing::page(account, call, &range).await?;
        let owners: BTreeSet<String> =
            page.objects.iter().filter_map(|object| owner(root, &object.key)).map(|(key, _)| key).collect();
        let is_wanted = |key: &String| wanted.contains_key(&format!("{}/", folder(root, "segments", key)));
        large.extend(owners.into_iter().filter(is_wanted));
        let Some(seen) = page.next else { return Ok(large) };
        // On to the next one that is wanted, but for the one that the page ended in.
        let Some((next, _)) = wanted.range(seen.clone()..).next() else { return Ok(large) };
        after = next.clone();
    }
    large.extend(wanted.range(after..).map(|(_, key)| (*key).clone()));
    Ok(large)
}

/// Deletes objects that have no segments in one request. Returns those that stay.
pub(crate) async fn plain(account: &Account, keys: &[String]) -> Result<Vec<(String, Error)>> {
    let call = Call::writing("delete batch", Subject::Bucket);
    if account.learnt().most_deletions == 1 {
        let mut stay = Vec::new();
        for key in keys {
            match alone(account, key).await {
                Err(error) if !error.is_not_found() => stay.push((key.clone(), error)),
                _ => {}
            }
        }
        return Ok(stay);
    }
    let lines: String = keys.iter().map(|key| account.path(key) + "\n").collect();
    let ask = Ask::new(call.slow(), Method::POST, Place::Container)
        .query("bulk-delete")
        .header("content-type", "text/plain")
        .header("accept", "application/json")
        .content(Content::from(Bytes::from(lines)));
    let result = document(account.send(ask).await?).await?;
    if result.errors.is_empty() && !result.status.starts_with("200") {
        return Err(failed(account, call, &result.status, &result.body));
    }
    // The request itself needs no token in most clusters: each deletion does.
    if let Some((_, reason)) = result.errors.iter().find(|(_, reason)| reason.starts_with("401")) {
        return Err(failed(account, call, reason, ""));
    }
    let done = result.deleted + result.absent + result.errors.len() as u64;
    if done < keys.len() as u64 {
        let message = format!("the cluster looked at {done} of {} objects: {}", keys.len(), result.status);
        return Err(Error::new(ErrorKind::Unavailable, message).outcome_unknown());
    }
    let container = format!("/{}/", account.settings.container);
    let stay = result.errors.iter().filter_map(|(path, reason)| {
        let path = percent_decode_str(path).decode_utf8_lossy();
        let key = format!("/{}", path.trim_start_matches('/')).strip_prefix(&container)?.to_owned();
        let call = Call::writing("delete", Subject::Object);
        Some((key, failed(account, call, reason, "")))
    });
    Ok(stay.filter(|(_, error)| !error.is_not_found()).collect())
}

async fn document(
    answer: http::Response<docker_registry_object_storage::http::AnswerBody>,
) -> Result<Deleted> {
    let body = answer.into_body().bytes(LARGEST_ANSWER).await.map_err(Error::outcome_unknown)?;
    serde_json::from_slice(body.trim_ascii())
        .map_err(|error| corrupt("is no result of a deletion").caused_by(&error).outcome_unknown())
}
