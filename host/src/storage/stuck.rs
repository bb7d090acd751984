//! Keeps account of calls that the driver did not answer by their deadline.
//!
//! Their callers have gone on with an error. Whether the driver's code still runs cannot be seen from this
//! side of the ABI: a call that is dropped is stopped where it waits, and one that blocks its thread ends
//! when it ends. So there is a counter and no gauge. The log gets a line now and then, not one per call, since
//! a storage that is dead fails them all.

use metrics::{Counter, counter};

use super::around::Operation;
use crate::telemetry::{names, seldom::Seldom};

/// The stuck calls of one driver.
pub(crate) struct Stuck {
    /// One per operation, in the order of [`Operation::ALL`].
    counters: [Counter; Operation::ALL.len()],
    warnings: Seldom,
}

impl Stuck {
    /// For the driver of this name.
    pub(crate) fn new(driver: &str) -> Self {
        let stuck = |operation: Operation| counter!(names::STORAGE_STUCK, "driver" => driver.to_owned(), "action" => operation.name());
        Self { counters: Operation::ALL.map(stuck), warnings: Seldom::new() }
    }

    /// Counts a call and warns. `path` is empty when the call is about none.
    pub(crate) fn note(&self, operation: Operation, path: &str) {
        self.counters[operation as usize].increment(1);
        if let Some(more) = self.warnings.now() {
            tracing::warn!(
                operation = operation.name(),
                path,
                more_before_this = more,
                "the driver did not answer in time, the call is given up"
            );
        }
    }
}
