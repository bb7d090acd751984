//! Objects: records by path, with the original's files behind them.
//!
//! A record counts more than a file of the original at the same path. A write makes sure of the index, then changes the
//! record in one step, and then clears away what was replaced. A deletion leaves a record of nothing behind: a few bytes
//! that keep a node which comes back from bringing the object back. Only the driver's own objects, whose names never
//! come again, go without a trace.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, Condition, ETag, Error, ErrorKind, ReadRange, Result, byte_stream,
};
use docker_registry_object_storage::bucket::{Facts, Opened};
use tokio::sync::Semaphore;

use crate::{
    bundle::Bundles,
    change::{Change, Guard},
    index::{Index, expect_trusted},
    legacy::{Legacy, LegacyFile},
    names,
    record::{Body, Hold, Record, cut},
    register::Registers,
    value::Current,
    wire::Id,
};

/// Content up to this size is kept in the record.
pub(crate) const INLINE: usize = 32 << 10;
/// Bytes of a chunk that is handed out.
const CHUNK: usize = 1 << 20;
/// Bundles that are let go of at once, behind the callers' backs.
const RELEASED_AT_ONCE: usize = 4;

/// An object as it was found.
#[derive(Clone)]
pub(crate) enum Found {
    Record { version: u128, record: Record },
    Legacy(LegacyFile),
}

impl Found {
    pub(crate) fn facts(&self) -> Facts {
        match self {
            Self::Record { version, record } => Facts {
                size: record.size,
                modified: Some(time(record.modified)),
                etag: Some(tag(*version)),
                mark: record.mark.clone(),
            },
            Self::Legacy(file) => Facts {
                size: file.size,
                modified: file.timestamp.system_time(),
                etag: Some(ETag(file.tag())),
                mark: None,
            },
        }
    }
}

impl Found {
    /// Whether the object keeps a bundle alive by this hold.
    pub(crate) fn uses(&self, hold: &Hold) -> bool {
        match self {
            Self::Record { record, .. } => record.holds().iter().any(|used| used.is_same(hold)),
            Self::Legacy(_) => false,
        }
    }
}

/// What is to be at a path.
pub(crate) struct New<'a> {
    pub(crate) size: u64,
    pub(crate) body: Body,
    pub(crate) mark: Option<&'a str>,
    pub(crate) condition: &'a Condition,
    /// What must hold while it is written.
    pub(crate) guard: Option<Guard>,
}

/// All objects.
#[derive(Clone)]
pub(crate) struct Objects {
    pub(crate) registers: Registers,
    pub(crate) bundles: Bundles,
    pub(crate) index: Index,
    pub(crate) legacy: Legacy,
    releasing: Arc<Semaphore>,
}

impl Objects {
    pub(crate) fn new(registers: Registers, legacy: Legacy) -> Self {
        let (bundles, index) = (Bundles(registers.clone()), Index::new(registers.clone()));
        Self { registers, bundles, index, legacy, releasing: Arc::new(Semaphore::new(RELEASED_AT_ONCE)) }
    }

    pub(crate) fn record_id(&self, path: &str) -> Id {
        self.registers.replicas.id(&names::record(path))
    }

    /// What is at a path.
    ///
    /// # Errors
    /// `NotFound`; when too few groups answer.
    pub(crate) async fn find(&self, path: &str) -> Result<Found> {
        let absent = || Error::new(ErrorKind::NotFound, "there is no such object");
        if let Some(current) = self.registers.get(self.record_id(path)).await? {
            let record = Record::unpack(&current.content)?;
            if record.is_deleted() {
                return Err(absent());
            }
            return Ok(Found::Record { version: current.version(), record });
        }
        self.legacy.file(path).await?.map(Found::Legacy).ok_or_else(absent)
    }

    /// What is at a path, after which nothing comes true that was on its way there. Files of the original do not count.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn settled(&self, path: &str) -> Result<Option<Found>> {
        let Some(current) = self.registers.fence(self.record_id(path)).await? else { return Ok(None) };
        let record = Record::unpack(&current.content)?;
        Ok((!record.is_deleted()).then(|| Found::Record { version: current.version(), record }))
    }

    /// Opens an object.
    ///
    /// # Errors
    /// `NotFound`; `ConditionFailed`; `InvalidRange`.
    pub(crate) async fn open(&self, path: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        let found = self.find(path).await?;
        let facts = found.facts();
        if if_match.is_some_and(|tag| facts.etag.as_ref() != Some(tag)) {
            return Err(failed());
        }
        let (offset, length) = range.resolve(facts.size)?;
        Ok(Opened { facts, offset, length, body: self.content(&found, offset, length) })
    }

    /// Bytes of an object.
    pub(crate) fn content(&self, found: &Found, offset: u64, length: u64) -> ByteStream {
        match found {
            Found::Legacy(file) => self.legacy.read(file, offset, length),
            Found::Record { record, .. } => match &record.body {
                Body::Deleted => byte_stream([]),
                Body::Inline(content) => {
                    // A record whose size is another than that of its content was never written.
                    let begin = (offset as usize).min(content.len());
                    let end = begin.saturating_add(length as usize).min(content.len());
                    byte_stream(Some(content.slice(begin..end)).filter(|content| !content.is_empty()))
                }
                Body::Pieces { holds, pieces } => {
                    let segments = self.bundles.read(Arc::from(&holds[..]), cut(pieces, offset, length));
                    in_chunks(segments)
                }
            },
        }
    }

    /// Writes a record under a condition, and returns its tag.
    ///
    /// # Errors
    /// `ConditionFailed`; when too few groups answer.
    pub(crate) async fn write(&self, path: &str, new: New<'_>) -> Result<ETag> {
        let (ensured, legacy) = futures::future::join(self.index.ensure(path), self.legacy.file(path)).await;
        let (ensured, legacy) = (ensured?, legacy?);
        let record = Record {
            size: new.size,
            modified: names::now(),
            mark: new.mark.map(str::to_owned),
            body: new.body,
        };
        let content = record.pack();
        let changed = self
            .registers
            .change_once(self.record_id(path), new.guard, |current| {
                expect_trusted(ensured)?;
                expect(new.condition, current, legacy.as_ref())?;
                Ok(Change::Write(content.clone(), ()))
            })
            .await?;
        self.clear_away(path, changed.before.as_ref(), record.holds(), legacy.is_some()).await;
        Ok(tag(changed.written))
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// `NotFound`; when too few groups answer.
    pub(crate) async fn delete(&self, path: &str) -> Result<()> {
        let legacy = self.legacy.file(path).await?;
        let absent = || Error::new(ErrorKind::NotFound, "there is no such object");
        let id = self.record_id(path);
        let content = Record::deleted(names::now()).pack();
        let changed = self
            .registers
            .change_once(id, None, |current| {
                let is_there = match current {
                    Some(current) => !Record::unpack(&current.content)?.is_deleted(),
                    None => legacy.is_some(),
                };
                if is_there { Ok(Change::Write(content.clone(), ())) } else { Err(absent()) }
            })
            .await?;
        // From here on the object is gone, whatever becomes of its remains.
        self.clear_away(path, changed.before.as_ref(), &[], legacy.is_some()).await;
        if let Err(error) = self.index.mark(path).await {
            tracing::debug!(path, %error, "the index keeps the name of an object that is gone");
        }
        if names::is_own(path)
            && let Err(error) = self.registers.forget(id).await
        {
            tracing::debug!(path, %error, "the record of an object that is gone stays");
        }
        Ok(())
    }

    /// Clears away what a change has replaced, but for what is in use as before: a write that is made again replaces
    /// its own record.
    async fn clear_away(&self, path: &str, before: Option<&Current>, used: &[Hold], had_legacy: bool) {
        // At once: nobody else finds it when the caller goes away.
        if let Some(record) = before.and_then(|current| Record::unpack(&current.content).ok()) {
            let unused = record.holds().iter().filter(|hold| !used.iter().any(|other| other.is_same(hold)));
            self.release_later(&unused.copied().collect::<Vec<Hold>>());
        }
        if had_legacy && let Err(error) = self.legacy.clear(path).await {
            tracing::debug!(path, %error, "a file of the original stays behind the object that replaced it");
        }
    }

    /// Lets go of bundles, behind the caller's back.
    pub(crate) fn release_later(&self, holds: &[Hold]) {
        for hold in holds.iter().copied() {
            let objects = self.clone();
            self.registers.replicas.0.behind.spawn(async move {
                // It is never closed.
                let Ok(_permit) = objects.releasing.acquire().await else { return };
                let mut pause = Duration::from_millis(200);
                for _ in 0..6 {
                    match objects.bundles.release(hold).await {
                        Ok(()) => return,
                        Err(error) => tracing::debug!(%error, "content that nobody needs stays for now"),
                    }
                    tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                    pause *= 2;
                }
                tracing::warn!(bundle = format!("{:032x}", hold.bundle), "content that nobody needs stays");
            });
        }
    }
}

/// # Errors
/// `ConditionFailed` when the condition does not hold for what is there.
fn expect(condition: &Condition, current: Option<&Current>, legacy: Option<&LegacyFile>) -> Result<()> {
    let there = match (condition, current) {
        (Condition::Always, _) => return Ok(()),
        (_, Some(current)) => {
            let is_deleted = Record::unpack(&current.content)?.is_deleted();
            (!is_deleted).then(|| tag(current.version()))
        }
        (_, None) => legacy.map(|file| ETag(file.tag())),
    };
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => there.is_none(),
        Condition::IfMatch(tag) => there.as_ref() == Some(tag),
    };
    if holds { Ok(()) } else { Err(failed()) }
}

fn failed() -> Error {
    Error::new(ErrorKind::ConditionFailed, "the object there is not the one that was expected")
}

fn tag(version: u128) -> ETag {
    ETag(format!("\"{version:032x}\""))
}

fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

/// Segments in chunks that cost the caller little.
fn in_chunks(segments: ByteStream) -> ByteStream {
    use futures::{StreamExt, TryStreamExt, stream};
    segments
        .map_ok(|mut segment| {
            stream::iter(std::iter::from_fn(move || {
                let length = segment.len().min(CHUNK);
                (length > 0).then(|| Ok(segment.split_to(length)))
            }))
        })
        .try_flatten()
        .boxed()
}

/// Small content in one piece of memory.
pub(crate) fn whole(pieces: &[Bytes]) -> Bytes {
    match pieces {
        [] => Bytes::new(),
        [one] => one.clone(),
        _ => pieces.concat().into(),
    }
}
