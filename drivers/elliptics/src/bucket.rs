//! The calls that the engine of object stores is made of, one attempt each.

use std::{ops::Range, sync::Arc, time::SystemTime};

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait};
use docker_registry_object_storage::{
    Bucket,
    bucket::{Begun, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall},
};

use crate::{
    begun::Making,
    bundle::Bundles,
    cluster::Cluster,
    envelope::USER_FLAGS,
    legacy::Legacy,
    listing::begun_ids,
    names,
    objects::{INLINE, New, Objects, whole},
    record::{Body, Hold, Piece},
    register::Registers,
    replicas::{Pieces, Replicas},
    wire::Timestamp,
};

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
            // A finish may still be on its way to a node that stalls.
            abandons_whole: false,
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
        let unfinished = Unfinished { making: self.making.clone(), id: Some(id) };
        let part = self.making.copy_part(id, 1, from, 0..size).await?;
        self.making.finish(id, &[part], &Condition::Always).await?;
        unfinished.finished();
        Ok(())
    }
}

/// A large object that is abandoned when its call fails or is dropped.
struct Unfinished {
    making: Making,
    id: Option<u128>,
}

impl Unfinished {
    fn finished(mut self) {
        self.id = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let Some(id) = self.id else { return };
        let making = self.making.clone();
        // Without a runtime the process is about to end; `list_uploads` finds it then.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = making.abandon(id).await {
                tracing::debug!(%error, "what a copy began stays for now");
            }
        });
    }
}

/// Segments of a write, until its record is there.
struct Unrecorded {
    bundles: Bundles,
    hold: Option<Hold>,
}

impl Drop for Unrecorded {
    fn drop(&mut self) {
        let Some(hold) = self.hold else { return };
        let bundles = self.bundles.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            if let Err(error) = bundles.release(hold).await {
                tracing::debug!(%error, "content of a write that failed stays");
            }
        });
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
        let written = replicas.write_new(id, Timestamp::of_nanoseconds(now), USER_FLAGS, content).await;
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
            let new = New { size: size as u64, body: Body::Inline(whole(&content)), mark, condition };
            return self.objects.write(key, new).await.map(Some);
        }
        let hold = Hold { bundle: uuid::Uuid::new_v4().as_u128(), owner: 0, parts: 1 };
        let mut unrecorded = Unrecorded { bundles: self.objects.bundles.clone(), hold: Some(hold) };
        let sent = self.objects.bundles.write_part(hold.bundle, 1, content).await;
        // Segments alone change nothing.
        sent.map_err(|error| Error { outcome_unknown: false, ..error })?;
        let piece = Piece { hold: 0, part: 1, offset: 0, length: size as u64 };
        let body = Body::Pieces { holds: vec![hold], pieces: vec![piece] };
        let written = self.objects.write(key, New { size: size as u64, body, mark, condition });
        // From here on a call that is dropped may have written the record, which needs them.
        unrecorded.hold = None;
        let written = written.await;
        if written.as_ref().is_err_and(|error| !error.outcome_unknown) {
            unrecorded.hold = Some(hold);
        }
        written.map(Some)
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
            let new = New { size: facts.size, body, mark: None, condition: &Condition::Always };
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
        let call = ListCall {
            prefix: names::BEGUN.to_owned(),
            delimited: false,
            after: None,
            token: after.map(str::to_owned),
            limit: 1_000,
        };
        let page = self.objects.list(&call).await?;
        let mut begun = Vec::new();
        for (id, object) in begun_ids(&page) {
            let Some(key) = self.making.key_of(id).await? else { continue };
            if key.starts_with(prefix) {
                let when = object.modified.unwrap_or_else(SystemTime::now);
                begun.push(Begun { key, id: format!("{id:032x}"), begun: when });
            }
        }
        Ok((begun, page.next))
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
