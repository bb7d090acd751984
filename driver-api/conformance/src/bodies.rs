//! Bodies of appends and writes: content that is made as it is asked for, streams that fail, and streams that a
//! case drives by hand.

use std::{fmt::Debug, panic::Location, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, Condition, Error, ErrorKind, ObjectInfo, Result, UploadProgress, UploadState,
};
use futures::{StreamExt, channel::mpsc, stream};

use crate::{
    content::Pattern,
    failure::{broken, shown},
    promise::{self, Promise},
    store::Store,
    tasks::{self, Task},
};

/// How long a call may take that has no reason to wait for anything. It only guards against calls that
/// never return.
const NOT_WAITING: Duration = Duration::from_secs(60);

/// What the source of a failing body says.
pub(crate) const CLIENT_IS_GONE: &str = "the client went away";

/// `length` bytes of a pattern from `offset` on, in chunks of these sizes over and over. No more than one
/// chunk exists at a time.
pub(crate) fn patterned(pattern: &Pattern, offset: u64, length: u64, chunks: &'static [usize]) -> ByteStream {
    let pattern = pattern.clone();
    let sizes = chunks.iter().copied().cycle();
    stream::iter(sizes.scan(0, move |done, size| {
        let size = u64::try_from(size).map_or(length, |size| size.min(length - *done));
        let chunk = (size > 0).then(|| Ok(pattern.bytes(offset + *done, size as usize)));
        *done += size;
        chunk
    }))
    .boxed()
}

/// The chunks, and then an error as it comes from a client that has gone.
pub(crate) fn failing(chunks: Vec<Bytes>) -> ByteStream {
    let error = Error::new(ErrorKind::Unavailable, CLIENT_IS_GONE);
    stream::iter(chunks.into_iter().map(Ok).chain([Err(error)])).boxed()
}

/// Waits for a call that must not wait for anybody else.
#[track_caller]
pub(crate) fn soon<T>(
    call: impl Future<Output = T>,
    what: &'static str,
    promise: Promise,
) -> impl Future<Output = T> {
    let place = Location::caller();
    async move {
        match tokio::time::timeout(NOT_WAITING, call).await {
            Ok(result) => result,
            Err(_) => broken(
                format_args!("{what} returns while another call hangs"),
                format_args!("nothing within {} seconds", NOT_WAITING.as_secs()),
                promise,
                place,
            ),
        }
    }
}

/// An append or a write whose body comes when the case says so.
pub(crate) struct Running<T = UploadProgress> {
    body: mpsc::UnboundedSender<Result<Bytes>>,
    task: Task<Result<T>>,
    promise: Promise,
}

impl Running {
    /// Starts an append and returns when it has asked for its first chunk and got `first`.
    #[track_caller]
    pub(crate) fn start(
        store: &Store,
        state: &UploadState,
        offset: u64,
        first: impl Into<Bytes>,
    ) -> impl Future<Output = Self> {
        let (store, state) = (store.clone(), state.clone());
        let append = move |chunks| async move { store.try_append(&state, offset, chunks).await };
        Self::begin("an append takes its body", promise::APPEND, first.into(), append)
    }
}

impl Running<ObjectInfo> {
    /// Starts a write without a condition and returns when it has asked for its first chunk and got `first`.
    #[track_caller]
    pub(crate) fn write(
        store: &Store,
        name: &str,
        size: Option<u64>,
        first: impl Into<Bytes>,
    ) -> impl Future<Output = Self> {
        let (store, name) = (store.clone(), name.to_owned());
        let write =
            move |chunks| async move { store.try_write(&name, size, chunks, &Condition::Always).await };
        Self::begin("a write takes its body", promise::WRITE, first.into(), write)
    }
}

impl<T: Debug + Send + 'static> Running<T> {
    #[track_caller]
    fn begin<F>(
        expected: &'static str,
        promise: Promise,
        first: Bytes,
        call: impl FnOnce(ByteStream) -> F + Send + 'static,
    ) -> impl Future<Output = Self>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let place = Location::caller();
        async move {
            let (body, chunks) = mpsc::unbounded();
            let (taken, mut has_taken) = mpsc::unbounded();
            let chunks: ByteStream = chunks.inspect(move |_| drop(taken.unbounded_send(()))).boxed();
            // The receiver lives in the task.
            let _ = body.unbounded_send(Ok(first));
            let task = tasks::spawn(call(chunks));
            if has_taken.next().await.is_some() {
                return Self { body, task, promise };
            }
            let found = match task.join().await {
                Ok(answer) => format!("success, {answer:?}"),
                Err(error) => shown(&error),
            };
            broken(expected, found, promise, place)
        }
    }

    /// Hands over one more chunk. The call may have given up already.
    pub(crate) fn send(&self, chunk: impl Into<Bytes>) {
        let _ = self.body.unbounded_send(Ok(chunk.into()));
    }

    /// Sends so much that any driver begins to write it.
    pub(crate) async fn send_much(&self, letter: u8) {
        for _ in 0..2 {
            self.send(vec![letter; 2_000_000]);
            tokio::task::yield_now().await;
        }
    }

    /// Ends the body and waits for the result.
    pub(crate) async fn finish(self) -> Result<T> {
        drop(self.body);
        soon(self.task.join(), "a call whose body has ended", self.promise).await
    }

    /// Drops the call in the middle of its body.
    pub(crate) async fn cancel(self) {
        self.task.cancel().await;
    }
}
