//! Listings: one page at a time, in byte order, without remembering anything between pages.
//!
//! The cursor is the last path of the page before. Nothing is kept for a listing that is under way,
//! so that it survives changes, restarts and callers who never come back.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
};

use docker_registry_driver_api::{Entry, ListPage, ListRequest, ObjectInfo};

use crate::objects::Objects;

/// At most `limit` entries for the request.
pub(crate) fn page(objects: &Objects, request: &ListRequest, limit: usize) -> ListPage {
    let limit = limit.max(1);
    // One entry more than asked for tells whether there is another page.
    let mut entries: Vec<Entry> = if request.recursive {
        below(objects, request).take(limit + 1).collect()
    } else {
        let after = request.after.as_deref().unwrap_or_default();
        children(objects, &request.prefix.start())
            .into_iter()
            .filter(|(path, _)| path.as_str() > after)
            .map(|(path, object)| Entry { path, object })
            .take(limit + 1)
            .collect()
    };
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|last| last.path.clone());
    ListPage { entries, next }
}

/// All objects below the folder: the map's own order is the right one.
fn below(objects: &Objects, request: &ListRequest) -> impl Iterator<Item = Entry> {
    let start = request.prefix.start();
    let from = request.after.clone().unwrap_or_default().max(start.clone());
    objects
        .from(Excluded(&from))
        .take_while(move |(path, _)| path.starts_with(&start))
        .map(|(path, stored)| Entry { path: path.clone(), object: Some(stored.info()) })
}

/// The direct children, folders as `None`.
///
/// They are sorted again, and this is the trap of listings with folders: the folder `a` comes before
/// the object `a-b`, but what it holds, `a/x`, comes after it, because `-` is less than `/`. Stopping
/// in the map's order after `limit` entries would lose such folders.
fn children(objects: &Objects, start: &str) -> BTreeMap<String, Option<ObjectInfo>> {
    let mut found = BTreeMap::new();
    let mut from = Excluded(start.to_owned());
    // Each round looks at one child and then goes on behind it, however much the child holds.
    while let Some((path, stored)) = objects.from(from.as_ref().map(String::as_str)).next() {
        let Some(rest) = path.strip_prefix(start) else { break };
        match rest.split_once('/') {
            None => {
                found.insert(path.clone(), Some(stored.info()));
                from = Excluded(path.clone());
            }
            Some((name, _)) => {
                found.insert(format!("{start}{name}"), None);
                // `0` follows `/` in ASCII, so this is the first text behind everything in the folder.
                from = Included(format!("{start}{name}0"));
            }
        }
    }
    found
}
