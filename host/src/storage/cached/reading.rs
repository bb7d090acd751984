//! Reading a small object: from this process, from Redis, from the storage, whichever has it first.
//!
//! Redis has as long as the request is patient. Then the storage is asked as well, and the first answer counts. At most
//! one exchange with Redis comes before an answer; entries are filled after it. Every entry ends at a time counted from
//! the start of the reading that filled it, so that one that is written late lives no longer.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Error, ErrorKind, Object, ObjectPath, Result};
use tokio::{
    sync::oneshot,
    time::{timeout, timeout_at},
};

use super::{
    Keeping, Shared,
    flights::{Flight, Join},
    memory::{Held, Proof},
    sealed::{LEASE, Opened, RANDOM, TOMBSTONE},
    server::{Found, Live, NO_EPOCH},
};

/// How long content that never changes is kept.
const UNCHANGING_TTL: Duration = Duration::from_secs(24 * 60 * 60);
/// Up to this size, sealing or hashing is cheaper than handing it to another thread.
const SEALED_IN_PLACE: usize = 64 << 10;

/// One reading, from its start on.
struct Reading {
    shared: Arc<Shared>,
    flight: Arc<Flight>,
    call: CallContext,
    path: ObjectPath,
    /// `None` for content that never changes.
    changing: Option<Option<String>>,
    max_size: u64,
    began: Instant,
    began_at: SystemTime,
    /// What the entry may be kept under in memory.
    proof: Option<Proof>,
}

/// What Redis had.
enum Seen {
    Object(Object, Duration),
    /// A lease and an epoch, for changing entries.
    Lease(Vec<u8>, [u8; RANDOM]),
    Nothing,
}

impl Shared {
    /// The object, by way of the cache.
    ///
    /// # Errors
    /// Those of the storage.
    pub(super) async fn get_cached(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        max_size: u64,
    ) -> Result<Object> {
        let scope = match self.rules.keeping(path) {
            Keeping::Not => return self.storage.get(call, path, max_size).await,
            Keeping::Unchanging => None,
            Keeping::Changing { scope } => Some(scope),
        };
        let in_scope = scope.flatten();
        if let Some(object) = self.memory.get(path.as_str(), in_scope, self.server.tracking()) {
            self.meters.memory.hit(object.content.len());
            return within(object, path, max_size);
        }
        self.meters.memory.misses.increment(1);
        let waiter = match self.flights.join(path.as_str(), in_scope, max_size) {
            Join::Wait(waiter) => waiter,
            Join::Lead(waiter, sender) => {
                let version = self.memory.version(in_scope);
                let proof = self.server.tracking().map(|generation| Proof { generation, version });
                let reading = Reading {
                    shared: Arc::clone(self),
                    flight: Arc::clone(&waiter.flight),
                    // Its waiters have deadlines of their own; the storage gives it one.
                    call: CallContext { deadline: None, ..call.clone() },
                    path: path.clone(),
                    changing: scope.map(|scope| scope.map(str::to_owned)),
                    max_size,
                    began: Instant::now(),
                    began_at: SystemTime::now(),
                    proof,
                };
                tokio::spawn(reading.run(sender));
                waiter
            }
        };
        let answer = match call.deadline {
            None => waiter.answer().await,
            Some(deadline) => timeout_at(deadline.into(), waiter.answer())
                .await
                .map_err(|_| Error::new(ErrorKind::Timeout, "the storage did not answer in time").at(path))?,
        };
        answer.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "a reading ended without an answer").at(path))
        })
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.shared.flights.land(&self.flight);
    }
}

impl Reading {
    fn scope(&self) -> Option<&str> {
        self.changing.as_ref()?.as_deref()
    }

    fn lifetime(&self) -> Duration {
        if self.changing.is_some() { self.shared.tag_ttl } else { UNCHANGING_TTL }
    }

    /// What is left of the time of an entry that this reading fills.
    fn left(&self) -> Duration {
        self.lifetime().saturating_sub(self.began.elapsed())
    }

    /// Gives the answer to all who wait for it.
    fn give(&self, sender: oneshot::Sender<Result<Object>>, answer: Result<Object>) {
        self.flight.answered();
        // Nobody may be there any more.
        let _ = sender.send(answer);
    }

    /// Reads the storage for as long as somebody waits.
    async fn read(&self) -> Result<Object> {
        tokio::select! {
            answer = self.shared.storage.get(&self.call, &self.path, self.max_size) => answer,
            () = self.flight.deserted() => Err(Error::new(ErrorKind::Internal, "nobody waits any more")),
        }
    }

    async fn run(self, sender: oneshot::Sender<Result<Object>>) {
        let shared = Arc::clone(&self.shared);
        let barred = self.changing.is_some() && shared.barred.bars(self.path.as_str(), self.scope());
        let live = if barred { None } else { shared.server.live() };
        let Some(live) = live else {
            let answer = self.read().await;
            self.give(sender, answer.clone());
            if self.changing.is_none()
                && let Ok(object) = answer
                && self.is_small(&object)
                && self.is_sound(&object).await
            {
                self.keep(object, self.left());
            }
            return;
        };
        let asking = self.ask(&live);
        tokio::pin!(asking);
        // The answer of Redis alone is waited for so: what is computed with it afterwards says nothing about Redis.
        let Ok(found) = timeout(shared.patience, &mut asking).await else {
            shared.server.suspect();
            let looking = async { self.judge(&live, asking.await).await };
            tokio::pin!(looking);
            return self.race(sender, looking, &live).await;
        };
        match self.judge(&live, found).await {
            Seen::Object(object, left) => {
                let answer = within(object.clone(), &self.path, self.max_size);
                self.give(sender, answer);
                self.keep(object, left);
            }
            Seen::Lease(lease, epoch) => {
                let answer = self.read().await;
                self.give(sender, answer.clone());
                match answer {
                    Ok(object) if self.is_small(&object) => self.fill(&live, object, &lease, &epoch).await,
                    _ => self.give_back(&live, &lease).await,
                }
            }
            Seen::Nothing => {
                let answer = self.read().await;
                self.give(sender, answer.clone());
                if let Ok(object) = answer {
                    self.fill_unchanging(&live, object).await;
                }
            }
        }
    }

    /// Redis is slow: the storage is asked as well. A lease that comes after the start of that reading is of no use.
    async fn race(
        &self,
        sender: oneshot::Sender<Result<Object>>,
        mut looking: std::pin::Pin<&mut impl Future<Output = Seen>>,
        live: &Live,
    ) {
        let reading = self.read();
        tokio::pin!(reading);
        let (answer, seen) = tokio::select! {
            biased;
            seen = &mut looking => match seen {
                Seen::Object(object, left) => {
                    self.give(sender, within(object.clone(), &self.path, self.max_size));
                    return self.keep(object, left);
                }
                seen => {
                    let answer = reading.await;
                    self.give(sender, answer.clone());
                    (answer, seen)
                }
            },
            answer = &mut reading => {
                self.give(sender, answer.clone());
                // To its end: the connection is judged by it.
                (answer, looking.await)
            }
        };
        match (seen, answer) {
            (Seen::Lease(lease, _), _) => self.give_back(live, &lease).await,
            (Seen::Nothing, Ok(object)) => self.fill_unchanging(live, object).await,
            _ => {}
        }
    }

    /// Asks Redis. What never changes is found without a time that it is kept.
    async fn ask(&self, live: &Live) -> Found {
        let (server, path) = (&self.shared.server, self.path.as_str());
        if self.changing.is_some() {
            return server.look_up(live, path, self.scope()).await;
        }
        server.get(live, path).await.map_or(Found::Miss, |value| Found::Value(value, None))
    }

    /// What is believed of an answer.
    async fn judge(&self, live: &Live, found: Found) -> Seen {
        let (shared, path) = (&self.shared, self.path.as_str());
        let name = if self.changing.is_some() {
            live.seal.changing(path, self.scope())
        } else {
            live.seal.unchanging(path)
        };
        let (value, kept) = match found {
            Found::Value(value, kept) => (value, kept),
            Found::Lease(lease, epoch) => {
                shared.meters.redis.misses.increment(1);
                return Seen::Lease(lease, epoch);
            }
            Found::Held(what) => {
                shared.meters.redis.misses.increment(1);
                let is_ours = match what.first() {
                    Some(&LEASE) => live.seal.is_lease(&name, &what),
                    Some(&TOMBSTONE) => true,
                    _ => false,
                };
                if !is_ours {
                    self.discard(live, name, what);
                }
                return Seen::Nothing;
            }
            Found::Miss => {
                shared.meters.redis.misses.increment(1);
                return Seen::Nothing;
            }
        };
        let (sealed, seal) = (value.clone(), Arc::clone(&live.seal));
        let open_name = name.clone();
        let open = move || seal.open(&open_name, &sealed);
        match heavy(value.len(), open).await {
            // By our clock. By that of the replica that filled it, it may live: so it is left alone, and Redis ends it.
            Some(Opened { end, .. }) if end <= SystemTime::now() => {
                shared.meters.redis.misses.increment(1);
                Seen::Nothing
            }
            Some(Opened { object, end }) => {
                shared.meters.redis.hit(object.content.len());
                // By the clock and by Redis, whichever is sooner: clocks of replicas differ.
                let by_clock = end.duration_since(SystemTime::now()).unwrap_or_default();
                let by_redis = kept.map_or(Duration::MAX, |kept| kept.saturating_sub(self.began.elapsed()));
                Seen::Object(object, by_clock.min(by_redis).min(self.lifetime()))
            }
            None => {
                shared.meters.redis.misses.increment(1);
                self.discard(live, name, value);
                Seen::Nothing
            }
        }
    }

    /// Deletes what cannot be believed, so that it can be filled; not before the answer.
    fn discard(&self, live: &Live, name: String, what: Bytes) {
        let (shared, live) = (Arc::clone(&self.shared), live.clone());
        tokio::spawn(async move { shared.server.discard(&live, &name, &what).await });
    }

    async fn give_back(&self, live: &Live, lease: &[u8]) {
        let name = live.seal.changing(self.path.as_str(), self.scope());
        self.shared.server.discard(live, &name, lease).await;
    }

    fn is_small(&self, object: &Object) -> bool {
        object.content.len() as u64 <= self.shared.max_value_size
    }

    /// Keeps an object in memory for what is left of its time, if that is allowed.
    fn keep(&self, object: Object, left: Duration) {
        let changing = match (&self.changing, self.proof) {
            (None, _) => None,
            (Some(_), Some(proof)) => Some(proof),
            (Some(_), None) => return,
        };
        if self.is_small(&object) {
            let held = Held { object, end: Instant::now() + left, changing };
            self.flight.keep(|| self.shared.memory.insert(self.path.as_str(), held));
        }
    }

    async fn fill(&self, live: &Live, object: Object, lease: &[u8], epoch: &[u8; RANDOM]) {
        let name = live.seal.changing(self.path.as_str(), self.scope());
        if self.flight.is_overtaken() {
            return self.shared.server.discard(live, &name, lease).await;
        }
        let Some(value) = self.seal(live, name, *epoch, &object).await else { return };
        let left = self.left();
        if left.is_zero() {
            return;
        }
        let place = (self.path.as_str(), self.scope());
        if self.shared.server.fill(live, place, (lease, epoch), &value, left).await {
            self.keep(object, self.left());
        }
    }

    async fn fill_unchanging(&self, live: &Live, object: Object) {
        if self.changing.is_some() || !self.is_small(&object) || !self.is_sound(&object).await {
            return;
        }
        self.keep(object.clone(), self.left());
        let name = live.seal.unchanging(self.path.as_str());
        if let Some(value) = self.seal(live, name, NO_EPOCH, &object).await
            && !self.flight.is_overtaken()
        {
            self.shared.server.set(live, self.path.as_str(), &value, self.left()).await;
        }
    }

    /// Whether content that does not change is what its path says. A store can hold what a power cut left of it.
    async fn is_sound(&self, object: &Object) -> bool {
        let (shared, path, content) = (Arc::clone(&self.shared), self.path.clone(), object.content.clone());
        let judge = move || shared.rules.is_sound(&path, &content).then_some(());
        heavy(object.content.len(), judge).await.is_some()
    }

    async fn seal(&self, live: &Live, name: String, epoch: [u8; RANDOM], object: &Object) -> Option<Bytes> {
        let (seal, object) = (Arc::clone(&live.seal), object.clone());
        let end = self.began_at.checked_add(self.lifetime())?;
        heavy(object.content.len(), move || seal.close(&name, &epoch, end, &object)).await
    }
}

/// The object, unless it has more bytes than its reader wants.
fn within(object: Object, path: &ObjectPath, max_size: u64) -> Result<Object> {
    if object.content.len() as u64 <= max_size {
        return Ok(object);
    }
    Err(Error::new(ErrorKind::TooLarge, "the object is larger than allowed").at(path))
}

/// Computes with many bytes on another thread.
async fn heavy<T: Send + 'static>(
    bytes: usize,
    compute: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    if bytes <= SEALED_IN_PLACE {
        compute()
    } else {
        tokio::task::spawn_blocking(compute).await.ok().flatten()
    }
}
