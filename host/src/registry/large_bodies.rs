//! How many large bodies are hashed in this process, and whether a thread for their hash is of any use.
//!
//! As long as there are processors to spare, a hash runs on one thread while the body goes on on another. With more bodies
//! than processors that overlaps nothing: it only moves the bytes to the memory of another processor. A body does not count
//! while its client is idle.

use std::{
    num::NonZeroUsize,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::available_parallelism,
};

/// Those of this process.
pub(super) static HERE: LazyLock<LargeBodies> =
    LazyLock::new(|| LargeBodies::on(available_parallelism().map_or(1, NonZeroUsize::get)));

/// A count of large bodies.
pub(super) struct LargeBodies {
    now: AtomicUsize,
    processors: usize,
}

impl LargeBodies {
    /// None so far, on so many processors.
    pub(super) const fn on(processors: usize) -> Self {
        Self { now: AtomicUsize::new(0), processors }
    }

    pub(super) fn begin(&'static self) -> LargeBody {
        self.now.fetch_add(1, Ordering::Relaxed);
        LargeBody(self)
    }
}

/// A large body, which counts for as long as this lives.
pub(super) struct LargeBody(&'static LargeBodies);

impl LargeBody {
    /// Whether there are more bodies than processors.
    pub(super) fn has_no_processor(&self) -> bool {
        self.0.now.load(Ordering::Relaxed) > self.0.processors
    }
}

impl Drop for LargeBody {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}
