//! Calls side by side: readers see one version or the other, and nobody gets into another's way.

use std::panic::Location;

use bytes::Bytes;
use docker_registry_driver_api::{Capability, Condition, ErrorKind, ListRequest, ReadRange, Result};

use crate::{
    bodies::patterned,
    case::group,
    checks::{fails, holds, ok},
    content::Pattern,
    failure::{broken, shown},
    pieces::{Pieces, expect_pattern},
    promise,
    store::{Store, call},
    tasks::{self, Task},
};

group! {
    "concurrency":
    readers_see_one_version_or_the_other =>
        "While an object is replaced by puts, every reading, get and head is of one version, and it is there.";
    readers_of_commits_see_one_version_or_the_other =>
        "The same while it is replaced by commits, copies and renames.";
    two_writers_leave_one_of_their_contents =>
        "Of two that write one path at once one content stays, whole, and a reader never sees a mixture.";
    an_open_reading_is_not_disturbed =>
        "A reading that was begun before its object was replaced, deleted or moved over yields the old content.";
    readers_of_an_object_that_comes_and_goes =>
        "While an object is written and deleted in turns, readers find it whole or not at all.";
    a_rename_does_not_disturb_readers =>
        "While an object moves to and fro, readers at both places find it whole or not at all.";
    listings_go_on_while_objects_come =>
        "While objects are put among them, the ones that are there all the time are listed once and in order.";
    writers_against_delete_tree =>
        "While a folder is deleted again and again, writers in it succeed, and objects beside it stay.";
    puts_and_deletes_in_one_folder =>
        "A folder whose last object goes at any moment is no obstacle for the next put.";
    many_mixed_calls_at_once =>
        "Sixty-four callers that put, read, list, copy, move and delete at once each find their own.";
    many_streams_at_once =>
        "Thirty-two uploads of 4 MiB at once, each read back.";
}

/// Content of a version: its letter tells its length, so that a mixture is noticed.
fn version(letter: u8) -> Bytes {
    vec![letter; 50_000 + usize::from(letter - b'a') * 30_011].into()
}

fn is_a_version(content: &[u8]) -> bool {
    content.first().is_some_and(|letter| (b'a'..=b'd').contains(letter) && *content == version(*letter))
}

fn expect_version(content: &[u8], how: &str) {
    holds(
        is_a_version(content),
        format_args!("{how} returns one of the versions, whole"),
        format_args!("{} bytes that are none of them", content.len()),
        promise::ATOMICITY,
    );
}

/// Looks once in every way. Absence counts as a finding when the object is always there.
async fn look(store: &Store, name: &str, always_there: bool) {
    let absent =
        |kind| kind == ErrorKind::NotFound && !(always_there && store.has(Capability::StrongConsistency));
    match store.get(name).await {
        Ok(content) => expect_version(&content, "get"),
        Err(error) if absent(error.kind) => {}
        Err(error) => broken("get finds a version", shown(&error), promise::ATOMICITY, Location::caller()),
    }
    match store.driver.head(&call(), &store.path(name)).await {
        Ok(info) => holds(
            (b'a'..=b'd').any(|letter| version(letter).len() as u64 == info.size),
            "head returns the size of one of the versions",
            format_args!("{} bytes", info.size),
            promise::ATOMICITY,
        ),
        Err(error) if absent(error.kind) => {}
        Err(error) => broken("head finds a version", shown(&error), promise::ATOMICITY, Location::caller()),
    }
    match store.driver.read(&call(), &store.path(name), ReadRange::Full).await {
        Ok(reading) => {
            let total = reading.total_size;
            // A reading may end with an error when its object is replaced.
            if let Ok(content) = Pieces::of(reading).rest().await {
                expect_version(&content, "read");
                holds(
                    content.len() as u64 == total,
                    "the size of a reading is that of its own version",
                    format_args!("{total} for {} bytes", content.len()),
                    promise::ATOMICITY,
                );
            }
        }
        Err(error) if absent(error.kind) => {}
        Err(error) => broken("read finds a version", shown(&error), promise::ATOMICITY, Location::caller()),
    }
}

/// Looks until the writers are done, and once more.
async fn look_while(store: &Store, names: &[&str], always_there: bool, writers: Vec<Task<()>>) {
    loop {
        // Asked first, so that at least one look follows the last write.
        let done = writers.iter().all(Task::is_finished);
        for name in names {
            look(store, name, always_there).await;
        }
        if done {
            break;
        }
    }
    tasks::all(writers).await;
}

async fn upload(store: &Store, name: &str, content: Bytes) {
    let state = store.open_upload().await;
    let state = store.append(&state, 0, content).await;
    store.commit(&state, name).await;
}

async fn readers_see_one_version_or_the_other(store: Store) {
    store.put("a", version(b'a')).await;
    store.head("a").await;
    let writer = {
        let store = store.clone();
        tasks::spawn(async move {
            for round in 0..60 {
                store.put("a", version(b'a' + round % 4)).await;
            }
        })
    };
    look_while(&store, &["a"], true, vec![writer]).await;
    store.expect("a", version(b'd'), promise::PUT).await;
}

async fn readers_of_commits_see_one_version_or_the_other(store: Store) {
    store.put("a", version(b'a')).await;
    store.put("source", version(b'b')).await;
    for name in ["a", "source"] {
        store.head(name).await;
    }
    let writer = {
        let store = store.clone();
        tasks::spawn(async move {
            for round in 0..30 {
                let (from, to) = (store.path("source"), store.path("a"));
                match round % 3 {
                    0 => upload(&store, "a", version(b'c')).await,
                    1 => ok(store.driver.copy(&call(), &from, &to).await, "copy", promise::COPY),
                    _ => {
                        store.put("moved", version(b'd')).await;
                        store.head("moved").await;
                        let moved = store.path("moved");
                        ok(store.driver.rename(&call(), &moved, &to).await, "rename", promise::RENAME);
                    }
                }
            }
        })
    };
    look_while(&store, &["a"], true, vec![writer]).await;
    store.expect("a", version(b'd'), promise::RENAME).await;
    store.expect("source", version(b'b'), promise::COPY).await;
}

async fn two_writers_leave_one_of_their_contents(store: Store) {
    store.put("a", version(b'a')).await;
    store.head("a").await;
    let writers = [b'b', b'c'].map(|letter| {
        let store = store.clone();
        tasks::spawn(async move {
            for round in 0..25 {
                match round % 5 {
                    4 => upload(&store, "a", version(letter)).await,
                    _ => store.put("a", version(letter)).await,
                }
            }
        })
    });
    look_while(&store, &["a"], true, writers.into()).await;
    let is_theirs =
        |found: &Result<Bytes>| found.as_ref().is_ok_and(|found| is_a_version(found) && found[0] != b'a');
    let found = store.eventually(|| async { store.get("a").await }, is_theirs).await;
    let found_text = found.as_ref().map_or_else(shown, |found| format!("{} bytes", found.len()));
    holds(is_theirs(&found), "one of two contents that were written at once", found_text, promise::PUT);
}

async fn an_open_reading_is_not_disturbed(store: Store) {
    const SIZE: u64 = 6 * 1024 * 1024;
    let old = Pattern::new(5);
    for how in ["replaced", "replaced by less", "committed over", "deleted", "moved over", "moved away"] {
        upload(&store, "a", old.bytes(0, SIZE as usize)).await;
        store.put("other", version(b'b')).await;
        store.expect("a", old.bytes(0, SIZE as usize), promise::COMMIT).await;
        let path = store.path("a");
        let opened = store.driver.read(&call(), &path, ReadRange::Full).await;
        let untouched = ok(opened, "read", promise::READING);
        let mut begun = Pieces::of(ok(
            store.driver.read(&call(), &path, ReadRange::Full).await,
            "read",
            promise::READING,
        ));
        let mut content = match begun.next().await {
            Some(Ok(piece)) => piece.to_vec(),
            Some(Err(error)) => {
                broken("the first bytes", shown(&error), promise::READING, Location::caller())
            }
            None => Vec::new(),
        };
        match how {
            "replaced" => store.put("a", Pattern::new(6).bytes(0, SIZE as usize)).await,
            "replaced by less" => store.put("a", "short").await,
            "committed over" => upload(&store, "a", Pattern::new(6).bytes(0, SIZE as usize)).await,
            "deleted" => ok(store.driver.delete(&call(), &path).await, "delete", promise::DELETE),
            "moved over" => {
                ok(store.driver.rename(&call(), &store.path("other"), &path).await, "rename", promise::RENAME)
            }
            _ => {
                ok(store.driver.rename(&call(), &path, &store.path("new/b")).await, "rename", promise::RENAME)
            }
        }
        // Old content or an error, and never a mixture.
        while let Some(Ok(piece)) = begun.next().await {
            content.extend_from_slice(&piece);
        }
        let difference = old.difference(0, &content);
        holds(
            difference.is_none(),
            format_args!("a reading whose object is {how} yields the old content or an error"),
            format_args!("another byte at {difference:?}"),
            promise::READING,
        );
        let mut untouched = Pieces::of(untouched);
        let mut at = 0;
        while let Some(Ok(piece)) = untouched.next().await {
            let difference = old.difference(at, &piece);
            holds(
                difference.is_none(),
                format_args!("a reading whose object is {how} before its first byte yields the old content"),
                format_args!("another byte at {difference:?}"),
                promise::READING,
            );
            at += piece.len() as u64;
        }
    }
}

async fn readers_of_an_object_that_comes_and_goes(store: Store) {
    let writer = {
        let store = store.clone();
        tasks::spawn(async move {
            for round in 0..40 {
                store.put("folder/a", version(b'a' + round % 4)).await;
                let deleted = store.driver.delete(&call(), &store.path("folder/a")).await;
                if let Err(error) = deleted {
                    // A store that is not consistent at once may not know the object yet.
                    fails::<()>(Err(error), &[ErrorKind::NotFound], "delete", promise::DELETE);
                }
            }
            store.put("folder/a", version(b'a')).await;
        })
    };
    look_while(&store, &["folder/a"], false, vec![writer]).await;
    store.expect("folder/a", version(b'a'), promise::PUT).await;
}

async fn a_rename_does_not_disturb_readers(store: Store) {
    store.put("here/a", version(b'c')).await;
    store.head("here/a").await;
    let mover = {
        let store = store.clone();
        tasks::spawn(async move {
            for round in 0..20 {
                let (from, to) = if round % 2 == 0 { ("here/a", "there/a") } else { ("there/a", "here/a") };
                store.head(from).await;
                let renamed = store.driver.rename(&call(), &store.path(from), &store.path(to)).await;
                ok(renamed, format!("rename of {from}"), promise::RENAME);
            }
        })
    };
    look_while(&store, &["here/a", "there/a"], false, vec![mover]).await;
    store.expect("here/a", version(b'c'), promise::RENAME).await;
    store.expect_absent("there/a", promise::RENAME).await;
}

async fn listings_go_on_while_objects_come(store: Store) {
    let settled: Vec<String> = (0..60).map(|number| format!("list/{:02}/{number}", number % 7)).collect();
    let puts = settled.iter().cloned().map(|name| {
        let store = store.clone();
        tasks::spawn(async move { store.put(&name, "x").await })
    });
    tasks::all(puts).await;
    store.expect_below("list", &settled, promise::LIST).await;
    let writer = {
        let store = store.clone();
        tasks::spawn(async move {
            for number in 0..120 {
                store.put(&format!("list/{:02}/new-{number}", number % 9), "x").await;
            }
        })
    };
    loop {
        let done = writer.is_finished();
        for limit in [7, 1000] {
            let request = ListRequest { limit, ..ListRequest::below(store.folder("list")) };
            // Order and repetition are checked on the way.
            let listed = store.list(&request).await;
            let missing: Vec<_> = settled.iter().filter(|name| !listed.contains(name)).collect();
            holds(
                missing.is_empty() || !store.has(Capability::StrongConsistency),
                "a listing holds all objects that are there all the time",
                format_args!("{missing:?} missing from a listing in pages of {limit}"),
                promise::STRONG,
            );
        }
        if done {
            break;
        }
    }
    writer.join().await;
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
    let mut deletions = 0;
    while !writers.iter().all(Task::is_finished) {
        let deleted = store.driver.delete_tree(&call(), &store.folder("tree")).await;
        ok(deleted, "delete_tree while others write below the folder", promise::TREE);
        deletions += 1;
        look(&store, "tree/0/0", false).await;
    }
    tasks::all(writers).await;
    for name in store.list(&ListRequest::below(store.folder("tree"))).await {
        look(&store, &name, false).await;
    }
    store.expect("tree-beside/a", version(b'a'), promise::TREE).await;
    let deleted = store.driver.delete_tree(&call(), &store.folder("tree")).await;
    ok(deleted, format!("delete_tree after {deletions} others"), promise::TREE);
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
