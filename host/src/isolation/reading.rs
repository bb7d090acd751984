//! An object that is being read in the driver's process.
//!
//! Until its first byte has arrived, a reading whose process died is opened once more in the next one, if
//! that finds the same object: the reader has seen nothing of the first. A reading that was already opened
//! twice is not.

use std::{os::fd::OwnedFd, sync::Arc};

use docker_registry_driver_api::{ByteStream, Bytes, CallContext, Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    body::{self, Broken},
    messages::{Answer, Request},
    remote::{Answered, Calls, out_of_turn},
};

/// An answer to `read`.
pub(super) struct Opened {
    pub(super) total_size: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) etag: Option<String>,
    /// The object's file, or the socket of its body.
    pub(super) file: OwnedFd,
    /// Where the bytes begin in the file; without it, it is a socket.
    pub(super) file_offset: Option<u64>,
}

/// Takes the answer to `read` apart.
pub(super) fn opened(answered: Answered) -> Result<Opened> {
    let Answer::Reading { total_size, offset, length, etag, file_offset } = answered.answer else {
        return Err(out_of_turn());
    };
    match answered.file {
        Some(file) => Ok(Opened { total_size, offset, length, etag, file, file_offset }),
        None if answered.file_lost => Err(Error::new(ErrorKind::Unavailable, "too many files are open")),
        None => Err(out_of_turn()),
    }
}

/// What is needed to open the reading once more.
pub(super) struct Again {
    pub(super) calls: Arc<Calls>,
    pub(super) call: CallContext,
    pub(super) request: Request,
    /// The process that opened it.
    pub(super) generation: u64,
    /// Whether opening it was interrupted before.
    pub(super) interrupted: bool,
    /// Size of the object, offset, length and tag: what the reader has been told.
    pub(super) facts: (u64, u64, u64, Option<String>),
}

/// The body that arrives on a socket.
pub(super) fn stream(socket: OwnedFd, again: Again) -> Result<ByteStream> {
    let mut body = received(socket)?;
    let body = async move {
        match body.next().await {
            Some(Err(Broken::Cut)) if !again.interrupted => once_more(again).await,
            first => {
                let rest = stream::iter(first).chain(body);
                Ok(rest.map_err(move |broken| error_of(broken, &again)).boxed())
            }
        }
    };
    Ok(stream::once(body).try_flatten().boxed())
}

type Body = stream::BoxStream<'static, Result<Bytes, Broken>>;

fn received(socket: OwnedFd) -> Result<Body> {
    Ok(body::receive(body::socket(socket)?).boxed())
}

async fn once_more(again: Again) -> Result<ByteStream> {
    let Again { calls, call, request, generation, .. } = &again;
    let answered = calls.make_after(call, request.clone(), Bytes::new(), *generation, true).await?;
    let Opened { total_size, offset, length, etag, file, file_offset } = opened(answered)?;
    if (total_size, offset, length, etag) != again.facts || file_offset.is_some() {
        return Err(again.calls.cut_off(&again.request));
    }
    Ok(received(file)?.map_err(move |broken| error_of(broken, &again)).boxed())
}

fn error_of(broken: Broken, again: &Again) -> Error {
    match broken {
        Broken::Reported(error) => error,
        Broken::Cut => again.calls.cut_off(&again.request),
    }
}
