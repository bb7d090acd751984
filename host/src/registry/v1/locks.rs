//! Locks by name, for changes that read before they write.
//!
//! They order the requests of this process. Between processes the storage's conditional writes do,
//! where it has them.

use std::hash::{BuildHasher, RandomState};

use tokio::sync::{Mutex, MutexGuard};

const STRIPES: usize = 256;

/// A fixed number of locks that all names share.
pub(super) struct Locks {
    hasher: RandomState,
    stripes: Vec<Mutex<()>>,
}

impl Locks {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), stripes: (0..STRIPES).map(|_| Mutex::new(())).collect() }
    }

    /// Waits until nobody else works on `name`. Two locks must not be held at once: their names may
    /// share a stripe.
    pub(super) async fn lock(&self, name: &str) -> MutexGuard<'_, ()> {
        let stripe = self.hasher.hash_one(name) % STRIPES as u64;
        self.stripes[stripe as usize].lock().await
    }
}
