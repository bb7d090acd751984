//! Uploads that go on in another process: each open of the driver is given nothing but the state.

use std::time::Duration;

use docker_registry_driver_api::{Condition, ErrorKind};

use crate::{
    bodies::{Running, failing, patterned, soon},
    case::group,
    checks::{fails, ok, same},
    content::Pattern,
    promise,
    store::{Store, body, call},
};

group! {
    "resuming":
    small_appends_go_on_elsewhere [ResumableUploads] =>
        "Three appends of 32 bytes, the driver closed and opened in between.";
    large_appends_go_on_elsewhere [ResumableUploads] =>
        "Three appends of 10 MiB, the driver closed and opened in between.";
    odd_appends_go_on_elsewhere [ResumableUploads] =>
        "Appends of a byte, of nothing, and around the borders of blocks, the driver opened anew for each.";
    an_empty_upload_goes_on_elsewhere [ResumableUploads] =>
        "An upload that was opened in one process is written in another, or committed without any bytes.";
    a_commit_elsewhere_ends_the_upload [ResumableUploads] =>
        "What one process commits is an object for the other, and its upload is gone.";
    an_abort_elsewhere_ends_the_upload [ResumableUploads] =>
        "What one process aborts is gone for the other.";
    a_failed_body_elsewhere_changes_nothing [ResumableUploads] =>
        "A body that fails in one process leaves the state good in another.";
    stale_states_are_refused_elsewhere [ResumableUploads] =>
        "The fence holds between processes.";
    a_hanging_append_is_taken_over_elsewhere [ResumableUploads] =>
        "An append that hangs in one process does not keep another one from going on.";
}

const GRACE: Duration = Duration::from_secs(10);

/// Appends pieces of these sizes, each through a driver that is closed afterwards, commits through one
/// more, and compares.
async fn go_on_for_each(store: &Store, sizes: &[u64]) {
    let pattern = Pattern::new(4);
    let first = store.second().await;
    let mut state = first.open_upload().await;
    first.end(GRACE).await;
    let mut offset = 0;
    for size in sizes {
        let process = store.second().await;
        let chunks = patterned(&pattern, offset, *size, &[1_000_000, 7, 64 * 1024]);
        let appended = process.try_append(&state, offset, chunks).await;
        let progress = ok(appended, format!("append of {size} bytes at {offset}"), promise::UPLOAD_STATE);
        offset += size;
        same(
            progress.offset,
            offset,
            "the offset after an append in another process",
            promise::UPLOAD_DURABLE,
        );
        state = progress.state;
        process.end(GRACE).await;
    }
    let process = store.second().await;
    process.commit(&state, "a").await;
    process.end(GRACE).await;
    store.expect("a", pattern.bytes(0, offset as usize), promise::UPLOAD_STATE).await;
}

async fn small_appends_go_on_elsewhere(store: Store) {
    go_on_for_each(&store, &[32; 3]).await;
}

async fn large_appends_go_on_elsewhere(store: Store) {
    go_on_for_each(&store, &[10 * 1024 * 1024; 3]).await;
}

async fn odd_appends_go_on_elsewhere(store: Store) {
    // Storages that take content in parts often have a smallest part, of 4 or 5 MiB.
    go_on_for_each(&store, &[1, 0, 65_535, 2, 5 * 1024 * 1024 - 1, 1, 4 * 1024 * 1024 + 1, 70_001]).await;
}

async fn an_empty_upload_goes_on_elsewhere(store: Store) {
    let second = store.second().await;
    let state = store.open_upload().await;
    let state = second.append(&state, 0, "content").await;
    store.commit(&state, "a").await;
    second.expect("a", "content", promise::UPLOAD_STATE).await;
    let state = store.open_upload().await;
    second.commit(&state, "b").await;
    store.expect("b", "", promise::UPLOAD_STATE).await;
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "").await;
    let state = second.append(&state, 0, "then something").await;
    second.commit(&state, "c").await;
    store.expect("c", "then something", promise::UPLOAD_STATE).await;
}

async fn a_commit_elsewhere_ends_the_upload(store: Store) {
    let second = store.second().await;
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "content").await;
    second.commit(&state, "a").await;
    for process in [&store, &second] {
        process.expect("a", "content", promise::COMMIT).await;
        let appended = process.try_append(&state, 7, body("x")).await;
        fails(appended, &[ErrorKind::NotFound], "append after a commit elsewhere", promise::APPEND_GONE);
        let committed = process.try_commit(&state, "b", &Condition::Always).await;
        fails(committed, &[ErrorKind::NotFound], "commit after a commit elsewhere", promise::COMMIT_GONE);
        ok(process.driver.abort(&call(), &state).await, "abort after a commit elsewhere", promise::ABORT);
        process.expect("a", "content", promise::COMMIT).await;
    }
}

async fn an_abort_elsewhere_ends_the_upload(store: Store) {
    let second = store.second().await;
    let first_state = store.open_upload().await;
    let state = store.append(&first_state, 0, "content").await;
    // A stale state will do.
    ok(second.driver.abort(&call(), &first_state).await, "abort elsewhere", promise::ABORT);
    for process in [&store, &second] {
        let appended = process.try_append(&state, 7, body("x")).await;
        fails(appended, &[ErrorKind::NotFound], "append after an abort elsewhere", promise::APPEND_GONE);
        let committed = process.try_commit(&state, "a", &Condition::Always).await;
        fails(committed, &[ErrorKind::NotFound], "commit after an abort elsewhere", promise::COMMIT_GONE);
        ok(process.driver.abort(&call(), &state).await, "abort twice", promise::ABORT);
    }
    store.expect_absent("a", promise::ABORT).await;
}

async fn a_failed_body_elsewhere_changes_nothing(store: Store) {
    let second = store.second().await;
    let state = store.open_upload().await;
    let mut state = store.append(&state, 0, "start ").await;
    for (number, process) in [&second, &store, &second].into_iter().enumerate() {
        let broken = failing(vec![vec![b'!'; 2_500_000].into()]);
        let appended = process.try_append(&state, 6 + number as u64, broken).await;
        fails(appended, &[ErrorKind::BodyFailed], "append of a body that fails", promise::BODY_FAILED_KIND);
        let other = if number % 2 == 0 { &store } else { &second };
        state = other.append(&state, 6 + number as u64, number.to_string()).await;
    }
    second.commit(&state, "a").await;
    store.expect("a", "start 012", promise::BODY_FAILED).await;
}

async fn stale_states_are_refused_elsewhere(store: Store) {
    let second = store.second().await;
    let first_state = store.open_upload().await;
    let state = store.append(&first_state, 0, "one").await;
    for (stale, offset) in [(&first_state, 0), (&first_state, 3)] {
        let appended = second.try_append(stale, offset, body("two")).await;
        fails(appended, &[ErrorKind::Conflict], "append elsewhere with a stale state", promise::FENCE);
    }
    let appended = second.try_append(&state, 2, body("two")).await;
    fails(appended, &[ErrorKind::Conflict], "append elsewhere at another offset", promise::APPEND_CONFLICT);
    let committed = second.try_commit(&first_state, "a", &Condition::Always).await;
    fails(committed, &[ErrorKind::Conflict], "commit elsewhere with a stale state", promise::COMMIT_CONFLICT);
    let state = second.append(&state, 3, " two").await;
    store.commit(&state, "a").await;
    second.expect("a", "one two", promise::FENCE).await;
}

async fn a_hanging_append_is_taken_over_elsewhere(store: Store) {
    let second = store.second().await;
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "start ").await;
    let hanging = Running::start(&store, &state, 6, "!").await;
    hanging.send_much(b'!').await;
    let appended = soon(second.try_append(&state, 6, body("winner")), "append", promise::TAKE_OVER).await;
    let progress = ok(appended, "append from the state of an append that hangs", promise::TAKE_OVER);
    hanging.send_much(b'!').await;
    let error = hanging.finish().await;
    fails(error, &[ErrorKind::Conflict], "the append that was taken over", promise::FENCE);
    let state = second.append(&progress.state, 12, " and more").await;
    second.commit(&state, "a").await;
    store.expect("a", "start winner and more", promise::FENCE).await;
}
