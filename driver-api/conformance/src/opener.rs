//! How the suite comes by the driver that it tests.

use async_trait::async_trait;
use docker_registry_driver_api::{Result, SharedDriver};

/// How a case gets at the driver.
#[async_trait]
pub trait Opener: Send + Sync + 'static {
    /// A driver over the store under test. Each call gives another driver over the same store, as
    /// another process would open it. A driver without
    /// [`ResumableUploads`](docker_registry_driver_api::Capability::ResumableUploads) is opened once for
    /// each case and may have a store of its own each time.
    ///
    /// # Errors
    /// Those of the driver's `open`; the case fails with them.
    async fn open(&self) -> Result<SharedDriver>;

    /// The same driver with settings that lead to a storage that cannot work; `None` when the tester named
    /// none. Cases that need it are then skipped.
    async fn open_dead(&self) -> Option<Result<SharedDriver>> {
        None
    }

    /// Values of the settings that no text of an error may show.
    fn secrets(&self) -> Vec<String> {
        Vec::new()
    }
}
