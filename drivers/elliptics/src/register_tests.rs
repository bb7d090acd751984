//! Registers over fake nodes: copies that are damaged, attempts that may be hidden, answers that are too long.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use docker_registry_driver_api::Settings;
use serde_json::json;

use super::*;
use crate::{
    cluster::Cluster,
    fake_node::{FakeNode, Stored},
    settings::EllipticsSettings,
};

/// So many groups of a node each.
pub(crate) async fn registers(groups: u32) -> (Vec<FakeNode>, Registers) {
    let mut nodes = Vec::new();
    for group in 1..=groups {
        nodes.push(FakeNode::start(group, false, Arc::default()).await);
    }
    let addresses: Vec<String> = nodes.iter().map(|node| format!("{}:2", node.address)).collect();
    let numbers: Vec<u32> = (1..=groups).collect();
    let values = json!({ "elliptics_nodes": addresses, "elliptics_groups": numbers });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    let cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
    (nodes, Registers::new(Replicas(cluster)))
}

/// The same, and a register in them that holds something.
pub(crate) async fn holding(groups: u32, content: &'static [u8]) -> (Vec<FakeNode>, Registers, Id) {
    let (nodes, registers) = registers(groups).await;
    let id = registers.replicas.id("a");
    write(&registers, id, content).await;
    (nodes, registers, id)
}

pub(crate) fn stored(node: &FakeNode, id: Id) -> Stored {
    node.disk.lock().unwrap().objects.get(&id.0).cloned().unwrap()
}

pub(crate) fn store(node: &FakeNode, id: Id, stored: Stored) {
    node.disk.lock().unwrap().objects.insert(id.0, stored);
}

fn damage(node: &FakeNode, id: Id) {
    let mut damaged = stored(node, id);
    damaged.data[20] ^= 1;
    store(node, id, damaged);
}

pub(crate) async fn write(registers: &Registers, id: Id, content: &'static [u8]) {
    registers.change(id, |_| Ok(Change::Write(Bytes::from_static(content), ()))).await.unwrap();
}

pub(crate) async fn content(registers: &Registers, id: Id) -> Bytes {
    registers.get(id).await.unwrap().unwrap().content
}

#[tokio::test]
async fn a_damaged_copy_is_one_that_does_not_answer() {
    let (nodes, registers) = registers(3).await;
    let id = registers.replicas.id("a");
    write(&registers, id, b"old").await;
    let old = stored(&nodes[2], id);
    write(&registers, id, b"new").await;
    // One group has missed the write, one has lost it, and one is away.
    store(&nodes[2], id, old);
    damage(&nodes[0], id);
    nodes[1].stop();
    for error in [
        registers.get(id).await.map(drop).unwrap_err(),
        registers.change(id, |_| Ok(Change::Write(Bytes::new(), ()))).await.map(drop).unwrap_err(),
        registers.fence(id).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
        assert!(error.message.contains("damaged copy of a record: 1"), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_majority_is_an_error_that_says_so() {
    for groups in [1, 3] {
        let (nodes, registers, id) = holding(groups, b"content").await;
        nodes.iter().take(2).for_each(|node| damage(node, id));
        let error = registers.get(id).await.map(drop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Corrupt, "{error}");
        assert!(error.message.contains("damaged"), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_copy_is_mended_by_reads_and_by_writes() {
    for groups in [2, 3] {
        let (nodes, registers) = registers(groups).await;
        let id = registers.replicas.id("a");
        write(&registers, id, b"one").await;
        damage(&nodes[0], id);
        assert_eq!(content(&registers, id).await, "one");
        while Envelope::unpack(&stored(&nodes[0], id).data.into()).is_none() {
            sleep(Duration::from_millis(10)).await;
        }
        damage(&nodes[0], id);
        write(&registers, id, b"two").await;
        assert!(Envelope::unpack(&stored(&nodes[0], id).data.into()).is_some());
        assert_eq!(content(&registers, id).await, "two");
    }
}

#[tokio::test]
async fn nothing_comes_true_behind_a_fence() {
    let (nodes, registers) = registers(3).await;
    for (name, is_there) in [("absent", false), ("there", true)] {
        let id = registers.replicas.id(name);
        if is_there {
            write(&registers, id, b"content").await;
        }
        let seen = registers.look_for_write(id).await.unwrap();
        let fenced = registers.fence(id).await.unwrap();
        assert_eq!(fenced.is_some(), is_there);
        let late = Current { changes: vec![9], content: Bytes::from_static(b"late") };
        let round = registers.round(id, &seen, &late, &mut false).await.unwrap();
        assert_eq!(round, Round::Refused { is_sent: false });
        assert_eq!(registers.get(id).await.unwrap(), fenced);
        // What one group has accepted before comes to light.
        let ballot = Ballot { time: 5, nonce: 5 };
        let accepted = Envelope { promise: ballot, accepted: Some(ballot), payload: late.pack() }.pack();
        store(&nodes[2], id, Stored { data: accepted.to_vec(), ..Stored::default() });
        assert_eq!(registers.get(id).await.unwrap(), fenced);
    }
}

#[tokio::test]
async fn an_answer_of_more_than_was_asked_for_is_none() {
    let (nodes, registers) = registers(1).await;
    nodes[0].behaviour.padding.store(1 << 20, Ordering::Relaxed);
    let error = registers.get(registers.replicas.id("a")).await.map(drop).unwrap_err();
    assert!(error.message.contains("more than what was asked for"), "{error}");
}

#[tokio::test]
async fn changes_are_made_once_each_while_connections_break() {
    let (nodes, registers) = registers(2).await;
    let id = registers.replicas.id("counter");
    for node in &nodes {
        node.behaviour.breaks_every.store(30, Ordering::Relaxed);
        node.behaviour.lost_answers.store(3, Ordering::Relaxed);
    }
    let mut expected = 0_u8;
    for _ in 0..25 {
        let raise = |current: Option<&Current>| {
            let number = current.map_or(0, |current| current.content[0]);
            Ok(Change::Write(Bytes::copy_from_slice(&[number + 1]), ()))
        };
        registers.change_once(id, None, raise).await.unwrap();
        expected += 1;
        assert_eq!(content(&registers, id).await[0], expected);
    }
}

#[tokio::test]
async fn what_does_no_harm_twice_is_asked_again_until_it_is_done() {
    let (nodes, registers) = registers(2).await;
    let replicas = &registers.replicas;
    let timestamp = Timestamp::of_nanoseconds(1);
    for number in 0..20 {
        let id = replicas.id(&format!("segment {number}"));
        for node in &nodes {
            node.behaviour.lost_answers.store(10, Ordering::Relaxed);
            node.behaviour.breaks_every.store(9, Ordering::Relaxed);
        }
        replicas.write_new(id, timestamp, 0, Bytes::from_static(b"content").into()).await.unwrap();
        replicas.delete(id).await.unwrap();
        for node in &nodes {
            node.behaviour.lost_answers.store(0, Ordering::Relaxed);
            node.behaviour.breaks_every.store(0, Ordering::Relaxed);
        }
        for node in &nodes {
            assert!(!node.disk.lock().unwrap().objects.contains_key(&id.0), "it was deleted");
        }
        replicas.delete(id).await.unwrap();
    }
}

#[tokio::test]
async fn a_node_that_names_no_backend_yet_answers_for_nothing_and_nobody_for_it() {
    let all = Arc::default();
    let (one, other) =
        (FakeNode::start(1, false, Arc::clone(&all)).await, FakeNode::start(1, false, all).await);
    let values = json!({ "elliptics_nodes": format!("{}:2", one.address), "elliptics_groups": [1] });
    let settings = Settings::new(values.as_object().cloned().unwrap());
    let cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
    let registers = Registers::new(Replicas(Arc::clone(&cluster)));
    let ids: Vec<Id> = (0..).map(|number| registers.replicas.id(&format!("{number}"))).take(40).collect();
    for id in &ids {
        write(&registers, *id, b"content").await;
    }
    let kept: Vec<Id> =
        ids.into_iter().filter(|id| other.disk.lock().unwrap().objects.contains_key(&id.0)).collect();
    assert!(!kept.is_empty());
    other.stop();
    other.behaviour.names_none.store(true, Ordering::Relaxed);
    let greetings = other.behaviour.greetings.load(Ordering::Relaxed);
    other.start_again().await;
    // Both connections are there, and it was asked for the others.
    while other.behaviour.greetings.load(Ordering::Relaxed) < greetings + 2
        || !cluster.absent_nodes().is_empty()
    {
        sleep(Duration::from_millis(10)).await;
    }
    let error = registers.get(kept[0]).await.map(drop).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    // It is greeted again when it is ready.
    other.behaviour.names_none.store(false, Ordering::Relaxed);
    other.stop();
    other.start_again().await;
    for id in kept {
        assert_eq!(content(&registers, id).await, "content");
    }
}

#[tokio::test]
async fn of_two_groups_one_that_hangs_does_not_stop_reads() {
    let (nodes, registers) = registers(2).await;
    let id = registers.replicas.id("a");
    write(&registers, id, b"content").await;
    nodes[1].behaviour.hangs.store(true, Ordering::Relaxed);
    let read = tokio::time::timeout(Duration::from_secs(5), content(&registers, id)).await;
    assert_eq!(read.expect("it waits for the group that hangs"), "content");
}
