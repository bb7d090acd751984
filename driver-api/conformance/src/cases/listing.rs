//! Listings: byte order, pages, folders, and what is in an entry.

use std::collections::BTreeSet;

use docker_registry_driver_api::{ListRequest, MAX_PAGE, Prefix};

use crate::{
    case::group,
    checks::{holds, ok, same},
    listing, promise,
    store::{Store, call},
};

group! {
    "listing":
    paths_come_in_byte_order =>
        "Names that sort differently with and without their folders come in byte order, in pages of any size.";
    children_are_one_level =>
        "The direct children are objects and folders, a folder once and without a / at the end.";
    entries_carry_their_facts =>
        "An object's entry has its size; a folder's entry has no facts.";
    a_neighbour_with_the_same_beginning_is_not_listed =>
        "A listing of `a` holds nothing of `ab`, `a-b` or `a.b`.";
    an_absent_folder_is_an_empty_page =>
        "A listing of what is not there, or of an object, is empty and has no next page.";
    an_emptied_folder_disappears =>
        "A folder whose last object was deleted or moved away is listed no longer.";
    the_root_lists_everything =>
        "A listing of the storage root finds the folder of the case, and what is in it.";
    a_walk_finds_what_a_recursive_listing_finds =>
        "Walking from folder to folder finds exactly the objects that one listing of all below finds.";
    an_object_appears_and_disappears =>
        "An object is listed once it was put, once when it was replaced, and not when it was deleted.";
}

/// `-` and `.` come before `/` in byte order, `0` after it.
const AWKWARD: &[&str] = &[
    "a/b-c/d", "a/b.c", "a/b/c", "a/b0", "a/ba", "a-", "a-/x", "a-b", "a.", "a./y/z", "a.b/x", "a.b0", "a0",
    "a0/x", "aa", "ab", "A", "Z/a", "_", "z/1", "z/10", "z/1/1", "z/2",
];

/// The awkward names, save those of objects that are folders to others.
fn awkward() -> Vec<&'static str> {
    let is_folder = |name: &&&str| AWKWARD.iter().any(|other| other.starts_with(&format!("{name}/")));
    AWKWARD.iter().filter(|name| !is_folder(name)).copied().collect()
}

async fn paths_come_in_byte_order(store: Store) {
    let names = awkward();
    let below: Vec<_> = names.iter().map(|name| format!("root/{name}")).collect();
    store.put_all(&below).await;
    store.put("root-2/x", "x").await;
    let children: BTreeSet<_> =
        names.iter().map(|name| format!("root/{}", name.split('/').next().unwrap_or(name))).collect();
    let children: Vec<_> = children.into_iter().collect();
    for limit in [MAX_PAGE, 1, 2, 3, 7, names.len() as u32] {
        let request = ListRequest { limit, ..ListRequest::below(store.folder("root")) };
        store.expect_listing(request, &below, promise::LIST).await;
        let request = ListRequest { limit, ..ListRequest::children(store.folder("root")) };
        store.expect_listing(request, &children, promise::LIST_FOLDER).await;
        let request = ListRequest { limit, ..ListRequest::children(store.folder("root/a")) };
        let inside = ["root/a/b", "root/a/b-c", "root/a/b.c", "root/a/b0", "root/a/ba"];
        store.expect_listing(request, &inside, promise::LIST_FOLDER).await;
    }
}

async fn children_are_one_level(store: Store) {
    store.put_all(&["f/a", "f/b/1", "f/b/2", "f/b/c/3", "f/d/e/f/g", "f/h"]).await;
    store.expect_children("f", &["f/a", "f/b", "f/d", "f/h"], promise::LIST_BELOW).await;
    store.expect_children("f/b", &["f/b/1", "f/b/2", "f/b/c"], promise::LIST_BELOW).await;
    store.expect_children("f/d", &["f/d/e"], promise::LIST_BELOW).await;
    store.expect_children("", &["f"], promise::LIST_BELOW).await;
    let below = ["f/b/1", "f/b/2", "f/b/c/3"];
    store.expect_below("f/b", &below, promise::LIST_BELOW).await;
}

async fn entries_carry_their_facts(store: Store) {
    store.put_all(&["f/a", "f/object"]).await;
    store.put("f/empty", "").await;
    store.put("f/folder/object", "x").await;
    let expected = [("f/a", Some(3)), ("f/empty", Some(0)), ("f/folder", None), ("f/object", Some(8))];
    let names: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
    store.expect_children("f", &names, promise::LIST_BELOW).await;
    let found = listing::entries(&store.driver, ListRequest::children(store.folder("f")), usize::MAX).await;
    let found: Vec<_> =
        found.into_iter().map(|entry| (entry.path, entry.object.map(|info| info.size))).collect();
    let expected = expected.map(|(name, size)| (store.path(name).as_str().to_owned(), size)).to_vec();
    same(found, expected, "children with their sizes, None for a folder", promise::ENTRY_FACTS);
    for entry in listing::entries(&store.driver, ListRequest::below(store.folder("f")), usize::MAX).await {
        let what = format_args!("the entry of an object, {}, has facts", entry.path);
        holds(entry.object.is_some(), what, "none", promise::LIST_BELOW);
    }
}

async fn a_neighbour_with_the_same_beginning_is_not_listed(store: Store) {
    let neighbours = ["ab/x", "a-b", "a.b/x", "a0", "A/x", "b/a/x"];
    store.put_all(&neighbours).await;
    store.expect_below("a", &[] as &[&str], promise::FOLDER).await;
    store.put("a/x", "x").await;
    for limit in [1, MAX_PAGE] {
        let request = ListRequest { limit, ..ListRequest::below(store.folder("a")) };
        store.expect_listing(request, &["a/x"], promise::FOLDER).await;
        let request = ListRequest { limit, ..ListRequest::children(store.folder("a")) };
        store.expect_listing(request, &["a/x"], promise::FOLDER).await;
    }
}

async fn an_absent_folder_is_an_empty_page(store: Store) {
    store.put_all(&["object", "folder/x"]).await;
    store.expect_below("", &["object", "folder/x"], promise::PUT).await;
    for name in ["absent", "absent/deeper", "object", "object/below", "folder/x", "folder/y", "fold"] {
        for recursive in [false, true] {
            let request = ListRequest { recursive, ..ListRequest::children(store.folder(name)) };
            let what = format!("list of {name}, where no folder is");
            let page = ok(store.driver.list(&call(), &request).await, &what, promise::LIST_ABSENT);
            same(page.entries, vec![], what, promise::LIST_ABSENT);
            store.expect_listing::<&str>(request, &[], promise::LIST_ABSENT).await;
        }
    }
}

async fn an_emptied_folder_disappears(store: Store) {
    store.put_all(&["f/a/1", "f/b/c/2", "f/d/3", "f/e"]).await;
    store.expect_children("f", &["f/a", "f/b", "f/d", "f/e"], promise::LIST_BELOW).await;
    ok(store.driver.delete(&call(), &store.path("f/a/1")).await, "delete", promise::DELETE);
    store.expect_children("f", &["f/b", "f/d", "f/e"], promise::STAT_FOLDER).await;
    let moved = store.driver.rename(&call(), &store.path("f/b/c/2"), &store.path("f/d/4")).await;
    ok(moved, "rename", promise::RENAME);
    store.expect_children("f", &["f/d", "f/e"], promise::STAT_FOLDER).await;
    let both = [store.path("f/d/3"), store.path("f/d/4")];
    ok(store.driver.delete_many(&call(), &both).await, "delete_many", promise::DELETE_MANY);
    store.expect_children("f", &["f/e"], promise::STAT_FOLDER).await;
    ok(store.driver.delete_tree(&call(), &store.folder("f/e")).await, "delete_tree", promise::TREE);
    store.expect_children("f", &[] as &[&str], promise::STAT_FOLDER).await;
    store.expect_children("", &[] as &[&str], promise::STAT_FOLDER).await;
}

async fn the_root_lists_everything(store: Store) {
    store.put_all(&["a", "b/c"]).await;
    store.expect_below("", &["a", "b/c"], promise::PUT).await;
    let root = store.root();
    // Others may have objects in the root. So the pages begin right before the case's own.
    let before = root[..root.len() - 1].to_owned();
    let first = |after: String, recursive, enough| {
        let request =
            ListRequest { recursive, after: Some(after), limit: 2, ..ListRequest::children(Prefix::root()) };
        let found = listing::entries(&store.driver, request, enough);
        async move {
            found.await.into_iter().map(|entry| (entry.path, entry.object.is_some())).collect::<Vec<_>>()
        }
    };
    let found = first(before.clone(), false, 1).await;
    same(found, vec![(root.to_owned(), false)], "the folder of the case in the root", promise::LIST_BELOW);
    for after in [before, root.to_owned(), format!("{root}/")] {
        let expected = ["a", "b/c"].map(|name| (format!("{root}/{name}"), true)).to_vec();
        let found = first(after, true, 2).await;
        same(found, expected, "what is below the root from the case on", promise::LIST_BELOW);
    }
}

async fn a_walk_finds_what_a_recursive_listing_finds(store: Store) {
    let mut random = fastrand::Rng::with_seed(11);
    let mut names = BTreeSet::new();
    // Folders end with a letter and objects with a digit, so that no name is both.
    while names.len() < 80 {
        let folders = (0..random.usize(..4)).map(|_| {
            let name = ["a", "a-b", "a.b", "ab", "b"];
            name[random.usize(..name.len())].to_owned() + "/"
        });
        let folders: String = folders.collect();
        names.insert(format!("{folders}{}", random.u8(..20)));
    }
    let names: Vec<_> = names.into_iter().collect();
    store.put_all(&names).await;
    for limit in [MAX_PAGE, 3] {
        let request = ListRequest { limit, ..ListRequest::below(store.folder("")) };
        store.expect_listing(request, &names, promise::LIST_BELOW).await;
        let mut found = store.eventually(|| walk(&store, limit), |found| found.len() == names.len()).await;
        found.sort_unstable();
        same(found, names.clone(), "what a walk finds", promise::LIST_BELOW);
    }
}

/// The objects that are found by listing the children of each folder.
async fn walk(store: &Store, limit: u32) -> Vec<String> {
    let start = format!("{}/", store.root());
    let mut folders = vec![store.folder("")];
    let mut objects = Vec::new();
    while let Some(folder) = folders.pop() {
        let request = ListRequest { limit, ..ListRequest::children(folder) };
        for entry in listing::entries(&store.driver, request, usize::MAX).await {
            match entry.object {
                Some(_) => objects.push(entry.path.trim_start_matches(&start).to_owned()),
                None => folders.push(Prefix::new(entry.path).expect("a listed folder has a valid path")),
            }
        }
    }
    objects
}

async fn an_object_appears_and_disappears(store: Store) {
    store.put("f/b", "x").await;
    for _ in 0..2 {
        store.put("f/a", "first").await;
        store.expect_below("f", &["f/a", "f/b"], promise::LIST_BELOW).await;
        store.put("f/a", "second").await;
        store.expect_below("f", &["f/a", "f/b"], promise::LIST_ORDER).await;
        ok(store.driver.delete(&call(), &store.path("f/a")).await, "delete", promise::DELETE);
        store.expect_below("f", &["f/b"], promise::DELETE).await;
        store.expect_children("f", &["f/b"], promise::DELETE).await;
    }
}
