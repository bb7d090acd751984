//! What is kept, for how long, and what is believed of what lies in Redis.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{CallContext, ErrorKind};
use docker_registry_tests::redis::Redis;

use crate::{
    replicas::{BLOB, PATIENT, Replica, TAG, content_path, eventually, path, settings},
    storage::{Step, Storage},
};

const OTHER_TAG: &str = "repositories/library/app/tag_other";

async fn start(keys: &str) -> (Redis, Arc<Storage>, Replica) {
    let (redis, storage) = (Redis::start(), Arc::new(Storage::default()));
    let replica = Replica::connected(&storage, &settings(&redis.url(), keys)).await;
    storage.set(TAG, "tag");
    storage.set(OTHER_TAG, "other");
    storage.set(BLOB, "blob");
    (redis, storage, replica)
}

async fn filled(redis: &Redis, end: &str) {
    eventually("redis has the value", async || redis.letter(end).as_deref() == Some("V")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_has_read_no_other_reads_from_the_storage() {
    let (redis, storage, one) = start(PATIENT).await;
    for (object, content) in [(TAG, "tag"), (BLOB, "blob")] {
        assert_eq!(one.read(object).await, content);
        filled(&redis, &object[object.len() - 4..]).await;
    }
    let other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    for (object, content) in [(TAG, "tag"), (BLOB, "blob")] {
        assert_eq!([one.read(object).await, other.read(object).await], [content, content]);
        assert_eq!(storage.reads(object), 1, "{object}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_an_object_come_back_as_the_storage_gave_them() {
    let (redis, storage, one) = start(PATIENT).await;
    let call = CallContext::default();
    let first = one.cache.reads.get(&call, &path(TAG), 100).await.unwrap();
    filled(&redis, "tag_latest").await;
    let other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    let second = other.cache.reads.get(&call, &path(TAG), 100).await.unwrap();
    assert_eq!((first.content, first.info), (second.content, second.info));
    let error = other.cache.reads.get(&call, &path(TAG), 2).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    assert_eq!(storage.reads(TAG), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_about_writes_read_the_storage() {
    let (redis, storage, one) = start(PATIENT).await;
    assert_eq!(one.read(TAG).await, "tag");
    filled(&redis, "tag_latest").await;
    storage.set(TAG, "changed by another program");
    assert_eq!(one.read(TAG).await, "tag");
    let object = one.cache.storage.get(&CallContext::default(), &path(TAG), 100).await.unwrap();
    assert_eq!(object.content, "changed by another program");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_absent_or_large_is_not_kept() {
    let (redis, storage, one) = start("{tag_ttl: 1h, patience: 5s, timeout: 5s, max_value_size: 1024}").await;
    let absent = "repositories/library/app/tag_absent";
    assert_eq!(one.read(absent).await, "");
    storage.set(absent, "there");
    assert_eq!(one.read(absent).await, "there");
    let large: &'static str = "x".repeat(1025).leak();
    let blob = content_path(large);
    storage.set(&blob, large);
    for _ in 0..3 {
        assert_eq!(one.read(&blob).await.len(), 1025);
    }
    assert_eq!(storage.reads(&blob), 3);
    assert_eq!(redis.letter("/data"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_not_what_its_path_says_is_not_kept_and_a_push_heals_it_at_once() {
    let (_redis, storage, one) = start(PATIENT).await;
    let cut: &'static str = "bl";
    let long: &'static str = "x".repeat(200_000).leak();
    for (path, broken, whole) in [(BLOB.to_owned(), cut, "blob"), (content_path(long), &long[1..], long)] {
        storage.set(&path, broken);
        for _ in 0..3 {
            assert_eq!(one.read(&path).await, broken, "as without a cache");
        }
        assert_eq!(storage.reads(&path), 3);
        one.put(&path, whole).await.unwrap();
        for _ in 0..3 {
            assert_eq!(one.read(&path).await, whole);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_without_a_redis_is_kept_in_the_process_if_it_is_sound() {
    let (mut redis, storage, one) = start(PATIENT).await;
    redis.kill();
    let other = content_path("other");
    storage.set(&other, "broken");
    eventually("it is kept in the process", async || {
        let before = storage.reads(BLOB);
        assert_eq!(one.read(BLOB).await, "blob");
        storage.reads(BLOB) == before
    })
    .await;
    for reads in 1..4 {
        assert_eq!(one.read(&other).await, "broken");
        assert_eq!(storage.reads(&other), reads);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_an_entry_counts_from_the_start_of_its_reading() {
    let (redis, storage, one) = start("{tag_ttl: 3s, patience: 2s, timeout: 2s}").await;
    let gate = storage.gate(Step::Read, TAG);
    let one = Arc::new(one);
    let reader = {
        let one = Arc::clone(&one);
        tokio::spawn(async move { one.read(TAG).await })
    };
    gate.reached().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    gate.open();
    assert_eq!(reader.await.unwrap(), "tag");
    filled(&redis, "tag_latest").await;
    assert!(redis.time_left(&redis.key("tag_latest")) <= Duration::from_millis(1500));
    storage.set(TAG, "changed by another program");
    eventually("the entry ends", async || one.read(TAG).await != "tag").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tampered_with_is_a_miss_and_is_replaced() {
    let (redis, storage, one) = start(PATIENT).await;
    for object in [TAG, OTHER_TAG, BLOB] {
        one.read(object).await;
        filled(&redis, &object[object.len() - 4..]).await;
    }
    let (tag, blob) = (redis.key("tag_latest"), redis.key("b8b8/data"));
    let other = redis.key("tag_other");
    let tamper: [&[&str]; 7] = [
        // A value of another key, one whose content was changed, garbage, and things of other types.
        &["COPY", &other, &tag, "REPLACE"],
        &["SETRANGE", &tag, "45", "!"],
        &["SET", &tag, "Vnonsense"],
        &["SET", &tag, "L0123456789abcdef0123456789abcdef"],
        &["SET", &tag, ""],
        &["SETRANGE", &blob, "45", "!"],
        &["COPY", &tag, &blob, "REPLACE"],
    ];
    for command in tamper {
        let fresh = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
        fresh.read(TAG).await;
        filled(&redis, "tag_latest").await;
        assert!(redis.takes(command), "{command:?}");
        let fresh = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
        assert_eq!([fresh.read(TAG).await, fresh.read(BLOB).await], ["tag", "blob"], "{command:?}");
        for end in ["tag_latest", "b8b8/data"] {
            eventually("it is kept again", async || {
                let again = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
                again.read(TAG).await;
                again.read(BLOB).await;
                redis.letter(end).as_deref() == Some("V")
            })
            .await;
        }
    }
    redis.ask(&["DEL", &tag]);
    redis.ask(&["LPUSH", &tag, "a", "list"]);
    let fresh = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    assert_eq!(fresh.read(TAG).await, "tag");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_registries_share_a_redis_without_seeing_each_other() {
    let (redis, _, one) = start(PATIENT).await;
    let foreign = Arc::new(Storage::default());
    let other = Replica::connected(&foreign, &settings(&redis.url(), PATIENT)).await;
    foreign.set(TAG, "of the other registry");
    assert_eq!(one.read(TAG).await, "tag");
    filled(&redis, "tag_latest").await;
    assert_eq!(other.read(TAG).await, "of the other registry");
    assert_eq!(one.read(TAG).await, "tag");
    let secret = foreign_secret(&foreign).await;
    assert!(redis.keys().iter().all(|key| !key.contains(&secret)), "{:?}", redis.keys());
    let keys = redis.keys().into_iter().filter(|key| key.ends_with("tag_latest"));
    let seal_own = keys.collect::<Vec<_>>();
    assert_eq!(seal_own.len(), 2, "each has a name of its own");
    // The entry of one under the name of the other.
    for (from, to) in [(0, 1), (1, 0)] {
        redis.ask(&["COPY", &seal_own[from], &seal_own[to], "REPLACE"]);
        let fresh = Replica::connected(&foreign, &settings(&redis.url(), PATIENT)).await;
        assert_eq!(fresh.read(TAG).await, "of the other registry");
        filled(&redis, "tag_latest").await;
    }
}

async fn foreign_secret(storage: &Arc<Storage>) -> String {
    let secret = path(docker_registry::layout::kept::CACHE_SECRET);
    let object = storage.shared().get(&CallContext::default(), &secret, 100).await.expect("it was written");
    String::from_utf8_lossy(&object.content).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_the_store_is_written_once() {
    let (redis, storage, _one) = start(PATIENT).await;
    let first = foreign_secret(&storage).await;
    let _other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    assert_eq!(foreign_secret(&storage).await, first);
}
