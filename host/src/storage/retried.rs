//! Makes a call again when its error says that this has a fair chance.
//!
//! # What is tried again
//! Errors that the driver marks retryable, of operations that may be repeated:
//!
//! - every read, the opening of an object included. A stream that fails later is not: its reader has had a
//!   part of it;
//! - writes whose error says that nothing has happened, and which do no harm if that is not true, because
//!   drivers are written by people: `put` without a condition, `copy`, `abort` and `delete_many` end in the
//!   same state however often they are made, and `open_upload` leaves at worst an upload that the purge finds.
//!
//! # What is not
//! - `append` and `write`: their body is used up.
//! - `commit`, `rename`, `delete`, and `put` with a condition. If the first attempt took effect after all, the
//!   second finds the upload, the source or the object gone, or the condition broken by the first: a success
//!   would be reported as `NotFound`, `Conflict` or `ConditionFailed`, on which callers act.
//! - `delete_tree`: long, and its count would be wrong.
//! - `health`: it is to say how the storage is, and is asked again anyway.
//!
//! # How much
//! At most [`ATTEMPTS`] in all, with pauses that double and are drawn by lot, so that calls which failed
//! together do not come back together. A longer pause that the storage asks for is kept. A call that could
//! not be made again before its deadline, or only after [`LONGEST_PAUSE`], fails at once: its client can wait
//! as well. All calls together have a [`Budget`]: a storage that fails everything is not hit three times as
//! hard because of that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use docker_registry_driver_api::{CallContext, Condition, Driver, Error, Result};
use metrics::{Counter, counter};
use tokio::time::{Instant, sleep};

use super::around::{Around, Operation};
use crate::{pauses, telemetry::names};

/// How often a call is made at most.
const ATTEMPTS: u32 = 3;
/// The pause before the second attempt is drawn between half of this and this; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No request is held up for longer than this by one pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// See the module.
pub(crate) struct Retried {
    inner: Arc<dyn Driver>,
    budget: Budget,
    /// One per operation, in the order of [`Operation::ALL`].
    retries: [Counter; Operation::ALL.len()],
}

impl Retried {
    /// Around `inner`, the driver of this name.
    pub(crate) fn new(inner: Arc<dyn Driver>, driver: &str) -> Self {
        let retries = |operation: Operation| counter!(names::STORAGE_RETRIES, "driver" => driver.to_owned(), "action" => operation.name());
        Self { inner, budget: Budget::new(), retries: Operation::ALL.map(retries) }
    }

    /// The pause after which the call is to be made again, if it is.
    fn pause(
        &self,
        operation: Operation,
        call: &CallContext,
        failed: u32,
        error: &Error,
    ) -> Option<Duration> {
        if failed >= ATTEMPTS || !error.retryable || (operation.writes() && error.outcome_unknown) {
            return None;
        }
        let longest = FIRST_PAUSE * 2_u32.saturating_pow(failed - 1);
        let drawn = pauses::drawn(longest);
        let pause = error.retry_after.map_or(drawn, |asked| asked + drawn);
        let too_late = call.deadline.is_some_and(|deadline| Instant::now() + pause >= deadline.into());
        // The budget last: it is only charged for what is done.
        (pause <= LONGEST_PAUSE && !too_late && self.budget.spend()).then_some(pause)
    }
}

/// Whether the operation may be made twice.
fn repeatable(operation: Operation) -> bool {
    use Operation::{
        Abort, Append, Commit, Copy, Delete, DeleteMany, DeleteTree, Health, OpenUpload, Put, Rename, Write,
    };
    match operation {
        Put | OpenUpload | Abort | Copy | DeleteMany => true,
        Append | Write | Commit | Rename | Delete | DeleteTree | Health => false,
        _ => !operation.writes(),
    }
}

impl Around for Retried {
    fn inner(&self) -> &Arc<dyn Driver> {
        &self.inner
    }

    async fn around<T, F>(
        &self,
        operation: Operation,
        _path: &str,
        call: &CallContext,
        mut run: impl FnMut(CallContext) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        if !repeatable(operation) {
            return run(call.clone()).await;
        }
        self.budget.earn();
        let mut failed = 0;
        loop {
            let error = match run(call.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failed += 1;
            let Some(pause) = self.pause(operation, call, failed, &error) else { return Err(error) };
            self.retries[operation as usize].increment(1);
            tracing::debug!(target: "storage", operation = operation.name(), %error, ?pause, "trying again");
            sleep(pause).await;
        }
    }

    fn concerns_put(&self, condition: &Condition) -> bool {
        *condition == Condition::Always
    }
}

/// What one more attempt costs, in units of what one call brings in: so retries are at most a tenth of the
/// calls, and what has been saved.
const PRICE: u32 = 10;
/// The most that is saved: enough for ten retries out of nothing.
const SAVINGS: u32 = 10 * PRICE;

/// A bucket that every call adds to and every retry takes from.
struct Budget(AtomicU32);

impl Budget {
    /// Full.
    fn new() -> Self {
        Self(AtomicU32::new(SAVINGS))
    }

    fn earn(&self) {
        // Nearly always full, and then only looked at. A unit that is lost to a race does not matter.
        let saved = self.0.load(Relaxed);
        if saved < SAVINGS {
            let _ = self.0.compare_exchange(saved, saved + 1, Relaxed, Relaxed);
        }
    }

    /// Whether there was enough for one more attempt.
    fn spend(&self) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, |saved| saved.checked_sub(PRICE)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_tenth_of_the_calls_and_the_savings() {
        let budget = Budget::new();
        let retries = (0..1000).filter(|_| {
            budget.earn();
            budget.spend()
        });
        assert_eq!(retries.count(), 109);
    }

    #[test]
    fn only_what_does_no_harm_twice_is_made_twice() {
        let once: Vec<_> = Operation::ALL.into_iter().filter(|operation| !repeatable(*operation)).collect();
        use Operation::{Append, Commit, Delete, DeleteTree, Health, Rename, Write};
        assert_eq!(once, [Append, Commit, Rename, Delete, DeleteTree, Health, Write]);
    }
}
