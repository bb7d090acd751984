//! Writing what may be kept: the order that keeps old entries from outliving the write.
//!
//! 1. The targets are barred in this process and what it knows of them is forgotten.
//! 2. Redis gets a tombstone for each. It is waited for as long as a request is patient.
//! 3. The storage is written.
//! 4. Redis is waited for until it has the tombstones, a command's time at most, unless it was slow or away when the write
//!    began: then it is told later, and other processes may believe what was there for `tag_ttl`.
//! 5. Readings that began before are overtaken, and the write is acknowledged.
//! 6. Behind the caller's back the tombstones are lifted, and the targets are barred no more. What could not be told
//!    is owed, and stays barred until it is.
//!
//! A tombstone lasts from the start of the write until the write can no longer take effect, also when this process
//! dies. One of unknown outcome is not lifted. A write that is dropped, because its client went away, is one of those.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docker_registry_driver_api::Result;
use futures::{
    FutureExt,
    future::{Shared as SharedFuture, join_all},
};
use tokio::{runtime::Handle, sync::oneshot, time::timeout};

use super::{Shared, barred::Ending, server::Live, supervisor::tombstone_id};

/// How long a write may take effect after its caller has given up: what is under way in networks and storages.
const LINGERING: Duration = Duration::from_secs(60);
/// How many tombstones one write may need.
const MOST_TARGETS: usize = 1000;

/// A write under way.
struct Write {
    shared: Arc<Shared>,
    targets: Vec<String>,
    id: String,
    /// When it can no longer take effect.
    until: Instant,
    /// The tombstones that are being put, and where; `None` when Redis could not be asked.
    burial: Option<(Live, SharedFuture<oneshot::Receiver<bool>>)>,
    /// Whether the Redis answered others in time when the write began.
    waits: bool,
    ended: bool,
}

impl Shared {
    /// Writes, where `targets` are the paths and scopes that change. `time` is what the write may take at most.
    ///
    /// # Errors
    /// Those of the storage.
    pub(super) async fn write<T>(
        self: &Arc<Self>,
        targets: Vec<String>,
        time: Duration,
        run: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.write_judged(targets, time, run, |_| true).await
    }

    /// The same, for an answer that says itself whether the outcome is known.
    ///
    /// # Errors
    /// Those of the storage.
    pub(super) async fn write_judged<T>(
        self: &Arc<Self>,
        targets: Vec<String>,
        time: Duration,
        run: impl Future<Output = Result<T>>,
        is_known: impl FnOnce(&T) -> bool,
    ) -> Result<T> {
        if targets.is_empty() {
            return run.await;
        }
        if targets.len() > MOST_TARGETS {
            // Not worth as many tombstones: entries end by themselves.
            self.bar_everything(time);
            let result = run.await;
            self.bar_everything(Duration::ZERO);
            return result;
        }
        let mut write = Write::begin(self, targets, time);
        write.patiently().await;
        let result = run.await;
        let known = match &result {
            Ok(answer) => is_known(answer),
            Err(error) => !error.outcome_unknown,
        };
        write.until_told().await;
        write.end(known);
        result
    }

    /// Believes nothing for as long as entries of before may live, after a change that cannot be told in detail.
    pub(super) fn bar_everything(&self, time: Duration) {
        self.barred.bar_everything(time + LINGERING);
        self.server.new_generation();
        self.flights.overtake_all();
    }
}

impl Write {
    fn begin(shared: &Arc<Shared>, targets: Vec<String>, time: Duration) -> Self {
        for target in &targets {
            shared.barred.begin(target);
            shared.changed(target);
        }
        let time = time + LINGERING;
        let mut write = Self {
            shared: Arc::clone(shared),
            targets,
            id: String::new(),
            until: Instant::now() + time,
            burial: None,
            waits: !shared.server.is_suspect(),
            ended: false,
        };
        if let (Some(id), Some(live)) = (tombstone_id(), shared.server.connection()) {
            write.id = id.clone();
            let names: Vec<_> = write.targets.iter().map(|target| shared.name_of(&live, target)).collect();
            let (shared, connection) = (Arc::clone(shared), live.clone());
            let (sender, burial) = oneshot::channel();
            // A task of its own: the connection is judged by the answer, whoever waits for it.
            tokio::spawn(async move {
                let puts = names.iter().map(|name| shared.server.bury(&connection, name, &id, time));
                let put = join_all(puts).await.into_iter().all(|put| put);
                let _ = sender.send(put);
            });
            write.burial = Some((live, burial.shared()));
        }
        write
    }

    /// Waits for the tombstones for as long as a request is patient, unless others have waited in vain.
    async fn patiently(&self) {
        let Some((_, burial)) = &self.burial else { return };
        if burial.peek().is_some() || self.shared.server.is_suspect() {
            return;
        }
        if timeout(self.shared.patience, burial.clone()).await.is_err() {
            self.shared.server.suspect();
        }
    }

    /// Waits until Redis has the tombstones or has failed, which a command does in the time that it may take.
    async fn until_told(&self) {
        if let Some((_, burial)) = self.burial.as_ref().filter(|_| self.waits) {
            let _ = burial.clone().await;
        }
    }

    /// Ends the write as it is known; what is left to tell is told behind the caller's back.
    fn end(&mut self, known: bool) {
        self.ended = true;
        for target in &self.targets {
            self.shared.changed(target);
        }
        let (shared, targets) = (Arc::clone(&self.shared), std::mem::take(&mut self.targets));
        let (id, until, burial) = (std::mem::take(&mut self.id), self.until, self.burial.take());
        let unknown = (!known).then_some(until);
        let settle = async move {
            let told = match burial {
                None => false,
                Some((live, burial)) => {
                    let buried = burial.await.unwrap_or(false);
                    let lift = async |target: &String| {
                        let name = shared.name_of(&live, target);
                        shared.server.lift(&live, &name, &id).await
                    };
                    buried
                        && (!known || join_all(targets.iter().map(lift)).await.into_iter().all(|done| done))
                }
            };
            let owed = (!told).then_some(until);
            for target in &targets {
                shared.barred.end(target, Ending { unknown, owed });
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(settle)),
            // Dropped while the process ends: nobody reads here any more.
            Err(_) => drop(settle),
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if !self.ended {
            self.end(false);
        }
    }
}
