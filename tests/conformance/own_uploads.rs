//! Uploads by hand in front of a store that has none, with one fault among them.
//!
//! Without a fault it keeps every promise; `own_uploads::without_a_fault` shows that. So when a case fails
//! on one of the faults, it fails for that.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Capability, Condition, Error, ErrorKind, ObjectInfo,
    ObjectPath, PendingUpload, Result, SharedDriver, UploadHint, UploadPage, UploadProgress, UploadState,
    async_trait, futures::StreamExt,
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};

use crate::{changed::call, faulty::a_moment};

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadFault {
    Nothing,
    // Appends.
    OffsetIgnored,
    StaleAppendAccepted,
    StaleCommitAccepted,
    EmptyAppendKeepsState,
    StaleIsInternal,
    SecondCheckMissing,
    LargeAppendLosesItsEnd,
    ChunksInWrongOrder,
    // Bodies.
    FailedBodyIsKept,
    FailedBodyEndsUpload,
    FailedBodyIsUnavailable,
    FailedBodySaysNothing,
    DroppedBodyIsKept,
    HangingAppendIsWaitedFor,
    // Visibility.
    VisibleAtTheHint,
    VisibleInAFolder,
    // Commits.
    CommitByHalf,
    CommitDeletesFirst,
    CommitLeavesAnObject,
    CommitOfNothingFails,
    CommitKeepsTheTail,
    CommitKeepsTheUpload,
    CommitTakesTheUploadFirst,
    FailedCommitEndsUpload,
    IfAbsentIgnored,
    IfMatchIgnored,
    SizeOfHintEnforced,
    // Ends.
    AbortKeepsTheUpload,
    AbortOfStaleStateFails,
    AbortTwiceFails,
    AbortIsForgotten,
    ForeignStateIsAnyones,
    // Listings.
    ListForgetsOne,
    ListRepeatsAtPages,
    ListIgnoresLimit,
    ListIgnoresTime,
    ListIgnoresCapability,
    ListedSizeIsOld,
    ListedStateAbortsNothing,
    // Other processes.
    StatesStayInTheProcess,
}

use UploadFault::*;

struct Upload {
    content: Vec<u8>,
    generation: u64,
    touched: SystemTime,
    hint: UploadHint,
    first_size: Option<u64>,
}

/// The driver.
pub(crate) struct OwnUploads {
    inner: SharedDriver,
    fault: UploadFault,
    pending: Mutex<BTreeMap<u64, Upload>>,
    hanging: tokio::sync::Mutex<()>,
    ids: AtomicU64,
}

impl OwnUploads {
    /// Own uploads in front of a driver.
    pub(crate) fn shared(inner: SharedDriver, fault: UploadFault) -> SharedDriver {
        let (pending, hanging, ids) = Default::default();
        Forwarding::shared(Self { inner, fault, pending, hanging, ids })
    }

    fn has(&self, fault: UploadFault) -> bool {
        self.fault == fault
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<u64, Upload>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parse(&self, state: &UploadState) -> Result<(u64, u64)> {
        let parts = || {
            let (id, generation) = std::str::from_utf8(state.as_bytes()).ok()?.split_once('/')?;
            Some((id.parse().ok()?, generation.parse().ok()?))
        };
        match parts() {
            Some(parts) => Ok(parts),
            None if self.has(ForeignStateIsAnyones) => {
                let pending = self.pending();
                let (id, upload) = pending.first_key_value().ok_or_else(gone)?;
                Ok((*id, upload.generation))
            }
            None => Err(Error::new(ErrorKind::Conflict, "a foreign state")),
        }
    }

    /// Whether the upload is there, the generation is its latest, and it stands there.
    fn check(
        &self,
        pending: &BTreeMap<u64, Upload>,
        id: u64,
        generation: u64,
        offset: Option<u64>,
    ) -> Result<()> {
        let upload = pending.get(&id).ok_or_else(gone)?;
        let accepted = if offset.is_some() { StaleAppendAccepted } else { StaleCommitAccepted };
        if upload.generation != generation && !self.has(accepted) {
            let kind = if self.has(StaleIsInternal) { ErrorKind::Internal } else { ErrorKind::Conflict };
            return Err(Error::new(kind, "the state is stale"));
        }
        let stands = upload.content.len() as u64;
        if offset.is_some_and(|offset| offset != stands) && !self.has(OffsetIgnored) {
            return Err(Error::new(ErrorKind::Conflict, "the upload stands elsewhere"));
        }
        Ok(())
    }

    fn add(&self, id: u64, bytes: &[u8]) {
        if let Some(upload) = self.pending().get_mut(&id) {
            upload.content.extend_from_slice(bytes);
        }
    }

    async fn put(&self, path: &ObjectPath, content: Vec<u8>, condition: &Condition) -> Result<()> {
        self.inner.put(&call(), path, content.into(), condition).await.map(drop)
    }

    /// What a fault shows of an upload that was not committed.
    async fn show(&self, id: u64) -> Result<()> {
        let shown = self.pending().get(&id).map(|upload| (upload.content.clone(), upload.hint.clone()));
        match shown {
            Some((content, UploadHint { final_path: Some(path), .. })) if self.has(VisibleAtTheHint) => {
                self.put(&path, content, &Condition::Always).await
            }
            Some((content, _)) if self.has(VisibleInAFolder) => {
                let path = ObjectPath::new(format!("uploads/{id}"))?;
                self.put(&path, content, &Condition::Always).await
            }
            _ => Ok(()),
        }
    }

    async fn publish(&self, content: Vec<u8>, path: &ObjectPath, condition: &Condition) -> Result<()> {
        let always = &Condition::Always;
        let half = content[..content.len() / 2].to_vec();
        match self.fault {
            CommitByHalf => {
                self.put(path, half, always).await?;
                a_moment().await;
            }
            CommitDeletesFirst => {
                let _ = self.inner.delete(&call(), path).await;
                a_moment().await;
            }
            CommitLeavesAnObject => {
                let beside = ObjectPath::new(format!("{path}.upload"))?;
                self.put(&beside, half, always).await?;
            }
            CommitOfNothingFails if content.is_empty() => {
                return Err(Error::new(ErrorKind::Internal, "there is nothing to commit"));
            }
            CommitKeepsTheTail => {
                let before = self.inner.get(&call(), path, u64::MAX).await;
                let before = before.map_or_else(|_| Bytes::new(), |object| object.content);
                let tail = before.get(content.len()..).unwrap_or_default();
                return self.put(path, [content.as_slice(), tail].concat(), condition).await;
            }
            IfAbsentIgnored if *condition == Condition::IfAbsent => {
                return self.put(path, content, always).await;
            }
            IfMatchIgnored if matches!(condition, Condition::IfMatch(_)) => {
                return self.put(path, content, always).await;
            }
            _ => {}
        }
        self.put(path, content, condition).await
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such upload")
}

fn state(id: u64, generation: u64) -> Result<UploadState> {
    UploadState::new(format!("{id}/{generation}"))
}

#[async_trait]
impl Forward for OwnUploads {
    fn inner(&self) -> &SharedDriver {
        &self.inner
    }

    fn capabilities(&self) -> Capabilities {
        let inner = self.inner.capabilities();
        match self.fault {
            StatesStayInTheProcess => inner.with(Capability::ResumableUploads),
            ListIgnoresCapability => inner.iter().filter(|one| *one != Capability::ListUploads).collect(),
            _ => inner,
        }
    }

    async fn open_upload(&self, _call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (content, touched) = (Vec::new(), SystemTime::now());
        let upload = Upload { content, generation: 0, touched, hint: hint.clone(), first_size: None };
        self.pending().insert(id, upload);
        state(id, 0)
    }

    async fn append(
        &self,
        _call: &CallContext,
        from: &UploadState,
        offset: u64,
        mut body: ByteStream,
    ) -> Result<UploadProgress> {
        let _held = if self.has(HangingAppendIsWaitedFor) { Some(self.hanging.lock().await) } else { None };
        let (id, generation) = self.parse(from)?;
        self.check(&self.pending(), id, generation, Some(offset))?;
        let mut received: Vec<Bytes> = Vec::new();
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) if self.has(DroppedBodyIsKept) => self.add(id, &chunk),
                Ok(chunk) => received.push(chunk),
                Err(error) => {
                    match self.fault {
                        FailedBodyIsKept => self.add(id, &received.concat()),
                        FailedBodyEndsUpload => drop(self.pending().remove(&id)),
                        FailedBodyIsUnavailable => return Err(Error::new(ErrorKind::Unavailable, "no body")),
                        FailedBodySaysNothing => return Err(Error::new(ErrorKind::BodyFailed, "no body")),
                        _ => {}
                    }
                    return Err(Error::new(ErrorKind::BodyFailed, "no body").caused_by(&error));
                }
            }
        }
        if self.has(SecondCheckMissing) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if self.has(ChunksInWrongOrder) && received.len() > 1 {
            received.rotate_left(1);
        }
        let mut bytes = received.concat();
        if self.has(LargeAppendLosesItsEnd) && bytes.len() > 32 * 1024 * 1024 {
            bytes.pop();
        }
        let progress = {
            let mut pending = self.pending();
            // Under the same lock as the change, so that nobody comes in between.
            if !self.has(SecondCheckMissing) && !self.has(DroppedBodyIsKept) {
                self.check(&pending, id, generation, Some(offset))?;
            }
            let upload = pending.get_mut(&id).ok_or_else(gone)?;
            if upload.hint.size.is_some_and(|size| size < bytes.len() as u64) && self.has(SizeOfHintEnforced)
            {
                return Err(Error::new(ErrorKind::TooLarge, "more bytes than were announced"));
            }
            if !bytes.is_empty() || !self.has(EmptyAppendKeepsState) {
                upload.generation += 1;
            }
            upload.content.extend_from_slice(&bytes);
            upload.touched = SystemTime::now();
            let offset = upload.content.len() as u64;
            upload.first_size.get_or_insert(offset);
            UploadProgress { state: state(id, upload.generation)?, offset }
        };
        self.show(id).await?;
        Ok(progress)
    }

    async fn commit(
        &self,
        _call: &CallContext,
        from: &UploadState,
        path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let (id, generation) = self.parse(from)?;
        let upload = {
            let mut pending = self.pending();
            self.check(&pending, id, generation, None)?;
            // Taken out first, so that nobody else commits it; put back when it does not become an object.
            pending.remove(&id).ok_or_else(gone)?
        };
        if self.has(CommitTakesTheUploadFirst) {
            a_moment().await;
        }
        let kept = PutBack { driver: self, id, upload: Some(upload), is_kept: true };
        let content = kept.upload.as_ref().map(|upload| upload.content.clone()).unwrap_or_default();
        let published = self.publish(content, path, condition).await;
        let ends = match published {
            Ok(()) => !self.has(CommitKeepsTheUpload),
            Err(_) => self.has(FailedCommitEndsUpload),
        };
        kept.end(ends);
        published?;
        self.inner.head(&call(), path).await
    }

    async fn abort(&self, _call: &CallContext, any: &UploadState) -> Result<()> {
        let Ok((id, generation)) = self.parse(any) else { return Ok(()) };
        let mut pending = self.pending();
        let latest = pending.get(&id).map(|upload| upload.generation);
        match self.fault {
            AbortKeepsTheUpload => return Ok(()),
            AbortOfStaleStateFails if latest.is_some_and(|latest| latest != generation) => {
                return Err(Error::new(ErrorKind::Conflict, "the state is stale"));
            }
            AbortTwiceFails if latest.is_none() => return Err(gone()),
            // It can still be committed by whoever has the state.
            AbortIsForgotten if latest.is_some() => {
                if let Some(upload) = pending.get_mut(&id) {
                    upload.content.clear();
                }
                return Ok(());
            }
            ListedStateAbortsNothing if generation == u64::MAX => return Ok(()),
            _ => {}
        }
        pending.remove(&id);
        Ok(())
    }

    async fn list_uploads(
        &self,
        _call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        let pending = self.pending();
        let after: Option<u64> = after.and_then(|after| after.parse().ok());
        let mut page = UploadPage::default();
        let mut last = None;
        for (number, (id, upload)) in pending.iter().enumerate() {
            let is_known = after.is_some_and(|after| {
                if self.has(ListRepeatsAtPages) && limit > 1 { *id < after } else { *id <= after }
            });
            let is_new = upload.touched >= older_than && !self.has(ListIgnoresTime);
            if is_known || is_new || self.has(ListForgetsOne) && number == 0 {
                continue;
            }
            let limit = if self.has(ListIgnoresLimit) { usize::MAX } else { limit as usize };
            if page.uploads.len() == limit {
                page.next = last;
                break;
            }
            last = Some(id.to_string());
            let generation = if self.has(ListedStateAbortsNothing) { u64::MAX } else { upload.generation };
            let size = upload.content.len() as u64;
            let size = upload.first_size.filter(|_| self.has(ListedSizeIsOld)).unwrap_or(size);
            page.uploads.push(PendingUpload {
                state: state(*id, generation)?,
                touched: upload.touched,
                size,
            });
        }
        Ok(page)
    }
}

/// An upload that is taken out for a commit and comes back when the commit fails or is dropped.
struct PutBack<'a> {
    driver: &'a OwnUploads,
    id: u64,
    upload: Option<Upload>,
    is_kept: bool,
}

impl PutBack<'_> {
    fn end(mut self, ends: bool) {
        self.is_kept = !ends;
    }
}

impl Drop for PutBack<'_> {
    fn drop(&mut self) {
        if let Some(upload) = self.upload.take().filter(|_| self.is_kept) {
            self.driver.pending().insert(self.id, upload);
        }
    }
}
