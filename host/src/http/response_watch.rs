//! HTTP/2 responses of which the client takes nothing.
//!
//! An HTTP/2 client says how much it takes of each response. It may take nothing and answer pings for ever: the time
//! limits of the socket do not see that. Guarantees:
//! - a response of which nothing is taken for too long is reset, and all that was held for it is freed; the time that
//!   the storage needs for more content does not count;
//! - what the library holds of a response besides its body is at most [`PIECE`] bytes, also when the response has
//!   ended for everybody else.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, BufMut, Bytes};
use hyper::{
    body::{Body, Frame, SizeHint},
    rt::Executor,
};
use tokio::time::Instant;

use super::socket::Alarm;

/// Most bytes that are handed over at once: a frame of the size that every client takes.
const PIECE: usize = 16 * 1024;

tokio::task_local! {
    /// Of the stream whose task it is.
    static WAIT: Arc<Wait>;
}

/// Since when a piece waits for the client to take it.
#[derive(Default)]
struct Wait(Mutex<Option<Instant>>);

impl Wait {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs the streams of a connection, each until its client takes nothing for `longest`.
#[derive(Debug, Clone)]
pub(crate) struct WatchingExecutor {
    pub(crate) longest: Duration,
}

impl<F> Executor<F> for WatchingExecutor
where
    F: Future + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(Watched {
            stream: Box::pin(stream),
            wait: Arc::default(),
            longest: self.longest,
            alarm: Alarm::default(),
        });
    }
}

/// One stream. Dropping it resets it, and the library forgets what it has queued of it.
struct Watched<F> {
    stream: Pin<Box<F>>,
    wait: Arc<Wait>,
    longest: Duration,
    alarm: Alarm,
}

impl<F: Future> Future for Watched<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let wait = Arc::clone(&self.wait);
        let stream = self.stream.as_mut();
        if WAIT.sync_scope(Arc::clone(&wait), || stream.poll(cx)).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = wait.since() else { return Poll::Pending };
        let deadline = since + self.longest;
        ready!(self.alarm.poll_until(deadline, cx));
        tracing::debug!("a response was given up: the client took nothing of it for too long");
        Poll::Ready(())
    }
}

/// The body of a response, in pieces, that tells the task of its stream when it waits for the client.
pub(crate) struct WatchedBody<B: Body> {
    body: Pin<Box<B>>,
    rest: Option<B::Data>,
}

// `rest` is never pinned.
impl<B: Body> Unpin for WatchedBody<B> {}

impl<B: Body> WatchedBody<B> {
    pub(crate) fn new(body: B) -> Self {
        Self { body: Box::pin(body), rest: None }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut rest = match self.rest.take() {
            Some(rest) => rest,
            None => {
                let Some(frame) = ready!(self.body.as_mut().poll_frame(cx)?) else {
                    return Poll::Ready(None);
                };
                match frame.into_data() {
                    Ok(mut data) if data.remaining() <= PIECE => {
                        return Poll::Ready(Some(Ok(Frame::data(data.copy_to_bytes(data.remaining())))));
                    }
                    Ok(data) => data,
                    Err(other) => {
                        return Poll::Ready(other.into_trailers().ok().map(Frame::trailers).map(Ok));
                    }
                }
            }
        };
        // A copy: a slice would keep the whole of it in memory.
        let mut piece = Vec::with_capacity(PIECE.min(rest.remaining()));
        piece.put((&mut rest).take(PIECE));
        self.rest = Some(rest).filter(Buf::has_remaining);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let next = self.poll_piece(cx);
        let waits_for_client = matches!(next, Poll::Ready(Some(Ok(_))));
        // Outside of a stream there is nobody to be told.
        let _ = WAIT.try_with(|wait| wait.set(waits_for_client.then(Instant::now)));
        next
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or(0, |rest| rest.remaining() as u64);
        let of_body = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower() + rest);
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
