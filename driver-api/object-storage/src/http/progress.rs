//! How far the body of a request has come, so that a store's silence is seen and a source's is not taken for it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, Result};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use object_store::client::{HttpError, HttpRequestBody};
use tokio::time::Instant;

/// Bodies go out in pieces of at most this size, so that slow progress is seen as progress.
const PIECE: usize = 256 << 10;

/// When something was last seen to move, in milliseconds since the start.
pub(super) struct Progress {
    start: Instant,
    last: AtomicU64,
    begun: AtomicBool,
    waits_for_source: AtomicBool,
}

impl Progress {
    pub(super) fn new(begun: bool) -> Self {
        Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
            begun: AtomicBool::new(begun),
            waits_for_source: AtomicBool::new(false),
        }
    }

    fn moved(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(super) fn begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    pub(super) fn silent_at(&self, idle_timeout: Duration) -> Instant {
        if self.waits_for_source.load(Ordering::Relaxed) {
            return Instant::now() + idle_timeout;
        }
        self.start + Duration::from_millis(self.last.load(Ordering::Relaxed)) + idle_timeout
    }
}

/// The bytes of a body in small pieces; none is copied.
pub(super) fn in_pieces(
    body: HttpRequestBody,
    progress: Arc<Progress>,
) -> impl Stream<Item = Result<Bytes, HttpError>> + Send + 'static {
    body.into_data_stream()
        .map_ok(|mut whole: Bytes| {
            stream::iter(std::iter::from_fn(move || {
                let piece = whole.split_to(whole.len().min(PIECE));
                (!piece.is_empty()).then_some(Ok(piece))
            }))
        })
        .try_flatten()
        .inspect(move |_| progress.moved())
}

/// The chunks of a body that comes from somewhere. While the next one is waited for, the store is not silent.
pub(super) fn watched_source(
    mut source: ByteStream,
    progress: Arc<Progress>,
) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
    stream::poll_fn(move |context| {
        let polled = Pin::new(&mut source).poll_next(context);
        progress.waits_for_source.store(polled.is_pending(), Ordering::Relaxed);
        if polled.is_ready() {
            progress.moved();
        }
        polled
    })
}
