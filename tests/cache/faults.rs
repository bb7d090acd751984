//! A Redis in trouble, and what is owed to it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docker_registry::layout::kept::CACHE_SECRET;
use docker_registry_tests::redis::Redis;

use crate::{
    replicas::{BLOB, CALL_TIME, PATIENT, Replica, TAG, eventually, settings},
    storage::Storage,
};

/// As configured when nothing is written.
const HURRIED: &str = "{tag_ttl: 1h}";

async fn start(redis: &Redis, keys: &str) -> (Arc<Storage>, Replica) {
    let storage = Arc::new(Storage::default());
    let replica = Replica::connected(&storage, &settings(&redis.url(), keys)).await;
    storage.set(TAG, "old");
    storage.set(BLOB, "blob");
    (storage, replica)
}

/// The same, with the tag in Redis.
async fn warm(redis: &Redis) -> (Arc<Storage>, Replica) {
    let (storage, one) = start(redis, PATIENT).await;
    one.read(TAG).await;
    filled(redis).await;
    (storage, one)
}

async fn filled(redis: &Redis) {
    eventually("redis has the value", async || redis.letter("tag_latest").as_deref() == Some("V")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_dead_redis_was_not_told_of_is_owed_for_the_rest_of_its_time() {
    let mut redis = Redis::start();
    let (storage, one) = warm(&redis).await;
    // What it has when it is killed is there again when it is back.
    assert_eq!(redis.ask(&["SAVE"]), "OK");
    redis.kill();
    one.put(TAG, "new").await.unwrap();
    redis.restart();
    let paid = Instant::now();
    assert_eq!(one.read(TAG).await, "new");
    eventually("the debt is paid", async || {
        assert_eq!(one.read(TAG).await, "new");
        redis.letter("tag_latest").as_deref() == Some("T")
    })
    .await;
    let rest = redis.time_left(&redis.key("tag_latest"));
    assert!(rest + paid.elapsed() > CALL_TIME, "not merely a deletion: {rest:?}");
    assert!(rest < CALL_TIME * 3, "not from the beginning: {rest:?}");
    let other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    assert_eq!([one.read(TAG).await, other.read(TAG).await], ["new", "new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_has_another_secret_than_before_begins_with_an_empty_cache() {
    let mut redis = Redis::start();
    let (storage, one) = warm(&redis).await;
    let before = redis.key("tag_latest");
    // What the last of two has written, in a storage without conditional writes.
    storage.set(CACHE_SECRET, "another secret of the same store");
    let other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    redis.restart();
    one.is_connected(&storage).await;
    other.is_connected(&storage).await;
    assert_eq!(one.read(TAG).await, "old");
    filled(&redis).await;
    assert_ne!(redis.key("tag_latest"), before);
    let reads = storage.reads(TAG);
    assert_eq!((other.read(TAG).await.as_str(), storage.reads(TAG)), ("old", reads), "they share it");
    other.put(TAG, "new").await.unwrap();
    eventually("the first one sees it", async || one.read(TAG).await == "new").await;
}

/// Takes a minute.
#[cfg(feature = "long")]
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_redis_stays_notices_another_secret_within_a_minute() {
    let redis = Redis::start();
    let (storage, one) = warm(&redis).await;
    let before = redis.key("tag_latest");
    storage.set(CACHE_SECRET, "another secret of the same store");
    let changed = Instant::now();
    while redis.keys().iter().filter(|key| key.ends_with("tag_latest")).all(|key| *key == before) {
        assert!(changed.elapsed() < Duration::from_secs(90), "it is not noticed");
        assert_eq!(one.read(TAG).await, "old");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_goes_back_to_before_a_write_is_told_of_it_again() {
    let mut redis = Redis::start();
    let (storage, one) = warm(&redis).await;
    assert_eq!(redis.ask(&["SAVE"]), "OK");
    one.put(TAG, "new").await.unwrap();
    eventually("the tombstone is lifted", async || redis.letter("tag_latest").is_none()).await;
    redis.kill();
    redis.restart();
    // The old entry is there again, under a good seal.
    assert_eq!(one.read(TAG).await, "new");
    one.is_connected(&storage).await;
    assert_eq!(one.read(TAG).await, "new");
    let other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    eventually("the other replica sees it", async || other.read(TAG).await == "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_stands_still_costs_a_moment_and_is_told_later() {
    let redis = Redis::start();
    let (_, one) = start(&redis, HURRIED).await;
    for _ in 0..20 {
        one.read(TAG).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    redis.stall();
    one.put(TAG, "new").await.unwrap();
    for _ in 0..50 {
        assert_eq!(one.read(TAG).await, "new");
    }
    let start = Instant::now();
    for _ in 0..1000 {
        assert_eq!(one.read(TAG).await, "new");
    }
    let each = start.elapsed() / 1000;
    println!("a request while Redis stands still: {each:?}");
    assert!(each < Duration::from_millis(1), "{each:?}");
    tokio::time::sleep(Duration::from_secs(1)).await;
    redis.resume();
    for _ in 0..200 {
        assert_eq!(one.read(TAG).await, "new");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_comes_back_empty_or_with_data_of_others_gives_misses() {
    let mut redis = Redis::start();
    let (storage, one) = warm(&redis).await;
    redis.restart();
    one.is_connected(&storage).await;
    assert_eq!([one.read(TAG).await, one.read(BLOB).await], ["old", "blob"]);
    filled(&redis).await;

    let foreign = Redis::start();
    let (_, other) = start(&foreign, PATIENT).await;
    other.put(TAG, "foreign").await.unwrap();
    eventually("the tombstone is lifted", async || foreign.letter("tag_latest").is_none()).await;
    other.read(TAG).await;
    filled(&foreign).await;
    assert_eq!(foreign.ask(&["SAVE"]), "OK");
    redis.kill();
    std::fs::copy(foreign.dump(), redis.dump()).unwrap();
    redis.restart();
    one.is_connected(&storage).await;
    assert_eq!([one.read(TAG).await, one.read(BLOB).await], ["old", "blob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_without_memory_forgets_what_is_written_and_refuses_the_rest_in_silence() {
    let redis = Redis::start_with(&["--maxmemory-policy", "noeviction"]);
    let (storage, one) = start(&redis, PATIENT).await;
    let other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    one.read(TAG).await;
    filled(&redis).await;
    assert_eq!(redis.ask(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    one.put(TAG, "new").await.unwrap();
    assert_eq!([one.read(TAG).await, other.read(TAG).await], ["new", "new"]);
    for replica in [&one, &other, &one] {
        assert_eq!([replica.read(TAG).await, replica.read(BLOB).await], ["new", "blob"]);
    }
    one.put(TAG, "newer").await.unwrap();
    assert_eq!([one.read(TAG).await, other.read(TAG).await], ["newer", "newer"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_refuses_the_password_is_as_good_as_none() {
    let redis = Redis::start_with(&["--requirepass", "right"]);
    let storage = Arc::new(Storage::default());
    storage.set(TAG, "old");
    let address = redis.address();
    let refused = Replica::start(&storage, &settings(&format!("redis://:wrong@{address}"), PATIENT));
    for _ in 0..3 {
        assert_eq!(refused.read(TAG).await, "old");
    }
    assert_eq!(storage.reads(TAG), 3);
    refused.put(TAG, "new").await.unwrap();
    let welcome = settings(&format!("redis://:right@{address}"), PATIENT);
    let welcome = Replica::connected(&storage, &welcome).await;
    assert_eq!([refused.read(TAG).await, welcome.read(TAG).await], ["new", "new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_too_late_is_nobodys_answer() {
    let redis = Redis::start();
    let (storage, one) = start(&redis, "{tag_ttl: 1h, patience: 20ms, timeout: 50ms}").await;
    storage.set(TAG, "old");
    one.read(TAG).await;
    filled(&redis).await;
    for round in 0..5 {
        // Answers to the readings of before arrive while those of the next ones are waited for.
        redis.stall();
        for _ in 0..3 {
            assert_eq!([one.read(BLOB).await, one.read(TAG).await], ["blob", "old"], "{round}");
        }
        tokio::time::sleep(Duration::from_millis(30 + 20 * round)).await;
        redis.resume();
        for _ in 0..20 {
            assert_eq!([one.read(TAG).await, one.read(BLOB).await], ["old", "blob"], "{round}");
        }
    }
}
