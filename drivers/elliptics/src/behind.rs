//! Work that goes on behind the callers' backs: counted, so that closing can wait for it, and bounded in the memory that
//! it holds.

use std::{future::Future, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What is counted of memory, in bytes.
const UNIT: u64 = 4096;

/// All such work of one driver.
pub(crate) struct Behind {
    running: Arc<watch::Sender<usize>>,
    memory: Arc<Semaphore>,
    units: u32,
}

/// Work that runs until this is dropped.
struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

impl Behind {
    /// Work that may hold so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = u32::try_from(bytes / UNIT).unwrap_or(u32::MAX).clamp(1, u32::MAX >> 3);
        let memory = Arc::new(Semaphore::new(units as usize));
        Self { running: Arc::new(watch::Sender::new(0)), memory, units }
    }

    /// Begins some work. Without a runtime the process is about to end, and nothing begins.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        self.running.send_modify(|running| *running += 1);
        let running = Running(Arc::clone(&self.running));
        runtime.spawn(async move {
            let _running = running;
            work.await;
        });
    }

    /// Waits until no work is left.
    pub(crate) async fn until_idle(&self) {
        // The sender lives as long as this does.
        let _ = self.running.subscribe().wait_for(|running| *running == 0).await;
    }

    /// Waits for room for so many bytes. More than there is at all counts as all.
    pub(crate) fn room(
        &self,
        bytes: u64,
    ) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send + use<> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).clamp(1, self.units);
        let memory = Arc::clone(&self.memory);
        // It is never closed.
        async move { memory.acquire_many_owned(units).await.ok() }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn closing_waits_for_work_and_not_longer() {
        let behind = Behind::new(1 << 20);
        assert!(behind.until_idle().now_or_never().is_some());
        let (end, ended) = oneshot::channel::<()>();
        behind.spawn(async move { drop(ended.await) });
        assert!(behind.until_idle().now_or_never().is_none());
        end.send(()).unwrap();
        behind.until_idle().await;
    }

    #[tokio::test]
    async fn no_more_memory_is_given_than_there_is() {
        let behind = Behind::new(4 * UNIT);
        let held = behind.room(3 * UNIT).await.unwrap();
        assert!(behind.room(2 * UNIT).now_or_never().is_none());
        drop(held);
        assert!(behind.room(u64::MAX).now_or_never().is_some());
    }
}
