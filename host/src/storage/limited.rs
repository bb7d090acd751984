//! Keeps the number of calls at once down; the others wait in the order in which they came.
//!
//! Counted are calls that last as long as the storage takes. Not counted is what lasts as long as a
//! client takes: `append`, and the stream of an object once it is open. Otherwise a few slow clients
//! would keep everybody else out. Not counted either is `health`, which must not wait behind a queue.

use std::sync::Arc;

use docker_registry_driver_api::{CallContext, Driver, Result};
use tokio::sync::Semaphore;

use super::around::{Around, Operation};

/// See the module.
pub(crate) struct Limited {
    inner: Arc<dyn Driver>,
    turns: Semaphore,
}

impl Limited {
    /// Around `inner`, with at most `calls` at once; zero counts as one.
    pub(crate) fn new(inner: Arc<dyn Driver>, calls: usize) -> Self {
        Self { inner, turns: Semaphore::new(calls.clamp(1, Semaphore::MAX_PERMITS)) }
    }
}

impl Around for Limited {
    fn inner(&self) -> &Arc<dyn Driver> {
        &self.inner
    }

    async fn around<T, F>(
        &self,
        operation: Operation,
        call: &CallContext,
        run: impl FnOnce(CallContext) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let counted = !matches!(operation, Operation::Append | Operation::Health);
        // Waiting only fails when the semaphore is closed, which nobody does.
        let _turn = if counted { self.turns.acquire().await.ok() } else { None };
        run(call.clone()).await
    }
}
