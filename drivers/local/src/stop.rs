//! Ends long work on a blocking thread when its caller is gone.
//!
//! A blocking thread cannot be interrupted. Work that may take long looks at its [`Stop`] from time to
//! time instead.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use docker_registry_driver_api::{Error, ErrorKind, Result};

/// Tells whether anybody still waits. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A guard to keep in the caller's future. When it is dropped, the work is to stop.
    pub(crate) fn when_dropped(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }

    /// Fails when nobody waits any more.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Timeout, "the caller has given up"));
        }
        Ok(())
    }
}

/// Lives as long as the caller waits.
#[derive(Debug)]
pub(crate) struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
