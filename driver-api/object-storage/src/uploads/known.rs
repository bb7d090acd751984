//! What this process knows of uploads beyond the store: which have ended, which appends hang.
//!
//! Nothing here is needed for correctness between processes. It tells an append that hangs that it has been
//! overtaken, so that it lets go of its memory, and it saves looks into the store.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use tokio::sync::oneshot;
use uuid::Uuid;

/// So many uploads are remembered after their end.
const REMEMBERED: usize = 10_000;

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Committed,
    Aborted,
}

/// The memory of this process.
#[derive(Debug, Default)]
pub(crate) struct Known {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    facts: HashMap<Uuid, Fact>,
    order: VecDeque<Uuid>,
    hanging: HashMap<Uuid, Vec<Sender>>,
    turns: HashMap<Uuid, Weak<tokio::sync::Mutex<()>>>,
    next: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Fact {
    end: Option<End>,
    /// Generations up to this one are taken by commits that did not come about.
    withdrawn: u64,
}

#[derive(Debug)]
struct Sender {
    number: u64,
    /// The generation that the append goes on from.
    generation: u64,
    tell: oneshot::Sender<ErrorKind>,
}

/// An append under way. It is told when it cannot succeed any more.
pub(crate) struct Hanging<'a> {
    known: &'a Known,
    upload: Uuid,
    number: u64,
    told: oneshot::Receiver<ErrorKind>,
}

impl Known {
    /// The lock that the commits of an upload take in turn where the store lets both of two rivals lose.
    pub(crate) fn turn(&self, upload: Uuid) -> Arc<tokio::sync::Mutex<()>> {
        let turns = &mut self.lock().turns;
        if let Some(turn) = turns.get(&upload).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(upload, Arc::downgrade(&turn));
        turn
    }

    /// How the upload ended, if that is known.
    pub(crate) fn end_of(&self, upload: Uuid) -> Option<End> {
        self.lock().facts.get(&upload).and_then(|fact| fact.end)
    }

    /// # Errors
    /// `NotFound` when the upload is known to have ended.
    pub(crate) fn expect_open(&self, upload: Uuid) -> Result<()> {
        if self.end_of(upload).is_some() { Err(gone()) } else { Ok(()) }
    }

    /// Remembers the end of an upload and tells its appends.
    pub(crate) fn ended(&self, upload: Uuid, end: End) {
        let hanging = {
            let mut inner = self.lock();
            let fact = inner.fact(upload);
            // A commit stays one, whoever aborts afterwards.
            fact.end = fact.end.or(Some(end));
            inner.hanging.remove(&upload).unwrap_or_default()
        };
        for append in hanging {
            // It may have returned.
            let _ = append.tell.send(ErrorKind::NotFound);
        }
    }

    /// Tells the appends that go on from `generation` or from before it.
    pub(crate) fn overtaken(&self, upload: Uuid, generation: u64) {
        let mut inner = self.lock();
        let Some(hanging) = inner.hanging.get_mut(&upload) else { return };
        let told: Vec<Sender> = hanging.extract_if(.., |append| append.generation <= generation).collect();
        drop(inner);
        for append in told {
            let _ = append.tell.send(ErrorKind::Conflict);
        }
    }

    /// Remembers that a generation is used up without effect.
    pub(crate) fn withdrew(&self, upload: Uuid, generation: u64) {
        let mut inner = self.lock();
        let fact = inner.fact(upload);
        fact.withdrawn = fact.withdrawn.max(generation);
    }

    /// The generation behind which the next one may be free.
    pub(crate) fn behind(&self, upload: Uuid, generation: u64) -> u64 {
        self.lock().facts.get(&upload).map_or(generation, |fact| generation.max(fact.withdrawn))
    }

    /// Registers an append.
    ///
    /// # Errors
    /// `NotFound` when the upload is known to have ended.
    pub(crate) fn hang(&self, upload: Uuid, generation: u64) -> Result<Hanging<'_>> {
        let (tell, told) = oneshot::channel();
        let mut inner = self.lock();
        if inner.facts.get(&upload).is_some_and(|fact| fact.end.is_some()) {
            return Err(gone());
        }
        inner.next += 1;
        let number = inner.next;
        inner.hanging.entry(upload).or_default().push(Sender { number, generation, tell });
        Ok(Hanging { known: self, upload, number, told })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn fact(&mut self, upload: Uuid) -> &mut Fact {
        if !self.facts.contains_key(&upload) {
            self.order.push_back(upload);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.facts.remove(&oldest);
            }
        }
        self.facts.entry(upload).or_default()
    }
}

impl Hanging<'_> {
    /// Waits for the reason why the append cannot succeed, which need not come.
    pub(crate) async fn told(&mut self) -> Error {
        match (&mut self.told).await {
            Ok(ErrorKind::NotFound) => gone(),
            Ok(_) => stale(),
            // Nobody is left who could tell.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        let mut inner = self.known.lock();
        if let Some(hanging) = inner.hanging.get_mut(&self.upload) {
            hanging.retain(|append| append.number != self.number);
            if hanging.is_empty() {
                inner.hanging.remove(&self.upload);
            }
        }
    }
}

/// The error of an upload that is not there, or no more.
pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such upload, or it has ended")
}

/// The error of a state that somebody has gone on from.
pub(crate) fn stale() -> Error {
    Error::new(ErrorKind::Conflict, "the upload state is not the latest")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn appends_are_told_when_they_are_overtaken_or_the_upload_ends() {
        let known = Known::default();
        let upload = Uuid::new_v4();
        let mut early = known.hang(upload, 1).unwrap();
        let mut late = known.hang(upload, 2).unwrap();
        let mut other = known.hang(Uuid::new_v4(), 1).unwrap();
        known.overtaken(upload, 1);
        assert_eq!(early.told().now_or_never().unwrap().kind, ErrorKind::Conflict);
        assert!(late.told().now_or_never().is_none());
        known.ended(upload, End::Aborted);
        assert_eq!(late.told().now_or_never().unwrap().kind, ErrorKind::NotFound);
        assert!(other.told().now_or_never().is_none());
        assert!(known.hang(upload, 3).is_err());
        drop((early, late, other));
        assert!(known.lock().hanging.is_empty());
    }

    #[test]
    fn a_commit_is_remembered_as_one_and_memory_has_an_end() {
        let known = Known::default();
        let upload = Uuid::new_v4();
        known.withdrew(upload, 7);
        assert_eq!((known.behind(upload, 3), known.behind(upload, 9)), (7, 9));
        known.ended(upload, End::Committed);
        known.ended(upload, End::Aborted);
        assert_eq!(known.end_of(upload), Some(End::Committed));
        for _ in 0..REMEMBERED {
            known.ended(Uuid::new_v4(), End::Aborted);
        }
        assert_eq!(known.end_of(upload), None);
        assert_eq!(known.lock().facts.len(), REMEMBERED);
    }
}
