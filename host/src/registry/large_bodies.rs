//! How many large bodies are hashed in this process, and whether a thread for their hash is of any use.
//!
//! As long as there are processors to spare, a hash runs on one thread while the body goes on on another. With more bodies
//! than processors that overlaps nothing: it only moves the bytes to the memory of another processor. A body counts until
//! it has ended, also while its client is idle.

use std::{
    num::NonZeroUsize,
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::available_parallelism,
};

static NOW: AtomicUsize = AtomicUsize::new(0);
static PROCESSORS: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, NonZeroUsize::get));

/// A large body, which counts for as long as this lives.
pub(super) struct LargeBody(());

impl LargeBody {
    pub(super) fn begin() -> Self {
        NOW.fetch_add(1, Ordering::Relaxed);
        Self(())
    }

    /// Whether there are more bodies than processors.
    pub(super) fn has_no_processor(&self) -> bool {
        NOW.load(Ordering::Relaxed) > *PROCESSORS
    }
}

impl Drop for LargeBody {
    fn drop(&mut self) {
        NOW.fetch_sub(1, Ordering::Relaxed);
    }
}
