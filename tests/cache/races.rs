//! Readers and writers that overtake each other, played step by step.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{CallContext, Error, ErrorKind};
use docker_registry_tests::redis::Redis;

use crate::{
    replicas::{CALL_TIME, PATIENT, REPOSITORY, Replica, TAG, eventually, path, settings},
    storage::{Step, Storage},
};

struct Pair {
    redis: Redis,
    storage: Arc<Storage>,
    one: Arc<Replica>,
    other: Arc<Replica>,
}

impl Pair {
    async fn start() -> Pair {
        let (redis, storage) = (Redis::start(), Arc::new(Storage::default()));
        let settings = settings(&redis.url(), PATIENT);
        let one = Arc::new(Replica::connected(&storage, &settings).await);
        let other = Arc::new(Replica::connected(&storage, &settings).await);
        storage.set(TAG, "old");
        Pair { redis, storage, one, other }
    }

    /// Until the entry of the tag is what this letter says; nothing is there without one.
    async fn redis_has(&self, letter: Option<&str>) {
        eventually("redis has it", async || self.redis.letter("tag_latest").as_deref() == letter).await;
    }
}

fn reading(replica: &Arc<Replica>) -> tokio::task::JoinHandle<String> {
    let replica = Arc::clone(replica);
    tokio::spawn(async move { replica.read(TAG).await })
}

fn writing(replica: &Arc<Replica>, content: &'static str) -> tokio::task::JoinHandle<()> {
    let replica = Arc::clone(replica);
    tokio::spawn(async move { replica.put(TAG, content).await.expect("it is written") })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_a_write_has_overtaken_fills_nothing() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::Read, TAG);
    let reader = reading(&pair.one);
    gate.reached().await;
    pair.redis_has(Some("L")).await;
    pair.other.put(TAG, "new").await.unwrap();
    // Its tombstone is lifted: nothing tells the reader any more but that its lease is gone.
    pair.redis_has(None).await;
    gate.open();
    assert_eq!(reader.await.unwrap(), "old", "it began before the write");
    tokio::time::sleep(Duration::from_millis(100)).await;
    for replica in [&pair.one, &pair.other] {
        assert_eq!(replica.read(TAG).await, "new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_write_is_under_way_nothing_is_filled() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::BeforePut, TAG);
    let writer = writing(&pair.one, "new");
    gate.reached().await;
    assert_eq!(pair.redis.letter("tag_latest").as_deref(), Some("T"));
    for replica in [&pair.one, &pair.other, &pair.other] {
        assert_eq!(replica.read(TAG).await, "old");
    }
    assert_eq!(pair.redis.letter("tag_latest").as_deref(), Some("T"));
    gate.open();
    writer.await.unwrap();
    for replica in [&pair.one, &pair.other] {
        assert_eq!(replica.read(TAG).await, "new");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_writers_the_first_that_ends_does_not_lift_for_the_other() {
    let pair = Pair::start().await;
    let slow = pair.storage.gate(Step::BeforePut, TAG);
    let writer = writing(&pair.one, "last");
    slow.reached().await;
    pair.other.put(TAG, "first").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(pair.redis.letter("tag_latest").as_deref(), Some("T"));
    assert_eq!(pair.other.read(TAG).await, "first");
    slow.open();
    writer.await.unwrap();
    pair.redis_has(None).await;
    for replica in [&pair.one, &pair.other] {
        assert_eq!(replica.read(TAG).await, "last");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_write_is_read_although_an_older_reading_is_under_way() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::Read, TAG);
    let early = reading(&pair.one);
    gate.reached().await;
    pair.one.put(TAG, "new").await.unwrap();
    assert_eq!(pair.one.read(TAG).await, "new", "it began after the acknowledgement");
    gate.open();
    assert_eq!(early.await.unwrap(), "old");
    assert_eq!(pair.one.read(TAG).await, "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_of_one_path_are_one_and_survive_the_client_that_began_them() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::Read, TAG);
    let first = reading(&pair.one);
    gate.reached().await;
    let others: Vec<_> = (0..20).map(|_| reading(&pair.one)).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.abort();
    gate.open();
    for other in others {
        assert_eq!(other.await.unwrap(), "old");
    }
    assert_eq!(pair.storage.reads(TAG), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_nobody_waits_for_any_more_is_given_up() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::Read, TAG);
    let (first, second) = (reading(&pair.one), reading(&pair.one));
    gate.reached().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    first.abort();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(pair.storage.reading(), 1, "somebody waits");
    second.abort();
    eventually("the storage is asked no more", async || pair.storage.reading() == 0).await;
    assert_eq!(pair.one.read(TAG).await, "old", "the next reader begins anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_a_reading_keeps_its_own_deadline() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::Read, TAG);
    let first = reading(&pair.one);
    gate.reached().await;
    let hurried = CallContext::with_timeout(Duration::from_millis(50));
    let error = pair.one.cache.reads.get(&hurried, &path(TAG), 1 << 20).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    gate.open();
    assert_eq!(first.await.unwrap(), "old");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_write_of_unknown_outcome_nothing_is_kept_until_it_can_no_longer_happen() {
    let pair = Pair::start().await;
    pair.storage.fail_put(Error::new(ErrorKind::Timeout, "no answer").outcome_unknown());
    pair.one.put(TAG, "late").await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(100)).await;
    for replica in [&pair.one, &pair.other, &pair.other] {
        assert_eq!(replica.read(TAG).await, "old");
    }
    let key = pair.redis.key("tag_latest");
    assert_eq!(pair.redis.letter("tag_latest").as_deref(), Some("T"));
    assert!(pair.redis.time_left(&key) > CALL_TIME, "it outlives the deadline of the call");
    pair.storage.set(TAG, "late");
    for replica in [&pair.one, &pair.other] {
        assert_eq!(replica.read(TAG).await, "late");
    }
    // Lost with all that Redis had: the process that wrote still believes nothing.
    pair.redis.ask(&["FLUSHALL"]);
    pair.storage.set(TAG, "later");
    assert_eq!(pair.one.read(TAG).await, "later");
    pair.storage.set(TAG, "latest");
    assert_eq!(pair.one.read(TAG).await, "latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_given_up_counts_as_one_of_unknown_outcome() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::BeforePut, TAG);
    let writer = writing(&pair.one, "new");
    gate.reached().await;
    writer.abort();
    let _ = writer.await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(pair.redis.letter("tag_latest").as_deref(), Some("T"));
    assert_eq!(pair.one.read(TAG).await, "old");
    pair.storage.set(TAG, "new");
    assert_eq!([pair.one.read(TAG).await, pair.other.read(TAG).await], ["new", "new"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_has_failed_for_certain_leaves_the_entry_to_be_kept_again() {
    let pair = Pair::start().await;
    pair.storage.fail_put(Error::new(ErrorKind::StorageFull, "full"));
    pair.one.put(TAG, "new").await.unwrap_err();
    pair.redis_has(None).await;
    assert_eq!(pair.other.read(TAG).await, "old");
    pair.redis_has(Some("V")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_between_storage_and_cache_leaves_its_tombstone() {
    let pair = Pair::start().await;
    assert_eq!(pair.other.read(TAG).await, "old");
    pair.redis_has(Some("V")).await;
    let gate = pair.storage.gate(Step::AfterPut, TAG);
    let writer = writing(&pair.one, "new");
    gate.reached().await;
    // Nobody opens the gate: the writer never comes to what follows the storage.
    eventually("the other replica sees what nobody acknowledged", async || {
        pair.other.read(TAG).await == "new"
    })
    .await;
    assert_eq!(pair.other.read(TAG).await, "new");
    assert_eq!(pair.redis.letter("tag_latest").as_deref(), Some("T"));
    writer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tombstone_that_redis_has_lost_does_not_let_an_old_entry_live() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::BeforePut, TAG);
    let writer = writing(&pair.one, "new");
    gate.reached().await;
    pair.redis.ask(&["FLUSHALL"]);
    // The news of the flush may overtake a reading, which then fills nothing: the next one does.
    eventually("the old one is kept", async || {
        assert_eq!(pair.other.read(TAG).await, "old");
        pair.redis.letter("tag_latest").as_deref() == Some("V")
    })
    .await;
    gate.open();
    writer.await.unwrap();
    pair.redis_has(None).await;
    eventually("the other replica reads the new one", async || pair.other.read(TAG).await == "new").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_deleted_takes_its_entries_with_it() {
    let pair = Pair::start().await;
    for replica in [&pair.one, &pair.other] {
        assert_eq!(replica.read(TAG).await, "old");
    }
    pair.redis_has(Some("V")).await;
    pair.one.delete_tree(REPOSITORY).await;
    assert_eq!(pair.one.read(TAG).await, "");
    eventually("the other replica knows", async || pair.other.read(TAG).await.is_empty()).await;
    // The entry of before is there and belongs to another epoch.
    pair.storage.set(TAG, "again");
    for replica in [&pair.one, &pair.other] {
        assert_eq!(replica.read(TAG).await, "again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_from_before_the_deletion_of_its_repository_fills_nothing() {
    let pair = Pair::start().await;
    let gate = pair.storage.gate(Step::Read, TAG);
    let reader = reading(&pair.other);
    gate.reached().await;
    pair.one.delete_tree(REPOSITORY).await;
    gate.open();
    assert_eq!(reader.await.unwrap(), "old");
    tokio::time::sleep(Duration::from_millis(100)).await;
    for replica in [&pair.one, &pair.other] {
        assert_eq!(replica.read(TAG).await, "");
    }
}
