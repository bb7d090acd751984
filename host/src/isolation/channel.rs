//! The control socket: frames with an open file each, in both directions.
//!
//! A frame is a prefix of twelve bytes (length of the header, length of the content, number of files, all
//! little-endian), a header in JSON and content as it is. Guarantees:
//!
//! - a frame that is larger than [`MAX_HEADER`] and [`MAX_CONTENT`] allow is an error before any of it is
//!   kept in memory;
//! - a file belongs to exactly the frame that it was sent with: the system hands it out with the first byte
//!   of that frame's prefix, and a prefix is received by itself. One that could not be passed, because a
//!   process has no descriptor left, is missing in its own frame and moves no other;
//! - every file that arrives is closed on exec, and closed when its frame is dropped.

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
};

use bytes::Bytes;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair, sockopt,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{io::Interest, net::UnixStream};

/// Longest header of a frame in bytes: a page of a listing with 1000 paths of 1 KiB fits.
const MAX_HEADER: usize = 8 << 20;
/// Most content of a frame in bytes.
pub(super) const MAX_CONTENT: usize = 64 << 20;
/// Bytes of the prefix.
const PREFIX: usize = 12;
/// What a socket may hold in bytes, where the system allows as much.
const BUFFER: usize = 1 << 20;

/// Two connected sockets, both closed on exec and not blocking.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    for end in [&ours, &theirs] {
        // Beyond the system's limit with the rights for it, else up to that limit. Smaller ones work too.
        if sockopt::set_socket_send_buffer_size_force(end, BUFFER).is_err() {
            let _ = sockopt::set_socket_send_buffer_size(end, BUFFER);
        }
    }
    Ok((ours, theirs))
}

/// A frame on its way out.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    prefix_and_header: Vec<u8>,
    content: Bytes,
    file: Option<OwnedFd>,
}

impl Outgoing {
    /// A frame of a header, content and perhaps a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] when it is larger than a frame may be.
    pub(super) fn new(header: &impl Serialize, content: Bytes, file: Option<OwnedFd>) -> io::Result<Self> {
        let mut text = vec![0; PREFIX];
        serde_json::to_writer(&mut text, header)?;
        let header_length = text.len() - PREFIX;
        if header_length > MAX_HEADER || content.len() > MAX_CONTENT {
            let most = format!(
                "a message to or from the driver's process has at most {MAX_HEADER} bytes of facts and \
                 {MAX_CONTENT} bytes of content"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, most));
        }
        let lengths = [header_length, content.len(), usize::from(file.is_some())];
        for (place, length) in text.chunks_exact_mut(4).zip(lengths) {
            // Each is below the two limits.
            place.copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        }
        Ok(Self { prefix_and_header: text, content, file })
    }
}

/// A frame that arrived.
#[derive(Debug)]
pub(super) struct Incoming<T> {
    pub(super) header: T,
    pub(super) content: Bytes,
    pub(super) file: Option<OwnedFd>,
    /// A file was sent with the frame and did not arrive.
    pub(super) file_lost: bool,
}

/// One end of the control socket. Sending and receiving may go on at the same time; each of them is one
/// task's affair.
#[derive(Debug)]
pub(super) struct Channel {
    socket: UnixStream,
}

impl Channel {
    /// Takes over a socket of [`pair`]. Must be called inside a runtime.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixStream::from_std(socket)? })
    }

    /// Sends a frame whole. When it is dropped or fails, the channel is of no use any more.
    pub(super) async fn send(&self, mut frame: Outgoing) -> io::Result<()> {
        let mut sent = 0;
        let total = frame.prefix_and_header.len() + frame.content.len();
        while sent < total {
            let (head, content) = (&frame.prefix_and_header[..], &frame.content[..]);
            let parts = [
                IoSlice::new(head.get(sent..).unwrap_or_default()),
                IoSlice::new(&content[sent.saturating_sub(head.len()).min(content.len())..]),
            ];
            let file = frame.file.as_ref().filter(|_| sent == 0);
            let written = self
                .socket
                .async_io(Interest::WRITABLE, || match send_once(&self.socket, &parts, file) {
                    // Too many files are under way. The frame goes without, and its receiver can tell.
                    Err(Errno::TOOMANYREFS) => Ok(send_once(&self.socket, &parts, None)?),
                    other => Ok(other?),
                })
                .await?;
            // It belongs to the other side now.
            frame.file = None;
            sent += written;
        }
        Ok(())
    }

    /// Receives the next frame; `None` when the other side has closed between two frames.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] for a frame that cannot be right,
    /// [`io::ErrorKind::UnexpectedEof`] in the middle of one.
    pub(super) async fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<Incoming<T>>> {
        let mut prefix = [0; PREFIX];
        let Some(files) = self.fill(&mut prefix).await? else { return Ok(None) };
        let mut lengths = prefix.chunks_exact(4).map(|bytes| {
            bytes.try_into().map(u32::from_le_bytes).map_or(usize::MAX, |length| length as usize)
        });
        let mut next = || lengths.next().unwrap_or(usize::MAX);
        let (header_length, content_length, announced) = (next(), next(), next());
        if header_length > MAX_HEADER || content_length > MAX_CONTENT || announced > 1 {
            return Err(malformed(format!("a frame of {header_length} and {content_length} bytes")));
        }
        let mut header = vec![0; header_length];
        let mut content = vec![0; content_length];
        for part in [&mut header, &mut content] {
            if !part.is_empty() && self.fill(part).await?.is_none() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let header = serde_json::from_slice(&header)
            // Only the place: the text could quote a secret.
            .map_err(|error| malformed(format!("a header that cannot be read at byte {}", error.column())))?;
        let mut files = files.into_iter();
        let file = files.next();
        let file_lost = file.is_none() && announced == 1;
        Ok(Some(Incoming { header, content: content.into(), file, file_lost }))
    }

    /// Fills the buffer and returns the files that came with it; `None` when nothing is left at its start.
    async fn fill(&self, buffer: &mut [u8]) -> io::Result<Option<Vec<OwnedFd>>> {
        let mut files = Vec::new();
        let mut filled = 0;
        while filled < buffer.len() {
            let rest = &mut buffer[filled..];
            let received = self
                .socket
                .async_io(Interest::READABLE, || Ok(receive_once(&self.socket, rest, &mut files)?))
                .await?;
            match received {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => filled += more,
            }
        }
        Ok(Some(files))
    }
}

fn malformed(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn send_once(socket: &UnixStream, parts: &[IoSlice<'_>], file: Option<&OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let files = file.map(|file| [file.as_fd()]);
    if let Some(files) = &files
        && !ancillary.push(SendAncillaryMessage::ScmRights(files))
    {
        return Err(Errno::NOBUFS);
    }
    sendmsg(socket, parts, &mut ancillary, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn receive_once(socket: &UnixStream, buffer: &mut [u8], files: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(arrived) = message {
            files.extend(arrived);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read};

    use super::*;

    fn channels() -> (Channel, Channel) {
        let (one, two) = pair().unwrap();
        (Channel::new(one).unwrap(), Channel::new(two).unwrap())
    }

    fn file_with(text: &str) -> OwnedFd {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        File::open(file.path()).unwrap().into()
    }

    #[tokio::test]
    async fn frames_arrive_in_order_each_with_its_own_file() {
        let (one, two) = channels();
        let sending = tokio::spawn(async move {
            for number in 0..50_u32 {
                let file = (number % 3 == 0).then(|| file_with(&number.to_string()));
                let content = Bytes::from(vec![number as u8; number as usize * 5000]);
                one.send(Outgoing::new(&number, content, file).unwrap()).await.unwrap();
            }
        });
        for number in 0..50_u32 {
            let frame: Incoming<u32> = two.receive().await.unwrap().unwrap();
            assert_eq!((frame.header, frame.content.len()), (number, number as usize * 5000));
            assert!(frame.content.iter().all(|byte| *byte == number as u8) && !frame.file_lost);
            let text = frame.file.map(|file| {
                let mut text = String::new();
                File::from(file).read_to_string(&mut text).unwrap();
                text
            });
            assert_eq!(text, (number % 3 == 0).then(|| number.to_string()));
        }
        sending.await.unwrap();
        assert!(two.receive::<u32>().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_or_no_frame_is_an_error() {
        for (bytes, kind) in [
            (&[0xff; 12][..], io::ErrorKind::InvalidData),
            (&[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'j', b'u', b'n', b'k'], io::ErrorKind::InvalidData),
            (&[4, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, b'1', b'2', b'3', b'4'], io::ErrorKind::InvalidData),
            (&[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, b'1'], io::ErrorKind::UnexpectedEof),
            (&[4, 0, 0], io::ErrorKind::UnexpectedEof),
        ] {
            let (one, two) = pair().unwrap();
            rustix::io::write(&one, bytes).unwrap();
            drop(one);
            let error = Channel::new(two).unwrap().receive::<u32>().await.unwrap_err();
            assert_eq!(error.kind(), kind, "{bytes:?}");
        }
        assert!(Outgoing::new(&1, Bytes::from(vec![0; MAX_CONTENT + 1]), None).is_err());
    }

    #[tokio::test]
    async fn a_file_that_went_missing_is_missed_in_its_own_frame() {
        let (one, two) = channels();
        let mut without = Outgoing::new(&1, Bytes::new(), Some(file_with("a"))).unwrap();
        without.file = None;
        one.send(without).await.unwrap();
        one.send(Outgoing::new(&2, Bytes::new(), Some(file_with("b"))).unwrap()).await.unwrap();
        let first: Incoming<u32> = two.receive().await.unwrap().unwrap();
        assert!(first.file.is_none() && first.file_lost);
        let second: Incoming<u32> = two.receive().await.unwrap().unwrap();
        assert!(second.file.is_some() && !second.file_lost);
    }
}
