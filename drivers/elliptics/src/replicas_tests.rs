//! Reads over fake nodes where half of the groups would be enough: how long the other half is waited for.

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use crate::{
    fake_node::{FakeNode, Stored},
    legacy::Legacy,
    register::tests::{content, holding, registers, store, stored, write},
};

use super::*;

/// Writes `old` and `new`, and has the first half of the nodes hold `old` again.
async fn half_of_it_old(nodes: &[FakeNode], registers: &crate::register::Registers) -> Id {
    let id = registers.replicas.id("a");
    write(registers, id, b"old").await;
    let old: Vec<Stored> = nodes.iter().map(|node| stored(node, id)).collect();
    write(registers, id, b"new").await;
    for (node, old) in nodes.iter().zip(old).take(nodes.len() / 2) {
        store(node, id, old);
    }
    id
}

/// The other half answers nothing for so long.
async fn hang(nodes: &[FakeNode], time: Duration) {
    let hanging = &nodes[nodes.len() / 2..];
    hanging.iter().for_each(|node| node.behaviour.hangs.store(true, Ordering::Relaxed));
    sleep(time).await;
    hanging.iter().for_each(|node| node.behaviour.hangs.store(false, Ordering::Relaxed));
}

#[tokio::test]
async fn half_of_the_groups_is_not_enough_while_the_others_are_slow() {
    for groups in [2, 4] {
        let (nodes, registers) = registers(groups).await;
        let id = half_of_it_old(&nodes, &registers).await;
        let ((), read) = tokio::join!(hang(&nodes, Duration::from_secs(2)), content(&registers, id));
        assert_eq!(read, "new", "{groups} groups");
    }
}

#[tokio::test]
async fn half_of_the_groups_is_not_enough_when_the_connections_of_the_others_have_just_broken() {
    for groups in [2, 4] {
        let (nodes, registers) = registers(groups).await;
        let id = half_of_it_old(&nodes, &registers).await;
        let broken = &nodes[nodes.len() / 2..];
        broken.iter().for_each(FakeNode::stop);
        // The driver has found out.
        sleep(Duration::from_millis(200)).await;
        let come_back = async {
            sleep(Duration::from_millis(300)).await;
            for node in broken {
                node.start_again().await;
            }
        };
        let ((), read) = tokio::join!(come_back, content(&registers, id));
        assert_eq!(read, "new", "{groups} groups");
    }
}

#[tokio::test]
async fn a_group_that_fails_for_now_is_asked_again_before_half_of_the_groups_is_enough() {
    let (nodes, registers) = registers(2).await;
    let id = half_of_it_old(&nodes, &registers).await;
    // The next two requests to it are not answered.
    nodes[1].behaviour.breaks_every.store(1, Ordering::Relaxed);
    let mend = async {
        sleep(Duration::from_millis(300)).await;
        nodes[1].behaviour.breaks_every.store(0, Ordering::Relaxed);
    };
    let ((), read) = tokio::join!(mend, content(&registers, id));
    assert_eq!(read, "new");
}

#[tokio::test]
async fn groups_that_are_known_to_be_away_are_not_waited_for() {
    for groups in [2, 4] {
        let (nodes, registers, id) = holding(groups, b"content").await;
        nodes[nodes.len() / 2..].iter().for_each(FakeNode::stop);
        let begin = Instant::now();
        assert_eq!(content(&registers, id).await, "content");
        let first = begin.elapsed();
        assert!(first >= PATIENT && first < PATIENT * 2, "{first:?}: they may have been about to come back");
        let begin = Instant::now();
        assert_eq!(content(&registers, id).await, "content");
        assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn the_newest_copy_of_a_file_of_the_original_is_waited_for() {
    let (nodes, registers) = registers(2).await;
    let legacy = Legacy::open(registers.replicas.clone()).await.unwrap();
    let id = registers.replicas.id("a/file");
    for (node, content) in nodes.iter().zip(["old", "newer"]) {
        let data = content.as_bytes().to_vec();
        store(node, id, Stored { seconds: data.len() as u64, data, ..Stored::default() });
    }
    let ((), file) = tokio::join!(hang(&nodes, Duration::from_secs(2)), legacy.file("a/file"));
    assert_eq!(file.unwrap().unwrap().size, 5);
}

#[tokio::test]
async fn a_status_that_does_not_pass_is_not_asked_for_again() {
    let (nodes, registers) = registers(3).await;
    let id = registers.replicas.id("a");
    let count = |node: &FakeNode| node.behaviour.requests.swap(0, Ordering::Relaxed);
    // What is not permitted, not permitted to this client, makes no sense, is not built in.
    for status in [-1, -13, -22, -38] {
        for node in &nodes {
            node.behaviour.refuses.store(status, Ordering::Relaxed);
            count(node);
        }
        let timestamp = Timestamp::of_nanoseconds(1);
        for error in [
            registers.get(id).await.map(drop).unwrap_err(),
            registers.replicas.write_new(id, timestamp, 0, Pieces::default()).await.unwrap_err(),
            registers.replicas.delete(id).await.map(drop).unwrap_err(),
        ] {
            assert!(!error.retryable, "{error}");
        }
        assert_eq!(nodes.iter().map(count).collect::<Vec<_>>(), [3, 3, 3], "status {status}");
    }
}

#[tokio::test]
async fn a_group_that_refuses_for_good_does_not_keep_another_one_from_being_waited_for() {
    let (nodes, registers, id) = holding(3, b"content").await;
    nodes[0].behaviour.refuses.store(-22, Ordering::Relaxed);
    nodes[1].stop();
    let come_back = async {
        sleep(Duration::from_millis(500)).await;
        nodes[1].start_again().await;
    };
    let ((), read) = tokio::join!(come_back, content(&registers, id));
    assert_eq!(read, "content");
}

#[tokio::test]
async fn a_node_whose_backend_is_not_ready_when_it_is_back_is_asked_again() {
    let (nodes, registers, id) = holding(1, b"old").await;
    nodes[0].behaviour.refuses.store(-95, Ordering::Relaxed);
    let get_ready = async {
        sleep(Duration::from_millis(300)).await;
        nodes[0].behaviour.refuses.store(0, Ordering::Relaxed);
    };
    let ((), ()) = tokio::join!(get_ready, write(&registers, id, b"new"));
    assert_eq!(content(&registers, id).await, "new");
}

/// What keeps so many groups from a write, when each has this problem.
fn error_of(problems: Vec<Option<Problem>>, may_fail: usize) -> Error {
    let answers: Vec<Answer<()>> = problems
        .into_iter()
        .zip(1..)
        .map(|(problem, group)| Answer { group, result: problem.map_or(Ok(()), Err) })
        .collect();
    worst(&answers, may_fail)
}

#[test]
fn an_error_is_final_only_where_no_others_could_be_enough() {
    let full = || Some(Problem::Status(crate::wire::ENOSPC));
    let away = || Some(Problem::Unserved { for_long: false });
    // Of three groups one is full, and one is away or has not even answered the look.
    for problems in [vec![None, full(), away()], vec![None, full()]] {
        assert!(error_of(problems, 1).retryable);
    }
    assert!(!error_of(vec![None, full(), full()], 1).retryable);
    assert!(!error_of(vec![full()], 0).retryable);
    // Half of two is enough for a read.
    assert!(error_of(vec![full(), away()], 1).retryable);
}
