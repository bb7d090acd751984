//! Reading ahead: the next chunks of a large object come in while the caller still works on the last one.
//!
//! The caller's task runs on threads of the server, the connection on those of the driver. Without a chunk in between
//! each of them waits for the other once a chunk, which cost a large download a tenth more processor time. What waits is
//! bounded for each reading ([`CHUNKS`]) and for all together ([`READINGS`]): further ones are read as before.

use std::sync::Arc;

use docker_registry_driver_api::{ByteStream, Bytes, Error, ErrorKind, Result};
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Smaller readings are over before it is worth it, in bytes.
const LEAST: u64 = 4 << 20;
/// Chunks that wait for the caller. The HTTP client makes them 400 KiB large at most.
const CHUNKS: usize = 4;
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
        let (chunks, waiting) = mpsc::channel(CHUNKS);
        tokio::spawn(forward(body, chunks, permit));
        stream::unfold((waiting, length), async |(mut waiting, left)| match waiting.recv().await {
            Some(Ok(chunk)) => {
                let left = left.saturating_sub(chunk.len() as u64);
                Some((Ok(chunk), (waiting, left)))
            }
            Some(failure) => Some((failure, (waiting, 0))),
            None if left == 0 => None,
            // The task is gone with the runtime, or has panicked.
            None => Some((Err(Error::new(ErrorKind::Internal, "a reading stopped early")), (waiting, 0))),
        })
        .boxed()
    }
}

/// Moves chunks until there are no more or nobody wants them.
async fn forward(mut body: ByteStream, chunks: mpsc::Sender<Result<Bytes>>, _permit: OwnedSemaphorePermit) {
    loop {
        let chunk = tokio::select! {
            biased;
            () = chunks.closed() => return,
            chunk = body.next() => chunk,
        };
        match chunk {
            Some(chunk) => {
                let is_end = chunk.is_err();
                if chunks.send(chunk).await.is_err() || is_end {
                    return;
                }
            }
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
