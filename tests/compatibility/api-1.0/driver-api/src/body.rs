//! Content in motion: byte streams, ranges and file regions.
//!
//! A stream yields chunks of any size above zero; 256 KiB to 1 MiB costs the least. An `Err` item
//! ends the stream. Dropping a stream cancels whatever fills it.

use std::{fs::File, pin::Pin};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::{Error, ErrorKind, Result};

/// Content in chunks.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send + 'static>>;

/// A stream of the given chunks.
pub fn byte_stream(chunks: impl IntoIterator<Item = Bytes, IntoIter: Send + 'static>) -> ByteStream {
    stream::iter(chunks.into_iter().map(Ok)).boxed()
}

/// A stream that ends at once.
pub fn empty_stream() -> ByteStream {
    stream::empty().boxed()
}

/// Reads a stream to its end.
///
/// # Errors
/// The stream's own, or [`ErrorKind::TooLarge`] as soon as it yields more than `limit` bytes.
pub async fn collect(mut stream: ByteStream, limit: usize) -> Result<Bytes> {
    let mut first = match stream.try_next().await? {
        Some(chunk) => chunk,
        None => return Ok(Bytes::new()),
    };
    let mut whole: Option<BytesMut> = None;
    loop {
        if first.len() + whole.as_ref().map_or(0, BytesMut::len) > limit {
            return Err(Error::new(ErrorKind::TooLarge, format!("the content has more than {limit} bytes")));
        }
        match stream.try_next().await? {
            // One chunk is the usual case and needs no copy.
            None if whole.is_none() => return Ok(first),
            next => {
                whole.get_or_insert_default().extend_from_slice(&first);
                match next {
                    Some(chunk) => first = chunk,
                    None => return Ok(whole.unwrap_or_default().freeze()),
                }
            }
        }
    }
}

/// Which bytes of an object are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadRange {
    /// All of them.
    #[default]
    Full,
    /// From the first byte at `offset` to the end.
    From {
        /// Offset of the first byte.
        offset: u64,
    },
    /// At most `length` bytes from `offset`; `length` is above zero.
    Window {
        /// Offset of the first byte.
        offset: u64,
        /// Number of bytes wanted; the object may end earlier.
        length: u64,
    },
    /// The last bytes, at most `length` of them; `length` is above zero.
    Last {
        /// Number of bytes wanted from the end.
        length: u64,
    },
}

impl ReadRange {
    /// Offset and length of the range in an object of `size` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRange`] when no byte of the object is in the range; the full range of an
    /// empty object is empty and fine.
    pub fn resolve(self, size: u64) -> Result<(u64, u64)> {
        let (offset, length) = match self {
            Self::Full => return Ok((0, size)),
            Self::From { offset } => (offset, u64::MAX),
            Self::Window { offset, length } => (offset, length),
            Self::Last { length } => (size.saturating_sub(length), length),
        };
        if offset >= size || length == 0 {
            return Err(Error::new(
                ErrorKind::InvalidRange,
                format!("the range has no byte of this object of {size} bytes"),
            ));
        }
        Ok((offset, length.min(size - offset)))
    }
}

/// An open object, positioned at the wanted range.
pub struct Reading {
    /// Size of the *whole* object in bytes, so that a ranged answer needs no second call.
    pub total_size: u64,
    /// Offset of the first byte in the object.
    pub offset: u64,
    /// Number of bytes that the body yields.
    pub length: u64,
    /// Version of the content, if the storage has one.
    pub etag: Option<crate::ETag>,
    /// The bytes.
    pub body: ReadingBody,
}

/// How the bytes are handed over.
pub enum ReadingBody {
    /// Chunk by chunk. Fewer or more bytes than announced is an error of the driver.
    Stream(ByteStream),
    /// As part of an open file: the server sends it with `sendfile(2)` or reads it with large preads.
    File(FileRegion),
}

/// Part of an open file whose content does not change while it is open.
#[derive(Debug)]
pub struct FileRegion {
    /// The open file. Its own position is neither used nor changed.
    pub file: File,
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_like_rfc_9110() {
        assert_eq!(ReadRange::Full.resolve(0).unwrap(), (0, 0));
        assert_eq!(ReadRange::From { offset: 3 }.resolve(10).unwrap(), (3, 7));
        assert_eq!(ReadRange::Window { offset: 8, length: 5 }.resolve(10).unwrap(), (8, 2));
        assert_eq!(ReadRange::Last { length: 4 }.resolve(10).unwrap(), (6, 4));
        assert_eq!(ReadRange::Last { length: 40 }.resolve(10).unwrap(), (0, 10));
        for range in [ReadRange::From { offset: 10 }, ReadRange::Window { offset: 11, length: 1 }] {
            assert_eq!(range.resolve(10).unwrap_err().kind, ErrorKind::InvalidRange);
        }
        assert!(ReadRange::Last { length: 1 }.resolve(0).is_err());
    }

    #[tokio::test]
    async fn collect_joins_chunks_and_stops_at_the_limit() {
        let chunks = || byte_stream([Bytes::from("ab"), Bytes::from("c"), Bytes::from("de")]);
        assert_eq!(collect(chunks(), 5).await.unwrap(), "abcde");
        assert_eq!(collect(chunks(), 4).await.unwrap_err().kind, ErrorKind::TooLarge);
        assert_eq!(collect(empty_stream(), 0).await.unwrap(), "");
    }
}
