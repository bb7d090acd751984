//! Listings of more entries than a page holds.

use docker_registry_driver_api::ListRequest;

use crate::{
    case::group,
    checks::{ok, same},
    promise,
    store::{Store, call},
    tasks,
};

group! {
    "large_listings":
    eleven_hundred_entries_come_in_order =>
        "1,100 objects and folders side by side are listed in order, in pages of 1000 and 7.";
    twenty_five_thousand_entries_come_in_order_and_go_whole long 60 =>
        "The same with 25,000 objects, in pages of 1000 and 97; delete_tree takes them all.";
    a_large_tree_is_deleted_whole =>
        "delete_tree takes more objects than a page holds and says how many they were.";
}

/// How many writers fill the folder.
const WRITERS: usize = 32;

/// Objects and folders side by side, also such that share their beginnings; in no order.
fn names(count: usize) -> Vec<String> {
    let names = (0..count).map(|number| {
        let mixed = number * 7919 % 100_003;
        match number % 4 {
            0 => format!("many/{mixed}"),
            1 => format!("many/{mixed}-x"),
            2 => format!("many/{mixed}.d/{number}"),
            _ => format!("many/folder-{}/{mixed}", number % 50),
        }
    });
    names.collect()
}

async fn fill(store: &Store, names: &[String]) {
    let writers = names.chunks(names.len().div_ceil(WRITERS)).map(|names| {
        let (store, names) = (store.clone(), names.to_vec());
        tasks::spawn(async move {
            for name in names {
                store.put(&name, "x").await;
            }
        })
    });
    tasks::all(writers.collect::<Vec<_>>()).await;
}

/// The direct children of the folder, whatever lies below them.
fn children(names: &[String]) -> Vec<String> {
    let first = |name: &String| name.split('/').take(2).collect::<Vec<_>>().join("/");
    let mut children: Vec<String> = names.iter().map(first).collect();
    children.sort_unstable();
    children.dedup();
    children
}

async fn expect_pages(store: &Store, names: &[String], limits: [u32; 2]) {
    for limit in limits {
        let below = ListRequest { limit, ..ListRequest::below(store.folder("many")) };
        store.expect_listing(below, names, promise::LIST).await;
        let direct = ListRequest { limit, ..ListRequest::children(store.folder("many")) };
        store.expect_listing(direct, &children(names), promise::LIST).await;
    }
    let inner = ListRequest { limit: 7, ..ListRequest::below(store.folder("many/folder-3")) };
    let expected: Vec<&String> = names.iter().filter(|name| name.starts_with("many/folder-3/")).collect();
    store.expect_listing(inner, &expected, promise::LIST).await;
}

async fn eleven_hundred_entries_come_in_order(store: Store) {
    let names = names(1_100);
    fill(&store, &names).await;
    expect_pages(&store, &names, [1000, 7]).await;
}

async fn twenty_five_thousand_entries_come_in_order_and_go_whole(store: Store) {
    let names = names(25_000);
    fill(&store, &names).await;
    expect_pages(&store, &names, [1000, 97]).await;
    let deleted = store.driver.delete_tree(&call(), &store.folder("many")).await;
    let count = ok(deleted, "delete_tree of very many objects", promise::TREE);
    same(count, names.len() as u64, "the number of objects that delete_tree says went", promise::TREE_COUNT);
    let nothing: [&str; 0] = [];
    store.expect_below("", &nothing, promise::TREE).await;
}

async fn a_large_tree_is_deleted_whole(store: Store) {
    let names = names(1_100);
    fill(&store, &names).await;
    store.put("many-beside", "x").await;
    store.expect_below("many", &names, promise::LIST).await;
    let deleted = store.driver.delete_tree(&call(), &store.folder("many")).await;
    let count = ok(deleted, "delete_tree of many objects", promise::TREE);
    same(count, names.len() as u64, "the number of objects that delete_tree says went", promise::TREE_COUNT);
    store.expect_below("", &["many-beside"], promise::TREE).await;
    let deleted = store.driver.delete_tree(&call(), &store.folder("many")).await;
    same(
        ok(deleted, "delete_tree of nothing", promise::TREE),
        0,
        "the number that went",
        promise::TREE_COUNT,
    );
}
