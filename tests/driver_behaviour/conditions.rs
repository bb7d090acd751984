//! Conditional writes: exactly one of many writers wins.

use docker_registry_driver_api::{Bytes, Capability, Condition, ETag, ErrorKind};

use crate::subject::{Store, all_below, append, call, fails, get, missing, open_upload, path, put};

on_both_drivers!(
    the_conditions_are_promised,
    of_many_creators_one_wins,
    of_many_commits_one_wins,
    no_update_is_lost,
    a_stale_tag_writes_nothing,
    an_absent_object_has_no_tag,
);

async fn the_conditions_are_promised(store: Store) {
    assert!(store.capabilities().has(Capability::PutIfAbsent));
    assert!(store.capabilities().has(Capability::PutIfMatch));
}

async fn of_many_creators_one_wins(store: Store) {
    let writers: Vec<_> = (0..64)
        .map(|number: u32| {
            let store = store.clone();
            tokio::spawn(async move {
                let content = Bytes::from(number.to_string());
                store.put(&call(), &path("new/folder/a"), content, &Condition::IfAbsent).await.map(|_| number)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for writer in writers {
        match writer.await.unwrap() {
            Ok(number) => winners.push(number),
            Err(error) => assert_eq!(error.kind, ErrorKind::ConditionFailed, "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(get(&store, "new/folder/a").await, winners[0].to_string());
}

async fn of_many_commits_one_wins(store: Store) {
    let mut commits = Vec::new();
    for number in 0..8 {
        let state = open_upload(&store).await;
        let state = append(&store, &state, 0, &number.to_string()).await;
        let store = store.clone();
        commits.push(tokio::spawn(async move {
            let done = store.commit(&call(), &state, &path("a"), &Condition::IfAbsent).await;
            if let Err(error) = &done {
                assert_eq!(error.kind, ErrorKind::ConditionFailed, "{error}");
                // The loser's upload is still open and complete.
                let place = path(&format!("lost/{number}"));
                store.commit(&call(), &state, &place, &Condition::IfAbsent).await.unwrap();
            }
            done.is_ok()
        }));
    }
    let mut winners = 0;
    for commit in commits {
        winners += u32::from(commit.await.unwrap());
    }
    assert_eq!(winners, 1);
    assert_eq!(all_below(&store, "lost", 100).await.len(), 7);
}

async fn no_update_is_lost(store: Store) {
    const WRITERS: u64 = 8;
    const UPDATES: u64 = 10;
    put(&store, "counter", "0").await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while done < UPDATES {
                    let object = store.get(&call(), &path("counter"), 100).await.unwrap();
                    let count: u64 = std::str::from_utf8(&object.content).unwrap().parse().unwrap();
                    let next = Bytes::from((count + 1).to_string());
                    let condition = Condition::IfMatch(object.info.etag.unwrap());
                    match store.put(&call(), &path("counter"), next, &condition).await {
                        Ok(_) => done += 1,
                        Err(error) => assert_eq!(error.kind, ErrorKind::ConditionFailed, "{error}"),
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(get(&store, "counter").await, (WRITERS * UPDATES).to_string());
}

async fn a_stale_tag_writes_nothing(store: Store) {
    let etag = |content: &'static str| {
        let store = store.clone();
        async move {
            store.put(&call(), &path("a"), Bytes::from(content), &Condition::Always).await.unwrap().unwrap()
        }
    };
    let (first, second) = (etag("first").await, etag("other").await);
    let put_if = |tag: &ETag| {
        let (store, condition) = (store.clone(), Condition::IfMatch(tag.clone()));
        async move { store.put(&call(), &path("a"), Bytes::from("third"), &condition).await }
    };
    fails(put_if(&first).await, ErrorKind::ConditionFailed);
    assert_eq!(get(&store, "a").await, "other");
    let third = put_if(&second).await.unwrap().unwrap();
    assert_eq!(get(&store, "a").await, "third");
    assert_eq!(store.head(&call(), &path("a")).await.unwrap().etag, Some(third));
    fails(put_if(&second).await, ErrorKind::ConditionFailed);
}

async fn an_absent_object_has_no_tag(store: Store) {
    put(&store, "folder/b", "x").await;
    let etag = store.head(&call(), &path("folder/b")).await.unwrap().etag.unwrap();
    for absent in ["a", "folder", "folder/b/c"] {
        let condition = Condition::IfMatch(etag.clone());
        let put = store.put(&call(), &path(absent), Bytes::from("y"), &condition).await;
        fails(put, ErrorKind::ConditionFailed);
        assert!(missing(&store, absent).await);
    }
}
