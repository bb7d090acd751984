//! The life of an upload: what goes in comes out, and nothing shows before its time.

use bytes::Bytes;
use docker_registry_driver_api::{
    Condition, ETag, ErrorKind, ListRequest, Prefix, ReadRange, Result, Stat, UploadHint, UploadState,
    empty_stream,
};
use futures::{StreamExt, stream};

use crate::{
    bodies::{Running, patterned},
    case::group,
    checks::{fails, holds, ok, same},
    content::Pattern,
    failure::shown,
    pieces::expect_pattern,
    promise,
    store::{Store, body, call},
    tasks,
};

group! {
    "uploads":
    an_upload_without_bytes_is_an_empty_object =>
        "An upload that is committed at once, or after appends of nothing, becomes an empty object.";
    steps_become_an_object =>
        "What is appended in steps is the object's content, and commit says what head says.";
    many_small_appends_add_up =>
        "Many appends of a few bytes each become one content.";
    appends_of_odd_sizes_add_up =>
        "Appends of a byte, of nothing, and around the borders of blocks become one content.";
    one_large_append_is_streamed =>
        "An append of 48 MiB in chunks of awkward sizes arrives whole.";
    many_small_chunks_are_streamed =>
        "An append in thousands of chunks of a few bytes, from a client that pauses, arrives whole.";
    a_commit_replaces_what_is_there =>
        "A commit at the path of an object replaces it, also by less.";
    a_commit_makes_the_folders_it_needs =>
        "A commit at a deep path makes its folders.";
    a_wrong_hint_does_no_harm =>
        "A hint of another path, another size, or nothing at all changes nothing.";
    nothing_is_visible_before_commit =>
        "Neither between appends nor during one does anything show at any path.";
    a_committed_upload_is_gone =>
        "After commit, append and commit find nothing, and abort leaves the object.";
    an_aborted_upload_is_gone =>
        "After abort, append and commit find nothing; a stale state aborts, and twice is no error.";
    many_uploads_at_once =>
        "Thirty-two uploads that go on in turns do not get into each other's content.";
    of_two_commits_at_one_path_one_stays =>
        "Uploads that are committed at one path at once leave one of the contents, whole.";
}

/// Chunks as they may come from a network.
const AWKWARD: &[usize] = &[1, 3_000_000, 70_001, 2, 1_048_576, 65_535];

async fn an_upload_without_bytes_is_an_empty_object(store: Store) {
    let state = store.open_upload().await;
    store.commit(&state, "at-once").await;
    store.expect("at-once", "", promise::COMMIT).await;
    let mut state = store.open_upload().await;
    for body in [empty_stream(), body("")] {
        let progress = ok(store.try_append(&state, 0, body).await, "append of nothing", promise::APPEND);
        same(progress.offset, 0, "the offset after an append of nothing", promise::APPEND);
        state = progress.state;
    }
    store.commit(&state, "after-nothing").await;
    store.expect("after-nothing", "", promise::COMMIT).await;
    // And nothing is no obstacle to something.
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "").await;
    let state = store.append(&state, 0, "x").await;
    let state = store.append(&state, 1, "").await;
    store.commit(&state, "something").await;
    store.expect("something", "x", promise::COMMIT).await;
}

async fn steps_become_an_object(store: Store) {
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "one ").await;
    let state = store.append(&state, 4, "two ").await;
    let state = store.append(&state, 8, "three").await;
    let info = store.commit(&state, "a/b").await;
    store.expect("a/b", "one two three", promise::COMMIT).await;
    let head = store.head("a/b").await;
    same(info.size, 13, "the size that commit returns", promise::COMMIT);
    same(head.size, 13, "the size that head returns", promise::HEAD);
    if let (Some(committed), Some(found)) = (&info.etag, &head.etag) {
        same(found, committed, "the tag of head and the one that commit returned", promise::ETAG);
    }
}

async fn many_small_appends_add_up(store: Store) {
    let mut state = store.open_upload().await;
    let mut content = Vec::new();
    for number in 0_u32..64 {
        let piece: Vec<u8> = (0..=number % 7).map(|byte| (number * 7 + byte) as u8).collect();
        state = store.append(&state, content.len() as u64, piece.clone()).await;
        content.extend(piece);
    }
    store.commit(&state, "a").await;
    store.expect("a", content, promise::APPEND).await;
}

async fn appends_of_odd_sizes_add_up(store: Store) {
    let pattern = Pattern::new(1);
    let mut state = store.open_upload().await;
    let mut offset = 0;
    for size in [1, 65_535, 2, 0, 1_048_577, 3, 70_001, 4096, 1_048_576, 1] {
        state = store.append(&state, offset, pattern.bytes(offset, size)).await;
        offset += size as u64;
    }
    store.commit(&state, "a").await;
    store.expect("a", pattern.bytes(0, offset as usize), promise::APPEND).await;
}

async fn one_large_append_is_streamed(store: Store) {
    const SIZE: u64 = 48 * 1024 * 1024 + 12_345;
    let pattern = Pattern::new(2);
    let state = store.open_upload().await;
    let appended = store.try_append(&state, 0, patterned(&pattern, 0, SIZE, AWKWARD)).await;
    let progress = ok(appended, "a large append", promise::APPEND);
    same(progress.offset, SIZE, "the offset after a large append", promise::APPEND);
    let info = store.commit(&progress.state, "a").await;
    same(info.size, SIZE, "the size of the object", promise::COMMIT);
    store.head("a").await;
    let reading = ok(
        store.driver.read(&call(), &store.path("a"), ReadRange::Full).await,
        "read of the object",
        promise::COMMIT,
    );
    same(reading.total_size, SIZE, "the size that read returns", promise::COMMIT);
    expect_pattern(reading, &pattern, promise::APPEND).await;
}

async fn many_small_chunks_are_streamed(store: Store) {
    let chunks = stream::iter(0..5_000).then(|number: u32| async move {
        if number.is_multiple_of(100) {
            tokio::task::yield_now().await;
        }
        Ok(Bytes::copy_from_slice(&number.to_le_bytes()))
    });
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "start").await;
    let progress =
        ok(store.try_append(&state, 5, chunks.boxed()).await, "append of small chunks", promise::APPEND);
    same(progress.offset, 20_005, "the offset after small chunks", promise::APPEND);
    store.commit(&progress.state, "a").await;
    let content: Vec<u8> =
        b"start".iter().copied().chain((0..5_000_u32).flat_map(u32::to_le_bytes)).collect();
    store.expect("a", content, promise::APPEND).await;
}

async fn a_commit_replaces_what_is_there(store: Store) {
    store.put("a/b", "a long content that was there before").await;
    for content in ["short", "", "an even longer content that comes afterwards"] {
        let state = store.open_upload().await;
        let state = store.append(&state, 0, content).await;
        store.commit(&state, "a/b").await;
        store.expect("a/b", content, promise::COMMIT).await;
    }
    store.expect_below("", &["a/b"], promise::COMMIT).await;
}

async fn a_commit_makes_the_folders_it_needs(store: Store) {
    let deep = (0..40).map(|number| format!("folder-{number}")).collect::<Vec<_>>().join("/");
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "deep down").await;
    store.commit(&state, &deep).await;
    store.expect(&deep, "deep down", promise::COMMIT).await;
    store.expect_below("", &[&deep], promise::COMMIT).await;
}

async fn a_wrong_hint_does_no_harm(store: Store) {
    store.put("taken", "before").await;
    let sizes = [None, Some(0), Some(3), Some(7), Some(1 << 40)];
    for (number, size) in sizes.into_iter().enumerate() {
        for hinted in [None, Some("other/place"), Some("taken"), Some("taken/below"), Some("a")] {
            let hint = UploadHint { final_path: hinted.map(|name| store.path(name)), size };
            let state = store.open_upload_with(hint).await;
            let state = store.append(&state, 0, format!("round {number}")).await;
            store.commit(&state, "a").await;
            store.expect("a", format!("round {number}"), promise::HINT).await;
        }
    }
    store.expect("taken", "before", promise::HINT).await;
    store.expect_below("", &["a", "taken"], promise::HINT).await;
    let hint = UploadHint { final_path: Some(store.path("taken")), size: Some(7) };
    let state = store.open_upload_with(hint).await;
    let state = store.append(&state, 0, "content").await;
    ok(store.driver.abort(&call(), &state).await, "abort", promise::ABORT);
    store.expect("taken", "before", promise::HINT).await;
}

/// What the storage root holds, as far as it is looked at: a store in use may be large.
const LOOKED_AT: usize = 10;

async fn paths_and_sizes(store: &Store) -> Vec<(String, u64)> {
    let mut request = ListRequest::below(Prefix::root());
    let mut found = Vec::new();
    for _ in 0..LOOKED_AT {
        let page = ok(store.driver.list(&call(), &request).await, "list of the root", promise::LIST);
        let objects =
            page.entries.into_iter().map(|entry| (entry.path, entry.object.map_or(0, |info| info.size)));
        found.extend(objects);
        match page.next {
            None => break,
            next => request.after = next,
        }
    }
    found
}

async fn nothing_is_visible_before_commit(store: Store) {
    const NAMES: [&str; 3] = ["a", "folder/a", "folder"];
    let before = paths_and_sizes(&store).await;
    let expect_nothing = |sent: u64| {
        let (store, before) = (store.clone(), &before);
        async move {
            for name in NAMES {
                store.expect_absent(name, promise::UPLOAD_VISIBLE).await;
                let stat = store.stat(name).await;
                expect_nothing_at(name, stat.map(|stat| matches!(stat, Stat::Object(_))));
                expect_nothing_at(name, store.get(name).await.map(|_| true));
            }
            store.expect_below::<&str>("", &[], promise::UPLOAD_VISIBLE).await;
            // Others may write to the store, but hardly an object of just this size.
            let mut new = paths_and_sizes(&store).await;
            new.retain(|entry| sent > 0 && entry.1 == sent && !before.contains(entry));
            holds(
                new.is_empty(),
                "no listing of the storage root shows an upload",
                format_args!("{new:?}, which has as many bytes as the upload"),
                promise::UPLOAD_VISIBLE,
            );
        }
    };
    let first = Pattern::new(3).bytes(0, 70_000 + usize::from(fastrand::u16(..)));
    let size = first.len() as u64;
    let hint = UploadHint { final_path: Some(store.path("folder/a")), size: Some(size) };
    let state = store.open_upload_with(hint).await;
    expect_nothing(0).await;
    let state = store.append(&state, 0, first.clone()).await;
    expect_nothing(size).await;
    let running = Running::start(&store, &state, size, "!").await;
    expect_nothing(size + 1).await;
    running.send_much(b'!').await;
    expect_nothing(size + 4_000_001).await;
    let progress = ok(running.finish().await, "append", promise::APPEND);
    expect_nothing(size + 4_000_001).await;
    store.commit(&progress.state, "folder/a").await;
    let mut content = first.to_vec();
    content.resize(first.len() + 4_000_001, b'!');
    store.expect("folder/a", content, promise::UPLOAD_VISIBLE).await;
    store.expect_below("", &["folder/a"], promise::UPLOAD_VISIBLE).await;
}

fn expect_nothing_at(name: &str, found: Result<bool>) {
    let found = match found {
        Err(error) if error.kind == ErrorKind::NotFound => return,
        Err(error) => shown(&error),
        Ok(object) => if object { "an object" } else { "a folder" }.to_owned(),
    };
    holds(false, format_args!("nothing is at {name} before commit"), found, promise::UPLOAD_VISIBLE);
}

async fn a_committed_upload_is_gone(store: Store) {
    let first = store.open_upload().await;
    let second = store.append(&first, 0, "content").await;
    store.commit(&second, "a").await;
    expect_gone(&store, &second).await;
    for state in [&first, &second] {
        ok(store.driver.abort(&call(), state).await, "abort after commit", promise::ABORT);
    }
    store.expect("a", "content", promise::COMMIT).await;
    store.expect_below("", &["a"], promise::COMMIT).await;
}

async fn an_aborted_upload_is_gone(store: Store) {
    for stale in [true, false] {
        let first = store.open_upload().await;
        let second = store.append(&first, 0, "content").await;
        let aborted = if stale { [&first, &second] } else { [&second, &second] };
        for state in aborted {
            ok(store.driver.abort(&call(), state).await, "abort", promise::ABORT);
        }
        expect_gone(&store, &second).await;
    }
    // Without any bytes too.
    let state = store.open_upload().await;
    ok(store.driver.abort(&call(), &state).await, "abort of an empty upload", promise::ABORT);
    store.expect_below::<&str>("", &[], promise::ABORT).await;
}

async fn expect_gone(store: &Store, state: &UploadState) {
    let appended = store.try_append(state, 7, body("x")).await;
    fails(appended, &[ErrorKind::NotFound], "append to an upload that has ended", promise::APPEND_GONE);
    let committed = store.try_commit(state, "gone", &Condition::Always).await;
    fails(committed, &[ErrorKind::NotFound], "commit of an upload that has ended", promise::COMMIT_GONE);
    store.expect_absent("gone", promise::COMMIT_GONE).await;
}

async fn many_uploads_at_once(store: Store) {
    let uploads = (0..32_u64).map(|number| {
        let store = store.clone();
        tasks::spawn(async move {
            let pattern = Pattern::new(100 + number);
            let mut state = store.open_upload().await;
            let mut offset = 0;
            for step in 0..4 {
                let size = 1_000 * (number as usize + 1) + step;
                state = store.append(&state, offset, pattern.bytes(offset, size)).await;
                offset += size as u64;
                tokio::task::yield_now().await;
            }
            store.commit(&state, &format!("uploads/{number}")).await;
            (number, pattern, offset as usize)
        })
    });
    for (number, pattern, size) in tasks::all(uploads).await {
        store.expect(&format!("uploads/{number}"), pattern.bytes(0, size), promise::CONCURRENCY).await;
    }
}

async fn of_two_commits_at_one_path_one_stays(store: Store) {
    for round in 0..5 {
        let name = format!("a/{round}");
        let mut states = Vec::new();
        for (letter, size) in [(b'a', 200_000), (b'b', 100_000), (b'c', 1)] {
            let state = store.open_upload().await;
            states.push(store.append(&state, 0, vec![letter; size]).await);
        }
        let commits = states.into_iter().map(|state| {
            let (store, name) = (store.clone(), name.clone());
            tasks::spawn(async move { store.commit(&state, &name).await })
        });
        let tags: Vec<Option<ETag>> = tasks::all(commits).await.into_iter().map(|info| info.etag).collect();
        store.head(&name).await;
        let found = ok(store.get(&name).await, "get of the object", promise::COMMIT);
        let whole = [(b'a', 200_000), (b'b', 100_000), (b'c', 1)]
            .iter()
            .any(|(letter, size)| found.len() == *size && found.iter().all(|byte| byte == letter));
        holds(
            whole,
            "one of three committed contents, whole",
            format_args!("{} bytes that are none of them", found.len()),
            promise::COMMIT,
        );
        if let Some(tag) = store.head(&name).await.etag {
            let known = tags.iter().all(Option::is_none) || tags.contains(&Some(tag.clone()));
            holds(
                known,
                "the object has the tag of one of the commits",
                format_args!("{tag:?}"),
                promise::COMMIT,
            );
        }
    }
}
