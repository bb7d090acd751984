//! A stream on its way into a file.
//!
//! The stream is gathered into batches and each batch is written on a blocking thread, while the next one is
//! gathered. Memory holds two batches at most, whatever the size of the content. No thread is held while the
//! client is silent.

use std::{
    fs::File,
    io::{self, IoSlice},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use docker_registry_driver_api::{ByteStream, Bytes, Error, ErrorKind, Result, futures::StreamExt};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// A batch of this many bytes is written. Twice as much is no faster, and is twice the memory of many bodies.
const BATCH_BYTES: usize = 512 * 1024;
/// Most bytes of one system call. The kernel takes memory in one piece for what one call writes, and large pieces are
/// dear where they are rare, such as in a virtual machine that gives memory back to its host: there, 64 bodies at once
/// took half as long again with calls of 1 MiB, and eight a tenth longer with calls of 64 KiB.
const CALL_BYTES: usize = 32 * 1024;
/// A batch of this many chunks is written: `pwritev(2)` takes no more.
const BATCH_CHUNKS: usize = 1024;
/// When nothing was written for so long, this many bytes are, without waiting for more, so that many slow clients do not
/// hold a batch each. That a body has nothing at this moment is no reason to write: a body in chunks has nothing after
/// each of them, and to change threads for every chunk of 32 KiB costs more than to write it.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_BYTES: usize = 64 * 1024;
/// Write-back begins after this many bytes, so that little is left for the last sync.
const SYNC_BYTES: u64 = 16 * 1024 * 1024;
/// Whether one is under way in this process. A second seldom makes a disk faster, and each is a commit of the file system's
/// journal.
static WRITING_BACK: AtomicBool = AtomicBool::new(false);

/// Where the batches go.
pub(crate) trait Batches: Send + Sync + 'static {
    /// Writes one batch. Called on a thread that may block, and never twice at once.
    fn write(&self, chunks: &[Bytes], offset: u64) -> Result<()>;

    /// The file that they go to.
    fn file(&self) -> &File;
}

/// Writes chunks one behind the other.
pub(crate) fn write_at(file: &File, chunks: &[Bytes], mut offset: u64) -> Result<()> {
    let mut left = chunks;
    // Of the first chunk that is left.
    let mut begun = 0;
    let mut slices = Vec::with_capacity(chunks.len().min(BATCH_CHUNKS));
    while !left.is_empty() {
        slices.clear();
        let mut room = CALL_BYTES;
        for chunk in left.iter().take(BATCH_CHUNKS) {
            let rest = if slices.is_empty() { &chunk[begun..] } else { chunk };
            let part = &rest[..rest.len().min(room)];
            slices.push(IoSlice::new(part));
            room -= part.len();
            if room == 0 {
                break;
            }
        }
        match rustix::io::pwritev(file, &slices, offset) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(written) => {
                offset += written as u64;
                begun += written;
                while let Some(first) = left.first().filter(|first| first.len() <= begun) {
                    begun -= first.len();
                    left = &left[1..];
                }
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
    let mut pause = pin!(sleep(PAUSE));
    let received = loop {
        let next = tokio::select! {
            biased;
            next = body.next() => Some(next),
            () = pause.as_mut(), if writer.gathered >= PAUSE_BYTES => None,
        };
        let full = match next {
            None => true,
            Some(None) => break writer.write().await,
            Some(Some(Err(error))) => {
                let failure = Error::new(ErrorKind::BodyFailed, "the content ended with an error");
                break Err(failure.caused_by(&error));
            }
            Some(Some(Ok(chunk))) => writer.push(chunk),
        };
        if full {
            if let Err(error) = writer.write().await {
                break Err(error);
            }
            pause.as_mut().reset(Instant::now() + PAUSE);
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

    /// Takes a chunk. Whether there is a batch now.
    fn push(&mut self, chunk: Bytes) -> bool {
        if !chunk.is_empty() {
            self.gathered += chunk.len();
            self.chunks.push(chunk);
        }
        self.gathered >= BATCH_BYTES || self.chunks.len() >= BATCH_CHUNKS
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

    /// Starts write-back when enough has gathered and nobody else's is under way. Its result matters: the kernel reports
    /// a failed write-back once.
    async fn start_sync(&mut self) -> Result<()> {
        if self.unsynced < SYNC_BYTES {
            return Ok(());
        }
        let Some(turn) = WriteBack::begin() else { return Ok(()) };
        join(&mut self.sync).await?;
        self.unsynced = 0;
        let target = Arc::clone(&self.target);
        self.sync = Some(tokio::task::spawn_blocking(move || {
            let _turn = turn;
            Ok(target.file().sync_data()?)
        }));
        Ok(())
    }

    /// Waits until nothing is under way.
    async fn settle(&mut self) -> Result<()> {
        let written = join(&mut self.write).await;
        written.and(join(&mut self.sync).await)
    }
}

/// The turn of the one write-back.
struct WriteBack(());

impl WriteBack {
    fn begin() -> Option<Self> {
        let is_free = !WRITING_BACK.swap(true, Ordering::Acquire);
        // Not `then_some`: that would make a turn, and give it back, also when it is somebody else's.
        is_free.then(|| Self(()))
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        WRITING_BACK.store(false, Ordering::Release);
    }
}

/// Waits for a task, if there is one.
async fn join(task: &mut Option<JoinHandle<Result<()>>>) -> Result<()> {
    let Some(task) = task.take() else { return Ok(()) };
    task.await.unwrap_or_else(|failure| {
        Err(Error::new(ErrorKind::Internal, "the file operation was not finished").caused_by(&failure))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use docker_registry_driver_api::futures::stream;

    use super::*;

    /// A file, and the sizes of what was written to it.
    struct Counted(File, Mutex<Vec<usize>>);

    impl Batches for Counted {
        fn write(&self, chunks: &[Bytes], offset: u64) -> Result<()> {
            self.1.lock().unwrap().push(chunks.iter().map(Bytes::len).sum());
            write_at(&self.0, chunks, offset)
        }

        fn file(&self) -> &File {
            &self.0
        }
    }

    fn target() -> Arc<Counted> {
        Arc::new(Counted(tempfile::tempfile().unwrap(), Mutex::default()))
    }

    /// Chunks of different content, so long after one another.
    fn chunks(sizes: Vec<usize>, pause: Duration) -> ByteStream {
        let chunks = stream::iter(sizes.into_iter().enumerate()).then(move |(index, size)| async move {
            sleep(pause).await;
            Ok(Bytes::from(vec![index as u8; size]))
        });
        chunks.boxed()
    }

    fn content(target: &Counted) -> Vec<u8> {
        use std::os::unix::fs::FileExt;
        let mut content = vec![0; target.0.metadata().unwrap().len() as usize];
        target.0.read_exact_at(&mut content, 0).unwrap();
        content
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_small_chunks_is_written_in_whole_batches() {
        let target = target();
        let sizes = vec![32 * 1024; 40];
        let end = receive(&target, 0, chunks(sizes.clone(), Duration::from_millis(1))).await.unwrap();
        assert_eq!(end, 40 * 32 * 1024);
        assert_eq!(*target.1.lock().unwrap(), [BATCH_BYTES, BATCH_BYTES, 256 * 1024]);
        let expected: Vec<u8> = (0..40).flat_map(|index| vec![index as u8; 32 * 1024]).collect();
        assert!(content(&target) == expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_slow_client_has_sent_is_written_without_a_whole_batch() {
        let target = target();
        receive(&target, 0, chunks(vec![100_000; 3], PAUSE * 2)).await.unwrap();
        assert_eq!(*target.1.lock().unwrap(), [100_000; 3]);
    }

    #[test]
    fn write_back_is_one_file_at_a_time() {
        let turn = WriteBack::begin().expect("nobody else is at it");
        assert!(WriteBack::begin().is_none() && WriteBack::begin().is_none());
        drop(turn);
        assert!(WriteBack::begin().is_some());
    }

    #[test]
    fn chunks_of_every_size_are_written_one_behind_the_other() {
        let sizes = [1, CALL_BYTES - 1, CALL_BYTES, 1, CALL_BYTES + 1, 3 * CALL_BYTES, 5];
        let chunks: Vec<Bytes> =
            sizes.iter().enumerate().map(|(index, size)| Bytes::from(vec![index as u8 + 1; *size])).collect();
        let target = target();
        write_at(&target.0, &chunks, 7).unwrap();
        assert!(content(&target) == [vec![0; 7], chunks.concat()].concat());
    }
}
