//! Two callers that go on from one state of an upload: at most one of them does.

use docker_registry_driver_api::{Condition, ErrorKind, Result, UploadProgress, UploadState};

use crate::{
    bodies::{Running, soon},
    case::group,
    checks::{fails, holds, ok},
    promise,
    store::{Store, body, call},
    tasks,
};

group! {
    "fencing":
    of_two_that_append_one_wins =>
        "Of several appends from one state at most one succeeds, and the content is the winner's.";
    of_two_that_commit_one_wins =>
        "Of several commits of one state at most one succeeds, and the object is whole.";
    append_and_commit_exclude_each_other =>
        "Of an append and a commit from one state at most one succeeds.";
    a_hanging_append_is_taken_over =>
        "An append whose client is silent does not keep a later one from going on from the same state.";
    a_hanging_first_append_is_taken_over =>
        "The same for the first append of an upload.";
    a_hanging_append_is_taken_over_far_into_the_upload =>
        "The same behind millions of bytes, and when the first client sends more afterwards.";
    a_commit_takes_over_from_a_hanging_append =>
        "A commit does not wait for an append that hangs, which then changes nothing of the object.";
    an_abort_does_not_wait_for_a_hanging_append =>
        "An upload is aborted while an append hangs, which then finds it gone.";
}

/// The winner's progress, if there is one. The others must have met the fence.
fn winner<T>(results: Vec<(u8, Result<T>)>, gone: bool) -> Option<(u8, T)> {
    let kinds: &[ErrorKind] =
        if gone { &[ErrorKind::Conflict, ErrorKind::NotFound] } else { &[ErrorKind::Conflict] };
    let mut winners = Vec::new();
    for (name, result) in results {
        match result {
            Ok(value) => winners.push((name, value)),
            Err(error) => {
                drop(fails::<T>(Err(error), kinds, "the second to go on from a state", promise::FENCE))
            }
        }
    }
    let count = winners.len();
    holds(
        count <= 1,
        "of the callers that go on from one state at most one succeeds",
        format_args!("{count} that succeeded"),
        promise::FENCE,
    );
    winners.pop()
}

async fn of_two_that_append_one_wins(store: Store) {
    for round in 0..10 {
        let state = store.open_upload().await;
        let state = store.append(&state, 0, "start ").await;
        let tasks = [b'a', b'b', b'c'].map(|letter| {
            let (store, state) = (store.clone(), state.clone());
            tasks::spawn(async move {
                let content = vec![letter; 100_000 + usize::from(letter)];
                (letter, store.try_append(&state, 6, body(content)).await)
            })
        });
        let (letter, progress) = match winner(tasks::all(tasks).await, false) {
            Some(winner) => winner,
            // They stood in each other's way. None of them has changed anything, so there is another go.
            None => (b'd', again(&store, &state, b'd').await),
        };
        let name = format!("a/{round}");
        store.commit(&progress.state, &name).await;
        let mut expected = b"start ".to_vec();
        expected.resize(6 + 100_000 + usize::from(letter), letter);
        store.expect(&name, expected, promise::FENCE).await;
    }
}

async fn again(store: &Store, state: &UploadState, letter: u8) -> UploadProgress {
    let content = vec![letter; 100_000 + usize::from(letter)];
    let appended = store.try_append(state, 6, body(content)).await;
    ok(appended, "append from a state that nobody has gone on from", promise::FENCE)
}

async fn of_two_that_commit_one_wins(store: Store) {
    for round in 0..10_u8 {
        let state = store.open_upload().await;
        let state = store.append(&state, 0, format!("round {round}")).await;
        let tasks = [b'a', b'b', b'c'].map(|letter| {
            let (store, state) = (store.clone(), state.clone());
            tasks::spawn(async move {
                let name = format!("{round}/{}", char::from(letter));
                (letter, store.try_commit(&state, &name, &Condition::Always).await)
            })
        });
        let place = match winner(tasks::all(tasks).await, true) {
            Some((letter, _)) => letter,
            None => {
                store.commit(&state, &format!("{round}/d")).await;
                b'd'
            }
        };
        let name = format!("{round}/{}", char::from(place));
        store.expect(&name, format!("round {round}"), promise::COMMIT).await;
        store.expect_below(&round.to_string(), &[&name], promise::FENCE).await;
    }
}

async fn append_and_commit_exclude_each_other(store: Store) {
    for round in 0..20_u32 {
        let name = round.to_string();
        let state = store.open_upload().await;
        let state = store.append(&state, 0, "start").await;
        let append = {
            let (store, state) = (store.clone(), state.clone());
            tasks::spawn(async move { store.try_append(&state, 5, body(" and more")).await })
        };
        let commit = {
            let (store, state, name) = (store.clone(), state.clone(), name.clone());
            tasks::spawn(async move { store.try_commit(&state, &name, &Condition::Always).await })
        };
        let (appended, committed) = (append.join().await, commit.join().await);
        let results =
            vec![(b'a', appended.map(|progress| Some(progress.state))), (b'c', committed.map(|_| None))];
        let expected = match winner(results, true) {
            Some((_, None)) => "start",
            Some((_, Some(state))) => {
                store.expect_absent(&name, promise::FENCE).await;
                store.commit(&state, &name).await;
                "start and more"
            }
            None => {
                store.commit(&state, &name).await;
                "start"
            }
        };
        store.expect(&name, expected, promise::FENCE).await;
    }
}

/// Appends while another append from the same state hangs.
async fn take_over(store: &Store, state: &UploadState, offset: u64, content: &str) -> UploadState {
    let appended = soon(
        store.try_append(state, offset, body(content.to_owned())),
        "an append from the state of one that hangs",
        promise::TAKE_OVER,
    );
    ok(appended.await, "append from the state of one that hangs", promise::TAKE_OVER).state
}

/// Ends the body of an append that was taken over.
async fn expect_overtaken(hanging: Running, kinds: &[ErrorKind]) {
    fails(hanging.finish().await, kinds, "an append that was taken over", promise::FENCE);
}

async fn a_hanging_append_is_taken_over(store: Store) {
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "start ").await;
    let hanging = Running::start(&store, &state, 6, "!").await;
    hanging.send_much(b'!').await;
    let state = take_over(&store, &state, 6, "winner").await;
    hanging.send_much(b'!').await;
    // The upload goes on while the first one still hangs.
    let state = store.append(&state, 12, " and more").await;
    hanging.send_much(b'!').await;
    expect_overtaken(hanging, &[ErrorKind::Conflict]).await;
    store.commit(&state, "a").await;
    store.expect("a", "start winner and more", promise::FENCE).await;
}

async fn a_hanging_first_append_is_taken_over(store: Store) {
    let first = store.open_upload().await;
    let hanging = Running::start(&store, &first, 0, "!").await;
    let another = Running::start(&store, &first, 0, "?").await;
    another.send_much(b'?').await;
    let state = take_over(&store, &first, 0, "winner").await;
    hanging.send_much(b'!').await;
    expect_overtaken(hanging, &[ErrorKind::Conflict]).await;
    store.commit(&state, "a").await;
    expect_overtaken(another, &[ErrorKind::Conflict, ErrorKind::NotFound]).await;
    store.expect("a", "winner", promise::FENCE).await;
}

async fn a_hanging_append_is_taken_over_far_into_the_upload(store: Store) {
    let start = vec![b's'; 5_000_000];
    let state = store.open_upload().await;
    let state = store.append(&state, 0, start.clone()).await;
    // It does not get a chance to notice, because nothing comes from its client.
    let hanging = Running::start(&store, &state, 5_000_000, "!").await;
    let state = take_over(&store, &state, 5_000_000, "winner").await;
    hanging.send_much(b'!').await;
    expect_overtaken(hanging, &[ErrorKind::Conflict]).await;
    let state = store.append(&state, 5_000_006, "!").await;
    store.commit(&state, "a").await;
    store.expect("a", [start.as_slice(), b"winner!"].concat(), promise::FENCE).await;
}

async fn a_commit_takes_over_from_a_hanging_append(store: Store) {
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "content").await;
    let hanging = Running::start(&store, &state, 7, "!").await;
    hanging.send_much(b'!').await;
    let committed = soon(
        store.try_commit(&state, "a", &Condition::Always),
        "a commit from the state of an append that hangs",
        promise::TAKE_OVER,
    );
    ok(committed.await, "commit from the state of an append that hangs", promise::TAKE_OVER);
    store.expect("a", "content", promise::FENCE).await;
    hanging.send_much(b'!').await;
    // It may notice while the commit is under way, or afterwards.
    expect_overtaken(hanging, &[ErrorKind::Conflict, ErrorKind::NotFound]).await;
    store.expect("a", "content", promise::FENCE).await;
}

async fn an_abort_does_not_wait_for_a_hanging_append(store: Store) {
    for start in ["", "start"] {
        let state = store.open_upload().await;
        let state = store.append(&state, 0, start).await;
        let hanging = Running::start(&store, &state, start.len() as u64, "!").await;
        hanging.send_much(b'!').await;
        let aborted = soon(store.driver.abort(&call(), &state), "abort", promise::TAKE_OVER).await;
        ok(aborted, "abort while an append hangs", promise::ABORT);
        hanging.send_much(b'!').await;
        let appended = hanging.finish().await;
        fails(appended, &[ErrorKind::NotFound], "an append whose upload was aborted", promise::APPEND_GONE);
    }
}
