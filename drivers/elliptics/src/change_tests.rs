//! Changes over fake nodes: attempts that come true late, others between the rounds, a guard that does not hold.

use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{Duration, sleep};

use super::*;
use crate::{
    envelope::{Ballot, Envelope},
    fake_node::{FakeNode, Stored, Trouble},
    register::tests::{content, registers, store, stored, write},
};

/// Which of the writes of a round has the value; the one before promises.
const ACCEPTS: u32 = 2;

fn trouble(node: &FakeNode, id: Id, trouble: Trouble) {
    *node.behaviour.trouble.lock().unwrap() = Some((id.0, ACCEPTS, trouble));
}

async fn until_waiting(node: &FakeNode, is_waiting: bool) {
    while node.behaviour.is_waiting.load(Ordering::Relaxed) != is_waiting {
        sleep(Duration::from_millis(1)).await;
    }
}

/// A value that somebody has written long after now.
fn foreign(changes: Vec<u128>, content: &'static [u8]) -> Stored {
    let ballot = Ballot { time: u64::MAX >> 2, nonce: 1 };
    let payload = Current { changes, content: Bytes::from_static(content) }.pack();
    let data = Envelope { promise: ballot, accepted: Some(ballot), payload }.pack().to_vec();
    Stored { data, ..Stored::default() }
}

#[tokio::test]
async fn what_was_sent_before_the_guard_no_longer_held_does_not_come_true_later() {
    let (nodes, registers) = registers(1).await;
    for (name, is_there) in [("absent", false), ("there", true)] {
        let (id, guarded) = (registers.replicas.id(name), registers.replicas.id(&format!("guard of {name}")));
        if is_there {
            write(&registers, id, b"old").await;
        }
        let holds = |current: Option<&Current>| match current {
            None => Ok(()),
            Some(_) => Err(Error::new(ErrorKind::NotFound, "it was abandoned")),
        };
        trouble(&nodes[0], id, Trouble::ComesLate);
        let guard = Some(Guard { id: guarded, holds });
        let change = registers.change_once(id, guard, |_| Ok(Change::Write(Bytes::from_static(b"new"), ())));
        let abandon = async {
            until_waiting(&nodes[0], true).await;
            store(&nodes[0], guarded, foreign(vec![1], b"abandoned"));
        };
        let (changed, ()) = tokio::join!(change, abandon);
        let error = changed.unwrap_err();
        assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::NotFound, false), "{error}");
        *nodes[0].behaviour.trouble.lock().unwrap() = None;
        until_waiting(&nodes[0], false).await;
        let there = registers.get(id).await.unwrap().map(|current| current.content);
        assert_eq!(there.as_deref(), is_there.then_some(&b"old"[..]), "it said that nothing was written");
    }
}

#[tokio::test]
async fn an_error_after_a_value_was_sent_leaves_the_outcome_unknown() {
    let (nodes, registers) = registers(1).await;
    let id = registers.replicas.id("a");
    trouble(&nodes[0], id, Trouble::ComesLate);
    let change = registers.change_once(id, None, |_| Ok(Change::Write(Bytes::from_static(b"new"), ())));
    let spoil = async {
        until_waiting(&nodes[0], true).await;
        // A value that is none.
        let ballot = Ballot { time: 1, nonce: 1 };
        let payload = Bytes::from_static(b"?");
        let data = Envelope { promise: ballot, accepted: Some(ballot), payload }.pack().to_vec();
        store(&nodes[0], id, Stored { data, ..Stored::default() });
    };
    let (changed, ()) = tokio::join!(change, spoil);
    let error = changed.unwrap_err();
    assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Corrupt, true), "{error}");
}

#[tokio::test]
async fn a_guard_that_cannot_be_read_for_now_is_read_again() {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let (_nodes, registers) = registers(1).await;
    let (id, guarded) = (registers.replicas.id("a"), registers.replicas.id("guard"));
    let holds = |_: Option<&Current>| match ASKED.fetch_add(1, Ordering::Relaxed) {
        0 => Err(Error::new(ErrorKind::Unavailable, "a node is away")),
        _ => Ok(()),
    };
    let guard = Some(Guard { id: guarded, holds });
    let write = |_: Option<&Current>| Ok(Change::Write(Bytes::from_static(b"new"), ()));
    registers.change_once(id, guard, write).await.unwrap();
    assert_eq!(content(&registers, id).await, "new");
    assert_eq!(ASKED.load(Ordering::Relaxed), 2);
}

/// The first attempt reaches one group, and somebody else another; the second attempt, made of what he has written,
/// reaches none, and his copy is damaged. So the first one comes true.
#[tokio::test]
async fn what_a_change_has_replaced_is_what_the_attempt_that_came_true_was_made_of() {
    let (nodes, registers) = registers(3).await;
    let id = registers.replicas.id("a");
    write(&registers, id, b"old").await;
    let old = registers.get(id).await.unwrap().unwrap();
    let mut asked = Vec::new();
    let decide = |current: Option<&Current>| {
        let seen = current.map(|current| current.content.clone()).unwrap();
        asked.push(seen.clone());
        match asked.len() {
            1 => {
                trouble(&nodes[1], id, Trouble::Fails);
                let theirs = foreign(vec![7, old.version()], b"theirs");
                trouble(&nodes[2], id, Trouble::Overtaken(theirs.data));
            }
            2 => {
                trouble(&nodes[0], id, Trouble::Fails);
                trouble(&nodes[1], id, Trouble::Fails);
                let mut damaged = stored(&nodes[2], id).data;
                damaged[20] ^= 1;
                trouble(&nodes[2], id, Trouble::Overtaken(damaged));
            }
            _ => panic!("the first attempt is there"),
        }
        Ok(Change::Write(Bytes::from_static(b"own"), seen))
    };
    let changed = registers.change_once(id, None, decide).await.unwrap();
    assert_eq!(asked, ["old", "theirs"]);
    assert_eq!(changed.before.unwrap().content, "old");
    assert_eq!(changed.outcome, "old");
    let there = registers.get(id).await.unwrap().unwrap();
    assert_eq!((&there.content[..], there.version()), (&b"own"[..], changed.written));
}

#[tokio::test]
async fn a_change_that_may_have_been_made_before_many_others_is_not_made_again() {
    let (nodes, registers) = registers(1).await;
    for only_once in [true, false] {
        let id = registers.replicas.id(&only_once.to_string());
        let mut asked = 0;
        let decide = |_: Option<&Current>| {
            asked += 1;
            Ok(Change::Write(Bytes::from_static(b"own"), ()))
        };
        trouble(&nodes[0], id, Trouble::LosesAnswer);
        let change = registers.change_in_rounds(id, only_once, None, decide);
        let others = async {
            while nodes[0].behaviour.trouble.lock().unwrap().is_some() {
                sleep(Duration::from_millis(1)).await;
            }
            // Others are quicker, many times.
            store(&nodes[0], id, foreign((1..=REMEMBERED as u128).collect(), b"theirs"));
        };
        let (changed, ()) = tokio::join!(change, others);
        let content = content(&registers, id).await;
        if only_once {
            assert!(changed.map(drop).unwrap_err().outcome_unknown);
            assert_eq!(content, "theirs");
        } else {
            changed.unwrap();
            assert_eq!(content, "own");
        }
        assert_eq!(asked, 2);
    }
}

#[tokio::test]
async fn a_comparison_that_fails_everywhere_leaves_nothing_behind() {
    let (nodes, registers) = registers(1).await;
    let id = registers.replicas.id("a");
    let mut asked = 0;
    let decide = |current: Option<&Current>| {
        asked += 1;
        match current {
            None => {
                trouble(&nodes[0], id, Trouble::Overtaken(foreign(vec![1], b"theirs").data));
                Ok(Change::Write(Bytes::from_static(b"own"), ()))
            }
            Some(_) => Err(Error::new(ErrorKind::ConditionFailed, "somebody was quicker")),
        }
    };
    let before = nodes[0].behaviour.requests.load(Ordering::Relaxed);
    let error = registers.change_once(id, None, decide).await.unwrap_err();
    assert_eq!((error.kind, error.outcome_unknown, asked), (ErrorKind::ConditionFailed, false, 2));
    // Two looks and the two writes of the one round: there is nothing to close the register to.
    assert_eq!(nodes[0].behaviour.requests.load(Ordering::Relaxed) - before, 4);
}
