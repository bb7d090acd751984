//! Pages of the container.

use std::time::SystemTime;

use docker_registry_driver_api::{ETag, Result};
use docker_registry_object_storage::{
    bucket::{ListCall, Listed, Listing},
    http::{Call, Subject},
};
use http::Method;
use jiff::{civil::DateTime, tz::TimeZone};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::account::{Account, Ask, Place, corrupt, quoted};

/// A page has at most 10,000 entries of about 1.5 kilobytes, each byte of a name escaped at worst.
const LARGEST_PAGE: usize = 64 << 20;

/// An entry: an object, or a folder with `subdir`.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    name: String,
    #[serde(default)]
    bytes: u64,
    hash: Option<String>,
    last_modified: Option<String>,
    /// The tag of a large object; its `hash` is that of the manifest.
    slo_etag: Option<String>,
    subdir: Option<String>,
}

impl Entry {
    fn listed(self) -> Listed {
        let etag: Option<ETag> =
            self.slo_etag.or(self.hash).filter(|tag| !tag.is_empty()).map(|tag| quoted(&tag));
        Listed {
            key: self.name,
            size: self.bytes,
            modified: self.last_modified.as_deref().and_then(time),
            etag,
        }
    }
}

/// A time of a listing, which is UTC and does not say so.
fn time(text: &str) -> Option<SystemTime> {
    let moment: DateTime = text.trim_end_matches('Z').parse().ok()?;
    SystemTime::try_from(TimeZone::UTC.to_timestamp(moment).ok()?).ok()
}

/// What is listed.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) delimited: bool,
    /// Only names behind this one.
    pub(crate) after: Option<&'a str>,
    /// Only names before this one.
    pub(crate) before: Option<&'a str>,
    pub(crate) limit: u32,
}

pub(crate) async fn list(account: &Account, call: &ListCall) -> Result<Listing> {
    let after = call.token.as_deref().or(call.after.as_deref());
    let wanted =
        Wanted { prefix: &call.prefix, delimited: call.delimited, after, before: None, limit: call.limit };
    page(account, Call::reading("list", Subject::Bucket), &wanted).await
}

pub(crate) async fn page(account: &Account, call: Call, wanted: &Wanted<'_>) -> Result<Listing> {
    let limit = wanted.limit.clamp(1, 1000);
    let mut query = format!("format=json&limit={limit}");
    let mut add = |name: &str, value: &str| {
        query += &format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    };
    if !wanted.prefix.is_empty() {
        add("prefix", wanted.prefix);
    }
    if wanted.delimited {
        add("delimiter", "/");
    }
    for (name, value) in [("marker", wanted.after), ("end_marker", wanted.before)] {
        if let Some(value) = value {
            add(name, value);
        }
    }
    let ask = Ask::new(call, Method::GET, Place::Container).query(query).header("accept", "application/json");
    let answer = account.send(ask).await?;
    let document = answer.into_body().bytes(LARGEST_PAGE).await?;
    read(&document, limit)
}

fn read(document: &[u8], limit: u32) -> Result<Listing> {
    let entries: Vec<Entry> =
        serde_json::from_slice(document).map_err(|error| corrupt("is no listing").caused_by(&error))?;
    // Nothing tells whether more is to come: a full page may be the last one.
    let is_full = entries.len() >= limit as usize;
    let last = |entry: &Entry| entry.subdir.clone().unwrap_or_else(|| entry.name.clone());
    let next = entries.last().filter(|_| is_full).map(last);
    let mut listing = Listing { next, ..Listing::default() };
    for entry in entries {
        match entry.subdir {
            Some(folder) => listing.prefixes.push(folder),
            None => listing.objects.push(entry.listed()),
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_has_objects_folders_and_the_place_to_go_on_from() {
        let document = br#"[
            {"subdir": "r/a/"},
            {"name": "r/b", "bytes": 5, "hash": "h", "last_modified": "2026-11-27T19:08:10.250000", "content_type": "x"},
            {"name": "r/c", "bytes": 9, "hash": "m", "slo_etag": "\"s\"", "last_modified": "2026-11-27T19:08:10"}
        ]"#;
        let listing = read(document, 3).unwrap();
        assert_eq!((listing.prefixes, listing.next.as_deref()), (vec!["r/a/".to_owned()], Some("r/c")));
        let [b, c] = &listing.objects[..] else { panic!("two objects") };
        assert_eq!((b.size, b.etag.as_ref().unwrap().0.as_str()), (5, "\"h\""));
        let expected = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_806_490_250);
        assert_eq!(b.modified, Some(expected));
        assert_eq!(c.etag.as_ref().unwrap().0, "\"s\"");
        assert_eq!(read(document, 4).unwrap().next, None);
        assert!(read(b"[]", 1).unwrap().next.is_none());
        assert!(read(b"<html>", 1).is_err());
    }
}
