//! The memory that the parts of all uploads hold together, bounded.
//!
//! A part is paid for whole before it is gathered, so that nobody who has begun a part waits for memory to
//! end it. Who waits is served in order. Content of a few bytes is not counted: it is in nobody's way.
//!
//! The rule against deadlocks: an upload that has parts on their way waits for those before it waits for
//! others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What is counted, in bytes.
const UNIT: u64 = 4096;

/// The budget. One for each open driver.
#[derive(Debug)]
pub(crate) struct Memory {
    free: Arc<Semaphore>,
    units: u32,
}

/// Memory that is held until this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _permit: OwnedSemaphorePermit,
}

impl Memory {
    /// A budget of so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = units(bytes).clamp(1, u32::MAX >> 3);
        Self { free: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// All bytes of the budget, free or not.
    pub(crate) fn total(&self) -> u64 {
        u64::from(self.units) * UNIT
    }

    /// Takes memory if there is some now and nobody waits for it. More than there is at all counts as all.
    pub(crate) fn try_hold(&self, bytes: u64) -> Option<Held> {
        let permit = Arc::clone(&self.free).try_acquire_many_owned(self.share(bytes)).ok()?;
        Some(Held { _permit: permit })
    }

    /// Waits for memory. Only for those who hold none.
    pub(crate) async fn hold(&self, bytes: u64) -> Option<Held> {
        // It is never closed.
        let permit = Arc::clone(&self.free).acquire_many_owned(self.share(bytes)).await.ok()?;
        Some(Held { _permit: permit })
    }

    fn share(&self, bytes: u64) -> u32 {
        units(bytes).clamp(1, self.units)
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, StreamExt, stream::FuturesUnordered};

    use super::*;

    #[test]
    fn no_more_is_given_than_there_is() {
        let memory = Memory::new(10 * UNIT);
        assert_eq!(memory.total(), 10 * UNIT);
        let first = memory.try_hold(6 * UNIT).unwrap();
        assert!(memory.try_hold(5 * UNIT).is_none());
        let second = memory.try_hold(4 * UNIT - 1).unwrap();
        assert!(memory.try_hold(1).is_none());
        drop((first, second));
        assert!(memory.try_hold(10 * UNIT).is_some());
    }

    #[test]
    fn who_wants_more_than_everything_gets_everything() {
        let memory = Memory::new(10 * UNIT);
        let all = memory.try_hold(u64::MAX).unwrap();
        assert!(memory.hold(1).now_or_never().is_none());
        drop(all);
        assert!(memory.hold(1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_large_wish_is_not_passed_by_small_ones_for_ever() {
        let memory = Memory::new(4 * UNIT);
        let small = memory.try_hold(UNIT).unwrap();
        let mut waiting = FuturesUnordered::new();
        waiting.push(memory.hold(4 * UNIT));
        assert!(waiting.next().now_or_never().is_none());
        assert!(memory.try_hold(UNIT).is_none(), "somebody waits already");
        drop(small);
        assert!(waiting.next().await.flatten().is_some());
    }
}
