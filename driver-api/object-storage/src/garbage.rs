//! Objects of uploads that have ended, until they are deleted.
//!
//! An upload that was committed leaves its segments behind. They are not deleted by a request of their own:
//! the next batch of deletions takes them along ([`Garbage::take`]), or, when none comes within some
//! seconds, a task in the background deletes them. The marker of the commit goes later than the segments,
//! because a caller elsewhere that still has the old state must meet it while the segments vanish.
//!
//! A crash loses the queue. `list_uploads` finds what it held.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use docker_registry_driver_api::{CallContext, Error, ErrorKind, Result};
use futures::{StreamExt, stream};
use tokio::time::Instant;

use crate::{engine::Engine, retry::Effort};

/// How long a key waits for a batch to ride along with.
const PATIENCE: Duration = Duration::from_secs(10);
/// How much later than its segments a marker goes.
const MARKER_DELAY: Duration = Duration::from_secs(60);
/// How long one flush of the background may take.
const FLUSHING: Duration = Duration::from_secs(120);
/// Most keys that wait. What does not fit is found by `list_uploads`.
const MOST_WAITING: usize = 100_000;
/// How often a key is tried that the store does not delete.
const MOST_TRIES: u8 = 5;
/// Deletions at once where the store has no batches.
const DELETIONS_AT_ONCE: usize = 16;
/// Longest pause before objects are deleted again that the store left.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Batches at once.
const BATCHES_AT_ONCE: usize = 4;

/// Keys that nobody needs.
#[derive(Default)]
pub(crate) struct Garbage {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Next to go first. What was tried in vain waits behind the others.
    ready: VecDeque<Waiting>,
    later: VecDeque<Waiting>,
    /// Every key that waits or is being deleted.
    known: HashSet<String>,
    is_tended: bool,
}

struct Waiting {
    key: String,
    due: Instant,
    tries: u8,
}

/// Keys that were taken out of the queue. They go back unless [`Taken::deleted`] is called.
pub(crate) struct Taken<'a> {
    garbage: &'a Garbage,
    waiting: Vec<Waiting>,
}

impl Taken<'_> {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.waiting.iter().map(|waiting| waiting.key.as_str())
    }

    /// The batch was done; these stay.
    pub(crate) fn deleted<'k>(mut self, but: impl IntoIterator<Item = &'k str>) {
        let stay: HashSet<&str> = but.into_iter().collect();
        let mut queue = self.garbage.lock();
        self.waiting.retain(|waiting| {
            let stays = stay.contains(waiting.key.as_str());
            if !stays {
                queue.known.remove(&waiting.key);
            }
            stays
        });
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut queue = self.garbage.lock();
        for mut waiting in self.waiting.drain(..) {
            waiting.tries += 1;
            waiting.due = Instant::now() + PATIENCE;
            if waiting.tries < MOST_TRIES {
                queue.ready.push_back(waiting);
            } else {
                queue.known.remove(&waiting.key);
            }
        }
    }
}

impl Garbage {
    /// Takes up to `room` keys that a batch has room for.
    pub(crate) fn take(&self, room: usize) -> Taken<'_> {
        let mut queue = self.lock();
        let now = Instant::now();
        while queue.later.front().is_some_and(|waiting| waiting.due <= now) {
            let due = queue.later.pop_front();
            queue.ready.extend(due);
        }
        let count = room.min(queue.ready.len());
        let waiting = queue.ready.drain(..count).collect();
        Taken { garbage: self, waiting }
    }

    fn add(&self, segments: Vec<String>, markers: Vec<String>) {
        let now = Instant::now();
        let mut queue = self.lock();
        for key in segments {
            let is_new = queue.known.len() < MOST_WAITING && queue.known.insert(key.clone());
            if is_new {
                queue.ready.push_back(Waiting { key, due: now + PATIENCE, tries: 0 });
            }
        }
        for key in markers {
            let is_new = queue.known.len() < MOST_WAITING && queue.known.insert(key.clone());
            if is_new {
                queue.later.push_back(Waiting { key, due: now + MARKER_DELAY, tries: 0 });
            }
        }
    }

    /// Everything that is `later` becomes ready.
    fn hurry(&self) {
        let mut queue = self.lock();
        let later = std::mem::take(&mut queue.later);
        queue.ready.extend(later);
    }

    /// When the next keys are due; `None` when nothing waits, and then nobody tends the queue any more.
    fn next_due(&self) -> Option<Instant> {
        let mut queue = self.lock();
        let dues = [queue.ready.front(), queue.later.front()];
        let next = dues.into_iter().flatten().map(|waiting| waiting.due).min();
        if next.is_none() {
            queue.is_tended = false;
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine {
    /// Has objects deleted some time: the segments soon, the markers a while after them.
    pub(crate) fn bury(self: &Arc<Self>, segments: Vec<String>, markers: Vec<String>) {
        self.garbage.add(segments, markers);
        let is_tended = std::mem::replace(&mut self.garbage.lock().is_tended, true);
        if !is_tended {
            tokio::spawn(tend(Arc::downgrade(self)));
        }
    }

    /// Deletes everything that waits, markers last.
    pub(crate) async fn flush_garbage(&self) {
        let call = CallContext { background: true, ..CallContext::with_timeout(FLUSHING) };
        for _ in 0..MOST_TRIES {
            self.delete_garbage(&call).await;
            self.garbage.hurry();
            if self.garbage.next_due().is_none() {
                break;
            }
        }
    }

    /// Deletes what is ready.
    async fn delete_garbage(&self, call: &CallContext) {
        let room = self.limits().largest_batch.max(DELETIONS_AT_ONCE);
        loop {
            let taken = self.garbage.take(room);
            let keys: Vec<String> = taken.keys().map(str::to_owned).collect();
            if keys.is_empty() {
                break;
            }
            let failed = self.delete_keys(call, keys).await;
            let is_stuck = !failed.is_empty();
            if let Some((key, error)) = failed.first() {
                tracing::debug!(key, %error, count = failed.len(), "objects of ended uploads stay for now");
            }
            taken.deleted(failed.iter().map(|(key, _)| key.as_str()));
            if is_stuck {
                break;
            }
        }
    }

    /// Deletes objects by their keys, in as few requests as the store allows. Returns those that may be
    /// there still.
    pub(crate) async fn delete_keys(&self, call: &CallContext, keys: Vec<String>) -> Vec<(String, Error)> {
        let mut stay = self.delete_keys_once(call, keys).await;
        let mut pause = self.settings.first_pause;
        // A store that took a batch may have left single objects of it for now.
        for _ in 1..self.settings.most_attempts {
            let is_over = call.remaining().is_some_and(|left| left <= pause);
            if is_over || !stay.iter().any(|(_, error)| is_left_for_now(error)) {
                break;
            }
            tokio::time::sleep(pause.mul_f64(fastrand::f64())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let (again, definite): (Vec<_>, Vec<_>) =
                stay.into_iter().partition(|(_, error)| is_left_for_now(error));
            stay = self.delete_keys_once(call, again.into_iter().map(|(key, _)| key).collect()).await;
            stay.extend(definite);
        }
        stay
    }

    async fn delete_keys_once(&self, call: &CallContext, keys: Vec<String>) -> Vec<(String, Error)> {
        let size = self.limits().largest_batch.max(1);
        let batches: Vec<Vec<String>> = keys.chunks(size).map(<[String]>::to_vec).collect();
        let at_once = if size > 1 { BATCHES_AT_ONCE } else { DELETIONS_AT_ONCE };
        let deletions: Vec<_> = batches.into_iter().map(|batch| self.delete_one_batch(call, batch)).collect();
        stream::iter(deletions).buffer_unordered(at_once).concat().await
    }

    async fn delete_one_batch(&self, call: &CallContext, batch: Vec<String>) -> Vec<(String, Error)> {
        let deleted = match &batch[..] {
            [key] => self.attempt(call, true, || self.bucket.delete(key)).await.map(|()| Vec::new()),
            _ => {
                let effort = Effort::changing(batch.len());
                self.attempts(call, effort, || self.bucket.delete_batch(&batch)).await.result
            }
        };
        match deleted {
            Ok(failed) => self.told(failed),
            Err(error) if batch.len() == 1 && error.is_not_found() => Vec::new(),
            // It was tried often enough.
            Err(error) => batch.into_iter().map(|key| (key, error.clone().retryable(false))).collect(),
        }
    }

    /// Hears of credentials that were refused for some objects of a batch: as one refusal, however many they are.
    fn told(&self, mut failed: Vec<(String, Error)>) -> Vec<(String, Error)> {
        let is_refused = |error: &Error| error.kind == ErrorKind::Unauthenticated;
        if let Some((_, first)) = failed.iter().find(|(_, error)| is_refused(error)) {
            let retryable = self.retries.told(first.clone()).retryable;
            for (_, error) in failed.iter_mut().filter(|(_, error)| is_refused(error)) {
                error.retryable = retryable;
            }
        }
        failed
    }

    /// Deletes objects and says when one stays.
    ///
    /// # Errors
    /// The first one.
    pub(crate) async fn delete_all_keys(&self, call: &CallContext, keys: Vec<String>) -> Result<()> {
        match self.delete_with(call, keys, self.garbage.take(0)).await.into_iter().next() {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

/// Whether the store may delete the object when it is asked once more.
fn is_left_for_now(error: &Error) -> bool {
    error.retryable
}

/// Deletes what nobody took along, until nothing waits any more or the driver is gone.
async fn tend(engine: Weak<Engine>) {
    while let Some(due) = engine.upgrade().and_then(|engine| engine.garbage.next_due()) {
        tokio::time::sleep_until(due).await;
        let Some(engine) = engine.upgrade() else { break };
        let call = CallContext { background: true, ..CallContext::with_timeout(FLUSHING) };
        engine.delete_garbage(&call).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(taken: &Taken<'_>) -> Vec<String> {
        taken.keys().map(str::to_owned).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn segments_ride_along_at_once_and_markers_a_minute_later() {
        let garbage = Garbage::default();
        garbage.add(vec!["a".to_owned(), "b".to_owned()], vec!["marker".to_owned()]);
        let taken = garbage.take(1);
        assert_eq!(keys(&taken), ["a"]);
        taken.deleted([]);
        let taken = garbage.take(10);
        assert_eq!(keys(&taken), ["b"]);
        taken.deleted([]);
        tokio::time::advance(MARKER_DELAY).await;
        assert!(garbage.lock().known.contains("marker"));
        let taken = garbage.take(10);
        assert_eq!(keys(&taken), ["marker"]);
        taken.deleted([]);
        assert!(!garbage.lock().known.contains("marker"));
        assert_eq!(garbage.next_due(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_batch_did_not_delete_comes_back_and_not_for_ever() {
        let garbage = Garbage::default();
        garbage.add(vec!["a".to_owned(), "b".to_owned()], vec![]);
        garbage.take(2).deleted(["b"]);
        assert!(!garbage.lock().known.contains("a"));
        for _ in 1..MOST_TRIES {
            // Dropped like a call that nobody waits for any more.
            let taken = garbage.take(2);
            assert_eq!(keys(&taken), ["b"]);
        }
        assert!(!garbage.lock().known.contains("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_has_an_end() {
        let garbage = Garbage::default();
        garbage.add((0..MOST_WAITING + 10).map(|number| number.to_string()).collect(), vec![]);
        assert_eq!(garbage.take(usize::MAX).keys().count(), MOST_WAITING);
    }
}
