//! The list of files in a layer, for `GET …/files`.
//!
//! A list is made once, stored, and served from there on; one that 0.9.1 has stored is served as it is.
//! To make it the layer streams once through [`super::archive`] on a thread for blocking work. Nothing is
//! spooled. Only few layers are listed at a time, and a stored list is never whole in memory.

use std::{
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::{Buf, Bytes};
use docker_registry_driver_api as driver;
use docker_registry_driver_api::{
    CallContext, ErrorKind, FileRegion, ObjectPath, ReadRange, Reading, ReadingBody, byte_stream,
};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{Error, Registry, Result, archive, names::ImageId, present};
use crate::layout::v1::ImagePaths;

/// Layers that are listed at a time. A list takes a blocking thread and up to 64 MiB of memory until it is
/// stored.
const LISTED_AT_ONCE: usize = 2;
/// Bytes of a list that go to a client at a time when the list could not be stored.
const CHUNK_BYTES: usize = 256 << 10;

/// Who may list a layer now. Clones share the turns.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(LISTED_AT_ONCE)))
    }

    async fn next(&self) -> Result<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        Ok(turn.map_err(|error| {
            driver::Error::new(ErrorKind::Internal, "no more layers are listed").caused_by(&error)
        })?)
    }
}

impl Registry {
    /// The files of the image's layer: a JSON list of `[path, type, is_deleted, size, mtime, mode, uid,
    /// gid]` in the order of the archive. Made at the first request, stored, and read from there on.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageInProgress`], [`Error::NotAnArchive`],
    /// [`Error::TooManyFiles`], or the storage's.
    pub async fn files(&self, call: &CallContext, id: &ImageId) -> Result<Reading> {
        let paths = ImagePaths(id);
        let files_path = paths.files()?;
        if let Some(stored) = self.stored_files(call, id, &files_path).await? {
            return Ok(stored);
        }
        let turn = self.listing_turns.next().await?;
        // Whoever had the turn before may have listed the same layer.
        if let Some(stored) = self.stored_files(call, id, &files_path).await? {
            return Ok(stored);
        }
        let layer = present(self.storage.read(call, &paths.layer()?, ReadRange::Full).await)?;
        let layer = self.when_complete(call, id, layer).await?;
        let (list, turn) = list_layer(layer, turn).await?;
        let list = Bytes::from(list);
        match self.put(call, &files_path, list.clone()).await {
            // Read back, so that a slow client does not hold the list in memory.
            Ok(()) => {
                drop((list, turn));
                self.stored_files(call, id, &files_path).await?.ok_or(Error::ImageNotFound)
            }
            Err(error) => {
                tracing::warn!(%error, image = %id, "the list of a layer's files could not be stored");
                Ok(from_memory(list, turn))
            }
        }
    }

    /// The list that was stored earlier, if there is one.
    async fn stored_files(
        &self,
        call: &CallContext,
        id: &ImageId,
        path: &ObjectPath,
    ) -> Result<Option<Reading>> {
        match present(self.storage.read(call, path, ReadRange::Full).await)? {
            Some(stored) => self.when_complete(call, id, Some(stored)).await.map(Some),
            None => Ok(None),
        }
    }
}

/// A list that is nowhere but in memory. It keeps its turn until it is sent, so that there are never more
/// of them than turns.
fn from_memory(list: Bytes, turn: OwnedSemaphorePermit) -> Reading {
    let length = list.len() as u64;
    let chunks = (0..list.len()).step_by(CHUNK_BYTES).map(move |start| {
        let _held = &turn;
        list.slice(start..list.len().min(start + CHUNK_BYTES))
    });
    let body = ReadingBody::Stream(byte_stream(chunks));
    Reading { total_size: length, offset: 0, length, etag: None, body }
}

/// Lists the layer on a thread for blocking work, which has the turn as long as it works, whether anybody
/// still waits for it or not. The turn comes back with the list.
async fn list_layer(layer: Reading, turn: OwnedSemaphorePermit) -> Result<(String, OwnedSemaphorePermit)> {
    // Gone as soon as this request is, which ends the work on the other thread.
    let request = Arc::new(());
    let failure = Arc::new(Mutex::new(None));
    let (source, feed) = match layer.body {
        ReadingBody::File(region) => (Source::File(region), None),
        ReadingBody::Stream(stream) => {
            let (sender, receiver) = mpsc::channel(2);
            (Source::Stream { receiver, chunk: Bytes::new() }, Some((sender, stream)))
        }
    };
    let reader = LayerReader {
        source,
        left: layer.length,
        request: Arc::downgrade(&request),
        failure: failure.clone(),
    };
    let listing = tokio::task::spawn_blocking(move || archive::list(reader).map(|list| (list, turn)));
    let feeding = async {
        if let Some((sender, mut stream)) = feed {
            while let Some(chunk) = stream.next().await {
                if sender.send(chunk).await.is_err() {
                    break;
                }
            }
        }
    };
    let (listed, ()) = futures::join!(listing, feeding);
    // A failing storage looks like a broken archive to the code that reads it.
    if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(Error::Storage(error));
    }
    listed.unwrap_or_else(|error| {
        Err(driver::Error::new(ErrorKind::Internal, "listing a layer failed").caused_by(&error).into())
    })
}

/// The bytes of a layer for blocking readers.
struct LayerReader {
    source: Source,
    /// Bytes that must still come.
    left: u64,
    request: Weak<()>,
    failure: Arc<Mutex<Option<driver::Error>>>,
}

enum Source {
    File(FileRegion),
    Stream { receiver: mpsc::Receiver<driver::Result<Bytes>>, chunk: Bytes },
}

impl LayerReader {
    fn fail(&self, error: driver::Error) -> io::Error {
        let text = error.to_string();
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        io::Error::other(text)
    }
}

impl Read for LayerReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.request.strong_count() == 0 {
            return Err(io::Error::other("the request is gone"));
        }
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let read = match &mut self.source {
            Source::File(region) => {
                let wanted = buffer.len().min(usize::try_from(region.length).unwrap_or(usize::MAX));
                let read = region.file.read_at(&mut buffer[..wanted], region.offset);
                read.inspect(|read| {
                    region.offset += *read as u64;
                    region.length -= *read as u64;
                })
                .map_err(driver::Error::from)
            }
            Source::Stream { receiver, chunk } => loop {
                if !chunk.is_empty() {
                    let read = chunk.len().min(buffer.len());
                    chunk.copy_to_slice(&mut buffer[..read]);
                    break Ok(read);
                }
                match receiver.blocking_recv() {
                    Some(Ok(next)) => *chunk = next,
                    Some(Err(error)) => break Err(error),
                    None => break Ok(0),
                }
            },
        };
        match read {
            Ok(0) => Err(self.fail(driver::Error::new(ErrorKind::Corrupt, "a layer ended before its size"))),
            Ok(read) => {
                self.left = self.left.saturating_sub(read as u64);
                Ok(read)
            }
            Err(error) => Err(self.fail(error)),
        }
    }
}
