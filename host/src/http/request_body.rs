//! Request bodies as the handlers read them: chunk by chunk, as they come.
//!
//! Guarantees: nothing is gathered in memory, a client that stops sending shows as an error after the
//! time limit, and a body that is dropped before its end is reported to the socket, which then closes
//! the connection in an orderly way.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, Result};
use futures::Stream;
use tokio::time::{Instant, Sleep};

use super::socket::Activity;

/// The body of a request as a byte stream. The time limit is between two chunks.
pub(crate) fn request_body<S, B, E>(body: S, limit: Duration, activity: Option<Arc<Activity>>) -> ByteStream
where
    S: Stream<Item = std::result::Result<B, E>> + Send + 'static,
    B: Buf,
    E: std::error::Error + 'static,
{
    Box::pin(RequestBody { body: Box::pin(body), limit, alarm: None, waiting: false, ended: false, activity })
}

struct RequestBody<S> {
    body: Pin<Box<S>>,
    limit: Duration,
    alarm: Option<Pin<Box<Sleep>>>,
    /// Whether the alarm runs.
    waiting: bool,
    ended: bool,
    activity: Option<Arc<Activity>>,
}

impl<S, B, E> Stream for RequestBody<S>
where
    S: Stream<Item = std::result::Result<B, E>> + Send + 'static,
    B: Buf,
    E: std::error::Error + 'static,
{
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        loop {
            let Poll::Ready(next) = self.body.as_mut().poll_next(cx) else {
                ready!(self.poll_alarm(cx));
                self.ended = true;
                self.abandon();
                let message = format!("the client sent nothing for {} seconds", self.limit.as_secs_f32());
                return Poll::Ready(Some(Err(Error::new(ErrorKind::BodyFailed, message))));
            };
            self.waiting = false;
            match next {
                // Empty chunks (of HTTP/2) say nothing.
                Some(Ok(chunk)) if !chunk.has_remaining() => {}
                Some(Ok(mut chunk)) => return Poll::Ready(Some(Ok(chunk.copy_to_bytes(chunk.remaining())))),
                Some(Err(error)) => {
                    self.ended = true;
                    let error =
                        Error::new(ErrorKind::BodyFailed, "the client broke off or sent a wrong body")
                            .caused_by(&error);
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.ended = true;
                    return Poll::Ready(None);
                }
            }
        }
    }
}

impl<S> RequestBody<S> {
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        if !self.waiting {
            alarm.as_mut().reset(Instant::now() + limit);
            self.waiting = true;
        }
        alarm.as_mut().poll(cx)
    }

    fn abandon(&self) {
        if let Some(activity) = &self.activity {
            activity.abandon_body();
        }
    }
}

impl<S> Drop for RequestBody<S> {
    fn drop(&mut self) {
        if !self.ended {
            self.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, stream};

    use super::*;

    type Chunk = std::result::Result<Bytes, std::io::Error>;

    fn body(chunks: impl Stream<Item = Chunk> + Send + 'static) -> ByteStream {
        request_body(chunks, Duration::from_secs(30), None)
    }

    #[tokio::test]
    async fn chunks_pass_and_empty_ones_are_left_out() {
        let chunks = ["a", "", "bc"].map(|chunk| Ok(Bytes::from(chunk)));
        let read: Vec<_> = body(stream::iter(chunks)).map(Result::unwrap).collect().await;
        assert_eq!(read, ["a", "bc"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_is_an_error_and_each_chunk_gives_new_time() {
        let slow = stream::iter(0..3).then(|_| async {
            tokio::time::sleep(Duration::from_secs(29)).await;
            Ok(Bytes::from("x"))
        });
        let mut body = body(slow.chain(stream::pending()));
        for _ in 0..3 {
            assert_eq!(body.next().await.unwrap().unwrap(), "x");
        }
        assert_eq!(body.next().await.unwrap().unwrap_err().kind, ErrorKind::BodyFailed);
        assert!(body.next().await.is_none());
    }

    #[tokio::test]
    async fn a_broken_body_is_an_error_of_kind_body_failed() {
        let broken = stream::iter([Ok(Bytes::from("x")), Err(std::io::ErrorKind::ConnectionReset.into())]);
        let mut body = body(broken);
        assert!(body.next().await.unwrap().is_ok());
        assert_eq!(body.next().await.unwrap().unwrap_err().kind, ErrorKind::BodyFailed);
    }

    #[tokio::test]
    async fn dropping_a_body_before_its_end_is_reported() {
        for (read_all, abandoned) in [(true, false), (false, true)] {
            let activity = Activity::new();
            let chunks: [Chunk; 2] = [Ok(Bytes::from("x")), Ok(Bytes::from("y"))];
            let body =
                request_body(stream::iter(chunks), Duration::from_secs(1), Some(Arc::clone(&activity)));
            body.take(if read_all { 9 } else { 1 }).for_each(|_| async {}).await;
            assert_eq!(activity.body_was_abandoned(), abandoned);
        }
    }
}
