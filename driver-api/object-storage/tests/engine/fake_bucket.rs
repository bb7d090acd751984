//! A bucket in memory, called a fake: it has every ability, may be told to lack some, keeps the rules of
//! stores of the S3 kind (order, smallest parts, conditions, fates of begun objects), and fails on demand.
//!
//! A call that breaks a rule of [`Bucket`] panics: that is a fault of the engine.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use docker_registry_object_storage::{
    Bucket,
    bucket::{Begun, Content, Facts, Limits, ListCall, Listed, Listing, NewPart, Opened, Part, SignCall},
    driver_api::{
        ByteStream, Bytes, Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait, byte_stream,
        empty_stream,
        futures::{StreamExt, stream},
    },
};

use crate::trouble::{Trouble, When};

/// Size of the chunks of a body.
const CHUNK: usize = 64 << 10;

/// The fake. Clones share everything, as processes share a store.
#[derive(Clone)]
pub(crate) struct FakeBucket {
    limits: Arc<Limits>,
    /// Begun objects are listed only by their exact key, as MinIO does.
    lists_begun_by_key: bool,
    store: Arc<Mutex<Store>>,
    pub(crate) trouble: Arc<Trouble>,
    calls: Arc<AtomicU64>,
}

#[derive(Default)]
struct Store {
    objects: BTreeMap<String, Stored>,
    begun: BTreeMap<String, Large>,
    next: u64,
}

#[derive(Clone)]
struct Stored {
    content: Bytes,
    etag: ETag,
    modified: SystemTime,
    mark: Option<String>,
}

struct Large {
    key: String,
    begun: SystemTime,
    condition: Condition,
    mark: Option<String>,
    parts: BTreeMap<u32, (String, Bytes)>,
    last: Option<u32>,
}

impl Store {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn write(
        &mut self,
        key: &str,
        content: Bytes,
        condition: &Condition,
        mark: Option<String>,
    ) -> Result<ETag> {
        self.expect(key, condition)?;
        let etag = ETag(format!("\"{}-{}\"", self.number(), content.len()));
        let stored = Stored { content, etag: etag.clone(), modified: SystemTime::now(), mark };
        self.objects.insert(key.to_owned(), stored);
        Ok(etag)
    }

    fn expect(&self, key: &str, condition: &Condition) -> Result<()> {
        let there = self.objects.get(key);
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => there.is_none(),
            Condition::IfMatch(etag) => there.is_some_and(|stored| stored.etag == *etag),
        };
        if holds { Ok(()) } else { Err(Error::new(ErrorKind::ConditionFailed, "the condition failed")) }
    }

    fn object(&self, key: &str) -> Result<&Stored> {
        self.objects.get(key).ok_or_else(|| Error::not_found(key))
    }

    fn large(&mut self, key: &str, id: &str) -> Result<&mut Large> {
        self.begun.get_mut(id).filter(|large| large.key == key).ok_or_else(|| Error::not_found(key))
    }
}

impl FakeBucket {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits: Arc::new(limits),
            lists_begun_by_key: false,
            store: Arc::default(),
            trouble: Arc::default(),
            calls: Arc::default(),
        }
    }

    pub(crate) fn listing_begun_by_key(mut self) -> Self {
        self.lists_begun_by_key = true;
        self
    }

    pub(crate) fn in_trouble(mut self, trouble: Trouble) -> Self {
        self.trouble = Arc::new(trouble);
        self
    }

    /// Number of calls so far, failed ones included.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Every key, the driver's own included.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.store().objects.keys().cloned().collect()
    }

    /// Number of large objects that were begun and are open.
    pub(crate) fn open_objects(&self) -> usize {
        self.store().begun.len()
    }

    /// Writes past the engine.
    pub(crate) fn place(&self, key: &str, content: impl Into<Bytes>) {
        let written = self.store().write(key, content.into(), &Condition::Always, None);
        written.expect("without a condition it is written");
    }

    /// The content past the engine.
    pub(crate) fn content(&self, key: &str) -> Option<Bytes> {
        self.store().objects.get(key).map(|stored| stored.content.clone())
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call: other calls get a turn, it is counted, and it may fail before or after it was done.
    async fn call<T>(&self, writes: bool, work: impl FnOnce(&mut Store) -> Result<T> + Send) -> Result<T>
    where
        T: Send,
    {
        tokio::task::yield_now().await;
        self.calls.fetch_add(1, Ordering::Relaxed);
        match self.trouble.next() {
            None => work(&mut self.store()),
            Some(When::Before) => {
                Err(Error::new(ErrorKind::Throttled, "slow down").at("a key that is no path"))
            }
            Some(When::After) => {
                let _ = work(&mut self.store());
                let error = Error::new(ErrorKind::Unavailable, "the connection was reset");
                Err(if writes { error.outcome_unknown() } else { error })
            }
            Some(When::Never) => {
                let _ = work(&mut self.store());
                std::future::pending().await
            }
        }
    }

    fn body(&self, content: &Bytes) -> ByteStream {
        let chunks: Vec<Bytes> = (0..content.len())
            .step_by(CHUNK)
            .map(|at| content.slice(at..content.len().min(at + CHUNK)))
            .collect();
        match self.trouble.next() {
            None => byte_stream(chunks),
            // Ends early, without a word.
            Some(When::Before) => empty_stream(),
            Some(When::After) => {
                let half = chunks.len() / 2;
                let error = Error::new(ErrorKind::Unavailable, "the connection was reset");
                let chunks = chunks.into_iter().take(half).map(Ok).chain([Err(error)]);
                stream::iter(chunks.collect::<Vec<_>>()).boxed()
            }
            Some(When::Never) => {
                let half = chunks.len() / 2;
                let chunks = chunks.into_iter().take(half).map(Ok).collect::<Vec<_>>();
                stream::iter(chunks).chain(stream::pending()).boxed()
            }
        }
    }
}

fn joined(content: &Content) -> Bytes {
    let mut joined = Vec::with_capacity(content.content_length());
    content.iter().for_each(|piece| joined.extend_from_slice(piece));
    joined.into()
}

fn facts(stored: &Stored) -> Facts {
    Facts {
        size: stored.content.len() as u64,
        modified: Some(stored.modified),
        etag: Some(stored.etag.clone()),
        mark: stored.mark.clone(),
    }
}

fn slice(content: &Bytes, range: Range<u64>) -> Bytes {
    content.slice(usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap())
}

#[async_trait]
impl Bucket for FakeBucket {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn probe(&self, _root: &str) -> Result<()> {
        self.call(false, |_| Ok(())).await
    }

    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        let suffix = matches!(range, ReadRange::Last { .. });
        assert!(!suffix || self.limits.suffix_ranges, "a suffix range of a store that has none");
        let stored = self
            .call(false, |store| {
                let stored = store.object(key)?;
                if if_match.is_some_and(|etag| *etag != stored.etag) {
                    return Err(Error::new(ErrorKind::ConditionFailed, "it has another tag"));
                }
                Ok(stored.clone())
            })
            .await?;
        let facts = facts(&stored);
        let (offset, length) = range.resolve(facts.size)?;
        let body = self.body(&slice(&stored.content, offset..offset + length));
        Ok(Opened { facts, offset, length, body })
    }

    async fn head(&self, key: &str) -> Result<Facts> {
        self.call(false, |store| store.object(key).map(facts)).await
    }

    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        match condition {
            Condition::Always => {}
            Condition::IfAbsent => assert!(self.limits.put_if_absent),
            Condition::IfMatch(_) => assert!(self.limits.put_if_match),
        }
        let content = joined(&content);
        assert!(content.len() as u64 <= self.limits.largest_put, "a put of {} bytes", content.len());
        let mark = mark.map(str::to_owned);
        self.call(true, |store| store.write(key, content, condition, mark).map(Some)).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.call(true, |store| {
            store.objects.remove(key);
            Ok(())
        })
        .await
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        assert!(keys.len() > 1 || self.limits.largest_batch > 1, "a batch of a store that has none");
        assert!(keys.len() <= self.limits.largest_batch && !keys.is_empty(), "a batch of {}", keys.len());
        let stays = self.trouble.next().is_some();
        self.call(true, |store| {
            let (stay, go) = keys.split_at(if stays { keys.len().min(2) } else { 0 });
            go.iter().for_each(|key| drop(store.objects.remove(key)));
            // For one a server of the store failed, and another one had not heard of the token.
            let reasons = [ErrorKind::Unavailable, ErrorKind::Unauthenticated].into_iter().cycle();
            let stay = stay.iter().cloned().zip(reasons);
            Ok(stay.map(|(key, reason)| (key, Error::new(reason, "it stays"))).collect())
        })
        .await
    }

    async fn list(&self, call: &ListCall) -> Result<Listing> {
        assert!((1..=1000).contains(&call.limit), "a page of {}", call.limit);
        assert!(call.after.is_none() || self.limits.list_after, "a cursor for a store that has tokens only");
        // A token is what the page before ended with: a key, or a folder that is passed whole.
        let passed = call.token.as_deref().and_then(|token| token.strip_prefix("folder:"));
        let token = call.token.as_deref().and_then(|token| token.split_once(':')).map(|(_, last)| last);
        let after = token.or(call.after.as_deref()).unwrap_or_default().to_owned();
        self.call(false, |store| {
            let mut listing = Listing::default();
            let mut last = String::new();
            let begin = call.prefix.as_str().max(after.as_str()).to_owned();
            for (key, stored) in store.objects.range(begin..) {
                let Some(rest) = key.strip_prefix(&call.prefix) else { break };
                let is_passed = *key <= after || passed.is_some_and(|folder| key.starts_with(folder));
                if is_passed {
                    continue;
                }
                let folder = rest.find('/').filter(|_| call.delimited);
                let folder = folder.map(|end| &key[..=call.prefix.len() + end]);
                if folder.is_some_and(|folder| folder == last) {
                    continue;
                }
                if listing.objects.len() + listing.prefixes.len() == call.limit as usize {
                    let kind = if listing.prefixes.last() == Some(&last) { "folder" } else { "key" };
                    listing.next = Some(format!("{kind}:{last}"));
                    break;
                }
                match folder {
                    Some(folder) => {
                        listing.prefixes.push(folder.to_owned());
                        folder.clone_into(&mut last);
                    }
                    None => {
                        listing.objects.push(Listed {
                            key: key.clone(),
                            size: stored.content.len() as u64,
                            modified: Some(stored.modified),
                            etag: Some(stored.etag.clone()),
                        });
                        key.clone_into(&mut last);
                    }
                }
            }
            Ok(listing)
        })
        .await
    }

    async fn copy(&self, from: &str, to: &str, size: u64) -> Result<()> {
        assert!(size <= self.limits.largest_copy, "a copy of {size} bytes in one call");
        self.call(true, |store| {
            let source = store.object(from)?.clone();
            store.write(to, source.content, &Condition::Always, source.mark).map(drop)
        })
        .await
    }

    async fn begin(&self, key: &str, condition: &Condition, mark: Option<&str>) -> Result<String> {
        self.call(true, |store| {
            let id = format!("begun-{:08}", store.number());
            let large = Large {
                key: key.to_owned(),
                begun: SystemTime::now(),
                condition: condition.clone(),
                mark: mark.map(str::to_owned),
                parts: BTreeMap::new(),
                last: None,
            };
            store.begun.insert(id.clone(), large);
            Ok(id)
        })
        .await
    }

    async fn part(&self, key: &str, id: &str, part: NewPart) -> Result<Part> {
        let content = joined(&part.content);
        let size = content.len() as u64;
        let limits = &self.limits;
        assert!((1..=limits.most_parts).contains(&part.number) && size <= limits.largest_part);
        self.call(true, |store| {
            let tag = store.number().to_string();
            let large = store.large(key, id)?;
            if !limits.parallel_parts {
                let before: usize = large.parts.range(..part.number).map(|(_, (_, bytes))| bytes.len()).sum();
                assert_eq!(before as u64, part.offset, "parts come one after the other");
                assert!(part.last || size.is_multiple_of(limits.part_multiple), "a part of {size} bytes");
                assert!(large.last.is_none_or(|last| last == part.number), "a part behind the last one");
                large.last = part.last.then_some(part.number);
            }
            large.parts.insert(part.number, (tag.clone(), content));
            Ok(Part { number: part.number, size, tag })
        })
        .await
    }

    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        assert!(self.limits.copied_parts, "a copied part of a store that has none");
        let size = range.end - range.start;
        assert!(size <= self.limits.largest_part && size > 0);
        self.call(true, |store| {
            let content = slice(&store.object(from)?.content, range);
            let tag = store.number().to_string();
            store.large(key, id)?.parts.insert(number, (tag.clone(), content));
            Ok(Part { number, size, tag })
        })
        .await
    }

    async fn finish(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        match condition {
            Condition::Always => {}
            Condition::IfAbsent => assert!(self.limits.finish_if_absent),
            Condition::IfMatch(_) => assert!(self.limits.finish_if_match),
        }
        self.call(true, |store| {
            let large = store.large(key, id)?;
            assert_eq!(large.condition, *condition, "finish has the condition that begin was told");
            let mut content = Vec::new();
            for (place, part) in parts.iter().enumerate() {
                assert_eq!(part.number as usize, place + 1, "parts are numbered without gaps");
                let (tag, bytes) = large.parts.get(&part.number).expect("a part that was sent");
                assert_eq!((tag, bytes.len() as u64), (&part.tag, part.size), "the part that was sent last");
                let is_last = place + 1 == parts.len();
                assert!(is_last || part.size >= self.limits.smallest_part, "{} is too small", part.size);
                assert!(is_last || part.size.is_multiple_of(self.limits.part_multiple));
                content.extend_from_slice(bytes);
            }
            let mark = large.mark.clone();
            let etag = store.write(key, content.into(), condition, mark)?;
            store.begun.remove(id);
            Ok(Some(etag))
        })
        .await
    }

    async fn abandon(&self, key: &str, id: &str) -> Result<()> {
        self.call(true, |store| {
            assert!(store.begun.get(id).is_none_or(|large| large.key == key));
            store.begun.remove(id);
            Ok(())
        })
        .await
    }

    async fn list_begun(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        assert!(self.limits.lists_begun, "a listing of a store that has none");
        self.call(false, |store| {
            let is_listed = |large: &Large| match self.lists_begun_by_key {
                true => large.key == prefix,
                false => large.key.starts_with(prefix),
            };
            // Pages of two, so that there are pages.
            let mut found: Vec<_> = store
                .begun
                .iter()
                .filter(|(id, large)| is_listed(large) && after.is_none_or(|after| id.as_str() > after))
                .take(3)
                .map(|(id, large)| Begun { key: large.key.clone(), id: id.clone(), begun: large.begun })
                .collect();
            let next = (found.len() == 3).then(|| found.pop()).map(|_| found[1].id.clone());
            Ok((found, next))
        })
        .await
    }

    async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        let key: String = call.key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        Ok(self.limits.signs.then(|| format!("https://storage.example/{key}?signature={}", call.method)))
    }
}
