//! Sending a stream to the store: gathered into parts, several on their way at once, in constant memory.
//!
//! Chunks are kept as they come and never joined, save very small ones. A part goes out when the next byte
//! after it has arrived, so that it is known whether it is the last, and content of one part or less
//! never becomes a large object. Memory for a part is taken before it is gathered (see `memory.rs`).
//!
//! When sending fails or is dropped, what was begun is abandoned.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use docker_registry_driver_api::{ByteStream, CallContext, Condition, ETag, Error, ErrorKind, Result};
use futures::{StreamExt, stream};
use tokio::{
    runtime::Handle,
    task::{JoinError, JoinHandle, JoinSet},
};
use tracing::Instrument;

use super::{
    fence::{AFTERWARDS, unknown},
    sizes::{PartSizes, copied_ranges},
};
use crate::{
    bucket::{Content, NewPart, Part},
    engine::Engine,
    memory::Held,
    retry::Effort,
};

/// This many bytes at the beginning are gathered without asking for memory.
const UNCOUNTED: u64 = 256 << 10;
/// Chunks smaller than this are joined.
const SMALL_CHUNK: usize = 16 << 10;
/// Joined chunks have about this size.
const JOINED_CHUNKS: usize = 64 << 10;
/// How long a call that failed waits until what it began is abandoned.
const ABANDONING: Duration = Duration::from_secs(10);
/// Copies of ranges at once, for one object.
const COPIES_AT_ONCE: usize = 8;

/// Where a large object goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) key: String,
    pub(crate) condition: Condition,
    pub(crate) mark: String,
}

/// A large object that was begun. It is abandoned when this is dropped.
pub(crate) struct Begun {
    engine: Arc<Engine>,
    key: String,
    id: String,
    is_open: bool,
}

impl Begun {
    fn is_finished(&mut self) {
        self.is_open = false;
    }

    /// Abandons it, and waits for that a while.
    async fn abandon(&mut self) {
        if let Some(task) = self.spawn_abandon() {
            // It goes on when it takes longer, and when the caller is dropped.
            let _ = tokio::time::timeout(ABANDONING, task).await;
        }
    }

    fn spawn_abandon(&mut self) -> Option<JoinHandle<()>> {
        if !std::mem::take(&mut self.is_open) {
            return None;
        }
        let engine = Arc::clone(&self.engine);
        let (key, id) = (std::mem::take(&mut self.key), std::mem::take(&mut self.id));
        // Without a runtime the process is about to end; `list_uploads` finds it then.
        let runtime = Handle::try_current().ok()?;
        Some(runtime.spawn(async move { engine.abandon(&key, &id).await }))
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.spawn_abandon();
    }
}

/// All parts of a large object, sent.
pub(crate) struct Parts {
    begun: Begun,
    target: Target,
    parts: Vec<Part>,
    pub(crate) size: u64,
}

/// An object of another key that becomes the beginning of a large object: its key and its size.
pub(crate) type Copied = (String, u64);

/// A stream on its way to one object.
pub(crate) struct Sending {
    engine: Arc<Engine>,
    call: CallContext,
    sizes: PartSizes,
    gathered: Vec<Bytes>,
    joining: BytesMut,
    gathered_size: u64,
    held: Option<Held>,
    /// What came behind a full part.
    next: Option<Bytes>,
    large: Option<Large>,
}

struct Large {
    begun: Begun,
    target: Target,
    sends: JoinSet<Result<Part>>,
    parts: Vec<Part>,
    /// Number of the last part that was begun.
    number: u32,
    /// Where the part begins that is gathered.
    offset: u64,
}

impl Sending {
    /// `expected` is how many bytes will probably come.
    pub(crate) fn new(engine: &Arc<Engine>, call: &CallContext, expected: Option<u64>) -> Self {
        let settings = &engine.settings;
        let memory = engine.memory.total();
        Self {
            sizes: PartSizes::new(engine.limits(), settings.part_size, memory, expected),
            engine: Arc::clone(engine),
            call: call.clone(),
            gathered: Vec::new(),
            joining: BytesMut::new(),
            gathered_size: 0,
            held: None,
            next: None,
            large: None,
        }
    }

    /// Gathers what fits into one write. `true` when that was all: then [`Sending::take`] has it.
    ///
    /// # Errors
    /// Those of the stream.
    pub(crate) async fn first(&mut self, body: &mut ByteStream) -> Result<bool> {
        while let Some(chunk) = body.next().await {
            self.next = Some(chunk?).filter(|chunk| !chunk.is_empty());
            while self.next.is_some() {
                if self.gathered_size >= self.part_size() {
                    return Ok(false);
                }
                self.gather().await?;
            }
        }
        Ok(self.gathered_size <= self.engine.limits().largest_put)
    }

    /// What was gathered, with the memory that it holds.
    pub(crate) fn take(&mut self) -> (Content, Option<Held>) {
        self.join_small();
        self.gathered_size = 0;
        (std::mem::take(&mut self.gathered).into_iter().collect(), self.held.take())
    }

    /// Number of bytes that were gathered and not sent.
    pub(crate) fn size(&self) -> u64 {
        self.gathered_size
    }

    /// Begins a large object, which starts with copies of other objects.
    ///
    /// # Errors
    /// Those of the store.
    pub(crate) async fn begin(&mut self, target: Target, copied: &[Copied]) -> Result<()> {
        let mut large = self.engine.begin_large(&self.call, target).await?;
        let copied = self.engine.copy_parts(&self.call, &large.target.key, &large.begun.id, copied).await;
        match copied {
            Ok(parts) => {
                large.offset = parts.iter().map(|part| part.size).sum();
                large.number = parts.len() as u32;
                large.parts = parts;
                self.large = Some(large);
                Ok(())
            }
            Err(error) => {
                large.begun.abandon().await;
                Err(error)
            }
        }
    }

    /// Sends the rest of the stream.
    ///
    /// # Errors
    /// Those of the stream and of the store; what was begun has been abandoned then.
    pub(crate) async fn rest(mut self, body: &mut ByteStream) -> Result<Parts> {
        let sent = self.send_all(body).await;
        let Some(mut large) = self.large.take() else {
            return Err(Error::new(ErrorKind::Internal, "parts were sent before the object was begun"));
        };
        match sent {
            Ok(()) => {
                large.parts.sort_unstable_by_key(|part| part.number);
                let Large { begun, target, parts, offset, .. } = large;
                Ok(Parts { begun, target, parts, size: offset })
            }
            Err(error) => {
                large.sends.shutdown().await;
                large.begun.abandon().await;
                Err(error)
            }
        }
    }

    async fn send_all(&mut self, body: &mut ByteStream) -> Result<()> {
        loop {
            while self.next.is_some() {
                if self.gathered_size >= self.part_size() {
                    self.send(false).await?;
                }
                self.gather().await?;
            }
            match self.next_chunk(body).await? {
                Some(chunk) => self.next = Some(chunk).filter(|chunk| !chunk.is_empty()),
                None => break,
            }
        }
        let has_parts = self.large.as_ref().is_some_and(|large| large.number > 0);
        if self.gathered_size > 0 || !has_parts {
            self.send(true).await?;
        }
        while self.one_sent().await? {}
        Ok(())
    }

    /// The next chunk; while the client is silent, parts that fail are noticed.
    async fn next_chunk(&mut self, body: &mut ByteStream) -> Result<Option<Bytes>> {
        loop {
            let Some(large) = self.large.as_mut().filter(|large| !large.sends.is_empty()) else {
                return body.next().await.transpose();
            };
            tokio::select! {
                biased;
                Some(sent) = large.sends.join_next() => large.parts.push(flat(sent)?),
                chunk = body.next() => return chunk.transpose(),
            }
        }
    }

    /// Moves bytes of the next chunk into the part.
    async fn gather(&mut self) -> Result<()> {
        let Some(mut chunk) = self.next.take() else { return Ok(()) };
        let room = self.part_size().saturating_sub(self.gathered_size);
        let size = self.part_size();
        let uncounted = if self.large.is_some() { 0 } else { UNCOUNTED.min(size / 2) };
        if self.held.is_none() && self.gathered_size + chunk.len() as u64 > uncounted {
            self.held = self.reserve(size).await?;
        }
        if let Ok(room) = usize::try_from(room)
            && room < chunk.len()
        {
            self.next = Some(chunk.split_off(room));
        }
        self.gathered_size += chunk.len() as u64;
        if chunk.len() >= SMALL_CHUNK {
            self.join_small();
            self.gathered.push(chunk);
        } else {
            if self.joining.capacity() - self.joining.len() < chunk.len() {
                self.join_small();
                self.joining.reserve(JOINED_CHUNKS);
            }
            self.joining.extend_from_slice(&chunk);
        }
        Ok(())
    }

    fn join_small(&mut self) {
        if !self.joining.is_empty() {
            self.gathered.push(self.joining.split().freeze());
        }
    }

    /// Memory for a part. This upload's own parts come first.
    async fn reserve(&mut self, size: u64) -> Result<Option<Held>> {
        loop {
            if let Some(held) = self.engine.memory.try_hold(size) {
                return Ok(Some(held));
            }
            if !self.one_sent().await? {
                return Ok(self.engine.memory.hold(size).await);
            }
        }
    }

    /// Waits for one part; `false` when none is on its way.
    async fn one_sent(&mut self) -> Result<bool> {
        let Some(large) = &mut self.large else { return Ok(false) };
        match large.sends.join_next().await {
            Some(sent) => {
                large.parts.push(flat(sent)?);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn part_size(&self) -> u64 {
        self.sizes.at(self.large.as_ref().map_or(0, |large| large.offset))
    }

    /// Sends what was gathered as a part.
    async fn send(&mut self, last: bool) -> Result<()> {
        let limits = self.engine.limits();
        let at_once = if limits.parallel_parts { self.engine.settings.parts_at_once.max(1) } else { 1 };
        let most_parts = limits.most_parts;
        while self.large.as_ref().is_some_and(|large| large.sends.len() >= at_once) {
            self.one_sent().await?;
        }
        let size = self.gathered_size;
        let (content, held) = self.take();
        let Some(large) = &mut self.large else { return Ok(()) };
        large.number += 1;
        if large.number > most_parts {
            let message = format!(
                "the content has more than {most_parts} parts: part_size and upload_memory are too small for it"
            );
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let part = NewPart { number: large.number, offset: large.offset, content, last };
        large.offset += size;
        let (engine, call) = (Arc::clone(&self.engine), self.call.clone());
        let (key, id) = (large.target.key.clone(), large.begun.id.clone());
        let send = async move {
            let make = || engine.bucket.part(&key, &id, part.clone());
            let sent = engine.attempts(&call, Effort::writing(size), make).await.result;
            drop(held);
            // A part alone changes nothing.
            sent.map_err(|error| Error { outcome_unknown: false, ..error })
        };
        large.sends.spawn(send.in_current_span());
        Ok(())
    }
}

/// The result of a task.
fn flat(sent: Result<Result<Part>, JoinError>) -> Result<Part> {
    sent.unwrap_or_else(|failure| {
        Err(Error::new(ErrorKind::Internal, "sending a part ended early").caused_by(&failure))
    })
}

impl Engine {
    async fn begin_large(self: &Arc<Self>, call: &CallContext, target: Target) -> Result<Large> {
        let Target { key, condition, mark } = &target;
        let begun = self.attempt(call, true, || self.bucket.begin(key, condition, Some(mark))).await;
        // Nothing shows of it at the key.
        let id = begun.map_err(|error| Error { outcome_unknown: false, ..error })?;
        Ok(Large {
            begun: Begun { engine: Arc::clone(self), key: key.clone(), id, is_open: true },
            target,
            sends: JoinSet::new(),
            parts: Vec::new(),
            number: 0,
            offset: 0,
        })
    }

    /// Copies whole objects, one behind the other, as the first parts of a large one.
    async fn copy_parts(
        &self,
        call: &CallContext,
        key: &str,
        id: &str,
        copied: &[Copied],
    ) -> Result<Vec<Part>> {
        let limits = self.limits();
        let sources = copied.iter().filter(|(_, size)| *size > 0);
        let ranges =
            sources.flat_map(|(from, size)| copied_ranges(*size, limits).map(move |range| (from, range)));
        let copies: Vec<_> = (1..).zip(ranges).collect();
        if copies.len() > limits.most_parts as usize {
            return Err(Error::new(ErrorKind::TooLarge, "the content has more parts than the store allows"));
        }
        let copies = copies.into_iter().map(|(number, (from, range))| async move {
            let effort = Effort::writing((range.end - range.start) / 16);
            let copy = || self.bucket.copy_part(key, id, number, from, range.clone());
            let copied = self.attempts(call, effort, copy).await.result;
            copied.map_err(|error| Error { outcome_unknown: false, ..error })
        });
        // Collected, because a closure with borrowed arguments would keep the whole call from being `Send`.
        let copies: Vec<_> = copies.collect();
        let at_once = if limits.parallel_parts { COPIES_AT_ONCE } else { 1 };
        let mut copies = stream::iter(copies).buffered(at_once);
        let mut parts = Vec::new();
        while let Some(part) = copies.next().await {
            parts.push(part?);
        }
        Ok(parts)
    }

    /// Makes a large object of copies alone.
    ///
    /// # Errors
    /// Those of the store; `NotFound` when a source is not there.
    pub(crate) async fn join_copies(
        self: &Arc<Self>,
        call: &CallContext,
        target: Target,
        copied: &[Copied],
    ) -> Result<Option<ETag>> {
        let mut sending = Sending::new(self, call, None);
        sending.begin(target, copied).await?;
        let Some(large) = sending.large.take() else { return Ok(None) };
        let Large { begun, target, parts, offset, .. } = large;
        self.finish(call, Parts { begun, target, parts, size: offset }).await
    }

    /// Makes the object of its parts.
    ///
    /// # Errors
    /// `ConditionFailed` when it was not this call that made the object; `NotFound` when the parts are gone.
    /// What was begun has been abandoned then, unless it may still be finished.
    pub(crate) async fn finish(&self, call: &CallContext, parts: Parts) -> Result<Option<ETag>> {
        let Parts { mut begun, target, parts, size } = parts;
        let Target { key, condition, mark } = &target;
        let effort = Effort::writing(size / 64);
        // Also when this is dropped meanwhile.
        begun.is_open = self.limits().abandons_whole;
        let finish = || self.bucket.finish(key, &begun.id, &parts, condition);
        let tried = self.attempts(call, effort, finish).await;
        let uncertain = tried.uncertain;
        let finished = match self.settle(tried, key, mark, condition).await {
            // The parts are gone: into an object that somebody replaced or deleted since, or by a purge.
            Err(error) if uncertain && error.kind == ErrorKind::NotFound => Err(unknown()),
            finished => finished,
        };
        match finished {
            Ok(etag) => {
                begun.is_finished();
                Ok(etag)
            }
            Err(error) => {
                begun.is_open |= !error.outcome_unknown;
                begun.abandon().await;
                Err(error)
            }
        }
    }

    /// Forgets a large object. What stays is found by `list_uploads`.
    async fn abandon(&self, key: &str, id: &str) {
        let call = CallContext::with_timeout(AFTERWARDS);
        if let Err(error) = self.attempt(&call, true, || self.bucket.abandon(key, id)).await
            && !error.is_not_found()
        {
            tracing::debug!(%error, "the parts of a large object stay for now");
        }
    }
}

/// A body whose errors are those of the caller's stream.
pub fn from_caller(body: ByteStream) -> ByteStream {
    body.map(|chunk| {
        chunk.map_err(|error| {
            Error::new(ErrorKind::BodyFailed, "the content ended with an error").caused_by(&error)
        })
    })
    .boxed()
}
