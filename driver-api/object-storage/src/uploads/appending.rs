//! Adding a stream to an upload: one more segment.

use std::sync::Arc;

use docker_registry_driver_api::{
    ByteStream, CallContext, Condition, Error, ErrorKind, ReadRange, Result, UploadProgress, UploadState,
    collect,
};
use futures::{StreamExt, stream};
use uuid::Uuid;

use super::{
    fence::{Fencing, Undo},
    known::gone,
    names::{Kind, Mark, Nonce},
    sending::{Copied, Parts, Sending, Target, from_caller},
    sizes::next_begin,
    state::{Segment, Standing, State, total},
};
use crate::{bucket::Content, engine::Engine, memory::Held, retry::Effort};

/// A segment of up to this size is read by one request.
const READ_AT_ONCE: u64 = 8 << 20;
/// Longer ones are read by requests of this size, two at a time.
const READ_STEP: u64 = 4 << 20;

/// What an append has brought to the store, or has in memory, before the fence.
enum Arrived {
    /// No bytes at all.
    Nothing,
    Small {
        content: Content,
        size: u64,
        begin: usize,
        _held: Option<Held>,
    },
    Large {
        parts: Box<Parts>,
        begin: usize,
        generation: u64,
        mark: Mark,
    },
}

/// The object that an append has made.
struct Made {
    generation: u64,
    /// Of the object that took the generation.
    nonce: Option<Nonce>,
    segment: Option<Segment>,
}

impl Engine {
    /// See [`Driver::append`](docker_registry_driver_api::Driver::append).
    ///
    /// # Errors
    /// `Conflict` for a stale state or another offset; `NotFound` when the upload is gone; `BodyFailed`.
    pub async fn append(
        self: &Arc<Self>,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        let standing = match State::unpack(state)? {
            State::Standing(standing) => standing,
            State::Found(_) | State::Begun { .. } => {
                return Err(Error::new(ErrorKind::Conflict, "this state can only be aborted"));
            }
        };
        let mut hanging = self.known_uploads.hang(standing.upload, standing.generation)?;
        let offset = standing.offset();
        if offset != expected_offset {
            let message = format!("the upload stands at {offset}, not at {expected_offset}");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let arrived = tokio::select! {
            biased;
            error = hanging.told() => return Err(error),
            arrived = self.arrive(call, &standing, body) => arrived?,
        };
        let mut next = standing.clone();
        let made = match arrived {
            Arrived::Nothing => self.make_small(call, &standing, None, offset, self.bucket.nothing()).await?,
            Arrived::Small { content, size, begin, _held } => {
                next.row.truncate(begin);
                let begins = next.offset();
                self.make_small(call, &standing, Some(size), begins, content).await?
            }
            Arrived::Large { parts, begin, generation, mark } => {
                next.row.truncate(begin);
                self.make_large(call, &standing, *parts, generation, mark).await?
            }
        };
        self.expect_standing(call, &standing, &made).await?;
        self.known_uploads.overtaken(standing.upload, standing.generation);
        next.generation = made.generation;
        next.nonce = made.nonce;
        next.row.extend(made.segment);
        self.bury_replaced(&standing, &next);
        let offset = next.offset();
        Ok(UploadProgress { state: State::Standing(next).pack()?, offset })
    }

    /// Takes the body, up to where only the fence is missing.
    async fn arrive(
        self: &Arc<Self>,
        call: &CallContext,
        standing: &Standing,
        body: ByteStream,
    ) -> Result<Arrived> {
        let mut body = from_caller(body);
        // Nothing is read again for an append of nothing.
        let first = loop {
            match body.next().await.transpose()? {
                None => return Ok(Arrived::Nothing),
                Some(chunk) if chunk.is_empty() => {}
                Some(chunk) => break chunk,
            }
        };
        let limits = self.limits();
        let begin = next_begin(&standing.row, limits.smallest_part);
        let (mut copied, mut read) = (&standing.row[begin..], &[][..]);
        if self.joins_copies() {
            // Only the last part may be small, so that the last segment is read.
            let inner = copied.iter().take_while(|segment| segment.size >= limits.smallest_part).count();
            (copied, read) = copied.split_at(inner);
        } else {
            (copied, read) = (read, copied);
        }
        let begins = total(&standing.row[..begin]);
        let copied: Vec<Copied> =
            copied.iter().map(|segment| self.copied(standing.upload, segment)).collect();
        let stored = self.stored(call, standing.upload, read);
        let mut body = stored.chain(stream::iter([Ok(first)])).chain(body).boxed();
        let mut sending = Sending::new(self, call, None);
        if copied.is_empty() && sending.first(&mut body).await? {
            let size = sending.size();
            let (content, held) = sending.take();
            return Ok(Arrived::Small { content, size, begin, _held: held });
        }
        let behind = self.known_uploads.behind(standing.upload, standing.generation);
        let behind = match standing.generation {
            // Hardly anybody is there already.
            0 => behind,
            _ => self.free_behind(call, standing.upload, behind).await?,
        };
        let generation = behind.saturating_add(1);
        let mark = Mark { kind: Kind::Segment, begin: begins, nonce: Nonce::draw() };
        let (name, condition) = match self.fencing() {
            Fencing::Whole => (None, Condition::IfAbsent),
            Fencing::Claimed | Fencing::Listed => (Some(mark.nonce), Condition::Always),
        };
        let key = self.segment_key(standing.upload, generation, name);
        sending.begin(Target { key, condition, mark: mark.to_string() }, &copied).await?;
        let parts = Box::new(sending.rest(&mut body).await?);
        Ok(Arrived::Large { parts, begin, generation, mark })
    }

    /// Writes a segment in one request, which takes the generation. Without a size there is none.
    async fn make_small(
        self: &Arc<Self>,
        call: &CallContext,
        standing: &Standing,
        size: Option<u64>,
        begin: u64,
        content: Content,
    ) -> Result<Made> {
        let behind = self.known_uploads.behind(standing.upload, standing.generation);
        let mark = Mark { kind: Kind::Segment, begin, nonce: Nonce::draw() };
        let taken = self.take(call, standing.upload, behind, mark, content).await?;
        let segment = size.map(|size| Segment { generation: taken.generation, size, nonce: taken.nonce });
        Ok(Made { generation: taken.generation, nonce: taken.nonce, segment })
    }

    /// Makes a segment of parts that were sent, and takes the generation.
    async fn make_large(
        self: &Arc<Self>,
        call: &CallContext,
        standing: &Standing,
        parts: Parts,
        generation: u64,
        mark: Mark,
    ) -> Result<Made> {
        let upload = standing.upload;
        let size = parts.size;
        let finished = self.finish(call, parts).await;
        match self.fencing() {
            Fencing::Whole => {
                match finished {
                    Err(error) if error.kind == ErrorKind::ConditionFailed => {
                        self.lost(call, upload, generation, &mark).await?;
                    }
                    // The parts are gone: somebody has ended the upload.
                    Err(error) if error.is_not_found() => return Err(gone()),
                    other => drop(other?),
                }
                let segment = Some(Segment { generation, size, nonce: None });
                Ok(Made { generation, nonce: None, segment })
            }
            Fencing::Claimed => {
                finished.map_err(|error| if error.is_not_found() { gone() } else { error })?;
                let data = Undo::new(self, self.segment_key(upload, generation, Some(mark.nonce)));
                let claim = Mark { kind: Kind::Claim, ..mark };
                let content = Content::from(claim.to_string());
                // The generation of the claim may be a later one than that in the name of the data.
                let taken = self.take(call, upload, generation.saturating_sub(1), claim, content).await;
                match taken {
                    Ok(taken) => {
                        data.keep();
                        let segment = Some(Segment { generation, size, nonce: Some(mark.nonce) });
                        Ok(Made { generation: taken.generation, nonce: None, segment })
                    }
                    Err(error) => {
                        data.now().await;
                        Err(error)
                    }
                }
            }
            Fencing::Listed => {
                finished.map_err(|error| if error.is_not_found() { gone() } else { error })?;
                let nonce = Some(mark.nonce);
                let undo = Undo::new(self, self.segment_key(upload, generation, nonce));
                self.stay_if_alone(call, upload, (generation, mark.nonce), undo).await?;
                Ok(Made { generation, nonce, segment: Some(Segment { generation, size, nonce }) })
            }
        }
    }

    /// After the fence: an append to an upload that is gone must not succeed. While it lives, the object
    /// that its state speaks of is there.
    async fn expect_standing(
        self: &Arc<Self>,
        call: &CallContext,
        standing: &Standing,
        made: &Made,
    ) -> Result<()> {
        let is_there = match self.known_uploads.expect_open(standing.upload) {
            Ok(()) => self.is_standing(call, standing).await,
            gone => gone,
        };
        if let Err(error) = &is_there
            && error.is_not_found()
        {
            let mut keys = vec![self.segment_key(standing.upload, made.generation, made.nonce)];
            keys.extend(made.segment.map(|segment| self.copied(standing.upload, &segment).0));
            keys.dedup();
            self.remove_afterwards(keys).await;
        }
        // The append itself is done.
        is_there.map_err(|error| if error.is_not_found() { error } else { error.outcome_unknown() })
    }

    /// # Errors
    /// `NotFound` when the object is gone that took the generation of the state.
    pub(super) async fn is_standing(&self, call: &CallContext, standing: &Standing) -> Result<()> {
        if standing.generation == 0 {
            return Ok(());
        }
        let key = self.segment_key(standing.upload, standing.generation, standing.nonce);
        match self.attempt(call, false, || self.bucket.head(&key)).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Err(gone()),
            Err(error) => Err(error),
        }
    }

    /// Data that the new segment replaces and that holds no generation.
    fn bury_replaced(self: &Arc<Self>, before: &Standing, after: &Standing) {
        if self.fencing() != Fencing::Claimed {
            return;
        }
        let replaced =
            before.row.iter().filter(|segment| segment.nonce.is_some() && !after.row.contains(segment));
        let keys: Vec<String> = replaced.map(|segment| self.copied(before.upload, segment).0).collect();
        if !keys.is_empty() {
            self.bury(keys, Vec::new());
        }
    }

    /// Whether large objects can be made of segments by the store alone.
    pub(super) fn joins_copies(&self) -> bool {
        let limits = self.limits();
        limits.copied_parts && limits.part_multiple <= 1
    }

    /// Key and size of a segment.
    pub(super) fn copied(&self, upload: Uuid, segment: &Segment) -> Copied {
        (self.segment_key(upload, segment.generation, segment.nonce), segment.size)
    }

    /// The content of segments, read from the store.
    pub(super) fn stored(self: &Arc<Self>, call: &CallContext, upload: Uuid, row: &[Segment]) -> ByteStream {
        let mut reads = Vec::new();
        for segment in row {
            let (key, size) = self.copied(upload, segment);
            if size <= READ_AT_ONCE {
                reads.push((key, ReadRange::Full, size));
                continue;
            }
            for offset in (0..size).step_by(READ_STEP as usize) {
                let length = READ_STEP.min(size - offset);
                reads.push((key.clone(), ReadRange::Window { offset, length }, length));
            }
        }
        let (engine, call) = (Arc::clone(self), call.clone());
        let read = move |(key, range, length): (String, ReadRange, u64)| {
            let (engine, call) = (Arc::clone(&engine), call.clone());
            async move { engine.read_whole(&call, &key, range, length).await }
        };
        stream::iter(reads).map(read).buffered(2).boxed()
    }

    /// Bytes of an object of an upload; a broken connection is another attempt.
    async fn read_whole(
        &self,
        call: &CallContext,
        key: &str,
        range: ReadRange,
        length: u64,
    ) -> Result<bytes::Bytes> {
        if length == 0 {
            return Ok(bytes::Bytes::new());
        }
        let effort = Effort { bytes: length, ..Effort::READ };
        let get = || async {
            let opened = self.bucket.get(key, range, None).await?;
            let content = collect(opened.body, usize::try_from(length).unwrap_or(usize::MAX)).await?;
            if content.len() as u64 == length {
                return Ok(content);
            }
            let message = format!("a segment of an upload has {} of {length} bytes", content.len());
            Err(Error::new(ErrorKind::Unavailable, message))
        };
        let read = self.attempts(call, effort, get).await.result;
        read.map_err(|error| if error.is_not_found() { gone() } else { error })
    }
}
