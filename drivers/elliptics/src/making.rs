//! Making large objects: begun, sent in parts, finished or abandoned.
//!
//! Finishing and abandoning both change the record of what was begun (`begun.rs`) first: only one of them gets its way.
//!
//! # A finish that is made again
//! Its earlier attempt may be in the object's record, may have been replaced there since, which frees what it names, or
//! may still be on its way. So each later attempt takes a name of its own, under which it holds all content before it
//! writes a record that uses it. What is dead by then was replaced. Only a finish that was the first, and failed for
//! certain, is as if it had never been.
//!
//! # What is abandoned
//! First the record of what was begun says so. Then the register of the object's record is closed to what is on its way
//! there, and who looks at it again looks at what was begun as well, and stops. So it is known what the object uses, and
//! everything else is let go of.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, Result};
use docker_registry_object_storage::bucket::Part;
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    begun::{ABANDONED, Begun},
    change::{Change, Guard},
    names,
    objects::{Found, INLINE, New, Objects, whole},
    record::{Body, Hold, Piece, Record, joined},
    value::Current,
};

/// Numbers of parts are reserved so many at a time, so that not every part changes the record.
const RESERVED_AT_ONCE: u32 = 16;
/// Bundles that are held at once.
const HELD_AT_ONCE: usize = 8;
/// How often something is tried behind the callers' backs, and the pause after the first time.
const MOST_TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Uploads that a process remembers.
const MOST_REMEMBERED: usize = 10_000;

/// Large objects in the making.
#[derive(Clone)]
pub(crate) struct Making {
    pub(crate) objects: Objects,
    /// What this process knows of the records, which saves looks at them.
    known: Arc<Mutex<HashMap<u128, Begun>>>,
}

/// What was begun, and is abandoned when its call fails or is dropped.
pub(crate) struct Unfinished {
    making: Making,
    id: Option<u128>,
    /// Whether it is certain that it is not finished, and that nobody finishes it.
    is_own: bool,
}

impl Unfinished {
    pub(crate) fn new(making: &Making, id: u128, is_own: bool) -> Self {
        Self { making: making.clone(), id: Some(id), is_own }
    }

    pub(crate) fn finished(mut self) {
        self.id = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let is_own = self.is_own;
        self.making.later(move |making| async move {
            if is_own { making.let_go(id, true).await } else { making.abandon(id).await }
        });
    }
}

impl Making {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects, known: Arc::default() }
    }

    /// Does something behind the caller's back, and again when it fails for now. What stays is found by `list_begun`.
    fn later<A>(&self, act: impl Fn(Self) -> A + Send + 'static)
    where
        A: Future<Output = Result<()>> + Send,
    {
        let making = self.clone();
        self.objects.registers.replicas.0.behind.spawn(async move {
            let mut pause = FIRST_PAUSE;
            for _ in 0..MOST_TRIES {
                let Err(error) = act(making.clone()).await else { return };
                tracing::debug!(%error, "something stays in the making for now");
                if !error.retryable {
                    return;
                }
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
                pause *= 2;
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Begun>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an object.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn begin(&self, key: &str, mark: Option<&str>) -> Result<u128> {
        let begun = Begun { key: key.to_owned(), mark: mark.map(str::to_owned), ..Begun::default() };
        let id = new_number();
        self.record(id, begun).await?;
        Ok(id)
    }

    /// Writes the record of what is begun.
    async fn record(&self, id: u128, begun: Begun) -> Result<()> {
        let content = begun.pack();
        let size = content.len() as u64;
        let body = Body::Inline(content);
        let new = New { size, body, mark: None, condition: &Condition::Always, guard: None };
        self.objects.write(&names::begun(id), new).await?;
        self.know(id, begun);
        Ok(())
    }

    fn know(&self, id: u128, begun: Begun) {
        let mut known = self.lock();
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(id, begun);
    }

    /// What this process remembers of what may still be sent to.
    pub(crate) fn known_to(&self, id: u128, is_so: impl Fn(&Begun) -> bool) -> bool {
        self.lock().get(&id).is_some_and(|begun| begun.finishing == 0 && is_so(begun))
    }

    /// Changes the record of what was begun; `None` keeps it.
    ///
    /// # Errors
    /// `NotFound` when it was finished or abandoned.
    pub(crate) async fn change(
        &self,
        id: u128,
        decide: impl Fn(&Begun) -> Result<Option<Begun>>,
    ) -> Result<Begun> {
        let record_id = self.objects.record_id(&names::begun(id));
        let change = self.objects.registers.change(record_id, |current| {
            let record = current.map(|current| Record::unpack(&current.content)).transpose()?;
            let Some(Record { body: Body::Inline(content), mark, .. }) = record else { return Err(gone()) };
            let begun = Begun::unpack(id, &content)?;
            let Some(next) = decide(&begun)? else {
                return Ok(Change::Keep(begun));
            };
            let content = next.pack();
            let record = Record {
                size: content.len() as u64,
                modified: names::now(),
                mark,
                body: Body::Inline(content),
            };
            Ok(Change::Write(record.pack(), next))
        });
        let begun = change.await?.outcome;
        self.know(id, begun.clone());
        Ok(begun)
    }

    /// Sends a part.
    ///
    /// # Errors
    /// `NotFound` when the object was finished or abandoned; when too few groups take it.
    pub(crate) async fn part(&self, id: u128, number: u32, content: Vec<Bytes>) -> Result<Part> {
        let size = content.iter().map(|piece| piece.len() as u64).sum();
        self.reserve(id, number).await?;
        self.objects.bundles.write_part(id, number, content).await?;
        Ok(Part { number, size, tag: String::new() })
    }

    /// Notes that there may be a part of this number.
    ///
    /// # Errors
    /// Those of [`Making::part`].
    pub(crate) async fn reserve(&self, id: u128, number: u32) -> Result<()> {
        if self.known_to(id, |begun| begun.parts >= number) {
            return Ok(());
        }
        let reserve = |begun: &Begun| {
            if begun.finishing != 0 {
                return Err(gone());
            }
            let is_reserved = begun.parts >= number;
            let parts = number.saturating_add(RESERVED_AT_ONCE);
            Ok((!is_reserved).then(|| Begun { parts, ..begun.clone() }))
        };
        self.change(id, reserve).await.map(drop)
    }

    /// Makes an object of content that is there whole. It is begun and finished like others, so that a crash leaves no
    /// content that nobody finds.
    ///
    /// # Errors
    /// `ConditionFailed`; when too few groups take it.
    pub(crate) async fn put(
        &self,
        key: &str,
        content: Vec<Bytes>,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<ETag> {
        let size = content.iter().map(|piece| piece.len() as u64).sum();
        let id = new_number();
        let (key_text, mark_text) = (key.to_owned(), mark.map(str::to_owned));
        let begun = Begun { key: key_text, mark: mark_text, parts: 1, finishing: now(), ..Begun::default() };
        let holds = begun.holds(id);
        let mut unfinished = Unfinished::new(self, id, true);
        let sent = async {
            self.record(id, begun).await?;
            self.objects.bundles.write_part(id, 1, content).await
        };
        // Content alone changes nothing.
        sent.await.map_err(|error| Error { outcome_unknown: false, ..error })?;
        let pieces = vec![Piece { hold: 0, part: 1, offset: 0, length: size }];
        let body = Body::Pieces { holds, pieces };
        // From here on a call that is dropped may have written the record, which needs the content.
        unfinished.is_own = false;
        let new = New { size, body, mark, condition, guard: Some(self.guard(id)) };
        match self.objects.write(key, new).await {
            Ok(tag) => {
                unfinished.finished();
                if self.forget(id).await.is_err() {
                    self.later(move |making| async move { making.forget(id).await });
                }
                Ok(tag)
            }
            Err(error) => {
                unfinished.is_own = !error.outcome_unknown;
                Err(error)
            }
        }
    }

    /// What holds until something is abandoned.
    fn guard(&self, id: u128) -> Guard {
        let holds = |current: Option<&Current>| {
            let record = current.map(|current| Record::unpack(&current.content)).transpose()?;
            let Some(Record { body: Body::Inline(content), .. }) = record else { return Err(gone()) };
            if Begun::unpack(0, &content)?.is_abandoned() { Err(gone()) } else { Ok(()) }
        };
        Guard { id: self.objects.record_id(&names::begun(id)), holds }
    }

    /// Makes the parts an object.
    ///
    /// # Errors
    /// `NotFound` when it was finished or abandoned already; `ConditionFailed`.
    pub(crate) async fn finish(&self, id: u128, parts: &[Part], condition: &Condition) -> Result<ETag> {
        let (attempt, now) = (new_number(), now());
        let begin = |begun: &Begun| match begun.finishing {
            ABANDONED => Err(gone()),
            0 => Ok(Some(Begun { finishing: now, ..begun.clone() })),
            _ => {
                let mut attempts = begun.attempts.clone();
                attempts.retain(|earlier| *earlier != attempt);
                attempts.push(attempt);
                Ok(Some(Begun { finishing: now, attempts, ..begun.clone() }))
            }
        };
        let mut begun = self.change(id, begin).await?;
        // No more were sent than these.
        let sent = parts.iter().filter(|part| part.tag.is_empty()).map(|part| part.number).max();
        begun.parts = sent.map_or(begun.parts, |sent| sent.min(begun.parts));
        let is_first = !begun.attempts.contains(&attempt);
        let holds = if is_first { begun.holds(id) } else { begun.holds_of(id, attempt) };
        let write = async {
            let pieces = pieces(id, &holds, parts)?;
            if !is_first {
                self.hold_all(&holds, &pieces).await?;
            }
            let size = pieces.iter().map(|piece| piece.length).sum();
            let body = self.body(&holds, &pieces, size).await?;
            let used = if matches!(body, Body::Inline(_)) { Vec::new() } else { holds.clone() };
            let mark = begun.mark.as_deref();
            let new = New { size, body, mark, condition, guard: Some(self.guard(id)) };
            let tag = self.objects.write(&begun.key, new).await?;
            Ok::<_, Error>((tag, used))
        };
        match write.await {
            Ok((tag, used)) => {
                self.finished(id, &begun, &used).await;
                Ok(tag)
            }
            Err(error) if error.outcome_unknown => Err(error),
            Err(error) => {
                // An earlier attempt may have done it, and have been what the condition found.
                if error.kind == ErrorKind::ConditionFailed
                    && let Some((tag, used)) = self.made(id, &begun).await?
                {
                    self.finished(id, &begun, &used).await;
                    return Ok(tag);
                }
                if is_first {
                    self.open_again(id, now).await;
                }
                Err(error)
            }
        }
    }

    /// Takes back the beginning of a finish that was the only one: it may be finished in another way, or abandoned.
    async fn open_again(&self, id: u128, since: u64) {
        let open = |begun: &Begun| {
            let is_the_only_one = begun.finishing == since && begun.attempts.is_empty();
            Ok(is_the_only_one.then(|| Begun { finishing: 0, ..begun.clone() }))
        };
        if let Err(error) = self.change(id, open).await {
            tracing::debug!(%error, "a large object stays in the making");
        }
    }

    /// Becomes an owner of the bundles of pieces.
    ///
    /// # Errors
    /// `NotFound` when one is dead, because an earlier attempt was replaced.
    async fn hold_all(&self, holds: &[Hold], pieces: &[Piece]) -> Result<()> {
        let is_used = |place: usize| pieces.iter().any(|piece| piece.hold as usize == place);
        let used = holds.iter().enumerate().filter(|(place, _)| is_used(*place));
        let held = used.map(|(_, hold)| self.objects.bundles.hold(hold.bundle, hold.owner));
        // Collected, so that the closure's borrows do not get in the way of `Send`.
        let held: Vec<_> = held.collect();
        let alive: Vec<bool> = stream::iter(held).buffer_unordered(HELD_AT_ONCE).try_collect().await?;
        if alive.into_iter().all(|is_alive| is_alive) { Ok(()) } else { Err(gone()) }
    }

    /// The tag of the object and what it uses, if it is the one that was begun. No earlier attempt comes true after that.
    async fn made(&self, id: u128, begun: &Begun) -> Result<Option<(ETag, Vec<Hold>)>> {
        let Some(found) = self.objects.settled(&begun.key).await? else { return Ok(None) };
        let used: Vec<Hold> = begun.all_holds(id).into_iter().filter(|hold| found.uses(hold)).collect();
        let has_mark = begun.mark.is_some() && found.facts().mark == begun.mark;
        let tag = found.facts().etag.filter(|_| has_mark || !used.is_empty());
        Ok(tag.map(|tag| (tag, used)))
    }

    /// What the record says of the content. Little content is taken into the record.
    async fn body(&self, holds: &[Hold], pieces: &[Piece], size: u64) -> Result<Body> {
        if size > INLINE as u64 {
            return Ok(Body::Pieces { holds: holds.to_vec(), pieces: pieces.to_vec() });
        }
        let mut stream = self.objects.bundles.read(Arc::from(holds), pieces.to_vec());
        let mut content = Vec::new();
        while let Some(piece) = stream.next().await {
            content.push(piece?);
        }
        Ok(Body::Inline(whole(&content)))
    }

    /// Lets go of all but what the object uses. The record goes last, so that a crash leaves something that can be
    /// found.
    async fn finished(&self, id: u128, begun: &Begun, used: &[Hold]) {
        let unused = begun.all_holds(id).into_iter();
        let unused: Vec<Hold> = unused.filter(|hold| !used.iter().any(|used| used.is_same(hold))).collect();
        if self.release(id, &unused).await.is_err() {
            self.later(move |making| {
                let unused = unused.clone();
                async move { making.release(id, &unused).await }
            });
        }
    }

    async fn release(&self, id: u128, holds: &[Hold]) -> Result<()> {
        for hold in holds {
            self.objects.bundles.release(*hold).await?;
        }
        self.forget(id).await
    }

    /// Forgets the record.
    async fn forget(&self, id: u128) -> Result<()> {
        self.lock().remove(&id);
        match self.objects.delete(&names::begun(id)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Forgets what was begun, its parts included, unless it is in the object by now. What is finished meanwhile is
    /// finished whole, or not at all.
    ///
    /// # Errors
    /// `Unavailable` while nodes are away that were never seen: a newer record of the object may be there. When too few
    /// groups answer.
    pub(crate) async fn abandon(&self, id: u128) -> Result<()> {
        self.objects.registers.replicas.0.expect_all_seen()?;
        self.let_go(id, false).await
    }

    async fn let_go(&self, id: u128, is_unwritten: bool) -> Result<()> {
        let claim = |begun: &Begun| {
            let is_open = !begun.is_abandoned();
            Ok(is_open.then(|| Begun { finishing: ABANDONED, ..begun.clone() }))
        };
        let begun = match self.change(id, claim).await {
            Ok(begun) => begun,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        // Of those who finish it nothing comes true after this.
        let found = if is_unwritten { None } else { self.objects.settled(&begun.key).await? };
        let is_used = |hold: &Hold| found.as_ref().is_some_and(|found| found.uses(hold));
        let unused: Vec<Hold> = begun.all_holds(id).into_iter().filter(|hold| !is_used(hold)).collect();
        self.release(id, &unused).await
    }

    /// The key that something was begun for; `None` when that is over.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn key_of(&self, id: u128) -> Result<Option<String>> {
        match self.objects.find(&names::begun(id)).await {
            Ok(Found::Record { record: Record { body: Body::Inline(content), .. }, .. }) => {
                Begun::unpack(id, &content).map(|begun| Some(begun.key))
            }
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The content that parts stand for.
fn pieces(id: u128, holds: &[Hold], parts: &[Part]) -> Result<Vec<Piece>> {
    let wrong = || Error::new(ErrorKind::Internal, "a part is none that was sent");
    let place = |bundle: u128| {
        let place = holds.iter().position(|hold| hold.bundle == bundle).ok_or_else(wrong)?;
        u32::try_from(place).map_err(|_| wrong())
    };
    let mut pieces = Vec::new();
    for part in parts.iter().filter(|part| part.size > 0) {
        if part.tag.is_empty() {
            pieces.push(Piece { hold: place(id)?, part: part.number, offset: 0, length: part.size });
        }
        for text in part.tag.split_whitespace() {
            let numbers: Vec<&str> = text.split('.').collect();
            let [bundle, number, offset, length] = numbers[..] else { return Err(wrong()) };
            let bundle = u128::from_str_radix(bundle, 16).map_err(|_| wrong())?;
            pieces.push(Piece {
                hold: place(bundle)?,
                part: number.parse().map_err(|_| wrong())?,
                offset: offset.parse().map_err(|_| wrong())?,
                length: length.parse().map_err(|_| wrong())?,
            });
        }
    }
    Ok(joined(pieces))
}

pub(crate) fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "the large object was finished or abandoned")
}

fn new_number() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

/// Now, and never 0.
fn now() -> u64 {
    names::now().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_pieces_in_their_order() {
        let holds = [Hold { bundle: 1, owner: 0, parts: 2 }, Hold { bundle: 0xab, owner: 1, parts: 9 }];
        let part = |number, size, tag: &str| Part { number, size, tag: tag.to_owned() };
        let parts = [part(1, 10, ""), part(2, 7, "ab.4.5.3 ab.4.8.4"), part(3, 0, "")];
        let made = pieces(1, &holds, &parts).unwrap();
        let expected = [
            Piece { hold: 0, part: 1, offset: 0, length: 10 },
            Piece { hold: 1, part: 4, offset: 5, length: 7 },
        ];
        assert_eq!(made, expected);
        assert!(pieces(1, &holds, &[part(1, 1, "cd.1.0.1")]).is_err());
    }
}
