//! Conditional writes: exactly one of many writers wins, and a condition that does not hold changes nothing.

use std::panic::Location;

use bytes::Bytes;
use docker_registry_driver_api::{Capability, Condition, ETag, ErrorKind, Result, UploadState};

use crate::{
    case::group,
    checks::{fails, holds, ok, same},
    failure::{broken, skip},
    promise::{self, Promise},
    store::{Store, call, until_known},
    tasks,
};

group! {
    "conditions":
    if_absent_writes_where_nothing_is [PutIfAbsent] =>
        "put and commit with IfAbsent succeed where nothing is, and once the object was deleted again.";
    if_absent_leaves_what_is_there [PutIfAbsent] =>
        "put and commit with IfAbsent fail where an object is, also an empty one, and change nothing.";
    of_two_creators_one_wins [PutIfAbsent] =>
        "Of two writers with IfAbsent exactly one succeeds, and the content is its own.";
    of_many_creators_one_wins [PutIfAbsent] =>
        "The same with sixty-four writers in a folder that they have to make.";
    of_many_commits_one_wins [PutIfAbsent] =>
        "Of sixteen commits with IfAbsent exactly one succeeds; the uploads of the others stay open.";
    of_puts_and_commits_one_wins [PutIfAbsent] =>
        "Of puts and commits with IfAbsent at one path exactly one succeeds.";
    if_match_writes_over_the_tagged_version [PutIfMatch] =>
        "put and commit with the tag of the object there succeed, and there is a new tag.";
    if_match_leaves_another_version [PutIfMatch] =>
        "put and commit with the tag of an earlier version fail and change nothing.";
    an_absent_object_has_no_tag [PutIfMatch] =>
        "With any tag, nothing is written where nothing is.";
    no_update_is_lost [PutIfMatch] =>
        "Writers that count up with IfMatch reach the sum of their steps.";
    without_if_absent_it_is_unsupported =>
        "A driver without put-if-absent says so and writes nothing; the upload stays open.";
    without_if_match_it_is_unsupported =>
        "A driver without put-if-match says so and writes nothing; the upload stays open.";
}

async fn put_if(store: &Store, name: &str, content: &str, condition: &Condition) -> Result<Option<ETag>> {
    let (call, path, content) = (call(), store.path(name), Bytes::from(content.to_owned()));
    until_known(|| store.driver.put(&call, &path, content.clone(), condition)).await
}

/// The tag of an object that must be there and have one.
async fn tag(store: &Store, name: &str) -> ETag {
    match store.head(name).await.etag {
        Some(tag) => tag,
        None => broken(
            "objects have tags in a store with put-if-match",
            format_args!("none at {name}"),
            promise::TAG_NEEDED,
            Location::caller(),
        ),
    }
}

async fn if_absent_writes_where_nothing_is(store: Store) {
    for round in 0..3 {
        let content = format!("round {round}");
        let put = put_if(&store, "folder/put", &content, &Condition::IfAbsent).await;
        ok(put, "put with IfAbsent where nothing is", promise::IF_ABSENT);
        store.expect("folder/put", content.clone(), promise::PUT).await;
        let state = store.open_upload().await;
        let state = store.append(&state, 0, content.clone()).await;
        let committed = store.try_commit(&state, "folder/committed", &Condition::IfAbsent).await;
        ok(committed, "commit with IfAbsent where nothing is", promise::IF_ABSENT);
        store.expect("folder/committed", content, promise::COMMIT).await;
        for name in ["folder/put", "folder/committed"] {
            ok(store.driver.delete(&call(), &store.path(name)).await, "delete", promise::DELETE);
            store.expect_absent(name, promise::DELETE).await;
        }
    }
}

async fn if_absent_leaves_what_is_there(store: Store) {
    for content in ["before", ""] {
        store.put("a", content).await;
        store.head("a").await;
        let put = put_if(&store, "a", "after", &Condition::IfAbsent).await;
        fails(put, &[ErrorKind::ConditionFailed], "put with IfAbsent over an object", promise::IF_ABSENT);
        store.expect("a", content, promise::CONDITION_FAILED).await;
        commit_fails_and_goes_on(&store, "a", &Condition::IfAbsent, promise::IF_ABSENT).await;
        store.expect("a", content, promise::CONDITION_FAILED).await;
    }
}

/// A commit whose condition does not hold leaves the upload open for more bytes and another commit.
async fn commit_fails_and_goes_on(store: &Store, name: &str, condition: &Condition, promise: Promise) {
    let state = store.open_upload().await;
    let state = store.append(&state, 0, "content").await;
    for promise in [promise, promise::COMMIT_CONDITION] {
        let committed = until_known(|| store.try_commit(&state, name, condition)).await;
        let what = format!("commit at {name} with {condition:?}");
        fails(committed, &[ErrorKind::ConditionFailed], what, promise);
    }
    let state = store.append(&state, 7, " and more").await;
    store.commit(&state, "elsewhere").await;
    store.expect("elsewhere", "content and more", promise::COMMIT_CONDITION).await;
}

/// How the writers with one condition at one path ended: each its number, or why not.
fn one_winner(results: Vec<(u32, Result<()>)>) -> u32 {
    let mut winners = Vec::new();
    for (number, result) in results {
        match result {
            Ok(()) => winners.push(number),
            Err(error) => {
                let what = "a writer whose condition does not hold";
                fails::<()>(Err(error), &[ErrorKind::ConditionFailed], what, promise::IF_ABSENT);
            }
        }
    }
    match winners[..] {
        [winner] => winner,
        _ => broken(
            "exactly one of the writers with IfAbsent succeeds",
            format_args!("{} that succeeded", winners.len()),
            promise::IF_ABSENT,
            Location::caller(),
        ),
    }
}

/// As many bytes as make the writers differ in more than their letters.
fn content_of(number: u32) -> Bytes {
    format!("writer {number} ").repeat(1 + 500 * number as usize).into()
}

async fn create(store: &Store, name: &str, number: u32) -> Result<()> {
    let put = store.driver.put(&call(), &store.path(name), content_of(number), &Condition::IfAbsent).await;
    put.map(drop)
}

async fn race_of_creators(store: &Store, name: &str, writers: u32) {
    let writers = (0..writers).map(|number| {
        let (store, name) = (store.clone(), name.to_owned());
        tasks::spawn(async move { (number, create(&store, &name, number).await) })
    });
    let winner = one_winner(tasks::all(writers).await);
    store.expect(name, content_of(winner), promise::IF_ABSENT).await;
}

async fn of_two_creators_one_wins(store: Store) {
    for round in 0..20 {
        race_of_creators(&store, &format!("a/{round}"), 2).await;
    }
}

async fn of_many_creators_one_wins(store: Store) {
    race_of_creators(&store, "new/folder/a", 64).await;
    race_of_creators(&store, "new/b", 16).await;
}

/// An upload of the writer's content, ready to be committed.
async fn ready(store: &Store, number: u32) -> UploadState {
    let state = store.open_upload().await;
    store.append(&state, 0, content_of(number)).await
}

async fn of_many_commits_one_wins(store: Store) {
    let mut commits = Vec::new();
    for number in 0..16 {
        let state = ready(&store, number).await;
        let store = store.clone();
        commits.push(tasks::spawn(async move {
            let committed = store.try_commit(&state, "new/a", &Condition::IfAbsent).await;
            (number, state, committed.map(drop))
        }));
    }
    let mut results = Vec::new();
    for (number, state, result) in tasks::all(commits).await {
        if result.is_err() {
            let place = format!("lost/{number}");
            let committed = store.try_commit(&state, &place, &Condition::IfAbsent).await;
            ok(committed, "commit of a loser elsewhere", promise::COMMIT_CONDITION);
            store.expect(&place, content_of(number), promise::COMMIT_CONDITION).await;
        }
        results.push((number, result));
    }
    let winner = one_winner(results);
    store.expect("new/a", content_of(winner), promise::IF_ABSENT).await;
}

async fn of_puts_and_commits_one_wins(store: Store) {
    for round in 0..5 {
        let name = format!("new-{round}/a");
        let mut writers = Vec::new();
        for number in 0..8 {
            let state = if number % 2 == 0 { Some(ready(&store, number).await) } else { None };
            let (store, name) = (store.clone(), name.clone());
            writers.push(tasks::spawn(async move {
                let written = match state {
                    Some(state) => store.try_commit(&state, &name, &Condition::IfAbsent).await.map(drop),
                    None => create(&store, &name, number).await,
                };
                (number, written)
            }));
        }
        let winner = one_winner(tasks::all(writers).await);
        store.expect(&name, content_of(winner), promise::IF_ABSENT).await;
    }
}

async fn if_match_writes_over_the_tagged_version(store: Store) {
    store.put("a", "first").await;
    let mut seen = vec![tag(&store, "a").await];
    for round in 0..4 {
        let condition = Condition::IfMatch(seen[round].clone());
        let content = format!("version {round}");
        let new = if round % 2 == 0 {
            let put = put_if(&store, "a", &content, &condition).await;
            ok(put, "put with the tag of the object", promise::IF_MATCH)
        } else {
            let state = store.open_upload().await;
            let state = store.append(&state, 0, content.clone()).await;
            let committed = store.try_commit(&state, "a", &condition).await;
            ok(committed, "commit with the tag of the object", promise::IF_MATCH).etag
        };
        store.expect("a", content, promise::IF_MATCH).await;
        let found = tag(&store, "a").await;
        if let Some(new) = new {
            same(&found, &new, "the tag of head after a write that returned one", promise::ETAG);
        }
        let is_new = !seen.contains(&found);
        holds(is_new, "a new tag with each new content", format_args!("{found:?} again"), promise::ETAG);
        seen.push(found);
    }
}

async fn if_match_leaves_another_version(store: Store) {
    store.put("a", "first").await;
    let first = tag(&store, "a").await;
    store.put("a", "other").await;
    store.expect("a", "other", promise::PUT).await;
    let strange = ETag("a tag that the driver never gave".to_owned());
    for condition in [first, strange].map(Condition::IfMatch) {
        let put = put_if(&store, "a", "third", &condition).await;
        fails(put, &[ErrorKind::ConditionFailed], "put with the tag of another version", promise::IF_MATCH);
        store.expect("a", "other", promise::CONDITION_FAILED).await;
        commit_fails_and_goes_on(&store, "a", &condition, promise::IF_MATCH).await;
        store.expect("a", "other", promise::CONDITION_FAILED).await;
    }
}

async fn an_absent_object_has_no_tag(store: Store) {
    store.put("folder/b", "x").await;
    let condition = Condition::IfMatch(tag(&store, "folder/b").await);
    for absent in ["a", "folder", "folder/c", "new/folder/d"] {
        let put = put_if(&store, absent, "y", &condition).await;
        let what = format!("put with a tag at {absent}, where no object is,");
        // Which of the two a store finds first is its own affair.
        let kinds: &[_] = match absent {
            "folder" => &[ErrorKind::ConditionFailed, ErrorKind::Conflict],
            _ => &[ErrorKind::ConditionFailed],
        };
        fails(put, kinds, what, promise::IF_MATCH);
        store.expect_absent(absent, promise::CONDITION_FAILED).await;
    }
    commit_fails_and_goes_on(&store, "a", &condition, promise::IF_MATCH).await;
    store.expect_below("", &["elsewhere", "folder/b"], promise::CONDITION_FAILED).await;
}

/// Writers add words to one object, and each word must be there once: a number would not tell a writer whose outcome is
/// unknown whether it was his update that somebody built on.
async fn no_update_is_lost(store: Store) {
    const WRITERS: u64 = 8;
    const UPDATES: u64 = 10;
    store.put("updates", "").await;
    store.head("updates").await;
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tasks::spawn(async move {
            let mut done = 0;
            while done < UPDATES {
                let object = store.driver.get(&call(), &store.path("updates"), 10_000).await;
                let object = ok(object, "get of the updates", promise::ATOMICITY);
                let text = String::from_utf8_lossy(&object.content).into_owned();
                let word = format!("{writer}:{done}");
                if text.split(' ').any(|found| found == word) {
                    done += 1;
                    continue;
                }
                let Some(tag) = object.info.etag else {
                    broken("get returns the tag", "none", promise::TAG_NEEDED, Location::caller())
                };
                let longer = format!("{text} {word}");
                match put_if(&store, "updates", &longer, &Condition::IfMatch(tag)).await {
                    Ok(_) => done += 1,
                    Err(error) => {
                        let what = "put with a tag that may be stale";
                        fails::<()>(Err(error), &[ErrorKind::ConditionFailed], what, promise::IF_MATCH);
                    }
                }
            }
        })
    });
    tasks::all(writers).await;
    let object = ok(
        store.driver.get(&call(), &store.path("updates"), 10_000).await,
        "get of the updates",
        promise::ATOMICITY,
    );
    let text = String::from_utf8_lossy(&object.content).into_owned();
    let mut found: Vec<&str> = text.split_whitespace().collect();
    found.sort_unstable();
    let mut expected: Vec<String> = (0..WRITERS)
        .flat_map(|writer| (0..UPDATES).map(move |update| format!("{writer}:{update}")))
        .collect();
    expected.sort_unstable();
    same(found, expected.iter().map(String::as_str).collect(), "the updates", promise::IF_MATCH);
}

async fn without_if_absent_it_is_unsupported(store: Store) {
    if store.has(Capability::PutIfAbsent) {
        skip("the driver offers put-if-absent");
    }
    expect_unsupported(&store, &Condition::IfAbsent).await;
}

async fn without_if_match_it_is_unsupported(store: Store) {
    if store.has(Capability::PutIfMatch) {
        skip("the driver offers put-if-match");
    }
    expect_unsupported(&store, &Condition::IfMatch(ETag("any".to_owned()))).await;
}

async fn expect_unsupported(store: &Store, condition: &Condition) {
    store.put("taken", "before").await;
    for name in ["a", "taken"] {
        let put = put_if(store, name, "x", condition).await;
        let what = format!("put with {condition:?}");
        fails(put, &[ErrorKind::Unsupported], what, promise::CONDITION_UNSUPPORTED);
        let state = store.open_upload().await;
        let state = store.append(&state, 0, "content").await;
        let committed = store.try_commit(&state, name, condition).await;
        let what = format!("commit with {condition:?}");
        fails(committed, &[ErrorKind::Unsupported], what, promise::COMMIT_OPEN);
        store.expect_absent("a", promise::CONDITION_UNSUPPORTED).await;
        store.expect("taken", "before", promise::CONDITION_UNSUPPORTED).await;
        store.commit(&state, "elsewhere").await;
        store.expect("elsewhere", "content", promise::COMMIT_OPEN).await;
    }
}
