//! Where passwords are hashed: few at a time, in an order that is fair.
//!
//! Hashing is slow on purpose, so that it has threads of its own, half as many as there are cores, with a low
//! priority: requests of clients that are logged in never wait for it. Attempts wait in a line of bounded length.
//! Next is who has failed and asked least, on this connection, under this name, from this address; when the line
//! is full, who has most gives way. Before the address counts whether somebody has logged in under the name from
//! there, and never whether the name exists, which would tell it to everybody. So a storm of wrong passwords keeps
//! out only whom nothing tells from it: somebody who tries for the first time, from the address of the storm,
//! under the very name that it tries, or when it takes another name each time and fills the line.

use std::{
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::failures::{Failures, Origin, Source};

/// Attempts that wait at most.
const LINE: usize = 256;
/// What a client is told that gave way.
const PAUSE: Duration = Duration::from_secs(2);
/// So much nicer than the rest of the server.
const NICENESS: i32 = 5;

/// Hashes a password, or finds the answer otherwise.
pub(super) type Attempt = Box<dyn FnOnce() -> bool + Send>;

/// Too many attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy {
    pub(super) retry_after: Duration,
}

/// The gate. Its threads end when it is dropped.
pub(super) struct Gate {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

struct State {
    line: Vec<Waiting>,
    failures: Failures,
    next_number: u64,
    closed: bool,
}

struct Waiting {
    origin: Origin,
    turn: Turn,
    attempt: Attempt,
    answer: oneshot::Sender<Result<bool, Busy>>,
}

/// The smaller one is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    connection: u32,
    name: u32,
    /// Whether nobody has logged in from there under the name.
    is_stranger: bool,
    address: u32,
    number: u64,
}

impl Gate {
    /// Starts the threads.
    pub(super) fn open() -> std::io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with_threads((cores / 2).max(1))
    }

    fn with_threads(threads: usize) -> std::io::Result<Self> {
        let state = State { line: Vec::new(), failures: Failures::new(), next_number: 0, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), more: Condvar::new() });
        let gate = Self { shared };
        for _ in 0..threads {
            let shared = Arc::clone(&gate.shared);
            thread::Builder::new().name("passwords".to_owned()).spawn(move || work(&shared))?;
        }
        Ok(gate)
    }

    /// Where an attempt comes from.
    ///
    /// # Errors
    /// [`Busy`] when too many from there have failed.
    pub(super) fn arrive(&self, peer: Option<SocketAddr>, name: &str) -> Result<Origin, Busy> {
        let mut state = self.shared.state();
        let origin = state.failures.origin(peer, name);
        let admitted = state.failures.admit(&origin, Instant::now());
        admitted.map(|()| origin).map_err(|retry_after| Busy { retry_after })
    }

    /// Counts an attempt whose answer was known.
    pub(super) fn failed(&self, origin: &Origin) {
        self.shared.state().failures.add(origin, Instant::now());
    }

    /// Waits for a turn and makes the attempt. Dropping the future gives the place up.
    ///
    /// # Errors
    /// [`Busy`] when others have better claims to the places in the line.
    pub(super) async fn attempt(&self, origin: Origin, attempt: Attempt) -> Result<bool, Busy> {
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.shared.state();
            let turn = state.turn(&origin);
            state.line.push(Waiting { origin, turn, attempt, answer });
            if state.line.len() > LINE {
                state.send_one_away();
            }
        }
        self.shared.more.notify_one();
        // The sender is dropped when the gate closes.
        answered.await.unwrap_or(Err(Busy { retry_after: PAUSE }))
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closed = true;
        state.line.clear();
        drop(state);
        self.shared.more.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn turn(&mut self, origin: &Origin) -> Turn {
        let (now, number) = (Instant::now(), self.next_number);
        self.next_number += 1;
        let count = |source: Source, of: fn(&Origin) -> Source| {
            if source == Source::Unknown {
                return 0;
            }
            let waiting = self.line.iter().filter(|waiting| of(&waiting.origin) == source).count();
            self.failures.of(source, now) + u32::try_from(waiting).unwrap_or(u32::MAX)
        };
        Turn {
            connection: count(origin.connection, |origin| origin.connection),
            name: count(origin.name, |origin| origin.name),
            is_stranger: self.failures.is_stranger(origin),
            address: count(origin.address, |origin| origin.address),
            number,
        }
    }

    fn send_one_away(&mut self) {
        // Somebody who has left makes room before anybody is sent away.
        let gone = self.line.iter().position(|waiting| waiting.answer.is_closed());
        let last = self.line.iter().enumerate().max_by_key(|(_, waiting)| waiting.turn);
        let Some(index) = gone.or(last.map(|(index, _)| index)) else { return };
        let waiting = self.line.swap_remove(index);
        // Nobody is left to hear it when the client has gone.
        let _ = waiting.answer.send(Err(Busy { retry_after: PAUSE }));
    }

    fn next(&mut self) -> Option<Waiting> {
        self.line.retain(|waiting| !waiting.answer.is_closed());
        let (index, _) = self.line.iter().enumerate().min_by_key(|(_, waiting)| waiting.turn)?;
        Some(self.line.swap_remove(index))
    }
}

fn work(shared: &Arc<Shared>) {
    // On Linux this is about the calling thread. Where it is refused, hashing only competes more.
    let _ = rustix::process::setpriority_process(None, NICENESS);
    let mut state = shared.state();
    while !state.closed {
        let Some(Waiting { origin, attempt, answer, .. }) = state.next() else {
            state = shared.more.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(state);
        // A panic in a library for hashes is a wrong password and not the end of all logins.
        let right = std::panic::catch_unwind(std::panic::AssertUnwindSafe(attempt)).unwrap_or(false);
        state = shared.state();
        if right {
            state.failures.forgive(&origin);
        } else {
            state.failures.add(&origin, Instant::now());
        }
        let _ = answer.send(Ok(right));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn peer(address: u8, port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([10, 0, 0, address], port)))
    }

    /// A gate whose only thread is held up until the sender is dropped or used.
    fn held_up() -> (Arc<Gate>, mpsc::Sender<()>) {
        let gate = Arc::new(Gate::with_threads(1).unwrap());
        let (go, wait) = mpsc::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let holding = Arc::clone(&gate);
        thread::spawn(move || {
            let origin = holding.arrive(None, "").unwrap();
            let attempt = Box::new(move || {
                started.send(()).unwrap();
                wait.recv().is_ok()
            });
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(holding.attempt(origin, attempt)).unwrap();
        });
        has_started.recv().unwrap();
        (gate, go)
    }

    /// Lets the tasks run until so many attempts wait.
    async fn waiting(gate: &Gate, attempts: usize) {
        while gate.shared.state().line.len() != attempts {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_has_asked_least_is_next() {
        let (gate, go) = held_up();
        let (order, seen) = mpsc::channel();
        let mut all = Vec::new();
        for (address, port, name) in [(1, 1, "a"), (1, 1, "a"), (1, 2, "a"), (2, 1, "a")] {
            let origin = gate.arrive(peer(address, port), name).unwrap();
            let order = order.clone();
            let attempt = Box::new(move || order.send((address, port)).is_ok());
            let asking = Arc::clone(&gate);
            all.push(tokio::spawn(async move { asking.attempt(origin, attempt).await }));
            // Each must be in the line before the next comes.
            waiting(&gate, all.len()).await;
        }
        go.send(()).unwrap();
        for attempt in all {
            assert_eq!(attempt.await.unwrap(), Ok(true));
        }
        drop(order);
        assert_eq!(seen.iter().collect::<Vec<_>>(), [(1, 1), (2, 1), (1, 2), (1, 1)]);
    }

    #[tokio::test]
    async fn who_has_logged_in_from_there_goes_before_strangers() {
        let (gate, go) = held_up();
        let origin = |name, port| gate.arrive(peer(1, port), name).unwrap();
        let good = origin("good", 1);
        gate.shared.state().failures.forgive(&good);
        let (order, seen) = mpsc::channel();
        let mut all = Vec::new();
        for (name, port) in [("a", 2), ("b", 3), ("good", 4)] {
            let (order, asking, origin) = (order.clone(), Arc::clone(&gate), origin(name, port));
            let attempt = Box::new(move || order.send(name).is_ok());
            all.push(tokio::spawn(async move { asking.attempt(origin, attempt).await }));
            waiting(&gate, all.len()).await;
        }
        let elsewhere = gate.arrive(peer(2, 1), "good").unwrap();
        assert!(gate.shared.state().failures.is_stranger(&elsewhere), "another address");
        go.send(()).unwrap();
        for attempt in all {
            assert_eq!(attempt.await.unwrap(), Ok(true));
        }
        drop(order);
        assert_eq!(seen.iter().collect::<Vec<_>>(), ["good", "a", "b"]);
    }

    #[tokio::test]
    async fn a_full_line_sends_away_who_asked_most() {
        let (gate, go) = held_up();
        let mut storm = Vec::new();
        for _ in 0..LINE {
            let origin = gate.arrive(peer(1, 1), "a").unwrap();
            let gate = Arc::clone(&gate);
            storm.push(tokio::spawn(async move { gate.attempt(origin, Box::new(|| false)).await }));
        }
        waiting(&gate, LINE).await;
        let origin = gate.arrive(peer(2, 1), "a").unwrap();
        let right = {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.attempt(origin, Box::new(|| true)).await })
        };
        let sent_away = storm.pop().unwrap().await.unwrap();
        go.send(()).unwrap();
        assert_eq!(right.await.unwrap(), Ok(true));
        assert_eq!(sent_away, Err(Busy { retry_after: PAUSE }));
    }
}
