//! Large objects in the making.
//!
//! What is begun has a record of its own from the first moment to the last, so that a crash leaves nothing that is not
//! found. It names the object, how many parts there may be, and which bundles of others are held for it. Finishing
//! and abandoning both change that record first: only one of them gets its way. Neither lets go of what the object's
//! record has come to use, so that a finish whose answer was lost may be made again, and what it left abandoned.

use std::{
    collections::HashMap,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, Result};
use docker_registry_object_storage::bucket::Part;
use futures::StreamExt;
use serde_json::{Value, json};

use crate::{
    names,
    objects::{Found, INLINE, New, Objects, whole},
    record::{Body, Hold, Piece, Record, cut, joined},
    register::Change,
};

/// Numbers of parts are reserved so many at a time, so that not every part changes the record.
const RESERVED_AT_ONCE: u32 = 16;
/// After this time a finish has crashed that did not come to its end.
const FINISHING: Duration = Duration::from_secs(60 * 60);
/// What `finishing` is in what was abandoned.
const ABANDONED: u64 = u64::MAX;
/// Uploads that a process remembers.
const MOST_REMEMBERED: usize = 10_000;

/// The record of what was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Begun {
    key: String,
    mark: Option<String>,
    /// Parts up to this number may be there.
    parts: u32,
    /// Bundles of others that are held under this one's number.
    held: Vec<Hold>,
    /// Seconds since 1970 at which the finish began; 0 before, and [`ABANDONED`].
    finishing: u64,
}

impl Begun {
    fn pack(&self) -> Bytes {
        let held = self.held.iter().map(|hold| json!([format!("{:x}", hold.bundle), hold.parts]));
        let value = json!({ "key": self.key, "mark": self.mark, "parts": self.parts,
            "held": held.collect::<Vec<_>>(), "finishing": self.finishing });
        value.to_string().into()
    }

    fn unpack(id: u128, bytes: &[u8]) -> Result<Self> {
        let parse = || {
            let value: Value = serde_json::from_slice(bytes).ok()?;
            let hold = |hold: &Value| {
                let bundle = u128::from_str_radix(hold.get(0)?.as_str()?, 16).ok()?;
                Some(Hold { bundle, owner: id, parts: u32::try_from(hold.get(1)?.as_u64()?).ok()? })
            };
            Some(Self {
                key: value["key"].as_str()?.to_owned(),
                mark: value["mark"].as_str().map(str::to_owned),
                parts: u32::try_from(value["parts"].as_u64()?).ok()?,
                held: value["held"].as_array()?.iter().map(hold).collect::<Option<Vec<Hold>>>()?,
                finishing: value["finishing"].as_u64()?,
            })
        };
        parse().ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the record of a large object in the making makes no sense")
        })
    }

    /// Everything that it keeps alive.
    fn holds(&self, id: u128) -> Vec<Hold> {
        let own = (self.parts > 0).then_some(Hold { bundle: id, owner: 0, parts: self.parts });
        own.into_iter().chain(self.held.iter().copied()).collect()
    }
}

/// Large objects in the making.
#[derive(Clone)]
pub(crate) struct Making {
    objects: Objects,
    /// What this process knows of the records, which saves looks at them.
    known: Arc<Mutex<HashMap<u128, Begun>>>,
}

impl Making {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects, known: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Begun>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an object.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn begin(&self, key: &str, mark: Option<&str>) -> Result<u128> {
        let id = uuid::Uuid::new_v4().as_u128();
        let begun = Begun {
            key: key.to_owned(),
            mark: mark.map(str::to_owned),
            parts: 0,
            held: Vec::new(),
            finishing: 0,
        };
        let content = begun.pack();
        let new = New {
            size: content.len() as u64,
            body: Body::Inline(content),
            mark: None,
            condition: &Condition::Always,
        };
        self.objects.write(&names::begun(id), new).await?;
        self.know(id, begun);
        Ok(id)
    }

    fn know(&self, id: u128, begun: Begun) {
        let mut known = self.lock();
        if known.len() >= MOST_REMEMBERED {
            known.clear();
        }
        known.insert(id, begun);
    }

    /// Changes the record of what was begun; `None` keeps it.
    ///
    /// # Errors
    /// `NotFound` when it was finished or abandoned.
    async fn change(&self, id: u128, decide: impl Fn(&Begun) -> Result<Option<Begun>>) -> Result<Begun> {
        let mut result = None;
        let record_id = self.objects.record_id(&names::begun(id));
        let change = self.objects.registers.change(record_id, |current| {
            let record = current.map(|current| Record::unpack(&current.content)).transpose()?;
            let Some(Record { body: Body::Inline(content), mark, .. }) = record else { return Err(gone()) };
            let begun = Begun::unpack(id, &content)?;
            let Some(next) = decide(&begun)? else {
                result = Some(begun);
                return Ok(Change::Keep);
            };
            let content = next.pack();
            let record = Record {
                size: content.len() as u64,
                modified: names::now(),
                mark,
                body: Body::Inline(content),
            };
            result = Some(next);
            Ok(Change::Write(record.pack()))
        });
        change.await?;
        let begun = result.ok_or_else(gone)?;
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

    async fn reserve(&self, id: u128, number: u32) -> Result<()> {
        let is_reserved =
            self.lock().get(&id).is_some_and(|begun| begun.parts >= number && begun.finishing == 0);
        if is_reserved {
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

    /// Makes a part of a range of another object: by sharing its bundles, without moving content, where it has some.
    ///
    /// # Errors
    /// `NotFound` when the object was finished or abandoned, and when the source is gone.
    pub(crate) async fn copy_part(
        &self,
        id: u128,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        let length = range.end.saturating_sub(range.start);
        for _ in 0..3 {
            let found = self.objects.find(from).await?;
            if range.end > found.facts().size {
                return Err(Error::new(ErrorKind::InvalidRange, "the source is shorter than the range"));
            }
            let Found::Record { record: Record { body: Body::Pieces { holds, pieces }, .. }, .. } = &found
            else {
                return self.copy_content(id, number, &found, range).await;
            };
            let wanted = cut(pieces, range.start, length);
            if let Some(tag) = self.share(id, holds, &wanted).await? {
                return Ok(Part { number, size: length, tag });
            }
            // The source was replaced meanwhile.
        }
        Err(Error::new(ErrorKind::Conflict, "the source is replaced all the time").retryable(true))
    }

    /// Holds the bundles of pieces; the pieces as a text. `None` when a bundle is dead.
    async fn share(&self, id: u128, holds: &[Hold], pieces: &[Piece]) -> Result<Option<String>> {
        let used: Vec<Hold> = holds
            .iter()
            .enumerate()
            .filter(|(place, _)| pieces.iter().any(|piece| piece.hold as usize == *place))
            .map(|(_, hold)| Hold { owner: id, ..*hold })
            .collect();
        let has = |begun: &Begun| used.iter().all(|hold| begun.held.contains(hold));
        let is_known = self.lock().get(&id).is_some_and(|begun| begun.finishing == 0 && has(begun));
        if !is_known {
            // The record first: what it names is let go of in any case.
            self.change(id, |begun| {
                if begun.finishing != 0 {
                    return Err(gone());
                }
                let new = used.iter().filter(|hold| !begun.held.contains(hold)).copied();
                let held: Vec<Hold> = begun.held.iter().copied().chain(new).collect();
                Ok((held.len() > begun.held.len()).then(|| Begun { held, ..begun.clone() }))
            })
            .await?;
        }
        for hold in &used {
            if !self.objects.bundles.hold(hold.bundle, id).await? {
                return Ok(None);
            }
        }
        let texts = pieces.iter().filter_map(|piece| {
            let hold = holds.get(piece.hold as usize)?;
            Some(format!("{:x}.{}.{}.{}", hold.bundle, piece.part, piece.offset, piece.length))
        });
        Ok(Some(texts.collect::<Vec<_>>().join(" ")))
    }

    /// Makes a part of content that is in no bundle.
    async fn copy_content(&self, id: u128, number: u32, found: &Found, range: Range<u64>) -> Result<Part> {
        let length = range.end - range.start;
        let mut content = self.objects.content(found, range.start, length);
        self.reserve(id, number).await?;
        self.objects.bundles.write_stream(id, number, &mut content).await?;
        Ok(Part { number, size: length, tag: String::new() })
    }

    /// Makes the parts an object.
    ///
    /// # Errors
    /// `NotFound` when it was finished or abandoned already; `ConditionFailed`.
    pub(crate) async fn finish(&self, id: u128, parts: &[Part], condition: &Condition) -> Result<ETag> {
        let now = names::now() / 1_000_000_000;
        let begin = |begun: &Begun| match begun.finishing {
            ABANDONED => Err(gone()),
            _ => Ok(Some(Begun { finishing: now.max(1), ..begun.clone() })),
        };
        let begun = self.change(id, begin).await?;
        let mut holds = begun.holds(id);
        // No more were sent than these.
        let sent = parts.iter().filter(|part| part.tag.is_empty()).map(|part| part.number).max();
        for own in holds.iter_mut().filter(|hold| hold.bundle == id) {
            own.parts = sent.unwrap_or(own.parts);
        }
        match self.write(id, &begun, &holds, parts, condition).await {
            Ok(tag) => Ok(tag),
            Err(error) if error.outcome_unknown => Err(error),
            Err(error) => {
                // An earlier attempt may have done it, and have been what the condition found.
                if error.kind == ErrorKind::ConditionFailed
                    && let Some(tag) = self.made(&begun, &holds).await?
                {
                    self.forget(id).await;
                    return Ok(tag);
                }
                // It may be finished in another way, or abandoned.
                let open = |begun: &Begun| match begun.finishing {
                    ABANDONED => Ok(None),
                    _ => Ok(Some(Begun { finishing: 0, ..begun.clone() })),
                };
                if let Err(error) = self.change(id, open).await {
                    tracing::debug!(%error, "a large object stays in the making");
                }
                Err(error)
            }
        }
    }

    async fn write(
        &self,
        id: u128,
        begun: &Begun,
        holds: &[Hold],
        parts: &[Part],
        condition: &Condition,
    ) -> Result<ETag> {
        let pieces = pieces(id, holds, parts)?;
        let size = pieces.iter().map(|piece| piece.length).sum();
        let body = self.body(holds, &pieces, size).await?;
        let new = New { size, body, mark: begun.mark.as_deref(), condition };
        let tag = self.objects.write(&begun.key, new).await?;
        self.forget(id).await;
        if size <= INLINE as u64 {
            self.objects.release_later(holds);
        }
        Ok(tag)
    }

    /// The tag of the object, if it is the one that was begun.
    async fn made(&self, begun: &Begun, holds: &[Hold]) -> Result<Option<ETag>> {
        match self.objects.find(&begun.key).await {
            Ok(found) => {
                let has_mark = begun.mark.is_some() && found.facts().mark == begun.mark;
                let is_ours = has_mark || holds.iter().any(|hold| found.uses(hold));
                Ok(found.facts().etag.filter(|_| is_ours))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
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

    async fn forget(&self, id: u128) {
        self.lock().remove(&id);
        if let Err(error) = self.objects.delete(&names::begun(id)).await
            && !error.is_not_found()
        {
            tracing::debug!(%error, "the record of a large object that is made stays");
        }
    }

    /// Forgets what was begun, its parts included.
    ///
    /// # Errors
    /// `Unavailable` while somebody else finishes it; when too few groups answer.
    pub(crate) async fn abandon(&self, id: u128) -> Result<()> {
        let now = names::now() / 1_000_000_000;
        let is_being_finished = |begun: &Begun| {
            !matches!(begun.finishing, 0 | ABANDONED)
                && now.saturating_sub(begun.finishing) < FINISHING.as_secs()
        };
        let claim = |begun: &Begun| {
            let is_open = !is_being_finished(begun) && begun.finishing != ABANDONED;
            Ok(is_open.then(|| Begun { finishing: ABANDONED, ..begun.clone() }))
        };
        let begun = match self.change(id, claim).await {
            Ok(begun) => begun,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut holds = begun.holds(id);
        let found = match self.objects.find(&begun.key).await {
            Ok(found) => Some(found),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let is_used = |hold: &Hold| found.as_ref().is_some_and(|found| found.uses(hold));
        if is_being_finished(&begun) && !holds.iter().any(is_used) {
            return Err(
                Error::new(ErrorKind::Unavailable, "the large object is being finished").retryable(false)
            );
        }
        holds.retain(|hold| !is_used(hold));
        // The record goes last, so that a crash leaves something that can be found.
        for hold in holds {
            self.objects.bundles.release(hold).await?;
        }
        self.forget(id).await;
        Ok(())
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

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "the large object was finished or abandoned")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_is_unpacked() {
        let held = vec![Hold { bundle: u128::MAX, owner: 9, parts: 3 }];
        let begun = Begun { key: "a/\u{e9}".to_owned(), mark: None, parts: 5, held, finishing: 7 };
        assert_eq!(Begun::unpack(9, &begun.pack()).unwrap(), begun);
        assert!(Begun::unpack(9, b"{}").is_err());
        assert_eq!(begun.holds(9).len(), 2);
    }

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
