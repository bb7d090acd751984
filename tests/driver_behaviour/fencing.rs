//! Stale callers of an upload: they fail, and change nothing that the winner relies on.

use docker_registry_driver_api::{
    ByteStream, Bytes, Condition, ErrorKind, Result, UploadProgress, UploadState,
    futures::{StreamExt, channel::mpsc},
};
use tokio::task::JoinHandle;

use crate::subject::{Store, append, body, call, commit, fails, get, open_upload, path};

on_both_drivers!(
    a_stale_state_is_refused,
    of_two_that_go_on_one_wins,
    a_running_appender_is_overtaken,
    a_running_appender_is_overtaken_far_into_the_upload,
    a_running_appender_does_not_touch_the_object,
    a_running_appender_notices_an_abort,
    a_dropped_append_leaves_the_upload_usable,
);

/// An append whose body comes when the test says so.
pub(crate) struct Running {
    body: mpsc::UnboundedSender<Result<Bytes>>,
    task: JoinHandle<Result<UploadProgress>>,
}

impl Running {
    /// Starts an append and returns when it has taken its first byte, a `!`.
    pub(crate) async fn start(store: &Store, state: &UploadState, offset: u64) -> Self {
        let (body, chunks) = mpsc::unbounded();
        let (taken, mut has_taken) = mpsc::unbounded();
        let chunks: ByteStream = chunks.inspect(move |_| drop(taken.unbounded_send(()))).boxed();
        let (store, state) = (store.clone(), state.clone());
        let task = tokio::spawn(async move { store.append(&call(), &state, offset, chunks).await });
        body.unbounded_send(Ok(Bytes::from_static(b"!"))).unwrap();
        has_taken.next().await.expect("the append takes a byte");
        Self { body, task }
    }

    /// Sends enough to be written at once.
    pub(crate) async fn send_much(&self) {
        for _ in 0..2 {
            // The appender may have given up already.
            let _ = self.body.unbounded_send(Ok(Bytes::from(vec![b'!'; 2_000_000])));
            tokio::task::yield_now().await;
        }
    }

    /// Drops the append in the middle of its body.
    pub(crate) async fn cancel(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Ends the body. The append must have been overtaken.
    pub(crate) async fn fails(self, kinds: &[ErrorKind]) {
        drop(self.body);
        let error = self.task.await.unwrap().unwrap_err();
        assert!(kinds.contains(&error.kind), "{error}");
    }
}

async fn a_stale_state_is_refused(store: Store) {
    let first = open_upload(&store).await;
    let second = append(&store, &first, 0, "one").await;
    fails(store.append(&call(), &first, 0, body("two")).await, ErrorKind::Conflict);
    fails(store.append(&call(), &first, 3, body("two")).await, ErrorKind::Conflict);
    fails(store.commit(&call(), &first, &path("a"), &Condition::Always).await, ErrorKind::Conflict);
    // Without bytes the state moves on just the same.
    let third = append(&store, &second, 3, "").await;
    fails(store.append(&call(), &second, 3, body("two")).await, ErrorKind::Conflict);
    commit(&store, &third, "a").await;
    assert_eq!(get(&store, "a").await, "one");
}

async fn of_two_that_go_on_one_wins(store: Store) {
    for round in 0..10 {
        let state = open_upload(&store).await;
        let state = append(&store, &state, 0, "start ").await;
        let tasks = [b'a', b'b', b'c'].map(|letter| {
            let (store, state) = (store.clone(), state.clone());
            tokio::spawn(async move {
                let content = vec![letter; 100_000 + usize::from(letter)];
                (letter, store.append(&call(), &state, 6, body(content)).await)
            })
        });
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                (letter, Ok(progress)) => winners.push((letter, progress)),
                (_, Err(error)) => assert_eq!(error.kind, ErrorKind::Conflict, "{error}"),
            }
        }
        let [(letter, progress)] = winners.as_slice() else { panic!("{} winners", winners.len()) };
        let at = format!("a/{round}");
        commit(&store, &progress.state, &at).await;
        let mut expected = b"start ".to_vec();
        expected.resize(6 + 100_000 + usize::from(*letter), *letter);
        assert_eq!(get(&store, &at).await, expected);
    }
}

async fn a_running_appender_is_overtaken(store: Store) {
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "start ").await;
    let stale = Running::start(&store, &state, 6).await;
    stale.send_much().await;
    let state = append(&store, &state, 6, "winner").await;
    stale.send_much().await;
    // The upload goes on while the stale appender hangs.
    let state = append(&store, &state, 12, " and more").await;
    stale.send_much().await;
    stale.fails(&[ErrorKind::Conflict]).await;
    commit(&store, &state, "a").await;
    assert_eq!(get(&store, "a").await, "start winner and more");
}

async fn a_running_appender_is_overtaken_far_into_the_upload(store: Store) {
    let start = "s".repeat(5_000_000);
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, &start).await;
    // It does not get a chance to notice, because nothing comes from its client.
    let stale = Running::start(&store, &state, 5_000_000).await;
    let state = append(&store, &state, 5_000_000, "winner").await;
    stale.send_much().await;
    stale.fails(&[ErrorKind::Conflict]).await;
    let state = append(&store, &state, 5_000_006, "!").await;
    commit(&store, &state, "a").await;
    let stored = get(&store, "a").await;
    assert!(stored[..5_000_000] == *start.as_bytes(), "the start differs");
    assert_eq!(stored[5_000_000..], *b"winner!");
}

async fn a_running_appender_does_not_touch_the_object(store: Store) {
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "content").await;
    let stale = Running::start(&store, &state, 7).await;
    stale.send_much().await;
    commit(&store, &state, "a").await;
    assert_eq!(get(&store, "a").await, "content");
    stale.send_much().await;
    // It may notice while the commit is under way, or afterwards.
    stale.fails(&[ErrorKind::Conflict, ErrorKind::NotFound]).await;
    assert_eq!(get(&store, "a").await, "content");
}

async fn a_running_appender_notices_an_abort(store: Store) {
    let state = open_upload(&store).await;
    let stale = Running::start(&store, &state, 0).await;
    stale.send_much().await;
    store.abort(&call(), &state).await.unwrap();
    stale.send_much().await;
    stale.fails(&[ErrorKind::NotFound]).await;
}

async fn a_dropped_append_leaves_the_upload_usable(store: Store) {
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "start ").await;
    for _ in 0..3 {
        let dropped = Running::start(&store, &state, 6).await;
        dropped.send_much().await;
        dropped.cancel().await;
    }
    let state = append(&store, &state, 6, "end").await;
    commit(&store, &state, "a").await;
    assert_eq!(get(&store, "a").await, "start end");
}
