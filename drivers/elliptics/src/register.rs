//! Registers: small values that all clients see the same, over replicas that fail and come back.
//!
//! A node can compare and swap, and knows of no other node. So each replica serves as one acceptor of Paxos, whose state
//! is the object itself (`envelope.rs`): a client changes it by swapping what it has read. To change a register a client
//! reads all replicas, has a majority promise to take no older attempt, and has a majority accept the new value, which
//! is made of the newest one that it has read. Of two clients that do so at the same time one finds its swaps refused
//! and begins again with what the other has written. So a change is one step for everybody, whichever minority of
//! groups is away, and a node that comes back with old content is outvoted.
//!
//! A round that fails for now, because connections break, is made again. How a change is made in
//! several rounds is in `change.rs`.
//!
//! A register that holds a value is never deleted while anybody may write to it: a swap of nothing succeeds.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use docker_registry_driver_api::{Error, ErrorKind, Result};
use tokio::{sync::Semaphore, time::sleep};

use crate::{
    change::Change,
    envelope::{Ballot, Envelope, USER_FLAGS},
    gather::Wanted,
    look::{Look, Replica},
    patience::Failed,
    problem::Problem,
    replicas::{Answer, Pieces, Read, Replicas, worst},
    value::Current,
    wire::{Id, Timestamp, attribute::Writing},
};

/// Bytes that are read at first. Longer registers take another read.
const BEGINNING: u64 = 64 << 10;
/// Longest register, in bytes.
pub(crate) const LARGEST_REGISTER: u64 = 32 << 20;
/// How often a change is begun again when others are quicker.
pub(crate) const MOST_ROUNDS: u32 = 60;
/// How often a read waits for a change under way before it settles the change itself.
const LOOKS: u32 = 5;
/// Longest pause between two rounds.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Replicas that are brought up to date at once.
const HEALED_AT_ONCE: usize = 4;

/// What each group holds that has promised, and the size of what it held before.
type Promises = HashMap<u32, (Bytes, u64)>;

/// What one group says of a register.
enum Said {
    Whole(Replica),
    Damaged(Replica),
    Nothing,
}

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Round {
    /// A majority has accepted it.
    Done,
    /// Others were quicker. `is_sent` when some may have accepted the value, which may come true in a later round.
    Refused { is_sent: bool },
}

/// All registers.
#[derive(Clone)]
pub(crate) struct Registers {
    pub(crate) replicas: Replicas,
    turns: Arc<Mutex<HashMap<Id, Weak<tokio::sync::Mutex<()>>>>>,
    pub(crate) healing: Arc<Semaphore>,
}

impl Registers {
    pub(crate) fn new(replicas: Replicas) -> Self {
        let healing = Arc::new(Semaphore::new(HEALED_AT_ONCE));
        Self { replicas, turns: Arc::default(), healing }
    }

    pub(crate) fn quorum(&self) -> usize {
        self.replicas.settings().quorum()
    }

    /// The value of a register.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn get(&self, id: Id) -> Result<Option<Current>> {
        self.read(id).await.map(|(current, _)| current)
    }

    /// The value of a register, and whether a majority has it, so that it stays until somebody writes another. While so
    /// many are away, another may come to light with them.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn read(&self, id: Id) -> Result<(Option<Current>, bool)> {
        match self.settled_look(id, &mut Failed::default()).await? {
            Some(look) => {
                self.heal(id, &look);
                Ok((visible(look.current()?), look.is_settled(self.quorum())))
            }
            None => Ok((visible(self.change(id, |_| Ok(Change::Keep(()))).await?.after), true)),
        }
    }

    /// Looks until the value is settled, or nobody can settle it; `None` when a change is under way all the time. What
    /// has failed before counts as well.
    pub(crate) async fn settled_look(&self, id: Id, failed: &mut Failed) -> Result<Option<Look>> {
        let settings = self.replicas.settings();
        // Whoever looks again does not wait for as long again, unless too few answered.
        let mut wanted = self.replicas.to_read();
        let mut number = 1;
        while number <= LOOKS {
            let look = self.look(id, false, wanted).await;
            if !look.can_be_read(settings) {
                failed.again(look.unavailable(settings)).await?;
                wanted = self.replicas.to_read();
                continue;
            }
            // Where a majority is not even there, nobody can settle anything.
            if look.is_settled(self.quorum()) || !look.can_be_written(settings) {
                return Ok(Some(look));
            }
            if number < LOOKS {
                sleep(Duration::from_millis(1 << number).mul_f64(fastrand::f64())).await;
            }
            number += 1;
        }
        Ok(None)
    }

    /// Ends every change that is under way: none that has read the register before comes true after this, unless it
    /// reads it again. Returns the value.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn fence(&self, id: Id) -> Result<Option<Current>> {
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let (mut pads, mut failed) = (false, Failed::default());
        for round in 0..MOST_ROUNDS {
            pause(round).await;
            let look = match self.look_for_write(id).await {
                Ok(look) => look,
                Err(error) => {
                    failed.again(error).await?;
                    continue;
                }
            };
            // The value is written again, by a later attempt. Where there is none, one that means nothing is: what a
            // minority has accepted would come back otherwise.
            let next = look.current()?.unwrap_or_else(Current::blank);
            match self.round(id, &look, &next, &mut pads).await {
                Ok(Round::Done) => return Ok(visible(Some(next))),
                Ok(Round::Refused { .. }) => {}
                Err(error) => failed.again(error).await?,
            }
        }
        Err(busy())
    }

    /// # Errors
    /// When too few groups answer for a change.
    pub(crate) async fn look_for_write(&self, id: Id) -> Result<Look> {
        // Whoever looks knows what is too little, and looks again.
        let look = self.look(id, true, Wanted::new(self.quorum(), 0)).await;
        let settings = self.replicas.settings();
        if look.can_be_read(settings) && look.can_be_written(settings) {
            Ok(look)
        } else {
            Err(look.unavailable(settings))
        }
    }

    /// Has a majority promise to accept no attempt before this one. Returns what each that did so holds now, and the
    /// size of what it held before; `None` when others were quicker.
    ///
    /// # Errors
    /// When too few groups answer. Nothing has changed then.
    async fn promise(&self, id: Id, look: &Look, ballot: Ballot, pads: bool) -> Result<Option<Promises>> {
        let mut promises = HashMap::new();
        let mut writes = Vec::new();
        for replica in look.replicas.iter().chain(&look.damaged) {
            let held = replica.held.clone().unwrap_or_default();
            let content =
                padded(Envelope { promise: ballot, ..held }.pack(), if pads { replica.size } else { 0 });
            // Of nothing the comparison succeeds in any case, and of anything it must fail.
            let expected = replica.checksum.unwrap_or_else(random_id);
            promises.insert(replica.group, (content.clone(), replica.size));
            writes.push((replica.group, writing(id, ballot, expected), Pieces::from(content)));
        }
        let answers = self.replicas.write_each(writes, self.quorum()).await;
        let promised: Vec<u32> =
            answers.iter().filter(|answer| answer.result.is_ok()).map(|answer| answer.group).collect();
        if promised.len() < self.quorum() {
            return lost(&answers, self.replicas.may_fail_to_write())
                .map_or(Ok(None), |error| Err(Error { outcome_unknown: false, ..error }));
        }
        promises.retain(|group, _| promised.contains(group));
        Ok(Some(promises))
    }

    /// One attempt.
    ///
    /// # Errors
    /// When too few groups answer; with `outcome_unknown` when some may have accepted.
    pub(crate) async fn round(&self, id: Id, look: &Look, next: &Current, pads: &mut bool) -> Result<Round> {
        let ballot = look.next_ballot();
        let quorum = self.quorum();
        let Some(promises) = self.promise(id, look, ballot, *pads).await? else {
            return Ok(Round::Refused { is_sent: false });
        };
        let accepted = Envelope { promise: ballot, accepted: Some(ballot), payload: next.pack() }.pack();
        let writes = promises.iter().map(|(group, (promise, size))| {
            let content = padded(accepted.clone(), if *pads { *size } else { 0 });
            (*group, writing(id, ballot, Id::checksum(promise)), Pieces::from(content))
        });
        let answers = self.replicas.write_each(writes.collect(), quorum).await;
        let done = answers.iter().filter(|answer| answer.result.is_ok()).count();
        if done >= quorum {
            return Ok(Round::Done);
        }
        let is_sent = done > 0
            || answers
                .iter()
                .any(|answer| matches!(&answer.result, Err(problem) if problem.may_have_happened()));
        match lost(&answers, self.replicas.may_fail_to_write()) {
            None => {
                // Either somebody was quicker, or the node keeps the tail of what was longer before.
                *pads = promises.values().any(|(promise, size)| *size > promise.len() as u64);
                Ok(Round::Refused { is_sent })
            }
            Some(error) => Err(Error { outcome_unknown: is_sent, ..error }),
        }
    }

    /// What the groups hold. `whole` when all bytes count, because they are to be swapped.
    async fn look(&self, id: Id, whole: bool, wanted: Wanted) -> Look {
        let is_too_little = move |read: &Read| {
            let has_envelope =
                Envelope::length(&read.content).is_none_or(|length| length <= read.content.len());
            !has_all(read) && (whole || !has_envelope) && read.total_size <= LARGEST_REGISTER
        };
        let answers = self.replicas.read_all(id, BEGINNING, is_too_little, wanted).await;
        let error = answers
            .iter()
            .any(|answer| answer.result.is_err())
            .then(|| worst(&answers, self.replicas.may_fail_to_read()));
        let said = futures::future::join_all(
            answers.into_iter().map(|Answer { group, result }| self.replica(id, group, result, whole)),
        );
        let mut look = Look { error, ..Look::default() };
        for said in said.await {
            match said {
                Said::Whole(replica) => look.replicas.push(replica),
                Said::Damaged(replica) => look.damaged.push(replica),
                Said::Nothing => {}
            }
        }
        look
    }

    /// What one group holds.
    async fn replica(
        &self,
        id: Id,
        group: u32,
        result: std::result::Result<Read, Problem>,
        whole: bool,
    ) -> Said {
        let read = match result {
            Ok(read) => read,
            Err(problem) if problem.is_absent() => return Said::Whole(Replica::absent(group)),
            Err(_) => return Said::Nothing,
        };
        let checksum = match has_all(&read) {
            true => Some(Id::checksum(&read.content)),
            false if whole => match self.replicas.checksum_one(group, id).await {
                Ok(checksum) => Some(checksum),
                Err(_) => return Said::Nothing,
            },
            false => None,
        };
        let replica = |held| Replica { group, held: Some(held), checksum, size: read.total_size };
        match Envelope::unpack(&read.content) {
            Some(held) => Said::Whole(replica(held)),
            None => {
                tracing::warn!(group, ?id, "a record is damaged in one group");
                Said::Damaged(replica(Envelope::default()))
            }
        }
    }

    /// Deletes a register that nobody will ever write to again.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn forget(&self, id: Id) -> Result<()> {
        self.replicas.delete(id).await
    }

    /// The lock that changes of one register in this process take in turn, so that they do not refuse each other.
    pub(crate) fn turn(&self, id: Id) -> Arc<tokio::sync::Mutex<()>> {
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

fn has_all(read: &Read) -> bool {
    read.total_size == read.content.len() as u64
}

/// The value as it counts.
pub(crate) fn visible(current: Option<Current>) -> Option<Current> {
    current.filter(|current| !current.is_blank())
}

/// How a swap is written.
pub(crate) fn writing(id: Id, ballot: Ballot, expected: Id) -> Writing {
    let timestamp = Timestamp::of_nanoseconds(ballot.time);
    Writing { id, timestamp, user_flags: USER_FLAGS, flags: 0, expected: Some(expected) }
}

/// Waits a little before a round that is not the first.
pub(crate) async fn pause(round: u32) {
    if round > 0 {
        let longest = Duration::from_millis(2 << round.min(8)).min(LONGEST_PAUSE);
        sleep(longest.mul_f64(fastrand::f64())).await;
    }
}

pub(crate) fn busy() -> Error {
    Error::new(ErrorKind::Unavailable, "others change the same record all the time")
}

/// The error of answers among which no comparison failed.
fn lost<T>(answers: &[Answer<T>], may_fail: usize) -> Option<Error> {
    let is_mismatch = |answer: &Answer<T>| matches!(&answer.result, Err(problem) if problem.is_mismatch());
    (!answers.iter().any(is_mismatch)).then(|| worst(answers, may_fail))
}

pub(crate) fn random_id() -> Id {
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

#[cfg(test)]
#[path = "register_tests.rs"]
pub(crate) mod tests;
