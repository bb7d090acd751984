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

/// The chunks of a source, each when it is known what comes behind it: a request whose size is known is over with its last
/// byte, and nobody would ask whether the source ended well.
pub(super) fn after_the_next(source: ByteStream) -> ByteStream {
    stream::unfold(source.peekable(), |mut source| async move {
        let chunk = source.next().await?;
        let chunk = match Pin::new(&mut source).peek().await {
            Some(Err(error)) => Err(error.clone()),
            _ => chunk,
        };
        Some((chunk, source))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::{Error, ErrorKind};

    use super::*;

    #[tokio::test]
    async fn the_last_chunk_comes_only_of_a_source_that_ends_well() {
        let wrong = || Error::new(ErrorKind::BodyFailed, "another digest");
        let chunks = |last| {
            let chunks = [Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b"))].into_iter().chain(last);
            after_the_next(stream::iter(chunks).boxed()).map_err(|error| error.kind).collect::<Vec<_>>()
        };
        assert_eq!(chunks(None).await, [Ok(Bytes::from_static(b"a")), Ok(Bytes::from_static(b"b"))]);
        let cut = chunks(Some(Err(wrong()))).await;
        assert_eq!(cut[..2], [Ok(Bytes::from_static(b"a")), Err(ErrorKind::BodyFailed)]);
    }
}
