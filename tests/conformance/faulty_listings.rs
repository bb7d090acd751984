//! Drivers that do one thing wrong in listings.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use docker_registry_driver_api::{
    Entry, Error, ErrorKind, ListPage, ListRequest, MAX_PAGE, Prefix, Result, SharedDriver,
    futures::FutureExt,
};

use crate::{
    changed::{Changed, call},
    faulty::{Fault, fault},
};

/// The faults of this file.
pub(crate) fn faults() -> Vec<Fault> {
    [order(), entries(), folders(), cursors()].into_iter().flatten().collect()
}

/// The whole listing, without a cursor.
async fn all(inner: &SharedDriver, request: &ListRequest) -> Result<Vec<Entry>> {
    let request = ListRequest { after: None, limit: MAX_PAGE, ..request.clone() };
    Ok(inner.list(&call(), &request).await?.entries)
}

/// The page of a listing whose entries are sorted by a key of their own.
fn page(entries: impl Iterator<Item = Entry>, limit: u32) -> ListPage {
    let mut entries: Vec<_> = entries.collect();
    let more = entries.len() > limit as usize;
    entries.truncate(limit as usize);
    let next = entries.last().filter(|_| more).map(|entry| entry.path.clone());
    ListPage { entries, next }
}

/// A driver whose pages are changed after they were made.
fn page_with(inner: SharedDriver, change: fn(&ListRequest, ListPage) -> Result<ListPage>) -> SharedDriver {
    Changed::of(inner).list(move |inner, (request,)| {
        async move { change(&request, inner.list(&call(), &request).await?) }.boxed()
    })
}

fn order() -> Vec<Fault> {
    vec![
        fault(
            "a_page_is_backwards",
            "listing/paths_come_in_byte_order",
            "in ascending byte order of their paths",
            |inner| {
                page_with(inner, |_, mut page| {
                    page.entries.reverse();
                    Ok(page)
                })
            },
        ),
        fault(
            "an_entry_is_repeated",
            "listing/an_object_appears_and_disappears",
            "none is repeated",
            |inner| {
                page_with(inner, |_, mut page| {
                    page.entries.extend(page.entries.last().cloned());
                    Ok(page)
                })
            },
        ),
        fault(
            "case_does_not_count_in_the_order",
            "listing/paths_come_in_byte_order",
            "in ascending byte order of their paths",
            |inner| {
                page_with(inner, |_, mut page| {
                    page.entries.sort_by_key(|entry| entry.path.to_lowercase());
                    Ok(page)
                })
            },
        ),
        // What an object store gives that knows folders by a delimiter only.
        fault(
            "a_folder_sorts_with_its_slash",
            "cursors/a_folder_sorts_without_its_slash",
            "in ascending byte order of their paths",
            |inner| {
                Changed::of(inner).list(|inner, (request,)| {
                    async move {
                        let mut entries = all(&inner, &request).await?;
                        let key = |entry: &Entry| match entry.object {
                            Some(_) => entry.path.clone(),
                            None => format!("{}/", entry.path),
                        };
                        entries.sort_by_key(key);
                        let after = request.after.unwrap_or_default();
                        Ok(page(entries.into_iter().filter(|entry| key(entry) > after), request.limit))
                    }
                    .boxed()
                })
            },
        ),
        fault("a_page_is_too_large", "listing/paths_come_in_byte_order", "Most entries wanted", |inner| {
            Changed::of(inner).list(|inner, (request,)| {
                let request = ListRequest { limit: request.limit + 1, ..request };
                async move { inner.list(&call(), &request).await }.boxed()
            })
        }),
    ]
}

fn entries() -> Vec<Fault> {
    vec![
        fault(
            "sizes_are_not_listed",
            "listing/entries_carry_their_facts",
            "Size and time are right",
            |inner| {
                page_with(inner, |_, mut page| {
                    for info in page.entries.iter_mut().filter_map(|entry| entry.object.as_mut()) {
                        info.size = 0;
                    }
                    Ok(page)
                })
            },
        ),
        fault(
            "objects_look_like_folders",
            "listing/entries_carry_their_facts",
            "or `None` for a folder",
            |inner| {
                page_with(inner, |_, mut page| {
                    page.entries.iter_mut().for_each(|entry| entry.object = None);
                    Ok(page)
                })
            },
        ),
        fault(
            "a_folder_ends_with_a_slash",
            "listing/children_are_one_level",
            "without a `/` at the end",
            |inner| {
                page_with(inner, |_, mut page| {
                    for entry in page.entries.iter_mut().filter(|entry| entry.object.is_none()) {
                        entry.path.push('/');
                    }
                    Ok(page)
                })
            },
        ),
        fault(
            "paths_begin_at_the_folder",
            "listing/children_are_one_level",
            "Path from the storage root",
            |inner| {
                page_with(inner, |request, mut page| {
                    let start = request.prefix.start();
                    for entry in &mut page.entries {
                        entry.path = entry.path.trim_start_matches(&start).to_owned();
                    }
                    Ok(page)
                })
            },
        ),
        fault(
            "all_below_holds_folders",
            "listing/a_walk_finds_what_a_recursive_listing_finds",
            "everything below the folder, objects only",
            |inner| {
                Changed::of(inner).list(|inner, (request,)| {
                    async move {
                        let mut page = inner.list(&call(), &request).await?;
                        let children = ListRequest { recursive: false, ..request };
                        let folders = inner.list(&call(), &children).await?.entries;
                        page.entries.extend(folders.into_iter().filter(|entry| entry.object.is_none()));
                        page.entries.sort_by(|one, other| one.path.cmp(&other.path));
                        page.entries.truncate(children.limit as usize);
                        Ok(page)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "all_below_is_one_level",
            "listing/a_walk_finds_what_a_recursive_listing_finds",
            "everything below the folder, objects only",
            |inner| {
                Changed::of(inner).list(|inner, (request,)| {
                    async move {
                        let mut page =
                            inner.list(&call(), &ListRequest { recursive: false, ..request }).await?;
                        page.entries.retain(|entry| entry.object.is_some());
                        Ok(page)
                    }
                    .boxed()
                })
            },
        ),
    ]
}

fn folders() -> Vec<Fault> {
    vec![
        fault(
            "an_absent_folder_is_not_found",
            "listing/an_absent_folder_is_an_empty_page",
            "empty page",
            |inner| {
                page_with(inner, |request, page| match page.entries.is_empty() {
                    true => Err(Error::new(ErrorKind::NotFound, "no such folder").at(&request.prefix)),
                    false => Ok(page),
                })
            },
        ),
        fault(
            "a_neighbour_is_listed",
            "listing/a_neighbour_with_the_same_beginning_is_not_listed",
            "Path from the storage root",
            |inner| {
                Changed::of(inner).list(|inner, (request,)| {
                    async move {
                        let everything = ListRequest::below(Prefix::root());
                        let found = all(&inner, &everything).await?.into_iter();
                        let after = request.after.unwrap_or_default();
                        let start = request.prefix.as_str();
                        let found = found.filter(|entry| entry.path.starts_with(start) && entry.path > after);
                        Ok(page(found, request.limit))
                    }
                    .boxed()
                })
            },
        ),
        fault("the_root_is_empty", "listing/the_root_lists_everything", "its direct children", |inner| {
            page_with(inner, |request, page| match request.prefix.is_root() {
                true => Ok(ListPage::default()),
                false => Ok(page),
            })
        }),
        // As a file system lists it from which nobody removes folders.
        fault(
            "an_emptied_folder_stays",
            "listing/an_emptied_folder_disappears",
            "at least one object",
            |inner| {
                let seen = Arc::new(Mutex::new(BTreeSet::new()));
                Changed::of(inner).list(move |inner, (request,)| {
                    let seen = Arc::clone(&seen);
                    async move {
                        let mut page = inner.list(&call(), &request).await?;
                        if !request.recursive {
                            let mut seen = seen.lock().expect("no test panics here");
                            for entry in page.entries.iter().filter(|entry| entry.object.is_none()) {
                                seen.insert(entry.path.clone());
                            }
                            let start = request.prefix.start();
                            let is_child = |path: &&String| {
                                path.strip_prefix(&start).is_some_and(|rest| !rest.contains('/'))
                            };
                            for path in seen.iter().filter(is_child) {
                                if page.entries.iter().all(|entry| entry.path != *path) {
                                    page.entries.push(Entry { path: path.clone(), object: None });
                                }
                            }
                            page.entries.sort_by(|one, other| one.path.cmp(&other.path));
                        }
                        Ok(page)
                    }
                    .boxed()
                })
            },
        ),
    ]
}

fn cursors() -> Vec<Fault> {
    vec![
        fault(
            "an_entry_is_lost_between_pages",
            "listing/paths_come_in_byte_order",
            "One page of a listing in byte order",
            |inner| {
                Changed::of(inner).list(|inner, (request,)| {
                    async move {
                        let longer = ListRequest { limit: request.limit + 1, ..request.clone() };
                        let mut page = inner.list(&call(), &longer).await?;
                        if page.entries.len() > request.limit as usize {
                            // The cursor is the first entry of the next page, and a cursor is exclusive.
                            page.next = page.entries.pop().map(|entry| entry.path);
                        }
                        Ok(page)
                    }
                    .boxed()
                })
            },
        ),
        fault("a_cursor_is_inclusive", "cursors/a_cursor_need_not_exist", "ascending byte order", |inner| {
            Changed::of(inner).list(|inner, (request,)| {
                async move {
                    let after = request.after.clone().unwrap_or_default();
                    let found = all(&inner, &request).await?.into_iter();
                    Ok(page(found.filter(|entry| entry.path >= after), request.limit))
                }
                .boxed()
            })
        }),
        fault("a_cursor_must_exist", "cursors/a_cursor_need_not_exist", "greater than this text", |inner| {
            Changed::of(inner).list(|inner, (request,)| {
                async move {
                    let found = all(&inner, &request).await?;
                    let Some(after) = &request.after else {
                        return Ok(page(found.into_iter(), request.limit));
                    };
                    let passed = found.iter().position(|entry| entry.path == *after).map(|at| at + 1);
                    let rest = found.into_iter().skip(passed.unwrap_or(usize::MAX));
                    Ok(page(rest, request.limit))
                }
                .boxed()
            })
        }),
        fault(
            "a_cursor_is_an_index",
            "cursors/changes_between_pages_disturb_nobody",
            "exactly once",
            |inner| {
                Changed::of(inner).list(|inner, (request,)| {
                    async move {
                        let after = request.after.clone().unwrap_or_default();
                        let found = all(&inner, &request).await?.into_iter();
                        // What comes behind the path of the cursor is how many entries were given.
                        let given =
                            after.split_once('\0').and_then(|(_, count)| count.parse().ok()).unwrap_or(0);
                        let mut page = page(found.skip(given), request.limit);
                        let count = given + page.entries.len();
                        page.next = page.next.map(|path| format!("{path}\0{count}"));
                        Ok(page)
                    }
                    .boxed()
                })
            },
        ),
        fault(
            "a_page_that_is_not_the_last_has_no_cursor",
            "cursors/every_page_size_gives_the_same_listing",
            "Only entries whose path is greater",
            |inner| page_with(inner, |_, page| Ok(ListPage { next: None, ..page })),
        ),
        fault(
            "a_cursor_before_the_folder_ends_the_listing",
            "cursors/a_cursor_before_everything_leaves_nothing_out",
            "Only entries whose path is greater",
            |inner| {
                page_with(inner, |request, page| match &request.after {
                    Some(after) if !after.starts_with(&request.prefix.start()) => Ok(ListPage::default()),
                    _ => Ok(page),
                })
            },
        ),
    ]
}
