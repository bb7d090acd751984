//! Calls side by side: readers see one version or the other, and nobody gets into another's way.

use std::{panic::Location, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::{Capability, ErrorKind, ListRequest, ReadRange, Result};

use crate::{
    case::group,
    checks::{fails, holds, ok},
    content::Pattern,
    failure::{broken, shown},
    pieces::Pieces,
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
}

/// Content of a version: its letter tells its length, so that a mixture is noticed.
pub(super) fn version(letter: u8) -> Bytes {
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
pub(super) async fn look(store: &Store, name: &str, always_there: bool) {
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

/// Pauses a writer, so that even where writes cost nothing they are not over before anybody looks.
async fn let_others_look() {
    tokio::time::sleep(Duration::from_millis(1)).await;
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

pub(super) async fn upload(store: &Store, name: &str, content: Bytes) {
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
                let_others_look().await;
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
                let_others_look().await;
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
                let_others_look().await;
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
        store.head("other").await;
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
                let_others_look().await;
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
                let_others_look().await;
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
                let_others_look().await;
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
                promise::LIST_CHANGES,
            );
        }
        if done {
            break;
        }
    }
    writer.join().await;
}
