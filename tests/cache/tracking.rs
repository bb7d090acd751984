//! What the process keeps of changing entries, and how it learns that they have changed.

use std::sync::Arc;

use docker_registry_tests::redis::Redis;

use crate::{
    replicas::{PATIENT, Replica, TAG, eventually, settings},
    storage::Storage,
};

async fn start(options: &[&str]) -> (Redis, Arc<Storage>, Replica) {
    let (redis, storage) = (Redis::start_with(options), Arc::new(Storage::default()));
    let replica = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    storage.set(TAG, "old");
    (redis, storage, replica)
}

/// How often Redis was asked for an entry.
fn scripts_run(redis: &Redis) -> u64 {
    let text = redis.ask(&["INFO", "commandstats"]);
    let calls = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}

async fn kept(redis: &Redis, replica: &Replica, content: &str) {
    eventually("it is kept in the process", async || {
        let before = scripts_run(redis);
        replica.read(TAG).await == content && scripts_run(redis) == before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changing_entry_is_kept_in_the_process_until_another_replica_changes_it() {
    let (redis, storage, one) = start(&[]).await;
    let other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    kept(&redis, &one, "old").await;
    other.put(TAG, "new").await.unwrap();
    eventually("the change is heard of", async || one.read(TAG).await == "new").await;
    kept(&redis, &one, "new").await;
    redis.ask(&["FLUSHALL"]);
    storage.set(TAG, "newer");
    eventually("an emptied Redis empties the process", async || one.read(TAG).await == "newer").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_changing_is_answered_from_the_process_when_the_connection_is_gone() {
    let (mut redis, storage, one) = start(&[]).await;
    kept(&redis, &one, "old").await;
    let reads = storage.reads(TAG);
    redis.kill();
    eventually("the process has seen it", async || {
        one.read(TAG).await;
        storage.reads(TAG) > reads
    })
    .await;
    storage.set(TAG, "new");
    assert_eq!(one.read(TAG).await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_news_of_changes_nothing_changing_is_kept_in_the_process() {
    let (redis, storage, one) = start(&["--rename-command", "CLIENT", ""]).await;
    let other = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    one.read(TAG).await;
    eventually("redis has it", async || redis.letter("tag_latest").as_deref() == Some("V")).await;
    for _ in 0..5 {
        let before = scripts_run(&redis);
        assert_eq!(one.read(TAG).await, "old");
        assert_eq!(scripts_run(&redis), before + 1, "each reading asks Redis");
    }
    other.put(TAG, "new").await.unwrap();
    assert_eq!(one.read(TAG).await, "new");
    assert_eq!(storage.reads(TAG), 2);
}
