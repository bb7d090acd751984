//! Keeps the number of calls at once down, fairly between those that read and those that write.
//!
//! There are so many turns. Each kind can take all of them but a quarter, which is kept for the other: a
//! flood of reads never shuts out a write, and the other way round. Calls of one kind get their turns in the
//! order in which they came. With one turn there is nothing to share, and the order of coming is all.
//!
//! Waiting ends at the deadline of the call. The call then fails with
//! [`Unavailable`](ErrorKind::Unavailable), was never made, and may come again.
//!
//! Counted are calls that last as long as the storage takes. Not counted is what lasts as long as a
//! client takes: `append`, `write`, and the stream of an object once it is open. Otherwise a few slow clients
//! would keep everybody else out. Not counted either is `health`, which must not wait behind a queue.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{CallContext, Driver, Error, ErrorKind, Result};
use metrics::{Counter, counter};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout_at,
};

use super::around::{Around, Operation};
use crate::telemetry::names;

/// The share of the turns that is kept for the other kind: one in so many, and at least one.
const KEPT: usize = 4;
/// When a call that got no turn may come again.
const COME_AGAIN: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Limited {
    inner: Arc<dyn Driver>,
    /// What readers, and what writers may take of the turns. Taken first, so that a call that waits here
    /// waits behind its own kind only.
    shares: [Semaphore; 2],
    turns: Semaphore,
    /// Calls that got no turn, in the order of the shares.
    missed: [Counter; 2],
}

impl Limited {
    /// Around `inner`, the driver of this name, with at most `calls` at once; zero counts as one.
    pub(crate) fn new(inner: Arc<dyn Driver>, driver: &str, calls: usize) -> Self {
        let calls = calls.clamp(1, Semaphore::MAX_PERMITS);
        let kept = if calls == 1 { 0 } else { (calls / KEPT).max(1) };
        let missed = |kind: &'static str| counter!(names::STORAGE_NO_TURN, "driver" => driver.to_owned(), "kind" => kind);
        Self {
            inner,
            shares: [Semaphore::new(calls - kept), Semaphore::new(calls - kept)],
            turns: Semaphore::new(calls),
            missed: [missed("read"), missed("write")],
        }
    }

    /// Waits for a turn; it is given back when the result is dropped.
    async fn turn(&self, kind: usize) -> Option<(SemaphorePermit<'_>, SemaphorePermit<'_>)> {
        // Waiting only fails when a semaphore is closed, which nobody does.
        let share = self.shares[kind].acquire().await.ok()?;
        Some((share, self.turns.acquire().await.ok()?))
    }
}

impl Around for Limited {
    fn inner(&self) -> &Arc<dyn Driver> {
        &self.inner
    }

    async fn around<T, F>(
        &self,
        operation: Operation,
        path: &str,
        call: &CallContext,
        mut run: impl FnMut(CallContext) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        if matches!(operation, Operation::Append | Operation::Write | Operation::Health) {
            return run(call.clone()).await;
        }
        let kind = usize::from(operation.writes());
        let _turn = match call.deadline {
            None => self.turn(kind).await,
            Some(deadline) => match timeout_at(deadline.into(), self.turn(kind)).await {
                Ok(turn) => turn,
                Err(_) => {
                    self.missed[kind].increment(1);
                    return Err(no_turn(operation, path));
                }
            },
        };
        run(call.clone()).await
    }
}

fn no_turn(operation: Operation, path: &str) -> Error {
    let mut error = Error::new(ErrorKind::Unavailable, "too many other calls of the driver are under way");
    error.retry_after = Some(COME_AGAIN);
    operation.name().clone_into(&mut error.operation);
    if path.is_empty() { error } else { error.at(path) }
}
