//! A stream on its way into a file.
//!
//! The stream is gathered into batches and each batch is written with one `pwritev(2)` on a blocking
//! thread, while the next one is gathered. Memory holds two batches at most, whatever the size of the
//! content. No thread is held while the client is silent.

use std::{
    fs::File,
    io::{self, IoSlice},
    sync::Arc,
    task::Poll,
};

use docker_registry_driver_api::{
    ByteStream, Bytes, Error, ErrorKind, Result,
    futures::{StreamExt, poll},
};
use tokio::task::JoinHandle;

/// A batch of this many bytes is written.
const BATCH_BYTES: usize = 1024 * 1024;
/// A batch of this many chunks is written: `pwritev(2)` takes no more.
const BATCH_CHUNKS: usize = 1024;
/// When the client pauses, this many bytes are written without waiting for more, so that many slow
/// clients do not hold a batch each.
const PAUSE_BYTES: usize = 64 * 1024;
/// Write-back begins after this many bytes, so that little is left for the last sync.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// Where the batches go.
pub(crate) trait Batches: Send + Sync + 'static {
    /// Writes one batch. Called on a thread that may block, and never twice at once.
    fn write(&self, chunks: &[Bytes], offset: u64) -> Result<()>;

    /// The file that they go to.
    fn file(&self) -> &File;
}

/// Writes chunks one behind the other.
pub(crate) fn write_at(file: &File, chunks: &[Bytes], mut offset: u64) -> Result<()> {
    let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match rustix::io::pwritev(file, left, offset) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut left, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    Ok(())
}

/// Writes the stream from `offset` on. Returns the offset behind the last byte; when it does, no write is under
/// way, whatever happened.
pub(crate) async fn receive<B: Batches>(target: &Arc<B>, offset: u64, mut body: ByteStream) -> Result<u64> {
    let mut writer = Writer::new(target, offset);
    let received = loop {
        let next = match poll!(body.next()) {
            Poll::Ready(next) => next,
            Poll::Pending => {
                if writer.gathered >= PAUSE_BYTES
                    && let Err(error) = writer.write().await
                {
                    break Err(error);
                }
                body.next().await
            }
        };
        match next {
            None => break writer.write().await,
            Some(Err(error)) => {
                let failure = Error::new(ErrorKind::BodyFailed, "the content ended with an error");
                break Err(failure.caused_by(&error));
            }
            Some(Ok(chunk)) => {
                if let Err(error) = writer.push(chunk).await {
                    break Err(error);
                }
            }
        }
    };
    let settled = writer.settle().await;
    received.and(settled).map(|()| writer.offset)
}

/// Gathers chunks and writes them, one batch at a time.
struct Writer<B> {
    target: Arc<B>,
    chunks: Vec<Bytes>,
    gathered: usize,
    /// Where the next batch goes.
    offset: u64,
    unsynced: u64,
    write: Option<JoinHandle<Result<()>>>,
    sync: Option<JoinHandle<Result<()>>>,
}

impl<B: Batches> Writer<B> {
    fn new(target: &Arc<B>, offset: u64) -> Self {
        Self {
            target: Arc::clone(target),
            chunks: Vec::new(),
            gathered: 0,
            offset,
            unsynced: 0,
            write: None,
            sync: None,
        }
    }

    async fn push(&mut self, chunk: Bytes) -> Result<()> {
        if chunk.is_empty() {
            return Ok(());
        }
        self.gathered += chunk.len();
        self.chunks.push(chunk);
        if self.gathered >= BATCH_BYTES || self.chunks.len() == BATCH_CHUNKS {
            self.write().await
        } else {
            Ok(())
        }
    }

    /// Starts to write what was gathered, as soon as the write before is done.
    async fn write(&mut self) -> Result<()> {
        join(&mut self.write).await?;
        if self.chunks.is_empty() {
            return Ok(());
        }
        self.start_sync().await?;
        let chunks = std::mem::take(&mut self.chunks);
        let (target, offset) = (Arc::clone(&self.target), self.offset);
        self.offset += self.gathered as u64;
        self.unsynced += self.gathered as u64;
        self.gathered = 0;
        self.write = Some(tokio::task::spawn_blocking(move || target.write(&chunks, offset)));
        Ok(())
    }

    /// Starts write-back when enough has gathered, at most one at a time. Its result matters: the
    /// kernel reports a failed write-back once.
    async fn start_sync(&mut self) -> Result<()> {
        if self.unsynced < SYNC_BYTES || self.sync.as_ref().is_some_and(|sync| !sync.is_finished()) {
            return Ok(());
        }
        join(&mut self.sync).await?;
        self.unsynced = 0;
        let target = Arc::clone(&self.target);
        self.sync = Some(tokio::task::spawn_blocking(move || Ok(target.file().sync_data()?)));
        Ok(())
    }

    /// Waits until nothing is under way.
    async fn settle(&mut self) -> Result<()> {
        let written = join(&mut self.write).await;
        written.and(join(&mut self.sync).await)
    }
}

/// Waits for a task, if there is one.
async fn join(task: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    let Some(task) = task.take() else { return Ok(()) };
    task.await.unwrap_or_else(|failure| {
        Err(Error::new(ErrorKind::Internal, "the file operation was not finished").caused_by(&failure))
    })
}
