//! Bytes of objects: slices of files that are never changed once they are written.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use futures::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use md5::{Digest, Md5};
use uuid::Uuid;

use crate::fault::Fault;
use crate::reply::Body;

/// How much is read from a file at once.
const PIECE: u64 = 256 << 10;

/// A file that goes away with its last user.
#[derive(Debug)]
struct Spool(PathBuf);

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[derive(Debug, Clone)]
struct Slice {
    file: Arc<Spool>,
    offset: u64,
    length: u64,
}

/// The bytes of an object or a part.
#[derive(Debug, Clone, Default)]
pub(crate) struct Content(Vec<Slice>);

/// Digests of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digests {
    pub(crate) md5: [u8; 16],
    pub(crate) crc64: u64,
}

impl Digests {
    /// The entity tag of an object that was written in one call.
    pub(crate) fn etag(&self) -> String {
        format!("\"{}\"", crate::signature::hexadecimal(&self.md5).to_uppercase())
    }
}

impl Content {
    /// Writes a request's body to a file.
    ///
    /// # Errors
    /// When the body ends early; nothing stays then.
    pub(crate) async fn receive(folder: &Path, mut body: Incoming) -> Result<(Self, Digests), Fault> {
        let path = folder.join(Uuid::new_v4().simple().to_string());
        let mut file = File::create_new(&path).map_err(|error| Fault::internal(&error))?;
        let spool = Arc::new(Spool(path));
        let mut hasher = Hasher::default();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| Fault::new(400, "IncompleteBody", "The body ended early."))?;
            let Ok(data) = frame.into_data() else { continue };
            length += data.len() as u64;
            tokio::task::block_in_place(|| {
                hasher.update(&data);
                file.write_all(&data)
            })
            .map_err(|error| Fault::internal(&error))?;
        }
        Ok((Self(vec![Slice { file: spool, offset: 0, length }]), hasher.finish()))
    }

    pub(crate) fn size(&self) -> u64 {
        self.0.iter().map(|slice| slice.length).sum()
    }

    /// These bytes with others behind them.
    pub(crate) fn followed_by(&self, other: &Self) -> Self {
        Self(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// Some of the bytes: as many as there are of `length` from `start`.
    pub(crate) fn range(&self, mut start: u64, mut length: u64) -> Self {
        let mut slices = Vec::new();
        for slice in &self.0 {
            if start >= slice.length {
                start -= slice.length;
                continue;
            }
            let taken = length.min(slice.length - start);
            if taken > 0 {
                let offset = slice.offset + start;
                slices.push(Slice { file: Arc::clone(&slice.file), offset, length: taken });
            }
            length -= taken;
            start = 0;
        }
        Self(slices)
    }

    /// Reads everything and hashes it. Blocks.
    pub(crate) fn digests(&self) -> std::io::Result<Digests> {
        let mut hasher = Hasher::default();
        for slice in self.pieces() {
            hasher.update(&slice.read()?);
        }
        Ok(hasher.finish())
    }

    /// The bytes as a body, read piece by piece.
    pub(crate) fn body(&self) -> Body {
        let pieces = futures::stream::iter(self.pieces()).then(|slice| async move {
            let read = tokio::task::spawn_blocking(move || slice.read()).await;
            read.unwrap_or_else(|_| Err(std::io::Error::other("the reader panicked"))).map(Frame::data)
        });
        BodyExt::boxed(StreamBody::new(pieces))
    }

    fn pieces(&self) -> Vec<Slice> {
        let mut pieces = Vec::new();
        for slice in &self.0 {
            let mut done = 0;
            while done < slice.length {
                let length = PIECE.min(slice.length - done);
                let file = Arc::clone(&slice.file);
                pieces.push(Slice { file, offset: slice.offset + done, length });
                done += length;
            }
        }
        pieces
    }
}

impl Slice {
    fn read(&self) -> std::io::Result<Bytes> {
        let mut buffer = vec![0; self.length as usize];
        File::open(&self.file.0)?.read_exact_at(&mut buffer, self.offset)?;
        Ok(buffer.into())
    }
}

struct Hasher {
    md5: Md5,
    crc: Crc,
}

impl Default for Hasher {
    fn default() -> Self {
        Self { md5: Md5::new(), crc: Crc::new(CrcAlgorithm::Crc64Xz) }
    }
}

impl Hasher {
    fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.crc.update(bytes);
    }

    fn finish(self) -> Digests {
        Digests { md5: self.md5.finalize().into(), crc64: self.crc.finalize() }
    }
}
