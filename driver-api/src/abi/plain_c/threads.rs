//! The threads on which the functions of one library run.
//!
//! They belong to a runtime of the library's own that is never shut down, so that functions which never return
//! take nothing from the server's own pool. There are three kinds of places on them: for functions that last as long
//! as the storage takes, for functions that last as long as a client takes, and for the question whether the storage
//! is well. No kind can use up another's.

use std::sync::{Arc, OnceLock};

use tokio::{
    runtime::{Builder, Runtime},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use crate::{Error, ErrorKind, Result};

/// Functions of one kind that run at once. More calls wait.
const PLACES: usize = 256;
/// Questions after the health of the storage that run at once. One is the rule, and one that hangs may be followed.
const HEALTH_PLACES: usize = 4;
/// Stack of a thread: what C libraries are used to.
const STACK_BYTES: usize = 8 * 1024 * 1024;
/// Endings of readings and instances, which wait for no place.
const ENDINGS: usize = 32;

/// What a function waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The storage only.
    Storage,
    /// A client that sends its bytes at its own speed.
    Client,
    /// The storage, for an answer that must not wait behind other calls.
    Health,
}

/// See the module.
pub(super) struct Threads {
    name: String,
    runtime: OnceLock<std::result::Result<Runtime, String>>,
    places: [Arc<Semaphore>; 3],
}

impl Threads {
    /// The threads of the library with this driver. None is started before it is needed.
    pub(super) fn new(name: &str) -> Self {
        let places = [PLACES, PLACES, HEALTH_PLACES].map(|number| Arc::new(Semaphore::new(number)));
        Self { name: format!("driver-{name}"), runtime: OnceLock::new(), places }
    }

    fn runtime(&self) -> Result<&Runtime> {
        let built = self.runtime.get_or_init(|| {
            Builder::new_multi_thread()
                .worker_threads(1)
                .max_blocking_threads(2 * PLACES + HEALTH_PLACES + ENDINGS)
                .thread_name(&self.name)
                .thread_stack_size(STACK_BYTES)
                .build()
                .map_err(|error| error.to_string())
        });
        built.as_ref().map_err(|reason| {
            let message = format!("the driver's threads cannot be started: {reason}");
            Error::new(ErrorKind::Unavailable, message)
        })
    }

    /// Runs blocking code when there is a place. Who stops waiting leaves the queue; code that runs goes on.
    ///
    /// # Errors
    /// What the code returns; [`ErrorKind::Internal`] when it panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        kind: Kind,
        code: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let place = self.place(kind).await?;
        let running = self.runtime()?.spawn_blocking(move || {
            let result = code();
            drop(place);
            result
        });
        running.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => Err(super::super::guard::panic_to_error(panic)),
            Err(_) => Err(Error::new(ErrorKind::Unavailable, "the driver's threads have been stopped")),
        })
    }

    async fn place(&self, kind: Kind) -> Result<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.places[kind as usize]);
        places.acquire_owned().await.map_err(|_| Error::new(ErrorKind::Internal, "the driver takes no calls"))
    }

    /// Leaves the end of something to a thread, since it may block and the caller may be a thread that polls.
    pub(super) fn finish(&self, code: impl FnOnce() + Send + 'static) {
        match self.runtime() {
            Ok(runtime) => drop(runtime.spawn_blocking(code)),
            Err(error) => tracing::error!(%error, "something of the driver was not ended"),
        }
    }
}
