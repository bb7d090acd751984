//! Gives up on calls that take too long.
//!
//! A call gets a deadline when it has none, or an earlier one when its own is later. When it passes, the
//! call is dropped and fails with [`ErrorKind::Timeout`]; a write then also says that it may have
//! happened. Streams may take as long as they move: an object that is read must yield a chunk in time, and
//! an upload must take one, where waiting for the client does not count.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Driver, Error, ErrorKind, ObjectPath, ReadRange, Reading, ReadingBody, Result,
    UploadProgress, UploadState,
};
use futures::Stream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::around::{Around, Operation};

/// How many times longer than a small call one may take whose work grows with the object: moving,
/// copying, committing, deleting many, and making an upload durable after its last byte.
const LARGE: u32 = 20;

/// See the module.
pub(crate) struct Deadlines {
    inner: Arc<dyn Driver>,
    small: Duration,
}

impl Deadlines {
    /// Around `inner`. `small` is for one small call and for one step of a stream.
    pub(crate) fn new(inner: Arc<dyn Driver>, small: Duration) -> Self {
        Self { inner, small }
    }

    fn limit(&self, operation: Operation) -> Duration {
        use Operation::{Append, Commit, Copy, DeleteMany, DeleteTree, Rename};
        match operation {
            Append | Commit | Copy | Rename | DeleteMany | DeleteTree => self.small * LARGE,
            _ => self.small,
        }
    }
}

impl Around for Deadlines {
    fn inner(&self) -> &Arc<dyn Driver> {
        &self.inner
    }

    async fn around<T, F>(
        &self,
        operation: Operation,
        call: &CallContext,
        run: impl FnOnce(CallContext) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let own = Instant::now() + self.limit(operation);
        let deadline = call.deadline.map_or(own, |asked| own.min(asked.into()));
        let call = CallContext { deadline: Some(deadline.into_std()), ..call.clone() };
        timeout_at(deadline, run(call)).await.unwrap_or_else(|_| Err(timed_out(operation)))
    }

    async fn around_read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        // The driver is told no deadline: it would count against the whole stream.
        let opening = |_| {
            let call = CallContext { deadline: None, ..call.clone() };
            async move { self.inner.read(&call, path, range).await }
        };
        let mut reading = self.around(Operation::Read, call, opening).await?;
        if let ReadingBody::Stream(stream) = reading.body {
            reading.body = ReadingBody::Stream(Box::pin(Moving {
                stream,
                limit: self.small,
                alarm: None,
                waiting: false,
            }));
        }
        Ok(reading)
    }

    async fn around_append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        let progress = Arc::new(Progress::new());
        let body = Box::pin(Watched { body, progress: Arc::clone(&progress) });
        let call = CallContext { deadline: None, ..call.clone() };
        let appending = self.inner.append(&call, state, expected_offset, body);
        tokio::pin!(appending);
        let limits = [self.small, self.limit(Operation::Append)];
        loop {
            let look_again = progress.deadline(limits);
            tokio::select! {
                appended = &mut appending => return appended,
                () = sleep_until(look_again) => {}
            }
            if progress.deadline(limits) <= Instant::now() {
                return Err(timed_out(Operation::Append));
            }
        }
    }
}

fn timed_out(operation: Operation) -> Error {
    let mut error = Error::new(ErrorKind::Timeout, "the storage did not answer in time");
    operation.name().clone_into(&mut error.operation);
    if operation.writes() { error.outcome_unknown() } else { error }
}

/// A stream that must yield its next chunk in time.
struct Moving {
    stream: ByteStream,
    limit: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether the alarm runs.
    waiting: bool,
}

impl Stream for Moving {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(next) = self.stream.as_mut().poll_next(cx) {
            self.waiting = false;
            return Poll::Ready(next);
        }
        let deadline = Instant::now() + self.limit;
        let Self { alarm, waiting, stream, .. } = &mut *self;
        let alarm = alarm.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !std::mem::replace(waiting, true) {
            alarm.as_mut().reset(deadline);
        }
        ready!(alarm.as_mut().poll(cx));
        *stream = docker_registry_driver_api::empty_stream();
        Poll::Ready(Some(Err(timed_out(Operation::Read))))
    }
}

/// How far the driver is with the body of an upload.
struct Progress {
    last: Mutex<Instant>,
    waits_for_client: AtomicBool,
    ended: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Self {
            last: Mutex::new(Instant::now()),
            waits_for_client: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        }
    }

    fn step(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// By when the driver must have moved on: the first limit within the body, the second after its end.
    fn deadline(&self, [within, after]: [Duration; 2]) -> Instant {
        if self.waits_for_client.load(Relaxed) {
            return Instant::now() + within;
        }
        let limit = if self.ended.load(Relaxed) { after } else { within };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) + limit
    }
}

/// The body of an upload that notes when the driver takes from it.
struct Watched {
    body: ByteStream,
    progress: Arc<Progress>,
}

impl Stream for Watched {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.body.as_mut().poll_next(cx);
        self.progress.waits_for_client.store(next.is_pending(), Relaxed);
        self.progress.step();
        if let Poll::Ready(None | Some(Err(_))) = next {
            self.progress.ended.store(true, Relaxed);
        }
        next
    }
}
