//! Paging through a listing, with the rules for pages checked on the way.

use std::panic::Location;

use docker_registry_driver_api::{Entry, ListRequest, SharedDriver};

use crate::{
    failure::{broken, shown},
    promise,
    store::call,
};

/// The full paths of all pages.
#[track_caller]
pub(crate) fn paths(
    driver: &SharedDriver,
    request: ListRequest,
) -> impl Future<Output = Vec<String>> + use<> {
    let entries = entries(driver, request, usize::MAX);
    async move { entries.await.into_iter().map(|entry| entry.path).collect() }
}

/// The entries of all pages, or of as many as it takes to have `enough`. A page may hold fewer entries than
/// were asked for.
#[track_caller]
pub(crate) fn entries(
    driver: &SharedDriver,
    mut request: ListRequest,
    enough: usize,
) -> impl Future<Output = Vec<Entry>> + use<> {
    let (driver, place) = (driver.clone(), Location::caller());
    async move {
        let mut entries: Vec<Entry> = Vec::new();
        let mut pages = 0;
        while entries.len() < enough {
            let page = match driver.list(&call(), &request).await {
                Ok(page) => page,
                Err(error) => broken(
                    format_args!("list of {} succeeds", request.prefix),
                    shown(&error),
                    promise::LIST,
                    place,
                ),
            };
            let after = request.after.clone().unwrap_or_default();
            let (count, limit) = (page.entries.len(), request.limit);
            if count > limit as usize {
                broken(
                    format_args!("a page of at most {limit} entries"),
                    format_args!("{count} entries"),
                    promise::PAGE_LIMIT,
                    place,
                );
            }
            for entry in page.entries {
                let previous = entries.last().map_or(&after, |previous| &previous.path);
                if entry.path <= *previous && !(entries.is_empty() && after.is_empty()) {
                    broken(
                        format_args!("behind {previous:?} an entry that is greater in byte order"),
                        format_args!("{:?}", entry.path),
                        promise::LIST_ORDER,
                        place,
                    );
                }
                if !entry.path.starts_with(&request.prefix.start()) || entry.path.ends_with('/') {
                    broken(
                        format_args!("an entry in {} whose path has no / at the end", request.prefix),
                        format_args!("{:?}", entry.path),
                        promise::ENTRY_PATH,
                        place,
                    );
                }
                entries.push(entry);
            }
            pages += 1;
            // Empty pages in the middle are allowed, but they too have to lead on.
            if let Some(next) = &page.next
                && (*next <= after || pages > 100_000)
            {
                broken(
                    format_args!("the cursor behind {after:?} leads on"),
                    format_args!("{next:?}"),
                    promise::CURSOR,
                    place,
                );
            }
            match page.next {
                None => break,
                next => request.after = next,
            }
        }
        entries.truncate(enough);
        entries
    }
}
