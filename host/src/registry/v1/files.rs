//! The list of files in a layer, for `GET …/files`.
//!
//! A list is made once, stored, and served from there on; one that 0.9.1 has stored is served as it is.
//! To make it the layer streams once through [`super::archive`] on a thread for blocking work. Nothing is
//! spooled.

use std::{
    io::{self, Read},
    os::unix::fs::FileExt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use bytes::{Buf, Bytes};
use docker_registry_driver_api as driver;
use docker_registry_driver_api::{CallContext, ErrorKind, FileRegion, ReadRange, Reading, ReadingBody};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::{Error, Registry, Result, archive, names::ImageId, present};
use crate::layout::v1::ImagePaths;

impl Registry {
    /// The files of the image's layer: a JSON list of `[path, type, is_deleted, size, mtime, mode, uid,
    /// gid]` in the order of the archive. Made at the first request, stored, and served from there on.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`], [`Error::ImageInProgress`], [`Error::NotAnArchive`],
    /// [`Error::TooManyFiles`], or the storage's.
    pub async fn files(&self, call: &CallContext, id: &ImageId) -> Result<Bytes> {
        let paths = ImagePaths(id);
        let files_path = paths.files()?;
        if let Some(stored) = self.get(call, &files_path).await? {
            return Ok(self.when_complete(call, id, Some(stored)).await?.content);
        }
        let layer = present(self.storage.read(call, &paths.layer()?, ReadRange::Full).await)?;
        let layer = self.when_complete(call, id, layer).await?;
        let list = Bytes::from(list_layer(layer).await?);
        if let Err(error) = self.put(call, &files_path, list.clone()).await {
            tracing::warn!(%error, image = %id, "the list of a layer's files could not be stored");
        }
        Ok(list)
    }
}

async fn list_layer(layer: Reading) -> Result<String> {
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
    let listing = tokio::task::spawn_blocking(move || archive::list(reader));
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
