//! The socket of one body: chunks, and how they ended.
//!
//! Each chunk is its length (four bytes, little-endian) and its bytes. Length 0 is the good end. Length
//! `u32::MAX` announces an error: another length and the error as JSON. **A socket that closes without one
//! of the two was cut off**, so the death of the other process never looks like a short body.
//!
//! The socket's buffer is all that is under way: a receiver that does not take holds the sender up. A
//! receiver that goes away is noticed by the sender even while it has nothing to send.
//!
//! The body of an upload is not touched before the driver asks for it, which is one byte in the other
//! direction: its client may wait to be told, and a driver that refuses needs nothing of it.

use std::{io, os::fd::OwnedFd};

use bytes::{Buf, Bytes, BytesMut};
use docker_registry_driver_api::{ByteStream, Error};
use futures::{Stream, StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
};

use super::facts::WireError;

/// Longest chunk that is written as one.
const MAX_CHUNK: usize = 1 << 20;
/// What is read at once, at most.
const READ_AT_ONCE: usize = 512 << 10;
/// With less room than this, a new buffer is taken for the next read.
const LEAST_ROOM: usize = 64 << 10;
/// A shorter piece is handed on as a copy: as a part of the buffer it would keep all of that in memory.
const WORTH_SHARING: usize = 8 << 10;
/// Longest error.
const MAX_ERROR: usize = 64 << 10;
const END: u32 = 0;
const FAILED: u32 = u32::MAX;

/// Why a received body ended before its good end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The sender is gone, or what it sent makes no sense.
    Cut,
    /// The sender said why.
    Reported(Error),
}

/// How the sending of a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// All of it was sent, its end or its error included.
    Whole,
    /// The receiver wants no more.
    Unwanted,
}

/// The socket as tokio has it. Must be called inside a runtime.
pub(super) fn socket(end: OwnedFd) -> io::Result<UnixStream> {
    let socket = std::os::unix::net::UnixStream::from(end);
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// Takes a body and sends it to its end, once the receiver asks for it; a receiver that does not leaves it where
/// it is. Dropping this cuts the body off.
pub(super) async fn send_when_asked(body: &mut Option<ByteStream>, mut socket: UnixStream) -> Sent {
    let asked = matches!(socket.read(&mut [0; 1]).await, Ok(1));
    match body.take_if(|_| asked) {
        Some(body) => send(body, socket).await,
        None => Sent::Unwanted,
    }
}

/// Sends a body to its end. Dropping this cuts the body off.
pub(super) async fn send(mut body: ByteStream, mut socket: UnixStream) -> Sent {
    loop {
        let next = tokio::select! {
            next = body.next() => next,
            () = peer_gone(&socket) => return Sent::Unwanted,
        };
        let written = match next {
            None => {
                let end = socket.write_all(&END.to_le_bytes()).await;
                return end.map_or(Sent::Unwanted, |()| Sent::Whole);
            }
            Some(Ok(chunk)) => write_chunk(&mut socket, chunk).await,
            Some(Err(error)) => {
                return write_error(&mut socket, error).await.map_or(Sent::Unwanted, |()| Sent::Whole);
            }
        };
        if written.is_err() {
            return Sent::Unwanted;
        }
    }
}

async fn write_chunk(socket: &mut UnixStream, mut chunk: Bytes) -> io::Result<()> {
    while !chunk.is_empty() {
        let part = chunk.split_to(chunk.len().min(MAX_CHUNK));
        // At most MAX_CHUNK.
        let length = u32::try_from(part.len()).unwrap_or(FAILED).to_le_bytes();
        socket.write_all_buf(&mut Buf::chain(&length[..], part)).await?;
    }
    Ok(())
}

async fn write_error(socket: &mut UnixStream, error: Error) -> io::Result<()> {
    let text = WireError::from(error).to_json(MAX_ERROR);
    let length = u32::try_from(text.len()).unwrap_or(0);
    let head = [FAILED.to_le_bytes(), length.to_le_bytes()].concat();
    socket.write_all_buf(&mut Buf::chain(&head[..], &text[..])).await
}

/// Ready when the receiver has closed its end. A receiver has nothing more to say, so there is nothing to read
/// but that.
async fn peer_gone(socket: &UnixStream) {
    loop {
        if socket.ready(Interest::READABLE).await.is_err() {
            return;
        }
        match socket.try_read(&mut [0; 1]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            _ => return,
        }
    }
}

/// The body that arrives on a socket. After an error nothing comes.
pub(super) fn receive(socket: UnixStream) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    received(Receiving { socket, asks: false, buffer: BytesMut::new(), rest_of_chunk: 0 })
}

/// The body that a sender sends when it is asked, which the first poll does.
pub(super) fn ask(socket: UnixStream) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    received(Receiving { socket, asks: true, buffer: BytesMut::new(), rest_of_chunk: 0 })
}

fn received(receiving: Receiving) -> impl Stream<Item = Result<Bytes, Broken>> + Send {
    let body = stream::unfold(Some(receiving), |state| async move {
        let mut receiving = state?;
        match receiving.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(receiving))),
            Ok(None) => None,
            Err(broken) => Some((Err(broken), None)),
        }
    });
    // Who combines streams may poll past the end.
    body.fuse()
}

struct Receiving {
    socket: UnixStream,
    /// Whether the sender is still to be asked.
    asks: bool,
    /// What was read and not handed on.
    buffer: BytesMut,
    /// Bytes of the present chunk that were not handed on.
    rest_of_chunk: usize,
}

impl Receiving {
    async fn next(&mut self) -> Result<Option<Bytes>, Broken> {
        if self.asks {
            self.socket.write_all(&[1]).await.map_err(|_| Broken::Cut)?;
            self.asks = false;
        }
        if self.rest_of_chunk == 0 {
            match self.length().await? {
                END => return Ok(None),
                FAILED => return Err(self.error().await),
                length => self.rest_of_chunk = length as usize,
            }
        }
        // What is there is handed on at once.
        if self.buffer.is_empty() {
            self.read().await?;
        }
        let length = self.buffer.len().min(self.rest_of_chunk);
        let bytes = if length < WORTH_SHARING {
            let copy = Bytes::copy_from_slice(&self.buffer[..length]);
            self.buffer.advance(length);
            copy
        } else {
            self.buffer.split_to(length).freeze()
        };
        self.rest_of_chunk -= length;
        Ok(Some(bytes))
    }

    async fn length(&mut self) -> Result<u32, Broken> {
        while self.buffer.len() < 4 {
            self.read().await?;
        }
        Ok(self.buffer.get_u32_le())
    }

    async fn error(&mut self) -> Broken {
        let text = async {
            let length = self.length().await? as usize;
            if length > MAX_ERROR {
                return Err(Broken::Cut);
            }
            while self.buffer.len() < length {
                self.read().await?;
            }
            serde_json::from_slice(&self.buffer[..length]).map_err(|_| Broken::Cut)
        };
        match text.await {
            Ok::<WireError, _>(error) => Broken::Reported(error.into()),
            Err(broken) => broken,
        }
    }

    async fn read(&mut self) -> Result<(), Broken> {
        if self.buffer.capacity() - self.buffer.len() < LEAST_ROOM {
            self.buffer.reserve(READ_AT_ONCE);
        }
        match self.socket.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(Broken::Cut),
            Ok(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::{ErrorKind, byte_stream};

    use super::{super::channel::pair, *};

    fn sockets() -> (UnixStream, UnixStream) {
        let (one, two) = pair().unwrap();
        (socket(one).unwrap(), socket(two).unwrap())
    }

    async fn arrived(socket: UnixStream) -> (usize, Option<Broken>) {
        let mut bytes = 0;
        let mut body = Box::pin(receive(socket));
        while let Some(item) = body.next().await {
            match item {
                Ok(chunk) => {
                    assert!(!chunk.is_empty());
                    bytes += chunk.len();
                }
                Err(broken) => return (bytes, Some(broken)),
            }
        }
        (bytes, None)
    }

    #[tokio::test]
    async fn a_whole_body_ends_well_and_empty_chunks_are_no_end() {
        let (one, two) = sockets();
        let chunks = [vec![1; 3_000_000], vec![], vec![2; 7], vec![3; 70_000]].map(Bytes::from);
        let sending = tokio::spawn(send(byte_stream(chunks), one));
        let (bytes, broken) = arrived(two).await;
        assert_eq!(bytes, 3_070_007);
        assert!(broken.is_none());
        assert_eq!(sending.await.unwrap(), Sent::Whole);
    }

    #[tokio::test]
    async fn an_empty_body_ends_well_and_can_be_polled_past_its_end() {
        let (one, two) = sockets();
        assert_eq!(send(byte_stream([]), one).await, Sent::Whole);
        let mut body = Box::pin(receive(two));
        assert!(body.next().await.is_none() && body.next().await.is_none());
    }

    #[tokio::test]
    async fn a_body_is_not_touched_before_it_is_asked_for() {
        let (one, two) = sockets();
        let (asked, mut touched) = tokio::sync::oneshot::channel();
        let body = stream::once(async move {
            let _ = asked.send(());
            Ok(Bytes::from("abc"))
        });
        let mut body = Some(body.boxed());
        let sending = tokio::spawn(async move { send_when_asked(&mut body, one).await });
        let mut receiving = Box::pin(ask(two));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(touched.try_recv().is_err());
        assert_eq!(receiving.next().await.unwrap().unwrap(), "abc");
        assert!(receiving.next().await.is_none());
        assert_eq!(sending.await.unwrap(), Sent::Whole);

        let (one, two) = sockets();
        let mut body = Some(byte_stream([]));
        drop(ask(two));
        assert_eq!(send_when_asked(&mut body, one).await, Sent::Unwanted);
        assert!(body.is_some(), "it can be sent to another receiver");
    }

    #[tokio::test]
    async fn short_pieces_keep_no_large_buffer_in_memory() {
        let (one, two) = sockets();
        let chunks: Vec<_> = (0..100).map(|_| Bytes::from_static(b"x")).collect();
        let sending = tokio::spawn(send(byte_stream(chunks), one));
        let pieces: Vec<_> = receive(two).map(Result::unwrap).collect().await;
        assert_eq!(sending.await.unwrap(), Sent::Whole);
        assert_eq!(pieces.len(), 100);
        for piece in pieces {
            let kept = piece.try_into_mut().expect("nobody shares it").capacity();
            assert!(kept < WORTH_SHARING, "{kept} bytes are kept for one");
        }
    }

    #[tokio::test]
    async fn an_error_arrives_as_it_was() {
        let (one, two) = sockets();
        let error = Error::new(ErrorKind::Throttled, "slow").at("a/b").outcome_unknown();
        let body = stream::iter([Ok(Bytes::from("abc")), Err(error)]).boxed();
        assert_eq!(send(body, one).await, Sent::Whole);
        let (bytes, broken) = arrived(two).await;
        let Some(Broken::Reported(error)) = broken else { panic!("{broken:?}") };
        assert_eq!((bytes, error.kind, error.path.as_deref()), (3, ErrorKind::Throttled, Some("a/b")));
        assert!(error.outcome_unknown && error.retryable);
    }

    #[tokio::test]
    async fn a_body_that_is_cut_off_anywhere_does_not_end_well() {
        for bytes in
            [&b""[..], b"\x03", b"\x03\0\0\0", b"\x03\0\0\0ab", b"\x03\0\0\0abc", b"\xff\xff\xff\xff"]
        {
            let (mut one, two) = sockets();
            one.write_all(bytes).await.unwrap();
            drop(one);
            assert!(matches!(arrived(two).await.1, Some(Broken::Cut)), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_sender_that_waits_notices_that_nobody_listens() {
        let (one, two) = sockets();
        let sending = tokio::spawn(send(stream::pending().boxed(), one));
        drop(two);
        assert_eq!(sending.await.unwrap(), Sent::Unwanted);
    }

    #[tokio::test]
    async fn a_receiver_that_stalls_holds_the_sender_up() {
        let (one, two) = sockets();
        let taken = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&taken);
        let body = stream::repeat_with(move || {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(Bytes::from(vec![0; 256 << 10]))
        });
        let sending = tokio::spawn(send(body.take(1000).boxed(), one));
        // Until the sender has been given every chance and takes no more.
        let mut before = usize::MAX;
        while before != taken.load(std::sync::atomic::Ordering::Relaxed) {
            before = taken.load(std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert!(before < 100, "{before} chunks were taken though nobody reads");
        assert_eq!(arrived(two).await.0, 1000 * (256 << 10));
        assert_eq!(sending.await.unwrap(), Sent::Whole);
    }
}
