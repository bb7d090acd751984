//! Large objects in the making over a fake node: answers that get lost, writes that come late, crashes.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Bytes, Condition, ErrorKind, Result, Settings, collect};
use docker_registry_object_storage::bucket::Part;
use serde_json::json;

use crate::{
    cluster::Cluster,
    fake_node::{FakeNode, Trouble},
    legacy::Legacy,
    making::Making,
    objects::{New, Objects},
    record::Body,
    register::Registers,
    replicas::Replicas,
    settings::EllipticsSettings,
};

const KEY: &str = "blobs/large";

async fn node() -> FakeNode {
    FakeNode::start(1, false, Arc::default()).await
}

/// A process with connections of its own.
async fn making(node: &FakeNode, others: &str) -> Making {
    let nodes = format!("{}:2 {others}", node.address);
    let values = json!({ "elliptics_nodes": nodes, "elliptics_groups": [1] });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    let cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
    let registers = Registers::new(Replicas(cluster));
    let legacy = Legacy::open(registers.replicas.clone()).await.unwrap();
    Making::new(Objects::new(registers, legacy))
}

fn content() -> Bytes {
    (0..100_000).map(|place| (place / 3 % 251) as u8).collect::<Vec<u8>>().into()
}

/// Begins an object and sends its only part.
async fn begun(making: &Making) -> (u128, Vec<Part>) {
    let id = making.begin(KEY, None).await.unwrap();
    let part = making.part(id, 1, vec![content()]).await.unwrap();
    (id, vec![part])
}

async fn write_small(making: &Making) {
    let body = Body::Inline(Bytes::from_static(b"small"));
    let new = New { size: 5, body, mark: None, condition: &Condition::Always, guard: None };
    making.objects.write(KEY, new).await.unwrap();
}

async fn read(making: &Making) -> Result<Bytes> {
    let found = making.objects.find(KEY).await?;
    collect(making.objects.content(&found, 0, found.facts().size), 1 << 20).await
}

async fn idle(making: &Making) {
    making.objects.registers.replicas.0.behind.until_idle().await;
}

/// Segments on the node.
fn segments(node: &FakeNode) -> usize {
    node.disk.lock().unwrap().objects.values().filter(|stored| stored.data.len() >= 100_000).count()
}

async fn in_the_making(making: &Making) -> usize {
    making.objects.list_begun(None, 1_000).await.unwrap().objects.len()
}

/// Trouble with a write of the object's record: the first one promises, the second one accepts.
fn trouble(node: &FakeNode, making: &Making, write: u32, trouble: Trouble) {
    let id = making.objects.record_id(KEY).0;
    *node.behaviour.trouble.lock().unwrap() = Some((id, write, trouble));
}

fn no_trouble(node: &FakeNode) {
    *node.behaviour.trouble.lock().unwrap() = None;
}

async fn until_waiting(node: &FakeNode) {
    while !node.behaviour.is_waiting.load(std::sync::atomic::Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks until the node is connected again.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T>) -> Result<T> {
    loop {
        match ask().await {
            Err(error) if error.kind == ErrorKind::Unavailable && error.retryable => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => return other,
        }
    }
}

/// A finish that has written the record, whose answer was lost, and whose caller does not wait for another.
async fn finish_without_an_answer(node: &FakeNode, making: &Making) -> (u128, Vec<Part>) {
    let (id, parts) = begun(making).await;
    trouble(node, making, 2, Trouble::LosesAnswer);
    let until_lost = async {
        while node.behaviour.trouble.lock().unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = making.finish(id, &parts, &Condition::Always) => panic!("nobody answers"),
        () = until_lost => {}
    }
    (id, parts)
}

/// A finish whose record is on its way to the node, and whose caller has gone.
async fn finish_on_its_way(node: &FakeNode, making: &Making) -> (u128, Vec<Part>) {
    let (id, parts) = begun(making).await;
    trouble(node, making, 2, Trouble::Waits);
    tokio::select! {
        _ = making.finish(id, &parts, &Condition::Always) => panic!("the write waits"),
        () = until_waiting(node) => {}
    }
    (id, parts)
}

#[tokio::test]
async fn a_finish_whose_answer_is_lost_is_done_once() {
    let node = node().await;
    let first = making(&node, "").await;
    let (id, parts) = begun(&first).await;
    trouble(&node, &first, 2, Trouble::LosesAnswer);
    first.finish(id, &parts, &Condition::IfAbsent).await.unwrap();
    idle(&first).await;
    assert_eq!(read(&first).await.unwrap(), content());
    assert_eq!((segments(&node), in_the_making(&first).await), (1, 0));
}

#[tokio::test]
async fn content_of_a_deleted_object_goes_also_when_the_caller_goes_meanwhile() {
    let node = node().await;
    let first = making(&node, "").await;
    first.put(KEY, vec![content()], &Condition::Always, None).await.unwrap();
    idle(&first).await;
    let index = first.objects.registers.replicas.id(&crate::names::index("blobs/", 0, 0));
    *node.behaviour.trouble.lock().unwrap() = Some((index.0, 1, Trouble::Waits));
    tokio::select! {
        _ = first.objects.delete(KEY) => panic!("the index waits"),
        () = until_waiting(&node) => {}
    }
    no_trouble(&node);
    idle(&first).await;
    assert_eq!(segments(&node), 0);
}

#[tokio::test]
async fn a_finish_that_is_made_again_names_no_content_that_was_freed() {
    let node = node().await;
    let (first, other) = (making(&node, "").await, making(&node, "").await);
    let (id, parts) = finish_without_an_answer(&node, &first).await;
    assert_eq!(read(&other).await.unwrap(), content());
    write_small(&other).await;
    idle(&other).await;
    assert_eq!(segments(&node), 0, "who replaces an object frees its content");
    let again = patiently(async || first.finish(id, &parts, &Condition::Always).await).await;
    assert_eq!(again.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(read(&other).await.unwrap(), "small");
}

#[tokio::test]
async fn a_finish_that_is_made_again_keeps_its_content_until_the_object_goes() {
    let node = node().await;
    let (first, other) = (making(&node, "").await, making(&node, "").await);
    let (id, parts) = finish_without_an_answer(&node, &first).await;
    patiently(async || first.finish(id, &parts, &Condition::Always).await).await.unwrap();
    idle(&first).await;
    assert_eq!(read(&other).await.unwrap(), content());
    assert_eq!(in_the_making(&other).await, 0);
    other.objects.delete(KEY).await.unwrap();
    idle(&other).await;
    assert_eq!(segments(&node), 0, "no owner is left over");
}

#[tokio::test]
async fn a_finish_that_finds_what_its_lost_attempt_has_made_is_done() {
    let node = node().await;
    let first = making(&node, "").await;
    let (id, parts) = finish_without_an_answer(&node, &first).await;
    patiently(async || first.finish(id, &parts, &Condition::IfAbsent).await).await.unwrap();
    idle(&first).await;
    assert_eq!(read(&first).await.unwrap(), content());
    assert_eq!(in_the_making(&first).await, 0);
    first.objects.delete(KEY).await.unwrap();
    idle(&first).await;
    assert_eq!(segments(&node), 0);
}

#[tokio::test]
async fn a_finish_that_fails_does_not_make_the_next_one_the_first() {
    let node = node().await;
    let (first, other) = (making(&node, "").await, making(&node, "").await);
    let (id, parts) = finish_without_an_answer(&node, &first).await;
    // A copy keeps the content alive when the object is replaced.
    let copy = other.begin("copy", None).await.unwrap();
    let part = other.copy_part(copy, 1, KEY, 0..100_000).await.unwrap();
    other.finish(copy, &[part], &Condition::Always).await.unwrap();
    write_small(&other).await;
    idle(&other).await;
    let again = patiently(async || first.finish(id, &parts, &Condition::IfAbsent).await).await;
    assert_eq!(again.unwrap_err().kind, ErrorKind::ConditionFailed);
    first.finish(id, &parts, &Condition::Always).await.unwrap();
    other.objects.delete("copy").await.unwrap();
    idle(&other).await;
    assert_eq!(read(&other).await.unwrap(), content());
}

#[tokio::test]
async fn a_finish_that_is_abandoned_meanwhile_writes_nothing() {
    let node = node().await;
    let (first, purge) = (making(&node, "").await, making(&node, "").await);
    let (id, parts) = begun(&first).await;
    trouble(&node, &first, 1, Trouble::Waits);
    let finishing = first.clone();
    let finish = tokio::spawn(async move { finishing.finish(id, &parts, &Condition::Always).await });
    until_waiting(&node).await;
    purge.abandon(id).await.unwrap();
    no_trouble(&node);
    assert_eq!(finish.await.unwrap().unwrap_err().kind, ErrorKind::NotFound);
    assert!(first.objects.find(KEY).await.map(drop).unwrap_err().is_not_found());
    assert_eq!((segments(&node), in_the_making(&purge).await), (0, 0));
}

#[tokio::test]
async fn a_finish_that_failed_for_certain_may_be_abandoned() {
    let node = node().await;
    let first = making(&node, "").await;
    write_small(&first).await;
    let (id, parts) = begun(&first).await;
    let error = first.finish(id, &parts, &Condition::IfAbsent).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    first.abandon(id).await.unwrap();
    assert_eq!((segments(&node), in_the_making(&first).await), (0, 0));
}

#[tokio::test]
async fn a_record_that_comes_late_names_no_content_that_was_abandoned() {
    let node = node().await;
    let (first, purge) = (making(&node, "").await, making(&node, "").await);
    let (id, _) = finish_on_its_way(&node, &first).await;
    purge.abandon(id).await.unwrap();
    assert_eq!(segments(&node), 0);
    no_trouble(&node);
    // On the same connection, so that it comes after the write.
    let error = first.objects.find(KEY).await.map(drop).unwrap_err();
    assert!(error.is_not_found(), "{error}");
}

#[tokio::test]
async fn what_is_abandoned_late_keeps_what_the_object_uses() {
    let node = node().await;
    let (first, purge) = (making(&node, "").await, making(&node, "").await);
    let (id, _) = finish_without_an_answer(&node, &first).await;
    purge.abandon(id).await.unwrap();
    assert_eq!(read(&purge).await.unwrap(), content());
    assert_eq!(in_the_making(&purge).await, 0);
}

#[tokio::test]
async fn nothing_is_abandoned_before_every_node_was_seen_once() {
    let node = node().await;
    let first = making(&node, "127.0.0.1:1:2").await;
    let (id, _) = begun(&first).await;
    let error = first.abandon(id).await.unwrap_err();
    assert!(error.message.contains("127.0.0.1:1") && !error.retryable, "{error}");
    assert_eq!(segments(&node), 1);
}

#[tokio::test]
async fn content_of_a_write_that_crashed_is_found_and_freed() {
    let node = node().await;
    let (first, purge) = (making(&node, "").await, making(&node, "").await);
    trouble(&node, &first, 1, Trouble::Waits);
    let mut put = Box::pin(first.put(KEY, vec![content()], &Condition::Always, None));
    tokio::select! {
        _ = &mut put => panic!("the write waits"),
        () = until_waiting(&node) => {}
    }
    // A process that dies cleans nothing up.
    std::mem::forget(put);
    no_trouble(&node);
    let page = purge.objects.list_begun(None, 10).await.unwrap();
    let ids: Vec<u128> = crate::listing::begun_ids(&page).map(|(id, _)| id).collect();
    assert_eq!((ids.len(), segments(&node)), (1, 1));
    assert_eq!(purge.key_of(ids[0]).await.unwrap().as_deref(), Some(KEY));
    purge.abandon(ids[0]).await.unwrap();
    assert_eq!((segments(&node), in_the_making(&purge).await), (0, 0));
}

#[tokio::test]
async fn a_write_leaves_nothing_in_the_making_whatever_becomes_of_it() {
    let node = node().await;
    let first = making(&node, "").await;
    first.put(KEY, vec![content()], &Condition::IfAbsent, None).await.unwrap();
    let error = first.put(KEY, vec![content()], &Condition::IfAbsent, None).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::ConditionFailed);
    idle(&first).await;
    assert_eq!((segments(&node), in_the_making(&first).await), (1, 0));
    assert_eq!(read(&first).await.unwrap(), content());
}

#[tokio::test]
async fn folders_of_what_was_begun_are_read_some_at_once() {
    use std::sync::atomic::Ordering;
    let node = node().await;
    let first = making(&node, "").await;
    for _ in 0..40 {
        first.begin(KEY, None).await.unwrap();
    }
    node.behaviour.is_slow.store(true, Ordering::Relaxed);
    node.behaviour.most_waiting.store(0, Ordering::Relaxed);
    assert_eq!(in_the_making(&first).await, 40);
    assert!(node.behaviour.most_waiting.load(Ordering::Relaxed) > 8);
    // Pages go on where the one before ended.
    let (mut after, mut listed) = (None, 0);
    loop {
        let page = first.objects.list_begun(after.as_deref(), 7).await.unwrap();
        listed += page.objects.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(listed, 40);
}
