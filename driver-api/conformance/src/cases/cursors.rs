//! Cursors of listings: any text is one, and it leads on whatever happened to the entry that it names.

use docker_registry_driver_api::{ListPage, ListRequest};

use crate::{
    case::group,
    checks::{holds, ok, same},
    promise,
    store::{Store, call},
};

group! {
    "cursors":
    a_cursor_need_not_exist =>
        "`after` may be an entry, lie before, between or behind entries, or inside a folder.";
    a_cursor_before_everything_leaves_nothing_out =>
        "An empty cursor, the folder itself and texts that come before it give the whole listing.";
    a_folder_sorts_without_its_slash =>
        "Among children the cursor is compared with the name of a folder, not with what is in it.";
    changes_between_pages_disturb_nobody =>
        "Entries added and deleted between two pages, the last listed one included, hide no other entry.";
    every_page_size_gives_the_same_listing =>
        "Going on from each single entry gives exactly the entries behind it.";
}

/// A listing that begins behind a cursor below the folder of the case.
fn after(store: &Store, cursor: &str, recursive: bool, limit: u32) -> ListRequest {
    let after = Some(format!("{}/{cursor}", store.root()));
    ListRequest { recursive, after, limit, ..ListRequest::children(store.folder("a")) }
}

async fn a_cursor_need_not_exist(store: Store) {
    let (below, children) = (["a/b", "a/d/e", "a/f"], ["a/b", "a/d", "a/f"]);
    store.put_all(&below).await;
    // How many entries of either listing the cursor lies behind.
    for (cursor, passed_below, passed_children) in [
        ("a/", 0, 0),
        ("a/A", 0, 0),
        ("a/b", 1, 1),
        ("a/b/", 1, 1),
        ("a/c", 1, 1),
        ("a/c/z", 1, 1),
        ("a/d", 1, 2),
        ("a/d/", 1, 2),
        ("a/d/a", 1, 2),
        ("a/d/e", 2, 2),
        ("a/d/z", 2, 2),
        ("a/e", 2, 2),
        ("a/f", 3, 3),
        ("a/f0", 3, 3),
        ("a0", 3, 3),
        ("b", 3, 3),
        ("a\u{10ffff}", 3, 3),
    ] {
        for limit in [1, 1000] {
            let request = after(&store, cursor, true, limit);
            store.expect_listing(request, &below[passed_below..], promise::CURSOR).await;
            let request = after(&store, cursor, false, limit);
            store.expect_listing(request, &children[passed_children..], promise::CURSOR).await;
        }
    }
}

async fn a_cursor_before_everything_leaves_nothing_out(store: Store) {
    store.put_all(&["a/b", "a/c/d"]).await;
    let root = store.root();
    for cursor in [String::new(), "!".to_owned(), root[..4].to_owned(), root.to_owned(), format!("{root}/a")]
    {
        let request = ListRequest { after: Some(cursor), ..ListRequest::below(store.folder("a")) };
        store.expect_listing(request.clone(), &["a/b", "a/c/d"], promise::CURSOR).await;
        let request = ListRequest { recursive: false, ..request };
        store.expect_listing(request, &["a/b", "a/c"], promise::CURSOR).await;
    }
    // Behind everything in the store that begins like the case's folder.
    let request = ListRequest { after: Some("~".to_owned()), ..ListRequest::below(store.folder("a")) };
    store.expect_listing::<&str>(request, &[], promise::CURSOR).await;
}

async fn a_folder_sorts_without_its_slash(store: Store) {
    store.put_all(&["a/b-", "a/b.", "a/b/x", "a/b0"]).await;
    let children = ["a/b", "a/b-", "a/b.", "a/b0"];
    // In the listing of all below, what is in the folder comes behind `b-` and `b.`.
    let below = ["a/b-", "a/b.", "a/b/x", "a/b0"];
    for limit in [1, 2, 1000] {
        for passed in 0..=children.len() {
            let cursor = if passed == 0 { "a/" } else { children[passed - 1] };
            let request = after(&store, cursor, false, limit);
            store.expect_listing(request, &children[passed..], promise::LIST_FOLDER).await;
            let cursor = if passed == 0 { "a/" } else { below[passed - 1] };
            let request = after(&store, cursor, true, limit);
            store.expect_listing(request, &below[passed..], promise::CURSOR).await;
        }
        let request = after(&store, "a/b/", false, limit);
        store.expect_listing(request, &["a/b0"], promise::LIST_FOLDER).await;
    }
}

async fn changes_between_pages_disturb_nobody(store: Store) {
    for recursive in [true, false] {
        let names: Vec<_> = (10..30).map(|number| format!("a/{number}")).collect();
        store.put_all(&names).await;
        let all = ListRequest { recursive, ..ListRequest::children(store.folder("a")) };
        store.expect_listing(all.clone(), &names, promise::LIST).await;
        let first = ListRequest { limit: 5, ..all };
        // The first pages, until one holds something.
        let mut page = ListPage { next: Some(String::new()), ..ListPage::default() };
        while page.entries.is_empty() && page.next.is_some() {
            let request = ListRequest { after: page.next, ..first.clone() };
            page = ok(store.driver.list(&call(), &request).await, "list", promise::LIST);
        }
        let listed = page.entries.len();
        let Some(next) = page.next else {
            holds(false, "a cursor behind the first 5 of twenty entries", "none", promise::CURSOR);
            return;
        };
        // Everything that was listed goes, the entry under the cursor too, and one that was not.
        let gone: Vec<_> = names[..listed].iter().chain([&names[15]]).map(|name| store.path(name)).collect();
        let failures =
            ok(store.driver.delete_many(&call(), &gone).await, "delete_many", promise::DELETE_MANY);
        holds(failures.is_empty(), "delete_many deletes", format!("{failures:?}"), promise::DELETE_MANY);
        // One before the cursor, one between, one replaced, one at the end.
        store.put_all(&["a/0", "a/18-new", "a/20", "a/9"]).await;
        let mut expected: Vec<_> = names[listed..].to_vec();
        expected.retain(|name| name != &names[15]);
        expected.extend(["a/18-new".to_owned(), "a/9".to_owned()]);
        for limit in [5, 1000] {
            let rest = ListRequest { after: Some(next.clone()), limit, ..first.clone() };
            store.expect_listing(rest, &expected, promise::LIST_CHANGES).await;
        }
        store.empty("a").await;
    }
}

async fn every_page_size_gives_the_same_listing(store: Store) {
    let names: Vec<_> = (0..12).map(|number| format!("a/{}/{number:02}", number / 4)).collect();
    store.put_all(&names).await;
    store.expect_below("a", &names, promise::LIST).await;
    for (passed, name) in names.iter().enumerate() {
        for limit in [1, 4, 5] {
            let page = store.driver.list(&call(), &after(&store, name, true, limit)).await;
            let page = ok(page, "list", promise::LIST);
            let found: Vec<_> = page.entries.iter().map(|entry| entry.path.clone()).collect();
            let rest = names[passed + 1..].iter().map(|name| store.path(name).as_str().to_owned());
            let expected: Vec<_> = rest.take(found.len()).collect();
            same(found, expected, format_args!("the page of {limit} behind {name}"), promise::CURSOR);
            let is_last = passed + 1 + page.entries.len() == names.len();
            let what = format_args!("a next page behind {name} unless this one ends the listing");
            holds(is_last || page.next.is_some(), what, "none", promise::CURSOR);
        }
    }
}
