//! Adding a stream to an upload.
//!
//! The stream is gathered into batches and each batch is written with one `pwritev(2)` on a blocking
//! thread, while the next one is gathered. Memory holds two batches at most, whatever the size of the
//! upload. No thread is held while the client is silent.

use std::{
    fs::File,
    io::{self, IoSlice},
    path::PathBuf,
    sync::Arc,
    task::Poll,
    thread,
    time::Duration,
};

use docker_registry_driver_api::{
    ByteStream, Bytes, Error, ErrorKind, Result, UploadProgress, UploadState,
    futures::{StreamExt, poll},
};
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    Store, blocking, durable,
    record::{Standing, gone, stale},
    stop::Stop,
    uploads::{Upload, discard},
};

/// A batch of this many bytes is written.
const BATCH_BYTES: usize = 1024 * 1024;
/// A batch of this many chunks is written: `pwritev(2)` takes no more.
const BATCH_CHUNKS: usize = 1024;
/// When the client pauses, this many bytes are written without waiting for more, so that many slow
/// clients do not hold a batch each.
const PAUSE_BYTES: usize = 64 * 1024;
/// Write-back begins after this many bytes, so that little is left for the last sync.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;
/// A stale appender is given this much time to notice and let go, before a copy of this many bytes or
/// more is made.
const LET_GO: Duration = Duration::from_millis(20);
const LET_GO_ATTEMPTS: u32 = 10;
const LARGE_COPY: u64 = 1024 * 1024;

/// See `Driver::append`.
pub(crate) async fn append(
    store: Arc<Store>,
    state: UploadState,
    expected_offset: u64,
    body: ByteStream,
) -> Result<UploadProgress> {
    let stop = Stop::default();
    let _guard = stop.when_dropped();
    let begin = move || Appending::begin(&store, &state, expected_offset, &stop).map(Unfinished::new);
    let unfinished = blocking(begin).await?;
    let received = receive(&unfinished.appending, body).await;
    blocking(move || {
        let appending = unfinished.finishing();
        match received {
            Ok(end) => appending.finish(end),
            Err(error) => {
                appending.withdraw();
                Err(error)
            }
        }
    })
    .await
}

/// An append under way.
struct Appending {
    uploads: PathBuf,
    upload: Upload,
    /// Where the upload stood when the append began.
    standing: Standing,
    /// Drawn at the beginning. When the record shows another one, somebody has taken over.
    claim: u64,
    /// The data file, locked for this append alone.
    data: File,
    /// Path of the data file if it is a copy for this append.
    copy: Option<PathBuf>,
}

impl Appending {
    /// Claims the upload and gets hold of a data file.
    fn begin(store: &Store, state: &UploadState, expected_offset: u64, stop: &Stop) -> Result<Self> {
        let upload = store.find_upload(state)?;
        let mut claim = None;
        for attempt in 0.. {
            stop.check()?;
            let locked = upload.record.lock()?;
            let standing = upload.standing()?;
            if standing.offset != expected_offset {
                let message = format!("the upload stands at {}, not at {expected_offset}", standing.offset);
                return Err(Error::new(ErrorKind::Conflict, message));
            }
            let claim = match claim {
                Some(claim) if upload.record.claim()? != claim => return Err(stale()),
                Some(claim) => claim,
                None => *claim.insert(locked.draw_claim()?),
            };
            let taken = upload.take_data(&locked, standing)?;
            drop(locked);
            let (data, copy) = match taken {
                Some(data) => (data, None),
                // The earlier appender looks at the claim before each batch and then goes away.
                None if standing.offset >= LARGE_COPY && attempt < LET_GO_ATTEMPTS => {
                    thread::sleep(LET_GO);
                    continue;
                }
                None => {
                    let (data, path) = upload.copy_data(standing, claim, stop)?;
                    (data, Some(path))
                }
            };
            let uploads = store.staging.uploads().to_owned();
            return Ok(Self { uploads, upload, standing, claim, data, copy });
        }
        Err(stale())
    }

    /// Fails when the upload went on or ended without this append.
    fn check_claim(&self) -> Result<()> {
        if self.upload.record.is_gone()? {
            Err(gone())
        } else if self.upload.record.claim()? != self.claim {
            Err(stale())
        } else {
            Ok(())
        }
    }

    /// Writes one batch, unless somebody has taken over.
    fn write(&self, chunks: &[Bytes], mut offset: u64) -> Result<()> {
        self.check_claim()?;
        let mut slices: Vec<IoSlice<'_>> = chunks.iter().map(|chunk| IoSlice::new(chunk)).collect();
        let mut left = slices.as_mut_slice();
        while !left.is_empty() {
            match rustix::io::pwritev(&self.data, left, offset) {
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

    /// Makes the bytes up to `end` durable and moves the upload there.
    fn finish(&self, end: u64) -> Result<UploadProgress> {
        let moved = self.advance(end);
        match &moved {
            // The record may name these bytes already.
            Err(error) if error.outcome_unknown => {}
            Err(_) => self.withdraw(),
            Ok(_) if self.copy.is_some() => self.upload.remove_other_data(self.claim),
            Ok(_) => {}
        }
        moved
    }

    fn advance(&self, end: u64) -> Result<UploadProgress> {
        // The names too, where they are newer than the last sync of their folders.
        let names = [&self.upload.folder, &self.uploads];
        let new_names = self.standing.generation == 0 || self.copy.is_some();
        durable::sync_together(Some(&self.data), if new_names { &names } else { &[] })?;
        let data = if self.copy.is_some() { self.claim } else { self.standing.data };
        let standing = Standing { generation: self.standing.generation + 1, offset: end, data };
        let locked = self.upload.record.lock()?;
        self.upload.standing()?;
        self.check_claim()?;
        // Last, because the record must not speak of bytes that are not on disk.
        locked.advance(standing).map_err(|error| Error::from(error).outcome_unknown())?;
        Ok(UploadProgress { state: self.upload.state(standing)?, offset: end })
    }

    /// Frees the space of what was written. The data file is still this append's own.
    fn withdraw(&self) {
        if let Some(copy) = &self.copy {
            discard(copy);
        } else if let Err(error) = self.data.set_len(self.standing.offset) {
            tracing::debug!(%error, "the rest of a failed append stays until the upload goes on");
        }
    }
}

/// An append that is dropped before its end does not leave its private copy behind.
struct Unfinished {
    appending: Arc<Appending>,
    finishing: bool,
}

impl Unfinished {
    fn new(appending: Appending) -> Self {
        Self { appending: Arc::new(appending), finishing: false }
    }

    /// From here on the append itself decides what stays.
    fn finishing(mut self) -> Arc<Appending> {
        self.finishing = true;
        Arc::clone(&self.appending)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.finishing || self.appending.copy.is_none() {
            return;
        }
        let appending = Arc::clone(&self.appending);
        let withdraw = move || appending.withdraw();
        // Freeing a large file takes time, and this may be a thread that polls.
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(withdraw)),
            Err(_) => withdraw(),
        }
    }
}

/// Writes the stream behind the upload's bytes. Returns the offset behind the last one.
async fn receive(appending: &Arc<Appending>, mut body: ByteStream) -> Result<u64> {
    let mut writer = Writer::new(appending);
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
    // Whatever happened, no write may be under way when the append ends.
    let settled = writer.settle().await;
    received.and(settled).map(|()| writer.offset)
}

/// Gathers chunks and writes them, one batch at a time.
struct Writer {
    appending: Arc<Appending>,
    chunks: Vec<Bytes>,
    gathered: usize,
    /// Where the next batch goes.
    offset: u64,
    unsynced: u64,
    write: Option<JoinHandle<Result<()>>>,
    sync: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    fn new(appending: &Arc<Appending>) -> Self {
        Self {
            appending: Arc::clone(appending),
            chunks: Vec::new(),
            gathered: 0,
            offset: appending.standing.offset,
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
        let (appending, offset) = (Arc::clone(&self.appending), self.offset);
        self.offset += self.gathered as u64;
        self.unsynced += self.gathered as u64;
        self.gathered = 0;
        self.write = Some(tokio::task::spawn_blocking(move || appending.write(&chunks, offset)));
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
        let appending = Arc::clone(&self.appending);
        self.sync = Some(tokio::task::spawn_blocking(move || Ok(appending.data.sync_data()?)));
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
