//! A hasher that bytes wait for: what of a body is hashed where, and when.
//!
//! A little is hashed where it comes in. More goes to a blocking thread in batches, unless there are more large bodies than
//! processors. At most [`BACKLOG_BYTES`] wait, and what is left of the chunk that exceeds them; an idle body holds no thread,
//! and after twice [`PAUSE`] no bytes.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, Sleep, sleep},
};

use super::{
    hashing::Hasher,
    large_bodies::{HERE, LargeBodies, LargeBody},
};

/// What may be hashed on the runtime itself: some 40 µs.
pub(super) const INLINE_BYTES: usize = 64 * 1024;
/// From here on a batch goes to a blocking thread.
const BATCH_BYTES: usize = 256 * 1024;
/// What may wait for hashing before the body is held up: a batch beside the one that is hashed. More makes no push
/// faster, and with many at once it is most of the memory.
pub(super) const BACKLOG_BYTES: usize = 512 * 1024;
/// How long bytes of a large body may wait for more, before they are hashed in less than a batch. A body that has nothing
/// at this moment has not paused: one that comes in chunks has nothing after each of them.
const PAUSE: Duration = Duration::from_millis(100);
/// How many chunks may wait, whatever their size: each costs a handle, also when it holds one byte.
const BACKLOG_CHUNKS: usize = 1024;

/// A hasher with a backlog. The hasher is either at home or out with a batch on a blocking thread.
pub(super) struct HashBacklog {
    runtime: Handle,
    bodies: &'static LargeBodies,
    /// Set from the first batch on, but not while the client is idle.
    large: Option<LargeBody>,
    home: Option<Hasher>,
    out: Option<JoinHandle<Hasher>>,
    backlog: Vec<Bytes>,
    backlog_bytes: usize,
    /// Until when the backlog of a large body may wait for more, and how many bytes had come when that wait began.
    patience: Option<(Pin<Box<Sleep>>, u64)>,
}

impl HashBacklog {
    pub(super) fn new(hasher: Hasher, runtime: Handle) -> Self {
        Self::among(&HERE, hasher, runtime)
    }

    fn among(bodies: &'static LargeBodies, hasher: Hasher, runtime: Handle) -> Self {
        Self {
            runtime,
            bodies,
            large: None,
            home: Some(hasher),
            out: None,
            backlog: Vec::new(),
            backlog_bytes: 0,
            patience: None,
        }
    }

    /// The body has nothing at this moment, after so many bytes: nothing may lie around while its client is idle.
    pub(super) fn pause(&mut self, bytes: u64, context: &mut Context<'_>) {
        if self.backlog.is_empty() && self.large.is_none() {
            return;
        }
        if bytes <= BATCH_BYTES as u64 {
            self.flush();
            self.large = None;
            return;
        }
        if self.large.get_or_insert_with(|| self.bodies.begin()).has_no_processor() {
            self.flush();
        }
        loop {
            let runtime = &self.runtime;
            let (patience, before) = self.patience.get_or_insert_with(|| {
                let _entered = runtime.enter();
                (Box::pin(sleep(PAUSE)), bytes)
            });
            if patience.as_mut().poll(context).is_pending() {
                return;
            }
            if *before == bytes {
                break;
            }
            *before = bytes;
            patience.as_mut().reset(Instant::now() + PAUSE);
        }
        self.flush();
        self.patience = None;
        self.large = None;
    }

    pub(super) fn push(&mut self, chunk: Bytes) {
        self.backlog_bytes += chunk.len();
        self.backlog.push(chunk);
        if self.is_batch() {
            self.send_batch();
        }
    }

    /// Whether enough waits to be worth a blocking thread.
    fn is_batch(&self) -> bool {
        self.backlog_bytes >= BATCH_BYTES || self.backlog.len() >= BACKLOG_CHUNKS / 2
    }

    /// Whether the hash has fallen so far behind that the body must wait.
    fn is_full(&self) -> bool {
        self.backlog_bytes >= BACKLOG_BYTES || self.backlog.len() >= BACKLOG_CHUNKS
    }

    /// Ready when another chunk may come: at once, unless the hash has fallen far behind.
    pub(super) fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if self.out.is_some() {
            match self.poll_home(context) {
                Poll::Ready(result) => result?,
                Poll::Pending if self.is_full() => return Poll::Pending,
                Poll::Pending => return Poll::Ready(Ok(())),
            }
        }
        if self.is_batch() {
            self.send_batch();
        }
        Poll::Ready(Ok(()))
    }

    /// Hashes the backlog if the hasher is at home. What it cannot do now is done when it comes back:
    /// the pending batch wakes whoever polls this.
    fn flush(&mut self) {
        if self.backlog_bytes > INLINE_BYTES {
            self.send_batch();
        } else {
            self.hash_here();
        }
    }

    fn hash_here(&mut self) {
        if let Some(hasher) = &mut self.home {
            self.backlog.drain(..).for_each(|chunk| hasher.update(&chunk));
            self.backlog_bytes = 0;
        }
    }

    pub(super) fn poll_finish(&mut self, context: &mut Context<'_>) -> Poll<Result<Hasher>> {
        loop {
            ready!(self.poll_home(context))?;
            self.flush();
            if let Some(hasher) = self.home.take() {
                return Poll::Ready(Ok(hasher));
            }
            if self.out.is_none() {
                let message = "the hash was asked for twice";
                return Poll::Ready(Err(Error::new(ErrorKind::Internal, message)));
            }
        }
    }

    fn poll_home(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(out) = &mut self.out {
            let finished = ready!(Pin::new(out).poll(context));
            self.out = None;
            self.home = Some(finished.map_err(|error| thread_died(&error))?);
        }
        Poll::Ready(Ok(()))
    }

    fn send_batch(&mut self) {
        if self.large.get_or_insert_with(|| self.bodies.begin()).has_no_processor() {
            return self.hash_here();
        }
        if let Some(mut hasher) = self.home.take() {
            let batch = std::mem::take(&mut self.backlog);
            self.backlog_bytes = 0;
            self.out = Some(off_runtime(&self.runtime, move || {
                batch.iter().for_each(|chunk| hasher.update(chunk));
                hasher
            }));
        }
    }
}

/// Runs `work` on a blocking thread of `runtime`. The handle is explicit because a stream may be polled
/// on a driver's runtime, which the host's tokio knows nothing of.
pub(super) fn off_runtime<T: Send + 'static>(
    runtime: &Handle,
    work: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    runtime.spawn_blocking(work)
}

pub(super) fn thread_died(error: &tokio::task::JoinError) -> Error {
    Error::new(ErrorKind::Internal, "the hashing thread ended early").caused_by(error)
}

#[cfg(test)]
mod tests {
    use futures::task::noop_waker_ref;

    use super::{super::digest::Algorithm, *};

    const CHUNK: Bytes = Bytes::from_static(&[7; 32 * 1024]);

    fn backlog(bodies: &'static LargeBodies) -> HashBacklog {
        HashBacklog::among(bodies, Hasher::new(Algorithm::Sha256), Handle::current())
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_of_a_large_body_wait_for_a_batch_and_an_idle_one_holds_nothing() {
        static BODIES: LargeBodies = LargeBodies::on(1);
        let mut context = Context::from_waker(noop_waker_ref());
        let (mut backlog, mut bytes) = (backlog(&BODIES), BATCH_BYTES as u64);
        for _ in 0..4 {
            backlog.push(CHUNK);
            bytes += CHUNK.len() as u64;
            backlog.pause(bytes, &mut context);
            tokio::time::advance(PAUSE / 2).await;
        }
        // Never idle, though more than one pause has passed in all.
        assert_eq!((backlog.backlog.len(), backlog.large.is_some()), (4, true));
        for _ in 0..2 {
            tokio::time::advance(PAUSE * 2).await;
            backlog.pause(bytes, &mut context);
        }
        assert!(backlog.backlog.is_empty() && backlog.large.is_none() && backlog.patience.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn more_large_bodies_than_processors_are_hashed_where_they_come_in() {
        static BODIES: LargeBodies = LargeBodies::on(1);
        let _other = BODIES.begin();
        let mut backlog = backlog(&BODIES);
        for _ in 0..BATCH_BYTES / CHUNK.len() {
            backlog.push(CHUNK);
        }
        assert!(backlog.backlog.is_empty() && backlog.out.is_none() && backlog.large.is_some());
        backlog.push(CHUNK);
        backlog.pause(BATCH_BYTES as u64 + 1, &mut Context::from_waker(noop_waker_ref()));
        assert!(backlog.backlog.is_empty() && backlog.out.is_none() && backlog.large.is_some());
    }

    #[tokio::test]
    async fn a_small_body_is_hashed_at_each_pause() {
        static BODIES: LargeBodies = LargeBodies::on(1);
        let mut backlog = backlog(&BODIES);
        backlog.push(CHUNK);
        backlog.pause(CHUNK.len() as u64, &mut Context::from_waker(noop_waker_ref()));
        assert!(backlog.backlog.is_empty() && backlog.patience.is_none());
        // More than is hashed here: to another thread, and yet it does not count.
        (0..3).for_each(|_| backlog.push(CHUNK));
        backlog.pause(4 * CHUNK.len() as u64, &mut Context::from_waker(noop_waker_ref()));
        assert!(backlog.backlog.is_empty() && backlog.out.is_some() && backlog.large.is_none());
    }
}
