//! Where the API leaves a choice, and both drivers have made the stricter one.

use docker_registry_driver_api::{Bytes, Capability, Condition, ErrorKind, ReadRange, Stat};

use crate::subject::{
    Store, all_below, append, body, call, commit, content_of, fails, get, missing, open_upload, path, prefix,
    put,
};

on_both_drivers!(
    everything_is_offered_that_the_suite_tries,
    of_appends_from_one_state_exactly_one_wins,
    commit_says_what_head_says,
    a_tag_never_comes_back,
    a_path_is_an_object_or_a_folder,
    every_name_is_kept,
    an_open_reading_goes_on_with_the_old_content,
    a_second_deletion_finds_nothing,
    the_root_empties_the_store_and_spares_uploads,
);

/// The suite skips cases whose capability is missing.
async fn everything_is_offered_that_the_suite_tries(store: Store) {
    for capability in [
        Capability::PutIfAbsent,
        Capability::PutIfMatch,
        Capability::StrongConsistency,
        Capability::CheapRename,
        Capability::ListUploads,
    ] {
        assert!(store.capabilities().has(capability), "{} is missing", capability.name());
    }
}

/// The suite lets them stand in each other's way, so that none wins.
async fn of_appends_from_one_state_exactly_one_wins(store: Store) {
    for round in 0..10 {
        let state = open_upload(&store).await;
        let state = append(&store, &state, 0, "start ").await;
        let tasks = [b'a', b'b', b'c'].map(|letter| {
            let (store, state) = (store.clone(), state.clone());
            tokio::spawn(async move {
                let content = vec![letter; 100_000];
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
        assert_eq!(get(&store, &at).await, [b"start ".as_slice(), &[*letter; 100_000]].concat());
    }
}

/// Down to the last digit of the time.
async fn commit_says_what_head_says(store: Store) {
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "content").await;
    let info = store.commit(&call(), &state, &path("a/b"), &Condition::Always).await.unwrap();
    assert!(info.modified.is_some());
    assert_eq!(store.head(&call(), &path("a/b")).await.unwrap(), info);
}

/// A storage may make its tags of the content alone. These two tell apart writes of the same content.
async fn a_tag_never_comes_back(store: Store) {
    let mut seen = Vec::new();
    // The same size and the same moment, as far as clocks can tell.
    for content in ["1", "2", "1", "2", "1"] {
        put(&store, "a", content).await;
        let etag = store.get(&call(), &path("a"), 10).await.unwrap().info.etag.unwrap();
        assert!(!seen.contains(&etag), "a tag came back");
        seen.push(etag);
    }
}

/// These are stores that have folders.
async fn a_path_is_an_object_or_a_folder(store: Store) {
    put(&store, "a/b/c", "x").await;
    put(&store, "other", "y").await;
    let state = open_upload(&store).await;
    for taken in ["a", "a/b", "a/b/c/d", "a/b/c/d/e"] {
        for condition in [Condition::Always, Condition::IfAbsent] {
            fails(store.put(&call(), &path(taken), Bytes::from("y"), &condition).await, ErrorKind::Conflict);
        }
        fails(store.copy(&call(), &path("other"), &path(taken)).await, ErrorKind::Conflict);
        fails(store.rename(&call(), &path("other"), &path(taken)).await, ErrorKind::Conflict);
        fails(store.commit(&call(), &state, &path(taken), &Condition::Always).await, ErrorKind::Conflict);
        assert!(missing(&store, taken).await);
    }
    assert_eq!(all_below(&store, "", 10).await, ["a/b/c", "other"]);
    store.abort(&call(), &state).await.unwrap();
    store.delete(&call(), &path("a/b/c")).await.unwrap();
    // Folders are what objects make of them. Now an object may have the name.
    store.rename(&call(), &path("other"), &path("a")).await.unwrap();
    let Stat::Object(info) = store.stat(&call(), &prefix("a")).await.unwrap() else { panic!("a folder") };
    assert_eq!(info.size, 1);
}

/// The suite lets a driver refuse some names.
async fn every_name_is_kept(store: Store) {
    let long = "n".repeat(255);
    let longest = format!("{}/{}", [long.as_str(); 3].join("/"), "n".repeat(250));
    // The two last ones look alike and are different texts.
    let names = ["A", "a", " b ", "%2e%2e", "c.", ".d", "e\\f", "'\"*?<>|", &longest, "\u{e9}", "e\u{301}"];
    for name in names {
        put(&store, &format!("f/{name}"), name.to_owned()).await;
    }
    for name in names {
        assert_eq!(get(&store, &format!("f/{name}")).await, name);
    }
    let mut expected: Vec<String> = names.iter().map(|name| format!("f/{name}")).collect();
    expected.sort();
    assert_eq!(all_below(&store, "f", 1000).await, expected);
}

/// The suite lets a reading end with an error when its object goes.
async fn an_open_reading_goes_on_with_the_old_content(store: Store) {
    for name in ["a", "b", "c"] {
        put(&store, name, "before").await;
    }
    let open = |at| {
        let (store, at) = (store.clone(), path(at));
        async move { store.read(&call(), &at, ReadRange::Full).await.unwrap() }
    };
    let (replaced, deleted, moved) = (open("a").await, open("b").await, open("c").await);
    put(&store, "a", "after!").await;
    store.delete(&call(), &path("b")).await.unwrap();
    store.rename(&call(), &path("a"), &path("c")).await.unwrap();
    for reading in [replaced, deleted, moved] {
        assert_eq!(content_of(reading).await, "before");
    }
}

async fn a_second_deletion_finds_nothing(store: Store) {
    put(&store, "a/b", "x").await;
    store.delete(&call(), &path("a/b")).await.unwrap();
    for absent in ["a/b", "a", "c"] {
        fails(store.delete(&call(), &path(absent)).await, ErrorKind::NotFound);
    }
}

/// The suite shares its store with others and cannot empty it.
async fn the_root_empties_the_store_and_spares_uploads(store: Store) {
    put(&store, "a", "x").await;
    put(&store, "b/c", "x").await;
    let state = open_upload(&store).await;
    let state = append(&store, &state, 0, "content").await;
    assert_eq!(store.delete_tree(&call(), &prefix("")).await.unwrap(), 2);
    assert!(all_below(&store, "", 100).await.is_empty());
    commit(&store, &state, "d").await;
    assert_eq!(get(&store, "d").await, "content");
}
