//! Many callers at once, who write, delete and look in the same places without getting into each other's way.

use bytes::Bytes;
use docker_registry_driver_api::{Condition, ListRequest, ReadRange};

use super::concurrency::{look, upload, version};
use crate::{
    bodies::patterned,
    case::group,
    checks::ok,
    content::Pattern,
    pieces::expect_pattern,
    promise,
    store::{Store, call},
    tasks::{self, Task},
};

group! {
    "many_callers":
    another_process_finds_what_was_written [ResumableUploads] =>
        "What one process wrote, replaced, moved and deleted is so for another one, without a word from the first.";
    writers_against_delete_tree =>
        "While a folder is deleted again and again, writers in it succeed, and objects beside it stay.";
    puts_and_deletes_in_one_folder =>
        "A folder whose last object goes at any moment is no obstacle for the next put.";
    many_mixed_calls_at_once =>
        "Sixty-four callers that put, read, list, copy, move and delete at once each find their own.";
    many_streams_at_once =>
        "Thirty-two uploads of 4 MiB at once, each read back.";
}

async fn another_process_finds_what_was_written(store: Store) {
    for name in ["kept", "replaced", "moved", "deleted"] {
        store.put(name, version(b'a')).await;
        store.head(name).await;
    }
    let second = store.second().await;
    store.put("replaced", version(b'b')).await;
    upload(&store, "uploaded", version(b'c')).await;
    let (from, to) = (store.path("moved"), store.path("there"));
    ok(store.driver.rename(&call(), &from, &to).await, "rename", promise::RENAME);
    ok(store.driver.delete(&call(), &store.path("deleted")).await, "delete", promise::DELETE);
    // One that was open before the changes, and one that opens now.
    for process in [second, store.second().await] {
        for (name, letter) in [("kept", b'a'), ("replaced", b'b'), ("uploaded", b'c'), ("there", b'a')] {
            process.expect(name, version(letter), promise::DURABILITY).await;
        }
        let names = ["kept", "replaced", "there", "uploaded"];
        process.expect_below("", &names, promise::DURABILITY).await;
        process.expect_absent("deleted", promise::DURABILITY).await;
    }
}

async fn writers_against_delete_tree(store: Store) {
    store.put("tree-beside/a", version(b'a')).await;
    let writers: Vec<_> = (0..4_u8)
        .map(|number| {
            let store = store.clone();
            tasks::spawn(async move {
                for round in 0..30 {
                    let name = format!("tree/{}/{number}", round % 3);
                    let letter = b'a' + number;
                    match round % 6 {
                        5 => upload(&store, &name, version(letter)).await,
                        _ => store.put(&name, version(letter)).await,
                    }
                }
            })
        })
        .collect();
    while !writers.iter().all(Task::is_finished) {
        let deleted = store.driver.delete_tree(&call(), &store.folder("tree")).await;
        ok(deleted, "delete_tree while others write below the folder", promise::TREE);
        look(&store, "tree/0/0", false).await;
    }
    tasks::all(writers).await;
    for name in store.list(&ListRequest::below(store.folder("tree"))).await {
        look(&store, &name, false).await;
    }
    store.expect("tree-beside/a", version(b'a'), promise::TREE).await;
    store.empty("tree").await;
    store.expect_below("", &["tree-beside/a"], promise::TREE).await;
    // What is written afterwards stays.
    store.put("tree/0/0", version(b'b')).await;
    store.expect("tree/0/0", version(b'b'), promise::PUT).await;
}

async fn puts_and_deletes_in_one_folder(store: Store) {
    let workers = (0..8_u32).map(|number| {
        let store = store.clone();
        tasks::spawn(async move {
            let name = format!("folder/deeper/{number}");
            for round in 0..25 {
                store.put(&name, format!("{number} in round {round}")).await;
                store.expect(&name, format!("{number} in round {round}"), promise::PUT).await;
                let deleted = store.driver.delete(&call(), &store.path(&name)).await;
                ok(deleted, format!("delete of {name}"), promise::DELETE);
                store.expect_absent(&name, promise::DELETE).await;
            }
        })
    });
    tasks::all(workers).await;
    store.expect_below::<&str>("folder", &[], promise::DELETE).await;
}

async fn many_mixed_calls_at_once(store: Store) {
    store.put("shared", version(b'a')).await;
    store.head("shared").await;
    let callers = (0..64_u32).map(|number| {
        let store = store.clone();
        tasks::spawn(async move {
            let content = format!("caller {number} ").repeat(1 + number as usize);
            let name = |name: &str| format!("callers/{number}/{name}");
            let path = |name: &str| store.path(&format!("callers/{number}/{name}"));
            store.put(&name("put"), content.clone()).await;
            store.expect(&name("put"), content.clone(), promise::PUT).await;
            upload(&store, &name("uploaded"), Bytes::from(content.clone())).await;
            store.head(&name("uploaded")).await;
            let copied = store.driver.copy(&call(), &path("put"), &path("copied")).await;
            ok(copied, "copy", promise::COPY);
            let renamed = store.driver.rename(&call(), &path("uploaded"), &path("moved")).await;
            ok(renamed, "rename", promise::RENAME);
            look(&store, "shared", true).await;
            let names = ["copied", "moved", "put"].map(name);
            store.expect_below(&format!("callers/{number}"), &names, promise::LIST).await;
            for name in &names {
                store.expect(name, content.clone(), promise::CONCURRENCY).await;
            }
            ok(store.driver.delete(&call(), &path("put")).await, "delete", promise::DELETE);
            let health = store.driver.health(&call()).await;
            ok(health, "health of a store that is busy", promise::HEALTH);
            if number % 2 == 0 {
                let folder = store.folder(&format!("callers/{number}"));
                ok(store.driver.delete_tree(&call(), &folder).await, "delete_tree", promise::TREE);
            }
        })
    });
    tasks::all(callers).await;
    let left = (0..64).filter(|number| number % 2 == 1);
    let left = left.flat_map(|number| ["copied", "moved"].map(|name| format!("callers/{number}/{name}")));
    store.expect_below("callers", &left.collect::<Vec<_>>(), promise::CONCURRENCY).await;
}

async fn many_streams_at_once(store: Store) {
    const SIZE: u64 = 4 * 1024 * 1024 + 77;
    let streams = (0..32_u64).map(|number| {
        let store = store.clone();
        tasks::spawn(async move {
            let (pattern, name) = (Pattern::new(200 + number), format!("streams/{number}"));
            let state = store.open_upload().await;
            let chunks = patterned(&pattern, 0, SIZE, &[300_000, 1, 65_536]);
            let progress = ok(store.try_append(&state, 0, chunks).await, "append", promise::APPEND);
            let committed = store.try_commit(&progress.state, &name, &Condition::Always).await;
            ok(committed, "commit", promise::COMMIT);
            store.head(&name).await;
            let reading = store.driver.read(&call(), &store.path(&name), ReadRange::Full).await;
            expect_pattern(ok(reading, "read", promise::CONCURRENCY), &pattern, promise::CONCURRENCY).await;
        })
    });
    tasks::all(streams).await;
}
