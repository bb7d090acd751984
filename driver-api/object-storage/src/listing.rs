//! Listings in the contract's order, from stores that have another one.
//!
//! # Order
//! Among children a folder `a` sorts as `a`, while a store sorts it as `a/`: there `a-b` comes before `a/`,
//! here `a` before `a-b`. A page is sorted anew, and after a page that is not the last, folders may be
//! missing which sort before its end here and after it there. Such a folder is a proper beginning of the
//! last key of the page, followed there by a character below `/`; the few of them are asked for one by one.
//!
//! # Going on
//! A cursor is any text. The engine remembers the store's token for each cursor that it handed out. For
//! others it begins behind the key where the store can, and pages from the start where it knows tokens only.
//! Tokens come first because they are what every client uses: MinIO was seen to end a listing early that
//! began behind a key.
//!
//! # What is not listed
//! The driver's own objects in the root, and keys that are no paths, for example the markers with a `/` at
//! the end that consoles make. A folder with nothing but such a marker in it is still listed: looking
//! into every folder of a page would cost more than that is worth.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use docker_registry_driver_api::{
    CallContext, Entry, Error, ListPage, ListRequest, MAX_PAGE, ObjectInfo, ObjectPath, Result,
};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    bucket::{ListCall, Listed, Listing},
    engine::{Engine, OWN, is_own},
};

/// Cursors that are remembered.
const MOST_CURSORS: usize = 1_000;
/// Folders that are asked for at once.
const PROBES_AT_ONCE: usize = 8;

/// Tokens for cursors that were handed out.
#[derive(Debug, Default)]
pub(crate) struct Cursors(Mutex<VecDeque<(Cursor, Option<String>)>>);

/// The place where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    prefix: String,
    recursive: bool,
    after: String,
}

impl Cursors {
    fn remember(&self, cursor: Cursor, token: Option<String>) {
        let mut cursors = self.lock();
        cursors.retain(|(known, _)| *known != cursor);
        cursors.push_back((cursor, token));
        if cursors.len() > MOST_CURSORS {
            cursors.pop_front();
        }
    }

    /// The token for a cursor. It stays: a caller may ask for the same page again.
    fn token(&self, cursor: &Cursor) -> Option<String> {
        self.lock().iter().find(|(known, _)| known == cursor).and_then(|(_, token)| token.clone())
    }

    fn forget(&self, cursor: &Cursor) {
        self.lock().retain(|(known, _)| known != cursor);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Cursor, Option<String>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Entries of a page, and where the store stands.
struct Found {
    entries: Vec<Entry>,
    /// The last key or folder of the store's page, as a path; empty when there was none.
    last: String,
    /// The token that this page was asked for with.
    token: Option<String>,
    /// The token of the next page; `None` when this was the last.
    next: Option<String>,
}

impl Engine {
    /// See [`Driver::list`](docker_registry_driver_api::Driver::list).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        let start = request.prefix.start();
        let after = request.after.as_deref().unwrap_or_default();
        // Behind everything in the folder.
        let is_behind = after > start.as_str() && !after.starts_with(&start);
        if is_behind || is_own(&start) {
            return Ok(ListPage::default());
        }
        // A cursor before everything is none.
        let after = after.strip_prefix(&start).filter(|rest| !rest.is_empty()).map(|_| after);
        let found = self.find(call, request, &start, after).await?;
        let limit = request.limit.clamp(1, MAX_PAGE) as usize;
        let Found { mut entries, last, token, next } = found;
        if next.is_some() && !request.recursive {
            entries.extend(self.late_folders(call, &start, after, &last).await?);
        }
        // An object wins over the folder of its name.
        entries.sort_unstable_by(|one, other| {
            (&one.path, one.object.is_none()).cmp(&(&other.path, other.object.is_none()))
        });
        entries.dedup_by(|later, earlier| later.path == earlier.path);
        let is_cut = entries.len() > limit;
        entries.truncate(limit);
        let goes_on = is_cut || next.is_some();
        let cursor = entries.last().map(|entry| entry.path.clone()).filter(|_| goes_on);
        if let Some(after) = &cursor {
            let cursor = Cursor { prefix: start, recursive: request.recursive, after: after.clone() };
            // What was cut off is on this page again.
            self.cursors.remember(cursor, if is_cut { token } else { next });
        }
        Ok(ListPage { entries, next: cursor })
    }

    /// The first page of the store with something behind the cursor, in the store's order.
    async fn find(
        &self,
        call: &CallContext,
        request: &ListRequest,
        start: &str,
        after: Option<&str>,
    ) -> Result<Found> {
        let has_after = self.limits().list_after;
        let cursor = after.map(|after| Cursor {
            prefix: start.to_owned(),
            recursive: request.recursive,
            after: after.to_owned(),
        });
        let remembered = cursor.as_ref().and_then(|cursor| self.cursors.token(cursor));
        let is_remembered = remembered.is_some();
        let mut limit = request.limit.clamp(1, MAX_PAGE);
        if cursor.is_some() && !is_remembered && !has_after {
            // From the start: the fewer pages, the better.
            limit = MAX_PAGE;
        }
        let mut list = ListCall {
            prefix: self.key(start),
            delimited: !request.recursive,
            after: after.filter(|_| has_after && !is_remembered).map(|after| self.key(after)),
            token: remembered,
            limit,
        };
        let mut last = String::new();
        loop {
            let token = list.token.clone();
            let page = match (self.attempt(call, false, || self.bucket.list(&list)).await, &cursor) {
                (Ok(page), _) => page,
                // Tokens may run out.
                (Err(error), Some(cursor)) if is_remembered && !error.retryable => {
                    tracing::debug!(%error, "a listing begins anew");
                    self.cursors.forget(cursor);
                    list.token = None;
                    return Box::pin(self.find(call, request, start, after)).await;
                }
                (Err(error), _) => return Err(error),
            };
            let ends = [page.objects.last().map(|object| &object.key), page.prefixes.last()];
            if let Some(end) = ends.into_iter().flatten().max().and_then(|key| self.path(key)) {
                end.clone_into(&mut last);
            }
            let next = page.next.clone();
            let entries = self.entries(page, after);
            if !entries.is_empty() || next.is_none() {
                return Ok(Found { entries, last, token, next });
            }
            list.token = next;
            if has_after && start.is_empty() && is_own(&last) {
                // Over all the uploads. `0` comes right behind `/`.
                list.after = Some(self.key(&format!("{OWN}0"))).max(list.after);
                list.token = None;
                if last.as_str() > format!("{OWN}0").as_str() {
                    list.after = Some(self.key(&last));
                }
            }
        }
    }

    /// What of a page is listed.
    fn entries(&self, page: Listing, after: Option<&str>) -> Vec<Entry> {
        let is_listed = |path: &str| {
            !is_own(path) && after.is_none_or(|after| path > after) && ObjectPath::new(path).is_ok()
        };
        let mut entries = Vec::with_capacity(page.objects.len() + page.prefixes.len());
        for object in page.objects {
            let Some(path) = self.path(&object.key).filter(|path| is_listed(path)) else { continue };
            entries.push(Entry { path: path.to_owned(), object: Some(listed_info(&object)) });
        }
        for prefix in &page.prefixes {
            let Some(folder) = self.path(prefix).and_then(|path| path.strip_suffix('/')) else { continue };
            if is_listed(folder) {
                entries.push(Entry { path: folder.to_owned(), object: None });
            }
        }
        entries
    }

    /// Folders that sort before the end of the store's page here, and after it there.
    async fn late_folders(
        &self,
        call: &CallContext,
        start: &str,
        after: Option<&str>,
        last: &str,
    ) -> Result<Vec<Entry>> {
        let candidates: Vec<_> = late_candidates(start, last)
            .filter(|folder| after.is_none_or(|after| *folder > after) && !is_own(folder))
            .collect();
        let probes = candidates.into_iter().map(|folder| async move {
            let is_folder = self.is_folder(call, folder).await?;
            Ok::<_, Error>(is_folder.then(|| Entry { path: folder.to_owned(), object: None }))
        });
        // Collected, so that the borrows of the closure do not get in the way of `Send`.
        let probes: Vec<_> = probes.collect();
        let found: Vec<_> = stream::iter(probes).buffered(PROBES_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Proper beginnings of the page's last name after which a character below `/` comes.
fn late_candidates<'a>(start: &'a str, last: &'a str) -> impl Iterator<Item = &'a str> {
    let name = last.strip_prefix(start).unwrap_or_default();
    let name = name.strip_suffix('/').unwrap_or(name);
    let places = name.bytes().enumerate().filter(|(_, byte)| *byte < b'/').map(|(place, _)| place);
    places.filter(|place| *place > 0).map(move |place| &last[..start.len() + place])
}

fn listed_info(object: &Listed) -> ObjectInfo {
    ObjectInfo { size: object.size, modified: object.modified, etag: object.etag.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_beginnings_before_a_low_character_can_come_late() {
        let candidates = |start, last| late_candidates(start, last).collect::<Vec<_>>();
        assert_eq!(candidates("f/", "f/a-b.c"), ["f/a", "f/a-b"]);
        assert_eq!(candidates("f/", "f/a-b/"), ["f/a"]);
        assert_eq!(candidates("", "abc"), [] as [&str; 0]);
        assert_eq!(candidates("", ".a"), [] as [&str; 0]);
        assert_eq!(candidates("f/", ""), [] as [&str; 0]);
    }

    #[test]
    fn the_oldest_cursors_are_forgotten() {
        let cursors = Cursors::default();
        let cursor =
            |number: usize| Cursor { prefix: String::new(), recursive: false, after: number.to_string() };
        for number in 0..=MOST_CURSORS {
            cursors.remember(cursor(number), Some(number.to_string()));
        }
        assert_eq!(cursors.token(&cursor(0)), None);
        assert_eq!(cursors.token(&cursor(MOST_CURSORS)), Some(MOST_CURSORS.to_string()));
        cursors.forget(&cursor(1));
        assert_eq!(cursors.token(&cursor(1)), None);
    }
}
