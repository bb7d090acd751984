//! Adding a stream to an upload.
//!
//! How the bytes get to the file is in the `batches` module.

use std::{fs::File, path::PathBuf, sync::Arc, thread, time::Duration};

use docker_registry_driver_api::{ByteStream, Bytes, Error, ErrorKind, Result, UploadProgress, UploadState};
use tokio::runtime::Handle;

use crate::{
    Store,
    batches::{self, Batches},
    blocking, durable,
    record::{Standing, gone, stale},
    stop::Stop,
    uploads::{Upload, discard},
};

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
    let received = batches::receive(&unfinished.appending, unfinished.appending.standing.offset, body).await;
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

impl Batches for Appending {
    /// Unless somebody has taken over.
    fn write(&self, chunks: &[Bytes], offset: u64) -> Result<()> {
        self.check_claim()?;
        batches::write_at(&self.data, chunks, offset)
    }

    fn file(&self) -> &File {
        &self.data
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
