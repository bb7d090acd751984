//! The calls that the engine of object stores is made of, one attempt each.

use std::{ops::Range, sync::Arc, time::SystemTime};

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait};
use docker_registry_object_storage::{
    Bucket,
    bucket::{Begun, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall},
};

use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    cluster::Cluster,
    envelope::USER_FLAGS,
    legacy::Legacy,
    listing::begun_ids,
    making::{Making, Unfinished},
    names,
    objects::{INLINE, New, Objects, whole},
    record::Body,
    register::Registers,
    replicas::{Pieces, Replicas},
    wire::{Timestamp, attribute::Writing},
};

/// Large objects in the making that are listed in one page, and that are looked at at once.
const LONGEST_PAGE: usize = 1_000;
const LOOKS_AT_ONCE: usize = 32;
/// Largest content of one write.
const LARGEST_PUT: u64 = 64 << 20;

/// A namespace of a cluster.
pub(crate) struct EllipticsBucket {
    objects: Objects,
    making: Making,
    limits: Limits,
}

impl EllipticsBucket {
    /// Takes over a cluster that is connected.
    ///
    /// # Errors
    /// When no group answers.
    pub(crate) async fn open(cluster: Arc<Cluster>) -> Result<Self> {
        let replicas = Replicas(cluster);
        let legacy = Legacy::open(replicas.clone()).await?;
        let objects = Objects::new(Registers::new(replicas), legacy);
        let limits = Limits {
            largest_put: LARGEST_PUT,
            smallest_part: 1,
            // A copy shares segments, however many.
            largest_copy: u64::MAX,
            // One after the other, many at once: there are no batches.
            largest_batch: 1,
            signs: false,
            ..Limits::s3()
        };
        Ok(Self { making: Making::new(objects.clone()), objects, limits })
    }

    fn replicas(&self) -> &Replicas {
        &self.objects.registers.replicas
    }

    /// Copies an object by a large object that shares everything with it.
    async fn share(&self, from: &str, to: &str, size: u64) -> Result<()> {
        let id = self.making.begin(to, None).await?;
        let unfinished = Unfinished::new(&self.making, id, false);
        let part = self.making.copy_part(id, 1, from, 0..size).await?;
        self.making.finish(id, &[part], &Condition::Always).await?;
        unfinished.finished();
        Ok(())
    }
}

#[async_trait]
impl Bucket for EllipticsBucket {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn probe(&self, _root: &str) -> Result<()> {
        let replicas = self.replicas();
        let id = replicas.id(&names::health());
        let now = names::now();
        let content = Pieces::from(bytes::Bytes::copy_from_slice(&now.to_le_bytes()));
        let timestamp = Timestamp::of_nanoseconds(now);
        let writing = Writing { id, timestamp, user_flags: USER_FLAGS, flags: 0, expected: None };
        // Once: it is to be told soon how it is.
        let groups = replicas.settings().groups.iter();
        let writes = groups.map(|group| (*group, writing, content.clone())).collect();
        let written =
            replicas.expect_quorum(&replicas.write_each(writes, replicas.settings().quorum()).await);
        let away = replicas.0.absent_nodes();
        match written {
            Ok(()) => {
                if !away.is_empty() {
                    tracing::debug!(nodes = away, "some nodes of the cluster do not answer");
                }
                Ok(())
            }
            Err(mut error) => {
                let missing = replicas.0.missing_groups();
                if !missing.is_empty() {
                    let groups = missing.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                    error.message =
                        format!("no node of these groups of elliptics_groups can be reached: {groups}");
                }
                if !away.is_empty() {
                    error.message =
                        format!("{}; nodes of elliptics_nodes that do not answer: {away}", error.message);
                }
                // Nothing that anybody reads was to be changed.
                error.outcome_unknown = false;
                Err(error)
            }
        }
    }

    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        self.objects.open(key, range, if_match).await
    }

    async fn head(&self, key: &str) -> Result<Facts> {
        Ok(self.objects.find(key).await?.facts())
    }

    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        let size = content.content_length();
        let content: Vec<_> = content.iter().cloned().collect();
        if size <= INLINE {
            let body = Body::Inline(whole(&content));
            let new = New { size: size as u64, body, mark, condition, guard: None };
            return self.objects.write(key, new).await.map(Some);
        }
        self.making.put(key, content, condition, mark).await.map(Some)
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.objects.delete(key).await
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        let mut failed = Vec::new();
        for key in keys {
            match self.objects.delete(key).await {
                Err(error) if !error.is_not_found() => failed.push((key.clone(), error)),
                _ => {}
            }
        }
        Ok(failed)
    }

    async fn list(&self, call: &ListCall) -> Result<Listing> {
        self.objects.list(call).await
    }

    async fn copy(&self, from: &str, to: &str, size: u64) -> Result<()> {
        let found = self.objects.find(from).await?;
        let facts = found.facts();
        if facts.size <= INLINE as u64 {
            let opened = self.objects.content(&found, 0, facts.size);
            let content = docker_registry_driver_api::collect(opened, INLINE).await?;
            let body = Body::Inline(content);
            let condition = &Condition::Always;
            let new = New { size: facts.size, body, mark: None, condition, guard: None };
            return self.objects.write(to, new).await.map(drop);
        }
        if facts.size != size {
            let message = "the source was replaced before it was copied";
            return Err(Error::new(ErrorKind::Conflict, message).retryable(true));
        }
        self.share(from, to, size).await
    }

    async fn begin(&self, key: &str, _condition: &Condition, mark: Option<&str>) -> Result<String> {
        let id = self.making.begin(key, mark).await?;
        Ok(format!("{id:032x}"))
    }

    async fn part(&self, _key: &str, id: &str, part: NewPart) -> Result<Part> {
        self.making.part(number(id)?, part.number, part.content.iter().cloned().collect()).await
    }

    async fn copy_part(
        &self,
        _key: &str,
        id: &str,
        part: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        self.making.copy_part(number(id)?, part, from, range).await
    }

    async fn finish(
        &self,
        _key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.making.finish(number(id)?, parts, condition).await.map(Some)
    }

    async fn abandon(&self, _key: &str, id: &str) -> Result<()> {
        match number(id) {
            Ok(id) => self.making.abandon(id).await,
            // Nothing was begun under such a name.
            Err(_) => Ok(()),
        }
    }

    async fn list_begun(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        let page = self.objects.list_begun(after, LONGEST_PAGE).await?;
        let looks = begun_ids(&page).map(|(id, object)| async move {
            let begun = object.modified.unwrap_or_else(SystemTime::now);
            let key = self.making.key_of(id).await?.filter(|key| key.starts_with(prefix));
            Ok::<_, Error>(key.map(|key| Begun { key, id: format!("{id:032x}"), begun }))
        });
        let looks: Vec<_> = looks.collect();
        let begun: Vec<_> = stream::iter(looks).buffered(LOOKS_AT_ONCE).try_collect().await?;
        Ok((begun.into_iter().flatten().collect(), page.next))
    }

    async fn close(&self) {
        self.replicas().0.behind.until_idle().await;
    }

    async fn sign(&self, _call: &SignCall) -> Result<Option<String>> {
        Ok(None)
    }
}

/// The number of what was begun.
fn number(id: &str) -> Result<u128> {
    let gone = || Error::new(ErrorKind::NotFound, "no such large object was begun");
    u128::from_str_radix(id, 16).map_err(|_| gone())
}
