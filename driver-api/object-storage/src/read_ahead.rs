//! Reading ahead: the next chunks of a large object come in while the caller still works on the last ones.
//!
//! The caller's task runs on threads of the server, the connection on those of the driver, and waking one another costs
//! more than moving the bytes: a store's chunks are as small as what its socket had at a time. So chunks change sides in
//! batches ([`BATCH`]), and the next batch is gathered while the caller has the last. What waits is bounded for each
//! reading ([`BATCHES`]) and for all together ([`READINGS`]): further ones are read chunk by chunk.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use docker_registry_driver_api::{ByteStream, Bytes, Error, ErrorKind, Result};
use futures::{StreamExt, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, timeout_at},
};

/// Smaller readings are over before it is worth it, in bytes.
const LEAST: u64 = 4 << 20;
/// From so many bytes on a batch is handed over. The HTTP client makes a chunk 400 KiB large at most.
const BATCH: usize = 512 << 10;
/// How long a batch is gathered at most.
const GATHERING: Duration = Duration::from_millis(1);
/// Batches that wait for the caller.
const BATCHES: usize = 2;
/// Readings that have chunks waiting at once.
const READINGS: usize = 64;

/// The room for readings that go ahead.
pub(crate) struct ReadAhead(Arc<Semaphore>);

impl Default for ReadAhead {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(READINGS)))
    }
}

impl ReadAhead {
    /// The same `length` bytes, read ahead if they are many and there is room.
    pub(crate) fn of(&self, body: ByteStream, length: u64) -> ByteStream {
        if length < LEAST {
            return body;
        }
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else { return body };
        let (batches, waiting) = mpsc::channel(BATCHES);
        tokio::spawn(forward(body, batches, permit));
        let caller = Caller { waiting, batch: VecDeque::new(), left: length };
        stream::unfold(caller, Caller::next).boxed()
    }
}

/// The caller's side.
struct Caller {
    waiting: mpsc::Receiver<Batch>,
    batch: Batch,
    /// Bytes that are still to come.
    left: u64,
}

type Batch = VecDeque<Result<Bytes>>;

impl Caller {
    async fn next(mut self) -> Option<(Result<Bytes>, Self)> {
        if self.batch.is_empty() {
            match self.waiting.recv().await {
                Some(batch) => self.batch = batch,
                None if self.left == 0 => return None,
                // The task is gone with the runtime, or has panicked.
                None => {
                    self.left = 0;
                    return Some((Err(Error::new(ErrorKind::Internal, "a reading stopped early")), self));
                }
            }
        }
        let item = self.batch.pop_front()?;
        self.left = match &item {
            Ok(chunk) => self.left.saturating_sub(chunk.len() as u64),
            Err(_) => 0,
        };
        Some((item, self))
    }
}

/// Moves chunks until there are no more or nobody wants them.
async fn forward(mut body: ByteStream, batches: mpsc::Sender<Batch>, _permit: OwnedSemaphorePermit) {
    loop {
        let first = tokio::select! {
            biased;
            () = batches.closed() => return,
            first = body.next() => first,
        };
        let mut batch = Batch::new();
        let is_end = gather(&mut body, first, &mut batch).await;
        // An empty batch would be the end for the caller, which the closed channel says.
        if !batch.is_empty() && batches.send(batch).await.is_err() || is_end {
            return;
        }
    }
}

/// Fills a batch, beginning with what came first. Says whether that was all.
async fn gather(body: &mut ByteStream, first: Option<Result<Bytes>>, batch: &mut Batch) -> bool {
    let (mut next, mut size, until) = (first, 0, Instant::now() + GATHERING);
    loop {
        match next {
            None => return true,
            Some(Err(error)) => {
                batch.push_back(Err(error));
                return true;
            }
            Some(Ok(chunk)) => {
                size += chunk.len();
                batch.push_back(Ok(chunk));
            }
        }
        if size >= BATCH {
            return false;
        }
        match timeout_at(until, body.next()).await {
            Ok(item) => next = item,
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::{byte_stream, collect};
    use tokio::time::timeout;

    use super::*;

    async fn all_room_comes_back(ahead: &ReadAhead) {
        let all = u32::try_from(READINGS).unwrap();
        let permits = timeout(Duration::from_secs(10), ahead.0.acquire_many(all)).await;
        assert!(permits.is_ok(), "a reading keeps its room");
    }

    fn chunks(count: usize) -> (ByteStream, u64) {
        let chunk = Bytes::from(vec![7; 1 << 20]);
        (byte_stream(vec![chunk; count]), (count as u64) << 20)
    }

    #[tokio::test]
    async fn everything_arrives_once_and_in_order_and_the_room_is_given_back() {
        let ahead = ReadAhead::default();
        let (body, length) = chunks(9);
        let read = collect(ahead.of(body, length), usize::MAX).await.unwrap();
        assert_eq!(read.len() as u64, length);
        all_room_comes_back(&ahead).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_came_is_not_held_back_for_what_does_not_come() {
        let (body, length) = chunks(1);
        let small = byte_stream(vec![Bytes::from_static(b"the first")]);
        let late = stream::once(async {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Ok(Bytes::from_static(b"the second"))
        });
        let mut reading = ReadAhead::default().of(small.chain(late).chain(body).boxed(), length + 10 * LEAST);
        let begun = Instant::now();
        assert_eq!(reading.next().await.unwrap().unwrap(), "the first");
        assert!(begun.elapsed() <= 2 * GATHERING);
        assert_eq!(reading.next().await.unwrap().unwrap(), "the second");
    }

    #[tokio::test]
    async fn a_failure_is_the_last_that_is_heard() {
        let (body, length) = chunks(5);
        let failure = stream::iter([Err(Error::new(ErrorKind::Corrupt, "broken"))]);
        let body = body.take(2).chain(failure).boxed();
        let items: Vec<_> = ReadAhead::default().of(body, length).collect().await;
        assert_eq!(items.len(), 3);
        assert_eq!(items[2].as_ref().unwrap_err().kind, ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_a_failure() {
        let (body, length) = chunks(5);
        let items: Vec<_> = ReadAhead::default().of(body, length + 1).collect().await;
        assert_eq!(items.len(), 6);
        assert_eq!(items[5].as_ref().unwrap_err().kind, ErrorKind::Internal);
    }

    #[tokio::test]
    async fn who_goes_away_stops_the_reading_though_nothing_comes() {
        let ahead = ReadAhead::default();
        let (body, length) = chunks(1);
        let body = body.chain(stream::pending()).boxed();
        let mut reading = ahead.of(body, length + 10 * LEAST);
        reading.next().await.unwrap().unwrap();
        drop(reading);
        all_room_comes_back(&ahead).await;
    }
}
