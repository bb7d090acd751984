//! Listings: one page at a time, in byte order of the full paths.
//!
//! What to put here: the listing call of your storage. Remember nothing between pages; the cursor is
//! the last path of the page before, so that a listing survives changes and restarts. A page may
//! hold fewer entries than asked for.

use std::collections::BTreeMap;

use docker_registry_driver_api::{Entry, ListPage, ListRequest, ObjectInfo};

use crate::contents::Contents;

impl Contents {
    /// The page that was asked for. A folder that does not exist is an empty page.
    ///
    /// Children are sorted once more, because a folder `a` sorts as `a` while what is in it, `a/x`,
    /// comes after `a-b`.
    pub(crate) fn page(&self, request: &ListRequest) -> ListPage {
        let start = request.prefix.start();
        let mut found: BTreeMap<String, Option<ObjectInfo>> = BTreeMap::new();
        for (path, stored) in self.objects.range(start.clone()..) {
            let Some(rest) = path.strip_prefix(&start) else {
                break;
            };
            match rest.split_once('/') {
                Some((folder, _)) if !request.recursive => {
                    found.insert(format!("{start}{folder}"), None);
                }
                _ => {
                    found.insert(path.clone(), Some(stored.info()));
                }
            }
        }
        let after = request.after.as_deref().unwrap_or_default();
        let limit = request.limit.max(1) as usize;
        // One entry more than asked for tells whether there is another page.
        let mut entries: Vec<Entry> = found
            .into_iter()
            .filter(|(path, _)| path.as_str() > after)
            .take(limit + 1)
            .map(|(path, object)| Entry { path, object })
            .collect();
        let more = entries.len() > limit;
        entries.truncate(limit);
        let next = entries.last().filter(|_| more).map(|last| last.path.clone());
        ListPage { entries, next }
    }
}
