//! Small content is kept in memory until it is whole; what turns out to be large goes on as a stream.
//!
//! Most blobs of most images are small. Such a one costs no upload of the driver's: it waits by itself or in the
//! record of the registry's upload, and becomes a blob in one call. How much all requests together may gather is
//! bounded, and nobody waits for room: without it a body is a stream from where it is.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use docker_registry_driver_api::{ByteStream, Result};
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Largest content that is gathered, and so kept of an upload without one of the driver's, in bytes.
pub(super) const MOST_GATHERED: u64 = 1 << 20;
/// Space that is left behind gathered content, so that what is kept behind it does not move it, in bytes.
const SPACE_BEHIND: usize = 2048;
/// What all requests together may gather, in bytes.
const ROOM: usize = 64 << 20;

/// The room that requests share.
#[derive(Clone)]
pub(super) struct Room(Arc<Semaphore>);

/// A body after its beginning was looked at.
pub(super) enum Gathered {
    /// It has ended, and this is all of it. The permit holds its room.
    Whole(Bytes, Option<OwnedSemaphorePermit>),
    /// It goes on; the stream begins at its first byte.
    More(ByteStream),
}

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(ROOM)))
    }

    fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(bytes).ok()
    }

    /// Gathers a body behind `before`, as long as both together are small. Of a body that is announced as large
    /// nothing is read.
    ///
    /// # Errors
    /// That of the body.
    pub(super) async fn gather(
        &self,
        before: &Bytes,
        mut body: ByteStream,
        announced: Option<u64>,
    ) -> Result<Gathered> {
        let allowed = MOST_GATHERED.saturating_sub(before.len() as u64);
        // What was there before is in memory, too.
        let mut held = self.take(before.len());
        let mut gathered = BytesMut::new();
        if announced.is_none_or(|announced| announced <= allowed) {
            while let Some(all_room) = &mut held {
                let Some(chunk) = body.next().await.transpose()? else {
                    let content = match before.is_empty() {
                        true => tight(gathered),
                        false => behind(before, &gathered),
                    };
                    return Ok(Gathered::Whole(content, held));
                };
                let room = self.take(chunk.len());
                let fits = (gathered.len() + chunk.len()) as u64 <= allowed;
                let Some(room) = room.filter(|_| fits) else {
                    body = stream::iter([Ok(chunk)]).chain(body).boxed();
                    break;
                };
                // A copy: a piece of a large buffer would keep all of that in memory. Space for all that is announced
                // saves copying it again whenever the buffer grows.
                let coming =
                    announced.filter(|_| gathered.is_empty()).map_or(chunk.len(), |all| all as usize);
                gathered.reserve(coming + SPACE_BEHIND);
                gathered.extend_from_slice(&chunk);
                all_room.merge(room);
            }
        }
        let first = [before.clone(), gathered.freeze()].into_iter().filter(|bytes| !bytes.is_empty()).map(Ok);
        // The room is given back when the stream has handed over what was gathered.
        let room = stream::iter(held).filter_map(|held| async move {
            drop(held);
            None
        });
        Ok(Gathered::More(stream::iter(first).chain(room).chain(body).boxed()))
    }
}

/// Both as one, with the same space behind them.
fn behind(before: &[u8], gathered: &[u8]) -> Bytes {
    let mut both = BytesMut::with_capacity(before.len() + gathered.len() + SPACE_BEHIND);
    both.extend_from_slice(before);
    both.extend_from_slice(gathered);
    both.freeze()
}

/// The bytes with the space that was left on purpose, and with no more beside it than they are themselves, as they may be
/// kept.
fn tight(gathered: BytesMut) -> Bytes {
    let is_tight = gathered.capacity() <= 2 * gathered.len() + SPACE_BEHIND;
    if is_tight { gathered.freeze() } else { Bytes::copy_from_slice(&gathered) }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::{byte_stream, collect};

    use super::*;

    fn zeros(size: usize) -> Bytes {
        vec![0; size].into()
    }

    async fn gather(before: usize, chunks: &[usize], announced: Option<u64>) -> (bool, usize) {
        let room = Room::new();
        let body = byte_stream(chunks.iter().map(|size| zeros(*size)).collect::<Vec<_>>());
        let gathered = match room.gather(&zeros(before), body, announced).await.unwrap() {
            Gathered::Whole(content, _) => (true, content.len()),
            Gathered::More(body) => (false, collect(body, usize::MAX).await.unwrap().len()),
        };
        assert_eq!(room.0.available_permits(), ROOM, "all room is given back");
        gathered
    }

    #[tokio::test]
    async fn content_is_gathered_up_to_the_limit_and_streamed_beyond() {
        let most = usize::try_from(MOST_GATHERED).unwrap();
        assert_eq!(gather(0, &[], None).await, (true, 0));
        assert_eq!(gather(3, &[4, 5], None).await, (true, 12));
        assert_eq!(gather(0, &[most - 1, 1], None).await, (true, most));
        assert_eq!(gather(0, &[most, 1], None).await, (false, most + 1));
        assert_eq!(gather(1, &[most - 1, 1], None).await, (false, most + 1));
        assert_eq!(gather(0, &[5], Some(MOST_GATHERED + 1)).await, (false, 5));
        assert_eq!(gather(0, &[most - 1, 1], Some(MOST_GATHERED)).await, (true, most));
        assert_eq!(gather(2, &[3, 4], Some(7)).await, (true, 9));
    }

    #[tokio::test]
    async fn what_is_kept_of_a_body_that_broke_off_takes_no_more_than_it_is() {
        let body = byte_stream([zeros(5)]);
        let gathered = Room::new().gather(&Bytes::new(), body, Some(MOST_GATHERED)).await.unwrap();
        let Gathered::Whole(content, _) = gathered else { panic!("it is small") };
        // The buffer is the test's alone, so that its space comes back with it.
        assert!(content.try_into_mut().unwrap().capacity() < 100);
    }

    #[tokio::test]
    async fn without_room_a_small_body_is_a_stream() {
        let room = Room::new();
        let _all = room.take(ROOM - 5).unwrap();
        let body = || byte_stream([zeros(5), zeros(1)]);
        assert!(matches!(room.gather(&Bytes::new(), body(), None).await.unwrap(), Gathered::More(_)));
        // What came earlier takes room as well.
        let nothing = byte_stream(Vec::new());
        assert!(matches!(room.gather(&zeros(6), nothing, None).await.unwrap(), Gathered::More(_)));
    }
}
