//! The body of an answer: read whole when it is small, streamed when it is an object.

use std::{fmt, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, Result};
use futures::{Stream, StreamExt, TryStreamExt, stream, stream::BoxStream};
use http::Method;

use super::{
    exchange::Record,
    fault::{self, Advice, Call},
    reason::{Reason, TransportError},
};

/// Bytes as they arrive; silence and an early end are errors.
pub(super) type Watched = BoxStream<'static, Result<Bytes, TransportError>>;

/// Watches a body for silence, and for its length where that was said.
pub(super) fn watched(
    body: impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static,
    idle_timeout: Duration,
    length: Option<u64>,
) -> Watched {
    let state = Some((body.boxed(), 0_u64));
    stream::unfold(state, move |state| async move {
        let (mut body, seen) = state?;
        match tokio::time::timeout(idle_timeout, body.next()).await {
            Err(_) => {
                let text = format!("nothing came for {} seconds", idle_timeout.as_secs_f32());
                Some((Err(TransportError::new(Reason::Timeout, true, text)), None))
            }
            Ok(Some(Ok(bytes))) => {
                let seen = seen + bytes.len() as u64;
                Some((Ok(bytes), Some((body, seen))))
            }
            Ok(Some(Err(error))) => Some((Err(error), None)),
            Ok(None) => match length {
                Some(length) if length != seen => {
                    let text = format!("{seen} bytes came of {length}");
                    Some((Err(TransportError::new(Reason::Truncated, true, text)), None))
                }
                _ => None,
            },
        }
    })
    .boxed()
}

/// The body of a good answer.
pub struct AnswerBody {
    pub(super) body: Watched,
    pub(super) authority: String,
    pub(super) request_id: Option<String>,
    pub(super) advice: Arc<Advice>,
    pub(super) call: Call,
}

impl AnswerBody {
    /// What the store calls this request.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Reads it to its end.
    ///
    /// # Errors
    /// A broken connection, silence, or more than `limit` bytes.
    pub async fn bytes(mut self, limit: usize) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.body.next().await {
            let piece = piece.map_err(|error| self.broken(error))?;
            if whole.len() + piece.len() > limit {
                return Err(Error::new(
                    ErrorKind::Corrupt,
                    format!("the answer of {} has more than {limit} bytes", self.authority),
                ));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The bytes as they arrive; other than `length` of them is an error, which is retryable.
    pub fn stream(self, length: u64) -> ByteStream {
        let Self { body, authority, request_id, advice, call } = self;
        exactly(body, length)
            .map_err(move |error| broken(&advice, call, &authority, request_id.as_deref(), error))
            .boxed()
    }

    fn broken(&self, error: TransportError) -> Error {
        broken(&self.advice, self.call, &self.authority, self.request_id(), error)
    }
}

impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnswerBody").field("authority", &self.authority).finish_non_exhaustive()
    }
}

fn broken(
    advice: &Advice,
    call: Call,
    authority: &str,
    request_id: Option<&str>,
    error: TransportError,
) -> Error {
    let mut error = fault::error(advice, call, &Record::of_failure(authority.to_owned(), Method::GET, error));
    if let Some(id) = request_id {
        error.message.push_str(&format!(" [request id {id}]"));
    }
    error
}

/// Ends with an error where a body is shorter or longer than `length`; nothing above `length` is given out.
pub(crate) fn exactly(
    body: impl Stream<Item = Result<Bytes, TransportError>> + Send + 'static,
    length: u64,
) -> Watched {
    let state = Some((body.boxed(), length));
    stream::unfold(state, move |state| async move {
        let (mut body, left) = state?;
        let wrong = |text: String| Some((Err(TransportError::new(Reason::Truncated, true, text)), None));
        match body.next().await {
            Some(Ok(bytes)) => match left.checked_sub(bytes.len() as u64) {
                Some(left) => Some((Ok(bytes), Some((body, left)))),
                None => wrong(format!("more than {length} bytes came")),
            },
            Some(Err(error)) => Some((Err(error), None)),
            None if left > 0 => wrong(format!("{} bytes came of {length}", length - left)),
            None => None,
        }
    })
    .boxed()
}
