//! Readings under way: those of one path at the same time are one.
//!
//! A reading belongs to all who wait for it, so that one client that goes away takes it from no other; with the last of
//! them it is *deserted* and ends. A reading that a write of this process overtakes is *overtaken*, one that Redis has
//! news about is *outdated*: nobody joins either any more, and what it read is not kept here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use docker_registry_driver_api::{Object, Result};
use futures::{FutureExt, future::Shared};
use tokio::sync::{Notify, oneshot};

/// What those who wait get.
type Answer = Shared<oneshot::Receiver<Result<Object>>>;

/// One reading.
pub(super) struct Flight {
    path: String,
    scope: Option<String>,
    max_size: u64,
    answer: Answer,
    state: Mutex<State>,
    /// Told when nobody waits any more.
    deserted: Notify,
}

#[derive(Default)]
struct State {
    waiters: usize,
    /// Its last waiter went before there was an answer.
    deserted: bool,
    /// It has its answer: whoever comes now reads anew.
    answered: bool,
    /// By a write of this process: what was read is kept nowhere.
    overtaken: bool,
    /// By news of Redis: what was read is not kept here. Redis itself knows by the lease.
    outdated: bool,
}

/// How a reader goes on.
pub(super) enum Join {
    /// It waits for a reading that has begun.
    Wait(Waiter),
    /// It begins one, and waits for it.
    Lead(Waiter, oneshot::Sender<Result<Object>>),
}

/// One who waits for a reading, until it is dropped.
pub(super) struct Waiter {
    pub(super) flight: Arc<Flight>,
}

impl Waiter {
    /// The answer; an error when the reading ended without one.
    pub(super) fn answer(
        &self,
    ) -> impl Future<Output = std::result::Result<Result<Object>, oneshot::error::RecvError>> {
        self.flight.answer.clone()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = self.flight.state();
        state.waiters -= 1;
        if state.waiters == 0 && !state.answered {
            state.deserted = true;
            self.flight.deserted.notify_one();
        }
    }
}

/// All readings under way.
#[derive(Default)]
pub(super) struct Flights(Mutex<HashMap<String, Vec<Arc<Flight>>>>);

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<Flight>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the reading of a path, or begins one. A reading with another limit is another reading.
    pub(super) fn join(&self, path: &str, scope: Option<&str>, max_size: u64) -> Join {
        let mut flights = self.lock();
        let here = flights.entry(path.to_owned()).or_default();
        let joined = here.iter().find(|flight| flight.max_size == max_size && flight.join());
        if let Some(flight) = joined {
            return Join::Wait(Waiter { flight: Arc::clone(flight) });
        }
        let (sender, receiver) = oneshot::channel();
        let flight = Arc::new(Flight {
            path: path.to_owned(),
            scope: scope.map(str::to_owned),
            max_size,
            answer: receiver.shared(),
            state: Mutex::new(State { waiters: 1, ..State::default() }),
            deserted: Notify::new(),
        });
        here.push(Arc::clone(&flight));
        Join::Lead(Waiter { flight }, sender)
    }

    /// Ends a reading, after what it read has been kept or not.
    pub(super) fn land(&self, flight: &Arc<Flight>) {
        let mut flights = self.lock();
        if let Some(here) = flights.get_mut(&flight.path) {
            here.retain(|other| !Arc::ptr_eq(other, flight));
            if here.is_empty() {
                flights.remove(&flight.path);
            }
        }
    }

    /// Overtakes the readings of a path, or of all that belongs to a scope.
    pub(super) fn overtake(&self, target: &str) {
        self.mark(target, |state| state.overtaken = true);
    }

    /// Outdates the readings of a path, or of all that belongs to a scope.
    pub(super) fn outdate(&self, target: &str) {
        self.mark(target, |state| state.outdated = true);
    }

    fn mark(&self, target: &str, mark: impl Fn(&mut State)) {
        let flights = self.lock();
        let of_path = flights.get(target).into_iter().flatten();
        let of_scope = flights.values().flatten().filter(|flight| flight.scope.as_deref() == Some(target));
        of_path.chain(of_scope).for_each(|flight| mark(&mut flight.state()));
    }

    /// Overtakes all of them.
    pub(super) fn overtake_all(&self) {
        self.lock().values().flatten().for_each(|flight| flight.state().overtaken = true);
    }
}

impl Flight {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more who waits, if it can be joined.
    fn join(&self) -> bool {
        let mut state = self.state();
        let joinable = !state.answered && !state.overtaken && !state.outdated && !state.deserted;
        state.waiters += usize::from(joinable);
        joinable
    }

    /// Until nobody waits any more.
    pub(super) async fn deserted(&self) {
        self.deserted.notified().await;
    }

    /// From now on it is joined by nobody.
    pub(super) fn answered(&self) {
        self.state().answered = true;
    }

    pub(super) fn is_overtaken(&self) -> bool {
        self.state().overtaken
    }

    /// Keeps what was read, unless it was overtaken. Whoever overtakes it afterwards finds it kept, and removes it.
    pub(super) fn keep(&self, keep: impl FnOnce()) {
        let state = self.state();
        if !state.overtaken && !state.outdated {
            keep();
        }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::Error;

    use super::*;

    fn lead(flights: &Flights, path: &str, scope: Option<&str>) -> Waiter {
        match flights.join(path, scope, 10) {
            Join::Lead(waiter, _) => waiter,
            Join::Wait(_) => panic!("{path} is read already"),
        }
    }

    fn waits(flights: &Flights, path: &str, max_size: u64) -> bool {
        matches!(flights.join(path, None, max_size), Join::Wait(_))
    }

    #[tokio::test]
    async fn readers_of_one_path_share_a_reading_until_it_has_its_answer() {
        let flights = Flights::default();
        let Join::Lead(first, sender) = flights.join("a", None, 10) else { panic!("nobody reads yet") };
        let Join::Wait(second) = flights.join("a", None, 10) else { panic!("it is read") };
        assert!(!waits(&flights, "a", 11), "another limit may have another answer");
        sender.send(Err(Error::not_found("a"))).unwrap();
        assert!(second.answer().await.unwrap().unwrap_err().is_not_found());
        first.flight.answered();
        assert!(!waits(&flights, "a", 10));
    }

    #[tokio::test]
    async fn a_reading_is_deserted_when_its_last_waiter_goes_and_joined_by_nobody() {
        let flights = Flights::default();
        let first = lead(&flights, "a", None);
        let flight = Arc::clone(&first.flight);
        let Join::Wait(second) = flights.join("a", None, 10) else { panic!("it is read") };
        drop(first);
        assert!(flight.deserted().now_or_never().is_none() && waits(&flights, "a", 10));
        drop(second);
        flight.deserted().await;
        assert!(!waits(&flights, "a", 10));
    }

    #[test]
    fn what_is_overtaken_is_neither_joined_nor_kept() {
        for target in ["s/a", "s"] {
            let flights = Flights::default();
            let (flight, other) = (lead(&flights, "s/a", Some("s")), lead(&flights, "t/a", Some("t")));
            let (overtaken, news) = (Flights::overtake, Flights::outdate);
            for happens in [overtaken, news] {
                let flights = Flights::default();
                let flight = lead(&flights, "s/a", Some("s"));
                happens(&flights, target);
                assert!(!waits(&flights, "s/a", 10));
                flight.flight.keep(|| panic!("it is old"));
            }
            flights.overtake(target);
            assert!(!waits(&flights, "s/a", 10) && waits(&flights, "t/a", 10));
            flight.flight.keep(|| panic!("it was overtaken"));
            let mut kept = false;
            other.flight.keep(|| kept = true);
            assert!(kept);
        }
    }

    #[test]
    fn what_has_landed_leaves_nothing() {
        let flights = Flights::default();
        let (one, other) = (lead(&flights, "a", None), lead(&flights, "b", None));
        flights.overtake_all();
        assert!(one.flight.is_overtaken() && other.flight.is_overtaken());
        flights.land(&one.flight);
        flights.land(&other.flight);
        assert!(flights.lock().is_empty());
    }
}
