//! Gives up on calls that take too long.
//!
//! A call gets a deadline when it has none, or an earlier one when its own is later. When it passes, the
//! call is dropped and fails with [`ErrorKind::Timeout`]; a write then also says that it may have
//! happened. Streams may take as long as they move: an object that is read must yield a chunk in time, and
//! an upload must take one, where waiting for the client does not count. Before the first chunk and after
//! the last one an upload has the time of a large call. A deadline that the caller of an upload sets holds
//! for the upload as a whole.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Driver, Error, ErrorKind, ObjectPath, ReadRange, Reading, ReadingBody, Result,
};
use futures::Stream;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::{
    around::{Around, Operation},
    stuck::Stuck,
};

/// How many times longer than a small call one may take whose work grows with the object: moving,
/// copying, committing, deleting many, and making an upload durable after its last byte.
const LARGE: u32 = 20;

/// See the module.
pub(crate) struct Deadlines {
    inner: Arc<dyn Driver>,
    small: Duration,
    stuck: Arc<Stuck>,
}

impl Deadlines {
    /// Around `inner`, the driver of this name. `small` is for one small call and for one step of a stream.
    pub(crate) fn new(inner: Arc<dyn Driver>, driver: &str, small: Duration) -> Self {
        Self { inner, small, stuck: Arc::new(Stuck::new(driver)) }
    }

    fn limit(&self, operation: Operation) -> Duration {
        use Operation::{Append, Commit, Copy, DeleteMany, DeleteTree, Rename, Write};
        match operation {
            Append | Write | Commit | Copy | Rename | DeleteMany | DeleteTree => self.small * LARGE,
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
        path: &str,
        call: &CallContext,
        mut run: impl FnMut(CallContext) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let own = Instant::now() + self.limit(operation);
        let deadline = call.deadline.map_or(own, |asked| own.min(asked.into()));
        let call = CallContext { deadline: Some(deadline.into_std()), ..call.clone() };
        timeout_at(deadline, run(call)).await.unwrap_or_else(|_| {
            self.stuck.note(operation, path);
            Err(timed_out(operation))
        })
    }

    async fn around_read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        let opening = |call: CallContext| async move { self.inner.read(&call, path, range).await };
        let mut reading = self.around(Operation::Read, path.as_str(), call, opening).await?;
        if let ReadingBody::Stream(stream) = reading.body {
            reading.body = ReadingBody::Stream(Box::pin(Moving {
                stream,
                path: path.clone(),
                stuck: Arc::clone(&self.stuck),
                limit: self.small,
                alarm: None,
                waiting: false,
            }));
        }
        Ok(reading)
    }

    async fn around_body<T, F>(
        &self,
        operation: Operation,
        path: &str,
        call: &CallContext,
        body: ByteStream,
        mut run: impl FnMut(CallContext, ByteStream) -> F + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let progress = Arc::new(Progress::new());
        let body = Box::pin(Watched { body, progress: Arc::clone(&progress) });
        let running = run(call.clone(), body);
        tokio::pin!(running);
        let large = self.limit(operation);
        let deadline = || {
            let own = progress.deadline(self.small, large);
            call.deadline.map_or(own, |asked| own.min(asked.into()))
        };
        loop {
            // The deadline may come nearer while this sleeps, but never nearer than a small call from now.
            let look_again = deadline().min(Instant::now() + self.small);
            tokio::select! {
                answer = &mut running => return answer,
                () = sleep_until(look_again) => {}
            }
            if deadline() <= Instant::now() {
                self.stuck.note(operation, path);
                return Err(timed_out(operation));
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
    path: ObjectPath,
    stuck: Arc<Stuck>,
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
        self.stuck.note(Operation::Read, self.path.as_str());
        Poll::Ready(Some(Err(timed_out(Operation::Read))))
    }
}

/// Whom an upload waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The driver, which has not asked for the body yet.
    Beginning,
    /// The client, which has to send the next chunk.
    Client,
    /// The driver, which has a chunk or can have one.
    Driver,
    /// The driver, which has seen the end of the body or let go of it.
    Ending,
}

/// How far the driver is with the body of an upload: a phase, and since when.
struct Progress(Mutex<(Phase, Instant)>);

impl Progress {
    fn new() -> Self {
        Self(Mutex::new((Phase::Beginning, Instant::now())))
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Instant)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, phase: Phase) {
        *self.lock() = (phase, Instant::now());
    }

    /// The client has something to say, whether the driver listens or not.
    fn client_is_back(&self) {
        let mut now = self.lock();
        if now.0 == Phase::Client {
            *now = (Phase::Driver, Instant::now());
        }
    }

    /// By when the driver must have moved on: `small` is for a step within the body, `large` for what
    /// comes before and after.
    fn deadline(&self, small: Duration, large: Duration) -> Instant {
        let (phase, since) = *self.lock();
        match phase {
            Phase::Client => Instant::now() + small,
            Phase::Driver => since + small,
            Phase::Beginning | Phase::Ending => since + large,
        }
    }
}

/// The body of an upload that notes when the driver takes from it and when the driver could.
struct Watched {
    body: ByteStream,
    progress: Arc<Progress>,
}

impl Stream for Watched {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Before the poll: the client may be back before the poll returns.
        self.progress.enter(Phase::Client);
        let waker = Waker::from(Arc::new(Doorbell {
            progress: Arc::clone(&self.progress),
            driver: cx.waker().clone(),
        }));
        let next = self.body.as_mut().poll_next(&mut Context::from_waker(&waker));
        match &next {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(_))) => self.progress.enter(Phase::Driver),
            Poll::Ready(None | Some(Err(_))) => self.progress.enter(Phase::Ending),
        }
        next
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.progress.enter(Phase::Ending);
    }
}

/// Wakes the driver when the client is back, and notes it: a driver that waits for its storage at that
/// time does not ask for the body.
struct Doorbell {
    progress: Arc<Progress>,
    driver: Waker,
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.progress.client_is_back();
        self.driver.wake_by_ref();
    }
}
