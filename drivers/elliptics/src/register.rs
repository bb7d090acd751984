//! Registers: small values that all clients see the same, over replicas that fail and come back.
//!
//! A node can compare and swap, and knows of no other node. So each replica serves as one acceptor of Paxos, whose state
//! is the object itself (`envelope.rs`): a client changes it by swapping what it has read. To change a register a client
//! reads all replicas, has a majority promise to take no older attempt, and has a majority accept the new value, which
//! is made of the newest one that it has read. Of two clients that do so at the same time one finds its swaps refused
//! and begins again with what the other has written. So a change is one step for everybody, whichever minority of
//! groups is away, and a node that comes back with old content is outvoted.
//!
//! A register that holds a value is never deleted while anybody may write to it: a swap of nothing succeeds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::{BufMut, Bytes, BytesMut};
use docker_registry_driver_api::{Error, ErrorKind, Result};
use tokio::{sync::Semaphore, time::sleep};
use uuid::Uuid;

use crate::{
    envelope::{Ballot, Envelope, USER_FLAGS},
    replicas::{Answer, Pieces, Problem, Read, Replicas, worst},
    wire::{Id, Reader, Timestamp, attribute::Writing},
};

/// Bytes that are read at first. Longer registers take another read.
const BEGINNING: u64 = 64 << 10;
/// Longest register.
const LONGEST: u64 = 32 << 20;
/// Changes that a value remembers, so that a client whose answer was lost finds its own.
const REMEMBERED: usize = 8;
/// How often a change is begun again when others are quicker.
const MOST_ROUNDS: u32 = 60;
/// How often a read waits for a change under way before it settles the change itself.
const LOOKS: u32 = 5;
/// Longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Replicas that are brought up to date at once.
const HEALED_AT_ONCE: usize = 4;

/// The value of a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    /// The changes that made it, the last one first.
    changes: Vec<u128>,
    pub(crate) content: Bytes,
}

impl Current {
    /// A number that no other value has.
    pub(crate) fn version(&self) -> u128 {
        self.changes.first().copied().unwrap_or_default()
    }

    /// Whether a change that was made of `before` may be among those that made this value and are not remembered.
    fn may_hide_one_of(&self, before: Option<&Self>) -> bool {
        match before {
            Some(before) => !self.changes.contains(&before.version()),
            None => self.changes.len() >= REMEMBERED,
        }
    }

    fn pack(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(4 + 16 * self.changes.len() + self.content.len());
        bytes.put_u32_le(self.changes.len() as u32);
        self.changes.iter().for_each(|change| bytes.put_u128_le(*change));
        bytes.put_slice(&self.content);
        bytes.freeze()
    }

    fn unpack(payload: &Bytes) -> Option<Self> {
        let mut reader = Reader::new(payload, "a value is cut off");
        let count = reader.count(16).ok()?;
        let changes = (0..count).map(|_| reader.u128().ok()).collect::<Option<Vec<u128>>>()?;
        let content = payload.slice(payload.len() - reader.rest().len()..);
        Some(Self { changes, content })
    }
}

/// What is to become of a register.
pub(crate) enum Change {
    Keep,
    Write(Bytes),
}

/// What became of it.
pub(crate) struct Changed {
    pub(crate) before: Option<Current>,
    pub(crate) after: Option<Current>,
    /// The version of what was written, if anything was: others may have written since.
    pub(crate) written: u128,
}

/// All registers.
#[derive(Clone)]
pub(crate) struct Registers {
    pub(crate) replicas: Replicas,
    turns: Arc<Mutex<HashMap<Id, Weak<tokio::sync::Mutex<()>>>>>,
    healing: Arc<Semaphore>,
}

/// What one group holds.
struct Replica {
    group: u32,
    /// `None` when there is nothing; an empty envelope when what is there is not whole.
    held: Option<Envelope>,
    /// Of all bytes there, as far as it is known.
    checksum: Option<Id>,
    size: u64,
}

/// What the groups hold that have answered.
struct Look {
    replicas: Vec<Replica>,
    error: Option<Error>,
}

impl Look {
    fn newest(&self) -> Option<Ballot> {
        self.replicas.iter().filter_map(|replica| replica.held.as_ref()?.accepted).max()
    }

    fn current(&self) -> Result<Option<Current>> {
        let Some(newest) = self.newest() else { return Ok(None) };
        let mut held = self.replicas.iter().filter_map(|replica| replica.held.as_ref());
        let payload = held.find(|held| held.accepted == Some(newest)).map(|held| &held.payload);
        let current = payload.and_then(Current::unpack);
        current
            .map(Some)
            .ok_or_else(|| Error::new(ErrorKind::Corrupt, "a record of this driver makes no sense"))
    }

    /// Whether a majority has the newest value, so that it will never be another.
    fn is_settled(&self, quorum: usize) -> bool {
        let Some(newest) = self.newest() else { return self.replicas.len() >= quorum };
        let has =
            |replica: &&Replica| replica.held.as_ref().is_some_and(|held| held.accepted == Some(newest));
        self.replicas.iter().filter(has).count() >= quorum
    }

    /// A number for the next attempt.
    fn next_ballot(&self) -> Ballot {
        let held = self.replicas.iter().filter_map(|replica| replica.held.as_ref());
        let last =
            held.map(|held| held.promise.max(held.accepted.unwrap_or_default())).max().unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        // A clock that runs behind must not make a write look old.
        Ballot { time: now.max(last.time.saturating_add(1)), nonce: fastrand::u64(1..) }
    }

    fn unavailable(self) -> Error {
        self.error.unwrap_or_else(|| {
            Error::new(ErrorKind::Unavailable, "too few groups of elliptics_groups answer")
        })
    }
}

impl Registers {
    pub(crate) fn new(replicas: Replicas) -> Self {
        let healing = Arc::new(Semaphore::new(HEALED_AT_ONCE));
        Self { replicas, turns: Arc::default(), healing }
    }

    fn quorum(&self) -> usize {
        self.replicas.settings().quorum()
    }

    /// The value of a register.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn get(&self, id: Id) -> Result<Option<Current>> {
        let (quorum, read_quorum) = (self.quorum(), self.replicas.settings().read_quorum());
        for number in 1..=LOOKS {
            let look = self.look(id, false).await;
            if look.replicas.len() < read_quorum {
                return Err(look.unavailable());
            }
            // Where a majority is not even there, nobody can settle anything.
            if look.is_settled(quorum) || look.replicas.len() < quorum {
                self.heal(id, &look);
                return look.current();
            }
            if number < LOOKS {
                sleep(Duration::from_millis(1 << number).mul_f64(fastrand::f64())).await;
            }
        }
        Ok(self.change(id, |_| Ok(Change::Keep)).await?.after)
    }

    /// Changes a register in one step. `decide` may be asked several times, each time with the value that is there; an
    /// error of it changes nothing.
    ///
    /// # Errors
    /// That of `decide`; when too few groups answer, and then perhaps `outcome_unknown`.
    pub(crate) async fn change(
        &self,
        id: Id,
        mut decide: impl FnMut(Option<&Current>) -> Result<Change>,
    ) -> Result<Changed> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let own = Uuid::new_v4().as_u128();
        // What an attempt of this change was made of, if its value may be there.
        let mut was_sent: Option<Option<Current>> = None;
        let mut pads = false;
        for round in 0..MOST_ROUNDS {
            if round > 0 {
                let longest = Duration::from_millis(2 << round.min(8)).min(LONGEST_PAUSE);
                sleep(longest.mul_f64(fastrand::f64())).await;
            }
            let look = self.look(id, true).await;
            if look.replicas.len() < self.quorum() {
                let error = look.unavailable();
                return Err(if was_sent.is_some() { error.outcome_unknown() } else { error });
            }
            let current = look.current()?;
            let is_settled = look.is_settled(self.quorum());
            let is_done = current.as_ref().is_some_and(|current| current.changes.contains(&own));
            let decision = if is_done { Ok(Change::Keep) } else { decide(current.as_ref()) };
            let (next, decided) = match decision {
                Ok(Change::Write(content)) => {
                    let mut changes = vec![own];
                    let earlier = current.iter().flat_map(|current| current.changes.iter().copied());
                    changes.extend(earlier.take(REMEMBERED - 1));
                    (Some(Current { changes, content }), Ok(()))
                }
                Ok(Change::Keep) => (current.clone(), Ok(())),
                Err(error) => {
                    let is_hidden = match (&was_sent, &current) {
                        (Some(before), Some(current)) => current.may_hide_one_of(before.as_ref()),
                        _ => false,
                    };
                    (current.clone(), Err(if is_hidden { superseded() } else { error }))
                }
            };
            let writes = next != current;
            if !writes && (is_settled || next.is_none()) {
                self.heal(id, &look);
                decided?;
                let before = if is_done { was_sent.flatten() } else { current.clone() };
                return Ok(Changed { before, after: current, written: own });
            }
            let Some(next) = next else { continue };
            match self.round(id, look, &next, &mut pads).await {
                Ok(true) => {
                    decided?;
                    let before = if is_done { was_sent.flatten() } else { current };
                    return Ok(Changed { before, after: Some(next), written: own });
                }
                Ok(false) => {
                    if writes {
                        was_sent = Some(current);
                    }
                }
                Err(error) => {
                    let is_unknown = error.outcome_unknown && (writes || was_sent.is_some());
                    return Err(Error { outcome_unknown: is_unknown || was_sent.is_some(), ..error });
                }
            }
        }
        let error = Error::new(ErrorKind::Unavailable, "others change the same record all the time");
        Err(if was_sent.is_some() { error.outcome_unknown() } else { error })
    }

    /// One attempt. `false` when others were quicker.
    ///
    /// # Errors
    /// When too few groups answer; with `outcome_unknown` when some may have accepted.
    async fn round(&self, id: Id, look: Look, next: &Current, pads: &mut bool) -> Result<bool> {
        let ballot = look.next_ballot();
        let quorum = self.quorum();
        let timestamp = Timestamp::of_nanoseconds(ballot.time);
        let writing =
            |expected| Writing { id, timestamp, user_flags: USER_FLAGS, flags: 0, expected: Some(expected) };
        // A replica that looked at an earlier round and still has it there does not cut what it keeps.
        let mut promises = HashMap::new();
        let mut writes = Vec::new();
        for replica in look.replicas {
            let held = replica.held.unwrap_or_default();
            let promise = Envelope { promise: ballot, ..held };
            let content = padded(promise.pack(), if *pads { replica.size } else { 0 });
            // Of nothing the comparison succeeds in any case, and of anything it must fail.
            let expected = replica.checksum.unwrap_or_else(random_id);
            promises.insert(replica.group, (content.clone(), replica.size));
            writes.push((replica.group, writing(expected), Pieces::from(content)));
        }
        let answers = self.replicas.write_each(writes, quorum).await;
        let promised: Vec<u32> =
            answers.iter().filter(|answer| answer.result.is_ok()).map(|answer| answer.group).collect();
        if promised.len() < quorum {
            return lost(&answers).map_or(Ok(false), |error| Err(Error { outcome_unknown: false, ..error }));
        }
        let accepted = Envelope { promise: ballot, accepted: Some(ballot), payload: next.pack() }.pack();
        let writes = promised.iter().filter_map(|group| {
            let (promise, size) = promises.get(group)?;
            let content = padded(accepted.clone(), if *pads { *size } else { 0 });
            Some((*group, writing(Id::checksum(promise)), Pieces::from(content)))
        });
        let answers = self.replicas.write_each(writes.collect(), quorum).await;
        let done = answers.iter().filter(|answer| answer.result.is_ok()).count();
        if done >= quorum {
            return Ok(true);
        }
        match lost(&answers) {
            None => {
                // Either somebody was quicker, or the node keeps the tail of what was longer before.
                *pads = promises.values().any(|(promise, size)| *size > promise.len() as u64);
                Ok(false)
            }
            Some(error) => {
                let is_unknown = done > 0
                    || answers
                        .iter()
                        .any(|answer| matches!(&answer.result, Err(problem) if problem.may_have_happened()));
                Err(Error { outcome_unknown: is_unknown, ..error })
            }
        }
    }

    /// What the groups hold. `whole` when all bytes count, because they are to be swapped.
    async fn look(&self, id: Id, whole: bool) -> Look {
        let answers = self.replicas.read_all(id, BEGINNING, self.quorum()).await;
        let error = answers.iter().any(|answer| answer.result.is_err()).then(|| worst(&answers));
        let replicas = futures::future::join_all(
            answers.into_iter().map(|Answer { group, result }| self.replica(id, group, result, whole)),
        );
        Look { replicas: replicas.await.into_iter().flatten().collect(), error }
    }

    /// What one group holds; `None` when it does not say.
    async fn replica(
        &self,
        id: Id,
        group: u32,
        result: std::result::Result<Read, Problem>,
        whole: bool,
    ) -> Option<Replica> {
        let mut read = match result {
            Ok(read) => read,
            Err(problem) if problem.is_absent() => {
                return Some(Replica { group, held: None, checksum: None, size: 0 });
            }
            Err(_) => return None,
        };
        let has_all = |read: &Read| read.total_size == read.content.len() as u64;
        let has_envelope =
            |read: &Read| Envelope::length(&read.content).is_none_or(|length| length <= read.content.len());
        if !has_all(&read) && (whole || !has_envelope(&read)) && read.total_size <= LONGEST {
            read = match self.replicas.read_one(group, id, 0, 0, true).await {
                Ok(read) => read,
                Err(problem) if problem.is_absent() => {
                    return Some(Replica { group, held: None, checksum: None, size: 0 });
                }
                Err(_) => return None,
            };
        }
        let checksum = match has_all(&read) {
            true => Some(Id::checksum(&read.content)),
            false if whole => Some(self.replicas.checksum_one(group, id).await.ok()?),
            false => None,
        };
        let held = Envelope::unpack(&read.content).unwrap_or_default();
        Some(Replica { group, held: Some(held), checksum, size: read.total_size })
    }

    /// Brings replicas up to date that have missed the value, behind the caller's back.
    fn heal(&self, id: Id, look: &Look) {
        let Some(newest) = look.newest().filter(|_| look.is_settled(self.quorum())) else { return };
        let behind: Vec<_> = look
            .replicas
            .iter()
            .filter(|replica| replica.held.as_ref().is_none_or(|held| held.promise < newest))
            .filter_map(|replica| {
                // Without a checksum of what is there, it may be anything.
                let expected = match (&replica.held, replica.checksum) {
                    (None, _) => random_id(),
                    (Some(_), checksum) => checksum?,
                };
                Some((replica.group, expected))
            })
            .collect();
        let held = look.replicas.iter().filter_map(|replica| replica.held.as_ref());
        let Some(held) = held.into_iter().find(|held| held.accepted == Some(newest)) else { return };
        if behind.is_empty() {
            return;
        }
        let Ok(permit) = Arc::clone(&self.healing).try_acquire_owned() else { return };
        let content = Envelope { promise: newest, ..held.clone() }.pack();
        let timestamp = Timestamp::of_nanoseconds(newest.time);
        let replicas = self.replicas.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let writes = behind.into_iter().map(|(group, expected)| {
                let writing =
                    Writing { id, timestamp, user_flags: USER_FLAGS, flags: 0, expected: Some(expected) };
                (group, writing, Pieces::from(content.clone()))
            });
            // What it does not reach now is reached by another read.
            replicas.write_each(writes.collect(), usize::MAX).await;
        });
    }

    /// Deletes a register that nobody will ever write to again.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn forget(&self, id: Id) -> Result<()> {
        self.replicas.delete(id).await.map(drop)
    }

    /// The lock that changes of one register in this process take in turn, so that they do not refuse each other.
    fn turn(&self, id: Id) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&id).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= 1024 {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::default();
        turns.insert(id, Arc::downgrade(&turn));
        turn
    }
}

/// The error of answers among which no comparison failed.
fn lost<T>(answers: &[Answer<T>]) -> Option<Error> {
    let is_mismatch = |answer: &Answer<T>| matches!(&answer.result, Err(problem) if problem.is_mismatch());
    (!answers.iter().any(is_mismatch)).then(|| worst(answers))
}

/// The error of a change that may have been made before many others.
fn superseded() -> Error {
    let message = "the answer was lost, and others have changed the same record many times since";
    Error::new(ErrorKind::Unavailable, message).outcome_unknown()
}

fn random_id() -> Id {
    let mut id = Id::ZERO;
    fastrand::fill(&mut id.0);
    id
}

/// Content with zeros behind it up to a size.
fn padded(content: Bytes, size: u64) -> Bytes {
    if content.len() as u64 >= size {
        return content;
    }
    let mut bytes = BytesMut::from(&content[..]);
    bytes.resize(size as usize, 0);
    bytes.freeze()
}
