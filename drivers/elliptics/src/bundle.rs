//! Bundles: content in segments that are written once and never changed.
//!
//! A bundle has parts, and a part is cut into segments of one size, each an object of Elliptics under a name that nobody
//! else uses, with a checksum behind its bytes. Several records may share a bundle: a register names its owners, and
//! when the last one lets go, the bundle is dead and its segments are deleted. Who comes later finds it dead. So a copy
//! moves no content, and no record is left without its segments.

use std::{pin::pin, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    change::Change,
    envelope::USER_FLAGS,
    hedge::first_good,
    names,
    patience::Failed,
    problem::Problem,
    record::{Hold, Piece},
    register::Registers,
    replicas::{Answer, Pieces, worst},
    wire::{Id, Reader, Timestamp},
};

/// Bytes of a segment, the last one of a part excepted.
pub(crate) const SEGMENT: u64 = 2 << 20;
/// Bytes behind the content of a segment.
const SUM: u64 = 4;
/// Segments of one part that are written at once.
const WRITTEN_AT_ONCE: u32 = 2;
/// Segments of one part that are looked for at once.
const LOOKED_FOR_AT_ONCE: usize = 3;
/// Parts that are deleted at once.
const DELETED_AT_ONCE: usize = 8;
/// After this time the next group is asked for a segment as well.
const LATE: Duration = Duration::from_secs(2);
/// More segments than a part has, as a guard.
const MOST_SEGMENTS: u32 = 1 << 20;

/// Who keeps a bundle alive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owners {
    is_dead: bool,
    names: Vec<u128>,
}

impl Owners {
    /// Those of a bundle that nobody has shared yet: whoever made it.
    fn first() -> Self {
        Self { is_dead: false, names: vec![0] }
    }

    fn pack(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(self.is_dead.into());
        self.names.iter().for_each(|name| bytes.put_u128_le(*name));
        bytes.freeze()
    }

    fn unpack(bytes: &[u8]) -> Result<Self> {
        let parse = || {
            let (is_dead, names) = bytes.split_first()?;
            let names = names.chunks(16).map(|name| Reader::new(name, "an owner is cut off").u128().ok());
            Some(Self { is_dead: *is_dead != 0, names: names.collect::<Option<Vec<u128>>>()? })
        };
        parse().ok_or_else(|| Error::new(ErrorKind::Corrupt, "the owners of a bundle make no sense"))
    }
}

/// All bundles.
#[derive(Clone)]
pub(crate) struct Bundles(pub(crate) Registers);

impl Bundles {
    fn segment(&self, bundle: u128, part: u32, number: u32) -> Id {
        self.0.replicas.id(&names::segment(bundle, part, number))
    }

    /// Writes the content of a part.
    ///
    /// # Errors
    /// When too few groups take a segment.
    pub(crate) async fn write_part(&self, bundle: u128, part: u32, content: Vec<Bytes>) -> Result<()> {
        let writes = (0..)
            .zip(segments(content))
            .map(|(number, pieces)| self.write_segment(bundle, part, number, pieces));
        // Collected, so that the closure's borrows do not get in the way of `Send`.
        let writes: Vec<_> = writes.collect();
        stream::iter(writes)
            .buffer_unordered(WRITTEN_AT_ONCE as usize)
            .try_collect::<Vec<()>>()
            .await
            .map(drop)
    }

    /// Writes a part of what a stream yields, segment by segment.
    ///
    /// # Errors
    /// Those of the stream; when too few groups take a segment.
    pub(crate) async fn write_stream(&self, bundle: u128, part: u32, content: &mut ByteStream) -> Result<()> {
        let (mut gathered, mut room, mut number) = (Vec::new(), SEGMENT as usize, 0);
        while let Some(mut chunk) = content.try_next().await? {
            while !chunk.is_empty() {
                let taken = chunk.split_to(room.min(chunk.len()));
                room -= taken.len();
                gathered.push(taken);
                if room == 0 {
                    self.write_segment(bundle, part, number, std::mem::take(&mut gathered)).await?;
                    (room, number) = (SEGMENT as usize, number + 1);
                }
            }
        }
        if gathered.is_empty() { Ok(()) } else { self.write_segment(bundle, part, number, gathered).await }
    }

    async fn write_segment(
        &self,
        bundle: u128,
        part: u32,
        number: u32,
        mut content: Vec<Bytes>,
    ) -> Result<()> {
        let mut sum = crc32fast::Hasher::new();
        content.iter().for_each(|piece| sum.update(piece));
        content.push(Bytes::copy_from_slice(&sum.finalize().to_le_bytes()));
        let id = self.segment(bundle, part, number);
        let timestamp = Timestamp::of_nanoseconds(names::now());
        self.0.replicas.write_new(id, timestamp, USER_FLAGS, Pieces(content)).await
    }

    /// The content of pieces, segment by segment.
    pub(crate) fn read(&self, holds: Arc<[Hold]>, pieces: Vec<Piece>) -> ByteStream {
        let bundles = self.clone();
        let reads = pieces.into_iter().flat_map(move |piece| {
            let bundle = holds.get(piece.hold as usize).map_or(0, |hold| hold.bundle);
            in_segments(&piece)
                .map(move |(number, offset, length)| (bundle, piece.part, number, offset, length))
        });
        stream::iter(reads)
            .then(move |(bundle, part, number, offset, length)| {
                let bundles = bundles.clone();
                async move { bundles.read_segment(bundle, part, number, offset, length).await }
            })
            .boxed()
    }

    /// Bytes of one segment, from whichever group has them.
    async fn read_segment(
        &self,
        bundle: u128,
        part: u32,
        number: u32,
        offset: u64,
        length: u64,
    ) -> Result<Bytes> {
        let id = self.segment(bundle, part, number);
        // A segment that is read from its beginning may be whole: its checksum is asked for as well.
        let size = if offset == 0 { length + SUM } else { length };
        let ask = async |group| {
            let answer = |problem| Answer::<()> { group, result: Err(problem) };
            let read = self.0.replicas.read_one(group, id, offset, size, true).await;
            let read = read.map_err(|problem| Some(answer(problem)))?;
            checked(&read.content, read.total_size, offset, length).ok_or_else(|| {
                tracing::warn!(group, %part, %number, "a segment is not whole in one group");
                None
            })
        };
        let mut failed = Failed::default();
        loop {
            let mut groups = self.0.replicas.settings().groups.clone();
            fastrand::shuffle(&mut groups);
            let bad = match first_good(groups.into_iter().map(ask), LATE).await {
                Ok(content) => return Ok(content),
                Err(bad) => bad,
            };
            let is_damaged = bad.iter().any(Option::is_none);
            let answers: Vec<Answer<()>> = bad.into_iter().flatten().collect();
            let is = |kind: fn(&Problem) -> bool| {
                move |answer: &Answer<()>| answer.result.as_ref().is_err_and(kind)
            };
            // One whole copy is enough.
            let mut error = worst(&answers, self.0.replicas.settings().groups.len() - 1);
            if answers.iter().any(is(Problem::may_pass)) {
                failed.again(error.retryable(true)).await?;
                continue;
            }
            if is_damaged {
                error = Error::new(ErrorKind::Corrupt, "no group has a whole copy of the content");
            } else if answers.iter().all(is(Problem::is_absent)) {
                // The reader looks at the object again, and finds it replaced or deleted.
                error.message =
                    "the content is not there any more: the object was replaced or deleted".to_owned();
            }
            return Err(error.retryable(true));
        }
    }

    /// Becomes an owner of a bundle. `false` when the bundle is dead.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn hold(&self, bundle: u128, owner: u128) -> Result<bool> {
        let id = self.0.replicas.id(&names::owners(bundle));
        let change = self.0.change(id, |current| {
            let mut owners =
                current.map_or_else(|| Ok(Owners::first()), |now| Owners::unpack(&now.content))?;
            if owners.is_dead || owners.names.contains(&owner) {
                return Ok(Change::Keep(!owners.is_dead));
            }
            owners.names.push(owner);
            Ok(Change::Write(owners.pack(), true))
        });
        Ok(change.await?.outcome)
    }

    /// Lets go of a bundle, and deletes its segments when that was the last owner.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn release(&self, hold: Hold) -> Result<()> {
        let id = self.0.replicas.id(&names::owners(hold.bundle));
        let change = self.0.change(id, |current| {
            let mut owners =
                current.map_or_else(|| Ok(Owners::first()), |now| Owners::unpack(&now.content))?;
            // A bundle that died before its segments were deleted is tidied up again.
            if !owners.names.contains(&hold.owner) {
                return Ok(Change::Keep(owners.is_dead));
            }
            owners.names.retain(|name| *name != hold.owner);
            owners.is_dead = owners.names.is_empty();
            Ok(Change::Write(owners.pack(), owners.is_dead))
        });
        if change.await?.outcome { self.delete_segments(hold.bundle, hold.parts).await } else { Ok(()) }
    }

    /// Deletes all segments of parts up to a number.
    async fn delete_segments(&self, bundle: u128, parts: u32) -> Result<()> {
        let deletions = (1..=parts).map(|part| {
            let bundles = self.clone();
            async move {
                // From the back: when this is interrupted, whoever makes it again finds where the rest ends.
                for number in (0..bundles.end_of(bundle, part).await?).rev() {
                    bundles.0.replicas.delete(bundles.segment(bundle, part, number)).await?;
                }
                Ok::<(), Error>(())
            }
        });
        let deletions: Vec<_> = deletions.collect();
        stream::iter(deletions).buffer_unordered(DELETED_AT_ONCE).try_collect::<Vec<()>>().await.map(drop)
    }

    /// The number behind that of the last segment of a part.
    async fn end_of(&self, bundle: u128, part: u32) -> Result<u32> {
        let bundles = self.clone();
        let looks = (0..MOST_SEGMENTS).map(move |number| {
            let bundles = bundles.clone();
            async move { bundles.0.replicas.is_there(bundles.segment(bundle, part, number)).await }
        });
        let mut looks = pin!(stream::iter(looks).buffered(LOOKED_FOR_AT_ONCE));
        let (mut number, mut end) = (0, 0);
        // Segments of a part are written two at a time, so that one may be missing before the last.
        while number < end + WRITTEN_AT_ONCE
            && let Some(is_there) = looks.try_next().await?
        {
            number += 1;
            if is_there {
                end = number;
            }
        }
        Ok(end)
    }
}

/// Content cut into segments, without a copy.
fn segments(content: Vec<Bytes>) -> Vec<Vec<Bytes>> {
    let mut segments = vec![Vec::new()];
    let mut room = SEGMENT as usize;
    for mut piece in content {
        while !piece.is_empty() {
            if room == 0 {
                segments.push(Vec::new());
                room = SEGMENT as usize;
            }
            let taken = piece.split_to(room.min(piece.len()));
            room -= taken.len();
            if let Some(last) = segments.last_mut() {
                last.push(taken);
            }
        }
    }
    segments
}

/// The segments of a piece: number, offset in the segment, length.
fn in_segments(piece: &Piece) -> impl Iterator<Item = (u32, u64, u64)> + use<> {
    let (mut at, end) = (piece.offset, piece.offset + piece.length);
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let offset = at % SEGMENT;
        let length = (SEGMENT - offset).min(end - at);
        let number = (at / SEGMENT) as u32;
        at += length;
        Some((number, offset, length))
    })
}

/// The wanted bytes of what was read of a segment; `None` when they are not what was written.
fn checked(read: &Bytes, total: u64, offset: u64, length: u64) -> Option<Bytes> {
    let content = total.checked_sub(SUM)?;
    if offset + length > content || (read.len() as u64) < length {
        return None;
    }
    let wanted = read.slice(..length as usize);
    if offset == 0 && length == content {
        let sum = read.get(length as usize..)?;
        if sum != crc32fast::hash(&wanted).to_le_bytes() {
            return None;
        }
    }
    Some(wanted)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::register::tests::registers;

    #[tokio::test]
    async fn a_deletion_that_was_interrupted_and_is_made_again_leaves_nothing_behind() {
        let (nodes, registers) = registers(3).await;
        let bundles = Bundles(registers);
        let content = Bytes::from(vec![7; 6 * SEGMENT as usize]);
        bundles.write_part(9, 1, vec![content]).await.unwrap();
        let left = || nodes[0].disk.lock().unwrap().objects.len();
        assert_eq!(left(), 6);
        nodes[0].behaviour.is_slow.store(true, Ordering::Relaxed);
        let some_are_gone = async {
            while left() > 3 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = bundles.delete_segments(9, 1) => panic!("it is interrupted"),
            () = some_are_gone => {}
        }
        assert!(left() > 1);
        bundles.delete_segments(9, 1).await.unwrap();
        assert_eq!(nodes.iter().map(|node| node.disk.lock().unwrap().objects.len()).sum::<usize>(), 0);
    }

    #[tokio::test]
    async fn a_segment_that_was_not_written_before_the_last_one_hides_none() {
        let (nodes, registers) = registers(1).await;
        let bundles = Bundles(registers);
        // The second part has nothing.
        for (part, number) in [(1, 0), (1, 2), (1, 4), (3, 1)] {
            bundles.write_segment(9, part, number, vec![Bytes::from_static(b"content")]).await.unwrap();
        }
        bundles.delete_segments(9, 3).await.unwrap();
        assert!(nodes[0].disk.lock().unwrap().objects.is_empty());
    }

    #[test]
    fn content_is_cut_at_the_same_places_however_it_comes() {
        let size = SEGMENT as usize;
        let whole = Bytes::from(vec![7; 2 * size + 1]);
        for step in [size / 3, size, 2 * size + 1] {
            let content =
                (0..whole.len()).step_by(step).map(|at| whole.slice(at..whole.len().min(at + step)));
            let lengths: Vec<usize> = segments(content.collect())
                .iter()
                .map(|pieces| pieces.iter().map(Bytes::len).sum())
                .collect();
            assert_eq!(lengths, [size, size, 1]);
        }
        assert_eq!(segments(Vec::new()).len(), 1);
    }

    #[test]
    fn a_piece_is_read_from_the_segments_that_it_lies_in() {
        let piece = Piece { hold: 0, part: 1, offset: SEGMENT - 1, length: SEGMENT + 2 };
        let reads: Vec<_> = in_segments(&piece).collect();
        assert_eq!(reads, [(0, SEGMENT - 1, 1), (1, 0, SEGMENT), (2, 0, 1)]);
    }

    #[test]
    fn a_flipped_byte_of_a_whole_segment_is_found() {
        let mut stored = b"content".to_vec();
        stored.extend(crc32fast::hash(b"content").to_le_bytes());
        let total = stored.len() as u64;
        assert_eq!(checked(&stored.clone().into(), total, 0, 7).unwrap(), "content");
        assert_eq!(checked(&Bytes::from_static(b"ten"), total, 3, 3).unwrap(), "ten");
        assert_eq!(checked(&Bytes::from_static(b"nt"), total, 5, 3), None);
        stored[2] ^= 1;
        assert_eq!(checked(&stored.into(), total, 0, 7), None);
    }
}
