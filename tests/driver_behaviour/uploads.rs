//! The life of an upload.

use std::time::{Duration, SystemTime};

use docker_registry_driver_api::{
    Bytes, Condition, Error, ErrorKind, ReadRange, UploadState, byte_stream, empty_stream,
    futures::{StreamExt, stream},
};

use crate::subject::{
    Store, all_below, append, body, call, commit, fails, get, missing, open_upload, path, put, read,
};

on_both_drivers!(
    steps_become_an_object,
    an_upload_without_bytes_is_an_empty_object,
    a_large_upload_arrives_whole,
    another_offset_is_a_conflict,
    a_failed_body_leaves_the_upload_as_it_was,
    a_failed_condition_leaves_the_upload_open,
    an_aborted_upload_is_gone,
    foreign_states_are_refused,
    pending_uploads_are_listed_in_pages,
);

async fn steps_become_an_object(store: Store) {
    put(&store, "a/b", "before").await;
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "one ").await;
    let state = append(&store, &state, 4, "two ").await;
    let state = append(&store, &state, 8, "three").await;
    assert_eq!(get(&store, "a/b").await, "before");
    let info = store.commit(&call(), &state, &path("a/b"), &Condition::Always).await.unwrap();
    assert_eq!(get(&store, "a/b").await, "one two three");
    assert_eq!(store.head(&call(), &path("a/b")).await.unwrap(), info);
    // The upload has ended.
    fails(store.append(&call(), &state, 13, body("x")).await, ErrorKind::NotFound);
    fails(store.commit(&call(), &state, &path("c"), &Condition::Always).await, ErrorKind::NotFound);
    store.abort(&call(), &state).await.unwrap();
    assert_eq!(get(&store, "a/b").await, "one two three");
    assert!(missing(&store, "c").await);
}

async fn an_upload_without_bytes_is_an_empty_object(store: Store) {
    let state = open_upload(&store).await;
    commit(&store, &state, "a").await;
    assert_eq!(get(&store, "a").await, "");
    let state = open_upload(&store).await;
    let progress = store.append(&call(), &state, 0, empty_stream()).await.unwrap();
    assert_eq!(progress.offset, 0);
    let progress = store.append(&call(), &progress.state, 0, body("")).await.unwrap();
    let state = append(&store, &progress.state, 0, "x").await;
    let progress = store.append(&call(), &state, 1, empty_stream()).await.unwrap();
    commit(&store, &progress.state, "b").await;
    assert_eq!(get(&store, "b").await, "x");
}

async fn a_large_upload_arrives_whole(store: Store) {
    // More than what is gathered, more than what is synced at a time, in chunks of awkward sizes.
    let content: Bytes =
        (0..40_000_000_u32).map(|at| (at ^ at >> 7 ^ at >> 15) as u8).collect::<Vec<_>>().into();
    let state = open_upload(&store).await;
    let mut rest = content.clone();
    let mut chunks = Vec::new();
    for length in [1, 3_000_000, 70_001, 2, 1_048_576].into_iter().cycle() {
        if rest.is_empty() {
            break;
        }
        chunks.push(rest.split_to(rest.len().min(length)));
    }
    let progress = store.append(&call(), &state, 0, byte_stream(chunks)).await.unwrap();
    assert_eq!(progress.offset, content.len() as u64);
    // Many chunks of a few bytes each, from a client that pauses.
    let small = stream::iter(0..5_000).then(|number: u32| async move {
        if number.is_multiple_of(100) {
            tokio::task::yield_now().await;
        }
        Ok(Bytes::copy_from_slice(&number.to_le_bytes()))
    });
    let progress = store.append(&call(), &progress.state, progress.offset, small.boxed()).await.unwrap();
    commit(&store, &progress.state, "a").await;
    let stored = read(&store, "a", ReadRange::Full).await;
    assert!(stored[..content.len()] == content, "the large part differs");
    let small: Vec<u8> = (0..5_000_u32).flat_map(u32::to_le_bytes).collect();
    assert!(stored[content.len()..] == small, "the small part differs");
}

async fn another_offset_is_a_conflict(store: Store) {
    let state = open_upload(&store).await;
    fails(store.append(&call(), &state, 1, body("x")).await, ErrorKind::Conflict);
    let state = append(&store, &state, 0, "12345").await;
    for offset in [0, 4, 6, u64::MAX] {
        fails(store.append(&call(), &state, offset, body("x")).await, ErrorKind::Conflict);
    }
    let state = append(&store, &state, 5, "6").await;
    commit(&store, &state, "a").await;
    assert_eq!(get(&store, "a").await, "123456");
}

async fn a_failed_body_leaves_the_upload_as_it_was(store: Store) {
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "kept ").await;
    for length in [0, 10, 3_000_000] {
        let failing = stream::iter([
            Ok(Bytes::from(vec![b'!'; length])),
            Ok(Bytes::from_static(b"!")),
            Err(Error::new(ErrorKind::Unavailable, "the client went away")),
        ]);
        let append = store.append(&call(), &state, 5, failing.boxed()).await;
        let error = append.unwrap_err();
        assert_eq!(error.kind, ErrorKind::BodyFailed);
        assert!(error.source_text.unwrap().contains("the client went away"));
    }
    let state = append(&store, &state, 5, "and more").await;
    commit(&store, &state, "a").await;
    assert_eq!(get(&store, "a").await, "kept and more");
}

async fn a_failed_condition_leaves_the_upload_open(store: Store) {
    put(&store, "taken", "before").await;
    put(&store, "folder/x", "before").await;
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "content").await;
    let commit_at = |at: &str, condition| {
        let (store, state, at) = (store.clone(), state.clone(), path(at));
        async move { store.commit(&call(), &state, &at, &condition).await }
    };
    fails(commit_at("taken", Condition::IfAbsent).await, ErrorKind::ConditionFailed);
    fails(commit_at("folder", Condition::Always).await, ErrorKind::Conflict);
    fails(commit_at("taken/below", Condition::Always).await, ErrorKind::Conflict);
    let etag = store.head(&call(), &path("taken")).await.unwrap().etag.unwrap();
    fails(commit_at("folder/x", Condition::IfMatch(etag.clone())).await, ErrorKind::ConditionFailed);
    assert_eq!(get(&store, "taken").await, "before");
    commit_at("taken", Condition::IfMatch(etag)).await.unwrap();
    assert_eq!(get(&store, "taken").await, "content");
    assert_eq!(all_below(&store, "", 10).await, ["folder/x", "taken"]);
}

async fn an_aborted_upload_is_gone(store: Store) {
    let first = open_upload(&store).await;
    let second = append(&store, &first, 0, "content").await;
    // A stale state ends the upload as well, and twice is no error.
    store.abort(&call(), &first).await.unwrap();
    store.abort(&call(), &second).await.unwrap();
    fails(store.append(&call(), &second, 7, body("x")).await, ErrorKind::NotFound);
    fails(store.commit(&call(), &second, &path("a"), &Condition::Always).await, ErrorKind::NotFound);
    assert!(missing(&store, "a").await);
}

async fn foreign_states_are_refused(store: Store) {
    for record in ["", "x", "../../a.0", "0123456789abcdef.0", "\u{e9}.1", ".0", "a.99999999999999999999"] {
        let state = UploadState::new(record).unwrap();
        let error = store.append(&call(), &state, 0, body("x")).await.unwrap_err();
        assert!(matches!(error.kind, ErrorKind::Conflict | ErrorKind::NotFound), "{record:?}: {error}");
        store.abort(&call(), &state).await.unwrap();
    }
}

async fn pending_uploads_are_listed_in_pages(store: Store) {
    let long_ago = SystemTime::now() - Duration::from_secs(3600);
    for number in 0..5 {
        let state = open_upload(&store).await;
        append(&store, &state, 0, &"x".repeat(number)).await;
    }
    let later = SystemTime::now() + Duration::from_secs(3600);
    assert!(store.list_uploads(&call(), long_ago, None, 10).await.unwrap().uploads.is_empty());
    let (mut after, mut sizes) = (None, Vec::new());
    loop {
        let page = store.list_uploads(&call(), later, after.as_deref(), 2).await.unwrap();
        assert!(page.uploads.len() <= 2);
        for upload in page.uploads {
            assert!(upload.touched > long_ago && upload.touched < later);
            sizes.push(upload.size);
            store.abort(&call(), &upload.state).await.unwrap();
        }
        match page.next {
            None => break,
            next => after = next,
        }
    }
    sizes.sort_unstable();
    assert_eq!(sizes, [0, 1, 2, 3, 4]);
}
