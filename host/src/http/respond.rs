//! From a handler's response to what the HTTP library sends.
//!
//! Decides here and nowhere else how content leaves: small files and ready bytes from memory, larger
//! files as windows for `sendfile(2)` where the connection can do that and in pieces where it cannot,
//! streams as they are. Guarantees: `Content-Length` is right, also for `HEAD`; a body that turns out
//! shorter or longer than announced, that fails or that panics is broken off with the connection (or
//! the HTTP/2 stream), so that no client takes a part for the whole.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, FileRegion, Reading, ReadingBody, Result};
use futures::Stream;
use http::{HeaderValue, Method, StatusCode, header, response::Parts};
use sync_wrapper::SyncStream;
use warp::{Reply, reply::Response as Outgoing};

use super::{
    access_log::Record,
    exchange::{Response, ResponseBody, User, whole},
    file_body::{self, SharedRegion},
    identity::REQUEST_ID,
    sendfile::{self, Windows},
};

/// Turns a handler's response into the library's. `windows` is given where the connection can send
/// files itself.
pub(crate) async fn respond(
    response: Response,
    method: &Method,
    windows: Option<&Arc<Windows>>,
    mut record: Record,
) -> Outgoing {
    let (mut parts, body) = response.into_parts();
    if let Some(User(name)) = parts.extensions.remove() {
        record.logged_in(name);
    }
    parts.headers.insert(REQUEST_ID, record.identity.id.clone());
    if method == Method::HEAD {
        match &body {
            ResponseBody::Empty => {}
            ResponseBody::Whole(content) => set_length(&mut parts, content.len() as u64),
            ResponseBody::Reading(reading) => set_length(&mut parts, reading.length),
        }
        return in_memory(parts, Bytes::new(), record);
    }
    match body {
        ResponseBody::Empty => {
            set_length(&mut parts, 0);
            in_memory(parts, Bytes::new(), record)
        }
        ResponseBody::Whole(content) => {
            set_length(&mut parts, content.len() as u64);
            in_memory(parts, content, record)
        }
        ResponseBody::Reading(Reading { length, body: ReadingBody::Stream(stream), .. }) => {
            streamed(parts, length, stream, record)
        }
        ResponseBody::Reading(Reading { length, body: ReadingBody::File(region), .. }) => {
            if region.length != length {
                let error = Error::new(ErrorKind::Internal, "the file region is not as long as the reading");
                return failed(error, record);
            }
            let read = file(region, windows).await;
            match read {
                Ok(FileContent::Whole(content)) => {
                    set_length(&mut parts, length);
                    in_memory(parts, content, record)
                }
                Ok(FileContent::Stream(stream)) => streamed(parts, length, stream, record),
                Err(error) => {
                    record.answered(StatusCode::INTERNAL_SERVER_ERROR);
                    failed(error, record)
                }
            }
        }
    }
}

enum FileContent {
    Whole(Bytes),
    Stream(ByteStream),
}

async fn file(region: FileRegion, windows: Option<&Arc<Windows>>) -> Result<FileContent> {
    let region = SharedRegion::from(region);
    Ok(match windows {
        _ if region.length <= file_body::SMALL => FileContent::Whole(file_body::read_small(region).await?),
        Some(windows) => FileContent::Stream(Box::pin(sendfile::windows(Arc::clone(windows), region))),
        None => FileContent::Stream(Box::pin(file_body::pieces(region))),
    })
}

/// The response for a fault of the server itself.
pub(crate) fn fault() -> Response {
    whole(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "internal server error\n")
}

fn failed(error: Error, record: Record) -> Outgoing {
    tracing::error!(%error, id = record.identity.id_text(), "a response cannot be sent");
    let (mut parts, body) = fault().into_parts();
    parts.headers.insert(REQUEST_ID, record.identity.id.clone());
    let ResponseBody::Whole(content) = body else { return in_memory(parts, Bytes::new(), record) };
    set_length(&mut parts, content.len() as u64);
    in_memory(parts, content, record)
}

/// Sets `Content-Length`, except where RFC 9110 §8.6 forbids it.
fn set_length(parts: &mut Parts, length: u64) {
    let forbidden = parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT;
    if forbidden {
        parts.headers.remove(header::CONTENT_LENGTH);
    } else if parts.status != StatusCode::NOT_MODIFIED {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

fn in_memory(parts: Parts, content: Bytes, mut record: Record) -> Outgoing {
    record.answered(parts.status);
    record.add_sent(content.len() as u64);
    record.completed();
    Outgoing::from_parts(parts, content.into())
}

fn streamed(mut parts: Parts, length: u64, stream: ByteStream, mut record: Record) -> Outgoing {
    set_length(&mut parts, length);
    record.answered(parts.status);
    let exact = ExactStream { stream, rest: length, record, failed: false };
    let mut outgoing = warp::reply::stream(SyncStream::new(exact)).into_response();
    *outgoing.status_mut() = parts.status;
    *outgoing.headers_mut() = parts.headers;
    outgoing
}

/// A stream that yields exactly what was announced, or an error.
struct ExactStream {
    stream: ByteStream,
    rest: u64,
    record: Record,
    failed: bool,
}

impl Stream for ExactStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.failed {
            return Poll::Ready(None);
        }
        let stream = self.stream.as_mut();
        let polled = catch_unwind(AssertUnwindSafe(|| stream.poll_next(cx)));
        let next = match polled {
            Ok(next) => ready!(next),
            Err(_) => {
                Some(Err(Error::new(ErrorKind::Internal, "the driver panicked while it was read from")))
            }
        };
        let next = match next {
            Some(Ok(chunk)) if chunk.len() as u64 > self.rest => {
                Some(Err(Error::new(ErrorKind::Corrupt, "the content is longer than announced")))
            }
            None if self.rest > 0 => {
                let message = format!("the content is {} bytes shorter than announced", self.rest);
                Some(Err(Error::new(ErrorKind::Corrupt, message)))
            }
            next => next,
        };
        match &next {
            Some(Ok(chunk)) => {
                self.rest -= chunk.len() as u64;
                self.record.add_sent(chunk.len() as u64);
            }
            Some(Err(error)) => {
                tracing::error!(%error, id = self.record.identity.id_text(), "a response was broken off");
                self.failed = true;
            }
            None => {}
        }
        if self.rest == 0 {
            self.record.completed();
        }
        Poll::Ready(next)
    }
}
