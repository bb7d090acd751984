//! The Redis as requests see it: one connection that all share, or none.
//!
//! It is a circuit breaker. While there is no connection, a request pays for one look at an empty place. A command
//! that fails in a way that concerns the whole Redis, or that is not answered in time, takes the connection away; the
//! supervisor makes the next one behind everybody's back. While one command has been waiting for longer than a request
//! is patient, others do not wait at all.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use metrics::{Counter, counter};
use redis::{
    FromRedisValue, RedisResult, ScriptInvocation, Value, aio::MultiplexedConnection,
    cluster_async::ClusterConnection,
};
use tokio::{sync::Notify, time::timeout};

use super::{
    redis_error::{Meaning, meaning},
    scripts::Scripts,
    sealed::{EPOCH, RANDOM, Seal, random},
};
use crate::telemetry::names;

/// How long a reader's lease holds: longer than a reading takes, and short enough that one that died holds nobody up.
const LEASE: Duration = Duration::from_secs(10);
/// How long an epoch lasts. When it ends, a scope has misses once.
const EPOCH_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// No epoch: what belongs to no scope.
pub(super) const NO_EPOCH: [u8; RANDOM] = [0; RANDOM];

/// A connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server, found by a Sentinel or known.
    One(MultiplexedConnection),
    /// To all nodes of a Cluster.
    Cluster(ClusterConnection),
}

impl Connection {
    /// Runs a script.
    pub(super) async fn run<T: FromRedisValue>(self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        match self {
            Self::One(mut connection) => script.invoke_async(&mut connection).await,
            Self::Cluster(mut connection) => script.invoke_async(&mut connection).await,
        }
    }

    /// Runs a command.
    pub(super) async fn query<T: FromRedisValue>(self, command: &redis::Cmd) -> RedisResult<T> {
        match self {
            Self::One(mut connection) => command.query_async(&mut connection).await,
            Self::Cluster(mut connection) => command.query_async(&mut connection).await,
        }
    }
}

/// A connection that works, with what names and seals.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) connection: Connection,
    pub(super) number: u64,
    pub(super) seal: Arc<Seal>,
}

/// What lies in Redis under the name of a changing entry.
pub(super) enum Found {
    /// A value that has not been judged, and how long Redis keeps it.
    Value(Bytes, Option<Duration>),
    /// Nothing; the lease is ours, for a value of this epoch.
    Lease(Vec<u8>, [u8; RANDOM]),
    /// A lease or a tombstone of somebody else, or garbage.
    Held(Bytes),
    /// Nothing, and nothing can be put; or no answer.
    Miss,
}

/// See the module.
pub(super) struct Server {
    live: RwLock<Option<Live>>,
    numbers: AtomicU64,
    /// The generation of the connection that is told of changes; zero without one.
    tracking: AtomicU64,
    generations: AtomicU64,
    suspect: AtomicBool,
    reason: Mutex<Option<&'static str>>,
    /// Wakes the supervisor when the connection was taken away.
    pub(super) lost: Notify,
    pub(super) scripts: Scripts,
    timeout: Duration,
    errors: Counter,
    refused: Counter,
}

impl Server {
    /// Without a connection. A command may take `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        let errors = |kind: &'static str| counter!(names::CACHE_ERRORS, "tier" => "redis", "kind" => kind);
        Self {
            live: RwLock::default(),
            numbers: AtomicU64::new(0),
            tracking: AtomicU64::new(0),
            generations: AtomicU64::new(0),
            suspect: AtomicBool::new(false),
            reason: Mutex::default(),
            lost: Notify::new(),
            scripts: Scripts::new(),
            timeout,
            errors: errors("away"),
            refused: errors("refused"),
        }
    }

    /// The connection, if there is one that a request may wait for.
    pub(super) fn live(&self) -> Option<Live> {
        if self.suspect.load(SeqCst) { None } else { self.connection() }
    }

    /// The connection, also when it is slow.
    pub(super) fn connection(&self) -> Option<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The generation of what is told of changes now.
    pub(super) fn tracking(&self) -> Option<u64> {
        Some(self.tracking.load(SeqCst)).filter(|generation| *generation > 0)
    }

    /// A command has been waiting for longer than a request is patient.
    pub(super) fn suspect(&self) {
        self.suspect.store(true, SeqCst);
    }

    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(SeqCst)
    }

    /// A number for the connection that is about to be made.
    pub(super) fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, SeqCst) + 1
    }

    /// What every changing entry in memory was kept under is over.
    pub(super) fn new_generation(&self) {
        if self.tracking().is_some() {
            self.tracking.store(self.generations.fetch_add(1, SeqCst) + 1, SeqCst);
        }
    }

    /// Lets requests use a connection. `tracks` says whether it is told of changes.
    pub(super) fn publish(&self, live: Live, tracks: bool) {
        let mut place = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let generation = if tracks { self.generations.fetch_add(1, SeqCst) + 1 } else { 0 };
        self.tracking.store(generation, SeqCst);
        self.suspect.store(false, SeqCst);
        *place = Some(live);
    }

    /// Takes the connection of this number away, if it is still the one.
    pub(super) fn withdraw(&self, number: u64, reason: &'static str) {
        let mut place = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if place.as_ref().is_some_and(|live| live.number == number) {
            // Before anything else: what is in memory is not believed from here on.
            self.tracking.store(0, SeqCst);
            *place = None;
            *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
            self.lost.notify_one();
        }
    }

    /// Why the last connection was taken away.
    pub(super) fn reason(&self) -> &'static str {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or("the connection failed")
    }

    /// Waits for the answer to a command, and judges the connection by it.
    pub(super) async fn answer<T>(
        &self,
        live: &Live,
        command: impl Future<Output = RedisResult<T>>,
    ) -> Option<T> {
        match timeout(self.timeout, command).await {
            Ok(Ok(answer)) => {
                self.suspect.store(false, SeqCst);
                Some(answer)
            }
            Ok(Err(error)) => {
                match meaning(&error) {
                    Meaning::Away(reason) => {
                        self.errors.increment(1);
                        self.withdraw(live.number, reason);
                    }
                    Meaning::Refused(reason) => {
                        self.refused.increment(1);
                        self.suspect.store(false, SeqCst);
                        tracing::debug!(target: "cache", reason, "a command failed");
                    }
                }
                None
            }
            Err(_) => {
                self.errors.increment(1);
                self.withdraw(live.number, "it does not answer in time");
                None
            }
        }
    }

    /// Asks whether it still answers.
    pub(super) async fn ping(&self, live: &Live) {
        let command = redis::cmd("PING");
        let _: Option<Value> = self.answer(live, live.connection.clone().query(&command)).await;
    }

    /// Looks up a changing entry, and takes a lease where there is none.
    pub(super) async fn look_up(&self, live: &Live, path: &str, scope: Option<&str>) -> Found {
        let name = live.seal.changing(path, scope);
        let (Some(lease), Some(chance)) = (live.seal.lease(&name), random()) else { return Found::Miss };
        let epoch = [&[EPOCH][..], &chance].concat();
        let mut script = self.scripts.look_up.key(&name);
        if let Some(scope) = scope {
            script.key(live.seal.epoch(scope));
        }
        script.arg(&lease[..]).arg(milliseconds(LEASE)).arg(&epoch[..]).arg(milliseconds(EPOCH_LIFETIME));
        let answer: Option<Vec<Value>> = self.answer(live, live.connection.clone().run(&script)).await;
        found(answer.unwrap_or_default(), lease)
    }

    /// Puts a value where the lease still is. Returns whether it was put.
    pub(super) async fn fill(
        &self,
        live: &Live,
        (path, scope): (&str, Option<&str>),
        (lease, epoch): (&[u8], &[u8; RANDOM]),
        value: &Bytes,
        lifetime: Duration,
    ) -> bool {
        let mut script = self.scripts.fill.key(live.seal.changing(path, scope));
        if let Some(scope) = scope {
            script.key(live.seal.epoch(scope));
        }
        let epoch = [&[EPOCH][..], epoch].concat();
        script.arg(lease).arg(&epoch[..]).arg(&value[..]).arg(milliseconds(lifetime));
        self.answer(live, live.connection.clone().run::<i64>(&script)).await == Some(1)
    }

    /// Deletes what nobody can believe, if it is still there.
    pub(super) async fn discard(&self, live: &Live, name: &str, what: &[u8]) {
        let mut script = self.scripts.discard.key(name);
        script.arg(what);
        let _: Option<i64> = self.answer(live, live.connection.clone().run(&script)).await;
    }

    /// Puts a tombstone at a target. Returns whether it was put.
    pub(super) async fn bury(&self, live: &Live, name: &str, id: &str, time: Duration) -> bool {
        let mut script = self.scripts.bury.key(name);
        script.arg(id).arg(milliseconds(time));
        self.answer(live, live.connection.clone().run::<i64>(&script)).await.is_some()
    }

    /// Takes a tombstone away. Returns whether Redis has done it.
    pub(super) async fn lift(&self, live: &Live, name: &str, id: &str) -> bool {
        let mut script = self.scripts.lift.key(name);
        script.arg(id);
        self.answer(live, live.connection.clone().run::<i64>(&script)).await.is_some()
    }

    /// Reads content that never changes; `None` also when there was no answer.
    pub(super) async fn get(&self, live: &Live, path: &str) -> Option<Bytes> {
        let mut command = redis::cmd("GET");
        command.arg(live.seal.unchanging(path));
        match self.answer(live, live.connection.clone().query(&command)).await? {
            Value::BulkString(value) => Some(value.into()),
            _ => None,
        }
    }

    /// Writes content that never changes.
    pub(super) async fn set(&self, live: &Live, path: &str, value: &Bytes, lifetime: Duration) {
        let mut command = redis::cmd("SET");
        command.arg(live.seal.unchanging(path)).arg(&value[..]).arg("PX").arg(milliseconds(lifetime));
        let _: Option<Value> = self.answer(live, live.connection.clone().query(&command)).await;
    }

    /// Forgets content that never changes. Returns whether Redis has done it.
    pub(super) async fn forget(&self, live: &Live, path: &str) -> bool {
        let mut command = redis::cmd("DEL");
        command.arg(live.seal.unchanging(path));
        self.answer(live, live.connection.clone().query::<i64>(&command)).await.is_some()
    }
}

/// What Redis takes for a time: at least one millisecond.
fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// The answer of the script, or a miss for what is none.
fn found(answer: Vec<Value>, lease: Vec<u8>) -> Found {
    let mut fields = answer.into_iter();
    let word = match fields.next() {
        Some(Value::BulkString(word)) => word,
        _ => return Found::Miss,
    };
    match (&word[..], fields.next(), fields.next()) {
        (b"found", Some(Value::BulkString(value)), Some(Value::Int(left))) => {
            Found::Value(value.into(), u64::try_from(left).ok().map(Duration::from_millis))
        }
        (b"lease", Some(Value::BulkString(epoch)), _) => match epoch.split_first() {
            None => Found::Lease(lease, NO_EPOCH),
            Some((_, epoch)) => {
                <[u8; RANDOM]>::try_from(epoch).map_or(Found::Miss, |epoch| Found::Lease(lease, epoch))
            }
        },
        (b"held", Some(Value::BulkString(what)), _) => Found::Held(what.into()),
        _ => Found::Miss,
    }
}
