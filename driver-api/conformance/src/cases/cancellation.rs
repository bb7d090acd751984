//! Calls that are dropped in the middle: a write has then happened or not, but never by half, and the store
//! goes on.
//!
//! A write that was dropped may still be on its way, so each look allows for it to happen after all.

use std::{panic::Location, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::{Condition, ErrorKind, ListRequest, ReadRange, Result};

use crate::{
    bodies::{Running, patterned},
    case::group,
    checks::{fails, holds, ok},
    content::Pattern,
    failure::{broken, shown},
    pieces::Pieces,
    promise,
    store::{Store, body, call},
    tasks::dropped_after,
};

group! {
    "cancellation":
    a_dropped_put_happened_or_not =>
        "After puts that were dropped at various points the object is one of the contents, whole.";
    a_dropped_conditional_put_happened_or_not [PutIfAbsent] =>
        "After puts with IfAbsent that were dropped the object is absent or whole, and the condition works.";
    a_dropped_copy_happened_or_not =>
        "A copy that was dropped leaves the source, and at its target a whole object or what was there.";
    a_dropped_rename_happened_or_not =>
        "A rename that was dropped never loses the object.";
    a_dropped_commit_happened_or_not =>
        "A commit that was dropped made the object or left the upload, and never lost the content.";
    a_dropped_append_happened_or_not =>
        "An append that was dropped moved the upload on by all of its bytes or not at all.";
    an_append_dropped_in_the_middle_did_not_happen =>
        "After an append that was dropped before the end of its body the old state goes on.";
    a_dropped_delete_happened_or_not =>
        "After deletions that were dropped each object is whole or absent.";
    a_dropped_delete_tree_leaves_whole_objects =>
        "After a delete_tree that was dropped what is left is whole, and another one takes it.";
    dropped_looks_and_listings_do_no_harm =>
        "get, head, stat, read and list that are dropped do not keep the next ones from working.";
}

/// Where calls are dropped: after so many polls by others, and after so long a pause.
const POINTS: [(u32, u64); 12] = [
    (0, 0),
    (1, 0),
    (2, 0),
    (4, 0),
    (16, 0),
    (64, 0),
    (0, 50),
    (0, 200),
    (0, 500),
    (0, 1_000),
    (0, 3_000),
    (0, 10_000),
];

fn points() -> impl Iterator<Item = (usize, u32, Duration)> {
    POINTS
        .into_iter()
        .enumerate()
        .map(|(number, (yields, micros))| (number, yields, Duration::from_micros(micros)))
}

/// Content that tells its number by its letter, its length, and nothing else.
fn version(number: usize) -> Bytes {
    vec![b'a' + number as u8; 300_000 + 1_000 * number].into()
}

/// The number of a whole version.
fn version_number(content: &[u8]) -> Option<usize> {
    let number = usize::from(content.first()?.checked_sub(b'a')?);
    (*content == version(number)).then_some(number)
}

/// Gets an object, which is a whole version or absent.
async fn whole_or_absent(store: &Store, name: &str) -> Option<usize> {
    match store.get(name).await {
        Ok(content) => {
            let number = version_number(&content);
            holds(
                number.is_some(),
                format_args!("{name} has one of the contents that were written, whole"),
                format_args!("{} bytes that are none of them", content.len()),
                promise::CANCELLATION,
            );
            number
        }
        Err(error) if error.kind == ErrorKind::NotFound => None,
        Err(error) => broken(
            format_args!("{name} is there or not"),
            shown(&error),
            promise::CANCELLATION,
            Location::caller(),
        ),
    }
}

/// Expects that the listing shows these names at most: a temporary object would be another one.
async fn expect_at_most(store: &Store, names: &[&str]) {
    let listed = store.list(&ListRequest::below(store.folder(""))).await;
    let strange: Vec<_> = listed.iter().filter(|name| !names.contains(&name.as_str())).collect();
    holds(
        strange.is_empty(),
        format_args!("nothing but {names:?} is listed after calls that were dropped"),
        format_args!("{strange:?}"),
        promise::CANCELLATION,
    );
}

/// Expects that writing goes on.
async fn expect_works(store: &Store) {
    store.put("afterwards", "works").await;
    store.expect("afterwards", "works", promise::CANCELLATION).await;
}

async fn a_dropped_put_happened_or_not(store: Store) {
    store.a_write_was_dropped();
    store.put("a", version(0)).await;
    store.expect("a", version(0), promise::PUT).await;
    for (number, yields, pause) in points() {
        let path = store.path("a");
        let context = call();
        let put = store.driver.put(&context, &path, version(number + 1), &Condition::Always);
        dropped_after(put, yields, pause).await;
        let found = whole_or_absent(&store, "a").await;
        holds(found.is_some(), "an object that is replaced stays there", "none", promise::CANCELLATION);
        let path = store.path("new/b");
        let put = store.driver.put(&context, &path, version(number), &Condition::Always);
        dropped_after(put, yields, pause).await;
        whole_or_absent(&store, "new/b").await;
        expect_at_most(&store, &["a", "new/b"]).await;
    }
    expect_works(&store).await;
}

async fn a_dropped_conditional_put_happened_or_not(store: Store) {
    store.a_write_was_dropped();
    for (number, yields, pause) in points() {
        let name = format!("a/{number}");
        let path = store.path(&name);
        let context = call();
        let put = store.driver.put(&context, &path, version(number), &Condition::IfAbsent);
        dropped_after(put, yields, pause).await;
        // Whoever comes next either makes the object or finds it.
        match store.driver.put(&context, &path, version(number), &Condition::IfAbsent).await {
            Ok(_) => {}
            Err(error) => {
                let what = "put with IfAbsent after one that was dropped";
                fails::<()>(Err(error), &[ErrorKind::ConditionFailed], what, promise::IF_ABSENT);
            }
        }
        store.expect(&name, version(number), promise::CANCELLATION).await;
    }
}

async fn a_dropped_copy_happened_or_not(store: Store) {
    store.a_write_was_dropped();
    store.put("source", version(1)).await;
    store.put("target", version(2)).await;
    for name in ["source", "target"] {
        store.head(name).await;
    }
    for (_, yields, pause) in points() {
        for target in ["target", "new/target"] {
            let (from, to, context) = (store.path("source"), store.path(target), call());
            dropped_after(store.driver.copy(&context, &from, &to), yields, pause).await;
            let found = whole_or_absent(&store, target).await;
            let allowed = if target == "target" { [Some(1), Some(2)] } else { [Some(1), None] };
            holds(
                allowed.contains(&found),
                format_args!("{target} has the content of the source, or what it had before"),
                format_args!("{found:?}"),
                promise::CANCELLATION,
            );
        }
        store.expect("source", version(1), promise::CANCELLATION).await;
        expect_at_most(&store, &["source", "target", "new/target"]).await;
    }
    expect_works(&store).await;
}

async fn a_dropped_rename_happened_or_not(store: Store) {
    store.a_write_was_dropped();
    for (number, yields, pause) in points() {
        let (source, target) = (format!("from/{number}"), format!("to/{number}"));
        store.put(&source, version(number)).await;
        store.head(&source).await;
        let (from, to, context) = (store.path(&source), store.path(&target), call());
        dropped_after(store.driver.rename(&context, &from, &to), yields, pause).await;
        // The source first: when it is gone, the object has arrived.
        let look =
            || async { (whole_or_absent(&store, &source).await, whole_or_absent(&store, &target).await) };
        let found = store.eventually(look, |(from, to)| from.is_some() || to.is_some()).await;
        holds(
            found.0.is_some() || found.1.is_some(),
            format_args!("the object of a rename that was dropped is at {source} or at {target}"),
            "at neither",
            promise::CANCELLATION,
        );
        // From where it is it can be moved on, unless the move is still under way.
        for name in [&source, &target] {
            whole_or_absent(&store, name).await;
        }
    }
    expect_works(&store).await;
}

async fn a_dropped_commit_happened_or_not(store: Store) {
    store.a_write_was_dropped();
    for (number, yields, pause) in points() {
        let name = format!("a/{number}");
        let state = store.open_upload().await;
        let state = store.append(&state, 0, version(number)).await;
        let (path, context) = (store.path(&name), call());
        let commit = store.driver.commit(&context, &state, &path, &Condition::Always);
        dropped_after(commit, yields, pause).await;
        whole_or_absent(&store, &name).await;
        // Either it was committed, or it can be.
        let again = store.try_commit(&state, &name, &Condition::Always).await;
        if let Err(error) = again {
            let kinds = [ErrorKind::NotFound, ErrorKind::Conflict];
            let what = "commit after a commit that was dropped";
            fails::<()>(Err(error), &kinds, what, promise::CANCELLATION);
        }
        arrives(&store, &name, number).await;
        ok(store.driver.abort(&call(), &state).await, "abort", promise::ABORT);
        store.expect(&name, version(number), promise::CANCELLATION).await;
    }
}

/// Waits for an object whose upload is said to be gone.
async fn arrives(store: &Store, name: &str, number: usize) {
    for _ in 0..100 {
        if whole_or_absent(store, name).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    store.expect(name, version(number), promise::CANCELLATION).await;
}

async fn a_dropped_append_happened_or_not(store: Store) {
    store.a_write_was_dropped();
    let pattern = Pattern::new(7);
    for (number, yields, pause) in points() {
        let name = format!("a/{number}");
        let state = store.open_upload().await;
        let state = store.append(&state, 0, pattern.bytes(0, 100_000)).await;
        let chunks = patterned(&pattern, 100_000, 400_000, &[100_000, 1, 65_536]);
        let context = call();
        let append = store.driver.append(&context, &state, 100_000, chunks);
        if dropped_after(append, yields, pause).await.is_some() {
            // Done before it was dropped; the state is stale then.
            ok(store.driver.abort(&call(), &state).await, "abort", promise::ABORT);
            continue;
        }
        match store.try_append(&state, 100_000, body("end")).await {
            Ok(progress) => {
                store.commit(&progress.state, &name).await;
                let content = [&pattern.bytes(0, 100_000)[..], b"end"].concat();
                store.expect(&name, content, promise::CANCELLATION).await;
            }
            // It has happened after all, and nobody knows the new state.
            Err(error) => {
                let what = "append after an append that was dropped";
                fails::<()>(Err(error), &[ErrorKind::Conflict], what, promise::CANCELLATION);
                ok(store.driver.abort(&call(), &state).await, "abort", promise::ABORT);
            }
        }
    }
}

async fn an_append_dropped_in_the_middle_did_not_happen(store: Store) {
    store.a_write_was_dropped();
    let state = store.open_upload().await;
    let mut state = store.append(&state, 0, "start ").await;
    for round in 0..4 {
        let offset = 6 + 2 * round;
        let dropped = Running::start(&store, &state, offset, "!").await;
        if round % 2 == 0 {
            dropped.send_much(b'!').await;
        }
        dropped.cancel().await;
        let appended = store.try_append(&state, offset, body("on")).await;
        let what = "append from the state of one that was dropped before its body ended";
        state = ok(appended, what, promise::BODY_DROPPED).state;
    }
    store.commit(&state, "a").await;
    store.expect("a", "start onononon", promise::BODY_DROPPED).await;
    // The first append of an upload, followed by the commit.
    let state = store.open_upload().await;
    let dropped = Running::start(&store, &state, 0, "!").await;
    dropped.send_much(b'!').await;
    dropped.cancel().await;
    store.commit(&state, "b").await;
    store.expect("b", "", promise::BODY_DROPPED).await;
}

async fn a_dropped_delete_happened_or_not(store: Store) {
    store.a_write_was_dropped();
    for (number, yields, pause) in points() {
        let names = ["one", "two", "three"].map(|name| format!("{number}/{name}"));
        for name in &names {
            store.put(name, version(number)).await;
        }
        for name in &names {
            store.head(name).await;
        }
        let paths = names.clone().map(|name| store.path(&name));
        let context = call();
        dropped_after(store.driver.delete(&context, &paths[0]), yields, pause).await;
        dropped_after(store.driver.delete_many(&context, &paths[..2]), yields, pause).await;
        for name in &names[..2] {
            whole_or_absent(&store, name).await;
        }
        store.expect(&names[2], version(number), promise::CANCELLATION).await;
    }
}

async fn a_dropped_delete_tree_leaves_whole_objects(store: Store) {
    store.a_write_was_dropped();
    store.put("tree-beside", version(0)).await;
    for (number, yields, pause) in points() {
        let names: Vec<String> = (0..12).map(|object| format!("tree/{}/{object}", object % 3)).collect();
        for name in &names {
            store.put(name, version(number)).await;
        }
        let (folder, context) = (store.folder("tree"), call());
        dropped_after(store.driver.delete_tree(&context, &folder), yields, pause).await;
        for name in store.list(&ListRequest::below(folder.clone())).await {
            whole_or_absent(&store, &name).await;
        }
        store.empty("tree").await;
        // One that is still on its way may take from the next round, and nothing else.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    store.expect("tree-beside", version(0), promise::TREE).await;
}

async fn dropped_looks_and_listings_do_no_harm(store: Store) {
    for number in 0..8 {
        store.put(&format!("a/{number}"), version(number)).await;
    }
    let names: Vec<String> = (0..8).map(|number| format!("a/{number}")).collect();
    store.expect_below("a", &names, promise::PUT).await;
    for name in &names {
        store.head(name).await;
    }
    for (number, yields, pause) in points() {
        let number = number % 8;
        let name = format!("a/{number}");
        let (path, context) = (store.path(&name), call());
        for _ in 0..10 {
            let got = dropped_after(store.driver.get(&context, &path, u64::MAX), yields, pause).await;
            expect_done_or_dropped(got, "get");
            let looked = dropped_after(store.driver.head(&context, &path), yields, pause).await;
            expect_done_or_dropped(looked, "head");
            let folder = store.folder("a");
            let looked = dropped_after(store.driver.stat(&context, &folder), yields, pause).await;
            expect_done_or_dropped(looked, "stat");
            let request = ListRequest::below(folder);
            let listed = dropped_after(store.driver.list(&context, &request), yields, pause).await;
            expect_done_or_dropped(listed, "list");
            let read = store.driver.read(&context, &path, ReadRange::Full);
            let opened = dropped_after(read, yields, pause).await;
            if let Some(reading) = expect_done_or_dropped(opened, "read") {
                let mut pieces = Pieces::of(reading);
                dropped_after(pieces.next(), yields, pause).await;
            }
        }
        store.expect(&name, version(number), promise::CANCELLATION).await;
    }
    store.expect_below("a", &names, promise::CANCELLATION).await;
}

/// What a call returned, unless it was dropped; others that were dropped before must not make it fail.
fn expect_done_or_dropped<T>(result: Option<Result<T>>, what: &str) -> Option<T> {
    result.map(|result| ok(result, format_args!("{what} after calls that were dropped"), promise::DROPPED))
}
