//! Byte streams as they cross the boundary: an object that the other side polls.

use std::{
    pin::Pin,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use async_ffi::{ContextExt, FfiContext};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use super::{
    guard::Side,
    memory::{Answer, Region},
};
use crate::{ByteStream, Error, ErrorKind, Result};

pub(super) const PENDING: u32 = 0;
pub(super) const CHUNK: u32 = 1;
pub(super) const END: u32 = 2;
pub(super) const FAILED: u32 = 3;

/// Ties a body to the call that it is given to. When the guard is dropped before the body has ended, the body
/// ends with an error.
///
/// In spawned mode a call that is dropped runs on until its task yields, and may poll the body meanwhile. Whoever
/// dropped the call drops the source of the body as well, which must not look like its end: an append of half a
/// body would be taken for a whole one.
pub(super) fn while_called(body: ByteStream) -> (ByteStream, CallGuard) {
    let is_dropped = Arc::new(AtomicBool::new(false));
    let guard = CallGuard(Arc::clone(&is_dropped));
    let mut body = Some(body);
    let tied = stream::poll_fn(move |context| {
        let Some(stream) = body.as_mut() else { return Poll::Ready(None) };
        let polled = stream.poll_next_unpin(context);
        // Asked after the poll: the flag is set before the source can be dropped.
        let item = match polled {
            Poll::Ready(_) if is_dropped.load(Ordering::Acquire) => {
                Some(Err(Error::new(ErrorKind::BodyFailed, "nobody waits for the upload any more")))
            }
            Poll::Ready(item) => item,
            Poll::Pending => return Poll::Pending,
        };
        if !matches!(item, Some(Ok(_))) {
            body = None;
        }
        Poll::Ready(item)
    });
    (tied.boxed(), guard)
}

/// See [`while_called`].
pub(super) struct CallGuard(Arc<AtomicBool>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Where a poll leaves its result.
#[repr(C)]
pub struct RawItem {
    pub(super) chunk: Region,
    pub(super) fault: Answer,
}

/// A stream that changes its owner by crossing. All zero means "absent".
#[repr(C)]
pub struct RawStream {
    pub(super) object: *mut (),
    /// Returns 0 pending, 1 a chunk was written, 2 the end, 3 an error was written and the stream is
    /// over.
    pub(super) poll: Option<unsafe extern "C" fn(*mut (), *mut FfiContext<'_>, *mut RawItem) -> u32>,
    pub(super) release: Option<unsafe extern "C" fn(*mut ())>,
}

// SAFETY: the object is a boxed `Exported`, which is `Send`.
unsafe impl Send for RawStream {}

struct Exported {
    stream: Option<ByteStream>,
    side: Side,
}

impl RawStream {
    /// Absent.
    pub const NONE: Self = Self { object: ptr::null_mut(), poll: None, release: None };

    /// Hands over a stream. It is polled inside the runtime of `side`; in spawned mode it is moved
    /// onto that runtime and the other side polls a short queue.
    pub fn of(stream: ByteStream, side: &Side) -> Self {
        let stream = side.host_stream(stream);
        let object = Box::new(Exported { stream: Some(stream), side: side.clone() });
        Self {
            object: Box::into_raw(object).cast(),
            poll: Some(poll_exported),
            release: Some(release_exported),
        }
    }

    /// The stream on the other side; an absent one is empty.
    pub fn into_stream(self) -> ByteStream {
        if self.poll.is_none() { crate::empty_stream() } else { Imported { raw: self, over: false }.boxed() }
    }
}

impl Drop for RawStream {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            // SAFETY: `release` and `object` came together, and `take` makes this the only call.
            unsafe { release(self.object) }
        }
    }
}

unsafe extern "C" fn poll_exported(object: *mut (), context: *mut FfiContext<'_>, item: *mut RawItem) -> u32 {
    // SAFETY: `object` is the box made in `RawStream::of`, polled by its one owner; the other two
    // pointers are valid for the length of this call.
    let (exported, context, item) = unsafe { (&mut *object.cast::<Exported>(), &mut *context, &mut *item) };
    let Some(stream) = exported.stream.as_mut() else { return END };
    let polled = exported
        .side
        .guarded(|| context.with_context(|context| stream.poll_next_unpin(context)))
        .unwrap_or_else(|panic| Poll::Ready(Some(Err(panic))));
    match polled {
        Poll::Pending => PENDING,
        Poll::Ready(Some(Ok(chunk))) => {
            item.chunk = Region::of(chunk);
            CHUNK
        }
        Poll::Ready(None) => {
            exported.side.drop_guarded(exported.stream.take());
            END
        }
        Poll::Ready(Some(Err(error))) => {
            item.fault = Answer::fault(error);
            exported.side.drop_guarded(exported.stream.take());
            FAILED
        }
    }
}

unsafe extern "C" fn release_exported(object: *mut ()) {
    // SAFETY: the pointer is the box made in `RawStream::of`, released once.
    let mut exported = unsafe { Box::from_raw(object.cast::<Exported>()) };
    exported.side.drop_guarded(exported.stream.take());
}

struct Imported {
    raw: RawStream,
    over: bool,
}

impl Stream for Imported {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(poll) = self.raw.poll.filter(|_| !self.over) else { return Poll::Ready(None) };
        let mut item = RawItem { chunk: Region::NONE, fault: Answer::done() };
        // SAFETY: `poll` and `object` came together, this is the only owner, and the item lives on
        // this stack for the length of the call.
        let polled =
            context.with_ffi_context(|context| unsafe { poll(self.raw.object, context, &raw mut item) });
        let result = match polled {
            PENDING => return Poll::Pending,
            CHUNK => return Poll::Ready(Some(Ok(item.chunk.into_bytes()))),
            END => None,
            FAILED => Some(Err(item.fault.check().err().unwrap_or_else(unexplained))),
            _ => Some(Err(unexplained())),
        };
        self.over = true;
        Poll::Ready(result)
    }
}

fn unexplained() -> Error {
    Error::new(ErrorKind::Internal, "the other side's stream failed without saying why")
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_body_whose_call_was_dropped_never_ends_well() {
        for queued in 0..3 {
            let (sender, source) = mpsc::unbounded();
            for _ in 0..queued {
                sender.unbounded_send(Ok(Bytes::from("!"))).unwrap();
            }
            let (mut body, guard) = while_called(source.boxed());
            drop(guard);
            drop(sender);
            assert_eq!(body.next().await.unwrap().unwrap_err().kind, ErrorKind::BodyFailed, "{queued}");
            assert!(body.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_body_whose_call_goes_on_ends_as_it_does() {
        let (mut body, _guard) = while_called(crate::byte_stream([Bytes::from("a"), Bytes::from("b")]));
        assert_eq!(body.next().await.unwrap().unwrap(), "a");
        assert_eq!(body.next().await.unwrap().unwrap(), "b");
        assert!(body.next().await.is_none());
        assert!(body.next().await.is_none());
    }
}
