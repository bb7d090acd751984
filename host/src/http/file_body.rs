//! Bytes of files as response bodies, read in pieces.
//!
//! Guarantees: no read blocks the async runtime (a read that must wait for a disk runs on the blocking
//! pool), memory is constant (one piece, and at most one more read ahead), and a file that is shorter
//! than promised ends the body with an error, so that the connection is cut and nobody takes half an
//! object for a whole one.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, FileRegion, Result};
use futures::Stream;
use rustix::{
    buffer::spare_capacity,
    io::{Errno, ReadWriteFlags, preadv2},
};
use tokio::task::JoinHandle;

/// Size of one piece, in bytes.
const PIECE: u64 = 512 * 1024;

/// Files up to this size, in bytes, are read at once and answered from memory: one write to the socket
/// carries header and content.
pub(crate) const SMALL: u64 = 64 * 1024;

/// Part of an open file, shared by everything that sends it.
#[derive(Debug, Clone)]
pub(crate) struct SharedRegion {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

impl From<FileRegion> for SharedRegion {
    fn from(region: FileRegion) -> Self {
        Self { file: Arc::new(region.file), offset: region.offset, length: region.length }
    }
}

impl SharedRegion {
    /// Cuts off the first bytes, at most `length` of them.
    pub(crate) fn split_to(&mut self, length: u64) -> Self {
        let length = length.min(self.length);
        let first = Self { file: Arc::clone(&self.file), offset: self.offset, length };
        self.offset += length;
        self.length -= length;
        first
    }
}

/// Reads a region whole: without leaving the thread when the kernel has it in memory, else on the
/// blocking pool. For regions up to [`SMALL`] bytes.
///
/// # Errors
/// The kernel's, and the file being shorter than the region.
pub(crate) async fn read_small(region: SharedRegion) -> Result<Bytes> {
    let mut content = vec![0; size_in_memory(region.length)?];
    match preadv2(&region.file, &mut [IoSliceMut::new(&mut content)], region.offset, ReadWriteFlags::NOWAIT) {
        Ok(read) if read == content.len() => Ok(content.into()),
        Err(Errno::OPNOTSUPP) if is_memory_file(&region.file) => read_piece(&region),
        // Not in memory, not all of it, or a file system that cannot tell.
        _ => finished(tokio::task::spawn_blocking(move || read_piece(&region)).await),
    }
}

/// The region as a stream of pieces.
pub(crate) fn pieces(region: SharedRegion) -> Pieces {
    Pieces { rest: region, read_ahead: None }
}

/// See [`pieces`].
pub(crate) struct Pieces {
    rest: SharedRegion,
    read_ahead: Option<JoinHandle<Result<Bytes>>>,
}

impl Pieces {
    fn start_next(&mut self) {
        if self.rest.length > 0 {
            let piece = self.rest.split_to(PIECE);
            self.read_ahead = Some(tokio::task::spawn_blocking(move || read_piece(&piece)));
        }
    }
}

impl Stream for Pieces {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.read_ahead.is_none() {
            self.start_next();
        }
        let Some(reading) = &mut self.read_ahead else { return Poll::Ready(None) };
        let piece = finished(ready!(Pin::new(reading).poll(cx)));
        self.read_ahead = None;
        match &piece {
            Ok(_) => self.start_next(),
            Err(_) => self.rest.length = 0,
        }
        Poll::Ready(Some(piece))
    }
}

/// Reads a region whole, blocking the thread.
pub(crate) fn read_piece(region: &SharedRegion) -> Result<Bytes> {
    let wanted = size_in_memory(region.length)?;
    let mut content = Vec::with_capacity(wanted);
    while content.len() < wanted {
        let offset = region.offset + content.len() as u64;
        match rustix::io::pread(&region.file, spare_capacity(&mut content), offset) {
            Ok(0) => return Err(too_short(offset)),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::from(io::Error::from(errno))),
        }
    }
    // The allocator may have given more room than was asked for, and the file may fill it.
    content.truncate(wanted);
    Ok(content.into())
}

/// Whether the file is on a file system that has no disk and cannot say whether a read would wait.
pub(crate) fn is_memory_file(file: &File) -> bool {
    /// `TMPFS_MAGIC` of `statfs(2)`.
    const TMPFS: u64 = 0x0102_1994;
    rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type as u64 == TMPFS)
}

/// The file ends at or before `offset` although more was promised.
pub(crate) fn too_short(offset: u64) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("the file became shorter while it was sent: nothing is at its offset {offset}"),
    )
}

fn size_in_memory(length: u64) -> Result<usize> {
    usize::try_from(length)
        .map_err(|_| Error::new(ErrorKind::TooLarge, format!("{length} bytes do not fit into memory")))
}

fn finished<T>(joined: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    joined.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "reading a file was cut short").caused_by(&error))
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures::{StreamExt, TryStreamExt};

    use super::*;

    fn region(content: &[u8], offset: u64, length: u64) -> SharedRegion {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        FileRegion { file, offset, length }.into()
    }

    #[tokio::test]
    async fn pieces_join_to_the_region() {
        let content: Vec<u8> = (0..PIECE * 3 + 77).map(|i| (i % 251) as u8).collect();
        let wanted = &content[5..content.len() - 9];
        let region = region(&content, 5, wanted.len() as u64);
        let pieces: Vec<Bytes> = pieces(region).try_collect().await.unwrap();
        assert_eq!(pieces.len(), 4);
        assert!(pieces.concat() == wanted);
    }

    #[tokio::test]
    async fn a_small_region_is_read_at_once() {
        assert_eq!(read_small(region(b"0123456789", 2, 5)).await.unwrap(), "23456");
        assert_eq!(read_small(region(b"", 0, 0)).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_file_that_is_too_short_is_an_error_and_the_end() {
        assert_eq!(read_small(region(b"012", 0, 4)).await.unwrap_err().kind, ErrorKind::Corrupt);
        let mut pieces = pieces(region(&vec![1; PIECE as usize], 0, PIECE * 2));
        assert!(pieces.next().await.unwrap().is_ok());
        assert!(pieces.next().await.unwrap().is_err());
        assert!(pieces.next().await.is_none());
    }
}
