//! One side's protection around everything that the other side runs of it: the runtime is entered,
//! panics stop.
//!
//! Every cdylib has its own copy of tokio, whose thread-locals are empty on the other side's threads.
//! Entering the runtime of one's own side around each poll and each drop makes timers, sockets and
//! `spawn_blocking` work there. It costs tens of nanoseconds; spawning each call costs microseconds
//! and is used for drivers that may block.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use futures::{StreamExt, stream};
use tokio::{runtime::Handle, sync::mpsc, task::AbortHandle};

use crate::{ByteStream, Error, ErrorKind, Result};

/// Chunks that wait in spawned mode between the driver's task and the reader.
const SPAWNED_QUEUE: usize = 2;

/// The runtime of one side and how calls into it run.
#[derive(Clone)]
pub struct Side {
    runtime: Handle,
    spawned: bool,
}

impl Side {
    /// Calls are polled in place, inside this runtime's context.
    pub fn in_place(runtime: Handle) -> Self {
        Self { runtime, spawned: false }
    }

    /// Calls are spawned on this runtime.
    pub fn spawned(runtime: Handle) -> Self {
        Self { runtime, spawned: true }
    }

    /// Runs a piece of this side's code; a panic becomes an error.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] with the text of the panic.
    pub fn guarded<T>(&self, code: impl FnOnce() -> T) -> Result<T> {
        let _inside = self.runtime.enter();
        catch_unwind(AssertUnwindSafe(code)).map_err(panic_to_error)
    }

    /// Drops a value of this side inside its runtime; a panic is logged and goes no further.
    pub fn drop_guarded<T>(&self, value: T) {
        self.clear_guarded(&mut Some(value));
    }

    /// Drops the last of a driver. Where the driver's code may block, that is left to a thread of its own:
    /// the caller is a thread of the server, which may be about to end.
    pub(crate) fn release<T: Send + 'static>(self, value: T) {
        if self.spawned {
            let side = Self { spawned: false, ..self };
            side.runtime.clone().spawn_blocking(move || side.drop_guarded(value));
        } else {
            self.drop_guarded(value);
        }
    }

    /// Drops a value where it lies, as [`Self::drop_guarded`].
    fn clear_guarded<T>(&self, value: &mut Option<T>) {
        let _inside = self.runtime.enter();
        clear(value);
    }

    /// Runs a future of this side wherever the other side polls the result.
    pub(crate) async fn run<T, F>(&self, future: F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        if self.spawned {
            let task = self.runtime.spawn(MayBlock(Some(Box::pin(future))));
            let _abort = AbortOnDrop(task.abort_handle());
            match task.await {
                Ok(result) => result,
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => Err(panic_to_error(panic)),
                    Err(_) => {
                        Err(Error::new(ErrorKind::Unavailable, "the driver's runtime has been shut down"))
                    }
                },
            }
        } else {
            InPlace { future: Some(future), side: self }.await
        }
    }

    /// Prepares a stream of this side for being polled by the other.
    pub(crate) fn host_stream(&self, stream: ByteStream) -> ByteStream {
        if !self.spawned {
            return stream;
        }
        let (sender, receiver) = mpsc::channel(SPAWNED_QUEUE);
        let task = self.runtime.spawn(MayBlock(Some(Box::pin(forward(stream, sender.clone())))));
        let abort = AbortOnDrop(task.abort_handle());
        // A task that panics drops its sender without a word; this one watches and speaks for it.
        self.runtime.spawn(async move {
            if let Err(error) = task.await
                && let Ok(panic) = error.try_into_panic()
            {
                let _ = sender.send(Err(panic_to_error(panic))).await;
            }
        });
        stream::unfold((receiver, abort), |(mut receiver, abort)| async move {
            receiver.recv().await.map(|item| (item, (receiver, abort)))
        })
        .boxed()
    }
}

async fn forward(mut stream: ByteStream, sender: mpsc::Sender<Result<bytes::Bytes>>) {
    while let Some(item) = stream.next().await {
        if sender.send(item).await.is_err() {
            return;
        }
    }
}

/// Polls and drops a future whose code may block the thread. The runtime moves its other tasks to another
/// thread first, so that such calls hold up nobody as long as there is one.
struct MayBlock<F>(Option<Pin<Box<F>>>);

impl<F: Future> Future for MayBlock<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let slot = &mut self.0;
        tokio::task::block_in_place(|| {
            let polled = match slot.as_mut() {
                Some(future) => future.as_mut().poll(context),
                None => Poll::Pending,
            };
            if polled.is_ready() {
                *slot = None;
            }
            polled
        })
    }
}

impl<F> Drop for MayBlock<F> {
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            // A call that is given up is dropped here, and its destructors may block as well.
            tokio::task::block_in_place(|| drop(future));
        }
    }
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Drops a value where it lies; a panic is logged and goes no further. To be called inside the runtime.
fn clear<T>(value: &mut Option<T>) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| *value = None)) {
        let error = panic_to_error(panic);
        tracing::error!(%error, "a destructor panicked");
    }
}

/// A future polled by the other side, inside this side's runtime.
struct InPlace<'a, F> {
    future: Option<F>,
    side: &'a Side,
}

impl<T, F: Future<Output = Result<T>>> Future for InPlace<'_, F> {
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: `future` is structurally pinned: it is never moved out, only dropped in place.
        let this = unsafe { self.get_unchecked_mut() };
        let Some(future) = this.future.as_mut() else {
            return Poll::Ready(Err(Error::new(ErrorKind::Internal, "a finished call was polled again")));
        };
        // SAFETY: as above, and `this` is pinned.
        let future = unsafe { Pin::new_unchecked(future) };
        let _inside = this.side.runtime.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| future.poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panic_to_error(panic))));
        if polled.is_ready() {
            // Still inside: entering a second time would cost as much as the rest of a small call.
            clear(&mut this.future);
        }
        polled
    }
}

impl<F> Drop for InPlace<'_, F> {
    fn drop(&mut self) {
        if self.future.is_some() {
            self.side.clear_guarded(&mut self.future);
        }
    }
}

/// The error for a caught panic.
pub fn panic_to_error(panic: Box<dyn Any + Send>) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned());
    // The payload's own destructor may panic as well; leaking it once is the lesser evil.
    std::mem::forget(panic);
    let mut error = Error::new(ErrorKind::Internal, "the driver panicked");
    error.source_text = Some(text);
    error.outcome_unknown = true;
    error
}
