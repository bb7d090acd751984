//! Appends that must not happen: at another offset, from a stale state, with a body that fails. Each one
//! leaves the upload as it was.

use bytes::Bytes;
use docker_registry_driver_api::{Condition, ErrorKind, UploadState};

use crate::{
    bodies::{CLIENT_IS_GONE, failing},
    case::group,
    checks::{fails, holds, ok},
    promise,
    store::{Store, body, call},
};

group! {
    "appending":
    another_offset_is_a_conflict =>
        "An append at an offset where the upload does not stand is refused and changes nothing.";
    a_stale_state_is_a_conflict =>
        "Append and commit with a state that is not the latest are refused and change nothing.";
    an_append_of_nothing_makes_the_state_stale =>
        "Also after an append without bytes only the new state is good.";
    a_failed_body_leaves_the_upload_as_it_was =>
        "After a body that fails early or late the same state goes on, and its bytes are not in the content.";
    a_failed_body_leaves_an_empty_upload_empty =>
        "An upload whose only append failed becomes an empty object.";
    foreign_states_are_refused =>
        "States that the driver did not hand out are refused and stand for nobody's upload.";
    a_commit_that_finds_no_place_leaves_the_upload_open =>
        "In a store with folders, a commit at a folder or below an object is a conflict; the upload goes on.";
}

async fn another_offset_is_a_conflict(store: Store) {
    let state = store.open_upload().await;
    expect_conflict(&store, &state, 1).await;
    let state = store.append(&state, 0, "12345").await;
    for offset in [0, 4, 6, 1 << 40, u64::MAX] {
        expect_conflict(&store, &state, offset).await;
    }
    let state = store.append(&state, 5, "6").await;
    store.commit(&state, "a").await;
    store.expect("a", "123456", promise::APPEND).await;
}

async fn expect_conflict(store: &Store, state: &UploadState, offset: u64) {
    for content in ["x", ""] {
        let what = format!("append of {} bytes at {offset}, where the upload does not stand,", content.len());
        let appended = store.try_append(state, offset, body(content)).await;
        fails(appended, &[ErrorKind::Conflict], what, promise::APPEND_CONFLICT);
    }
}

async fn a_stale_state_is_a_conflict(store: Store) {
    let first = store.open_upload().await;
    let second = store.append(&first, 0, "one").await;
    let third = store.append(&second, 3, "two").await;
    for (state, offset) in [(&first, 0), (&first, 3), (&first, 6), (&second, 3), (&second, 6)] {
        let appended = store.try_append(state, offset, body("three")).await;
        let what = format!("append at {offset} with a stale state");
        fails(appended, &[ErrorKind::Conflict], what, promise::APPEND_CONFLICT);
    }
    for state in [&first, &second] {
        let committed = store.try_commit(state, "a", &Condition::Always).await;
        fails(committed, &[ErrorKind::Conflict], "commit with a stale state", promise::COMMIT_CONFLICT);
        store.expect_absent("a", promise::COMMIT_CONFLICT).await;
    }
    store.commit(&third, "a").await;
    store.expect("a", "onetwo", promise::CONFLICT).await;
}

async fn an_append_of_nothing_makes_the_state_stale(store: Store) {
    let first = store.open_upload().await;
    let second = store.append(&first, 0, "one").await;
    let third = store.append(&second, 3, "").await;
    let appended = store.try_append(&second, 3, body("two")).await;
    fails(appended, &[ErrorKind::Conflict], "a second append from one state", promise::FENCE);
    store.commit(&third, "a").await;
    store.expect("a", "one", promise::FENCE).await;
}

async fn a_failed_body_leaves_the_upload_as_it_was(store: Store) {
    let state = store.open_upload().await;
    let mut state = store.append(&state, 0, "kept ").await;
    let mut content = b"kept ".to_vec();
    // At once, after a little, and when much was written already.
    for chunks in [vec![], vec![10], vec![1, 1], vec![3_000_000], vec![1_048_576; 9]] {
        let described = format!("append of a body that fails after {chunks:?} bytes");
        let chunks = chunks.into_iter().map(|size| Bytes::from(vec![b'!'; size])).collect();
        let appended = store.try_append(&state, content.len() as u64, failing(chunks)).await;
        let error = fails(appended, &[ErrorKind::BodyFailed], &described, promise::BODY_FAILED_KIND);
        holds(
            error.source_text.as_ref().is_some_and(|text| text.contains(CLIENT_IS_GONE)),
            format_args!("{described} gives the body's own error as the source: {CLIENT_IS_GONE}"),
            format_args!("the source {:?}", error.source_text),
            promise::BODY_FAILED_SOURCE,
        );
        state = store.append(&state, content.len() as u64, "and more ").await;
        content.extend_from_slice(b"and more ");
    }
    store.commit(&state, "a").await;
    store.expect("a", content, promise::BODY_FAILED).await;
    // Also when nothing follows.
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "all").await;
    let appended = store.try_append(&state, 3, failing(vec![Bytes::from(vec![b'!'; 2_000_000])])).await;
    fails(appended, &[ErrorKind::BodyFailed], "append of a body that fails", promise::BODY_FAILED_KIND);
    store.commit(&state, "b").await;
    store.expect("b", "all", promise::BODY_FAILED).await;
}

async fn a_failed_body_leaves_an_empty_upload_empty(store: Store) {
    for (number, chunks) in [vec![], vec![1], vec![100_000]].into_iter().enumerate() {
        let state = store.open_upload().await;
        let chunks = chunks.into_iter().map(|size| Bytes::from(vec![b'!'; size])).collect();
        let appended = store.try_append(&state, 0, failing(chunks)).await;
        fails(appended, &[ErrorKind::BodyFailed], "append of a body that fails", promise::BODY_FAILED_KIND);
        store.commit(&state, &number.to_string()).await;
        store.expect(&number.to_string(), "", promise::BODY_FAILED).await;
    }
}

async fn foreign_states_are_refused(store: Store) {
    let own = store.open_upload().await;
    let own = store.append(&own, 0, "content").await;
    let records: [&[u8]; 9] = [
        b"",
        b"x",
        b"../../a.0",
        b"0123456789abcdef.0",
        "\u{e9}.1".as_bytes(),
        b".0",
        b"a.99999999999999999999",
        b"{\"id\":1,\"offset\":0}",
        b"\xff\xfe\x00",
    ];
    for record in records {
        let state = UploadState::new(record).expect("short enough");
        let shown = String::from_utf8_lossy(record);
        let kinds = [ErrorKind::Conflict, ErrorKind::NotFound];
        for offset in [0, 7] {
            let appended = store.driver.append(&call(), &state, offset, body("x")).await;
            fails(
                appended,
                &kinds,
                format!("append with the foreign state {shown:?}"),
                promise::FOREIGN_STATE,
            );
        }
        let committed = store.driver.commit(&call(), &state, &store.path("b"), &Condition::Always).await;
        fails(committed, &kinds, format!("commit with the foreign state {shown:?}"), promise::FOREIGN_STATE);
        let aborted = store.driver.abort(&call(), &state).await;
        ok(aborted, format!("abort with the foreign state {shown:?}"), promise::FOREIGN_STATE);
    }
    store.commit(&own, "a").await;
    store.expect("a", "content", promise::FOREIGN_STATE).await;
    store.expect_below("", &["a"], promise::FOREIGN_STATE).await;
}

async fn a_commit_that_finds_no_place_leaves_the_upload_open(store: Store) {
    store.put("folder/object", "before").await;
    for name in ["folder", "folder/object/below"] {
        let state = store.open_upload().await;
        let state = store.append(&state, 0, "content").await;
        match store.try_commit(&state, name, &Condition::Always).await {
            // A store without folders has a place for it.
            Ok(_) => {
                store.expect(name, "content", promise::COMMIT).await;
                ok(store.driver.delete(&call(), &store.path(name)).await, "delete", promise::COMMIT);
            }
            Err(error) => {
                let what = format!("commit at {name}, where an object or a folder is in the way,");
                fails::<()>(Err(error), &[ErrorKind::Conflict], what, promise::COMMIT_OPEN);
                let state = store.append(&state, 7, " and more").await;
                store.commit(&state, "elsewhere").await;
                store.expect("elsewhere", "content and more", promise::COMMIT_OPEN).await;
            }
        }
        store.expect("folder/object", "before", promise::CONFLICT).await;
    }
}
