//! Pushing an image: JSON, layer, checksum.
//!
//! # States
//! *Absent* → *in progress* (the mark `_inprogress` is there) → *complete* (the mark is gone). Only
//! the last step makes the image readable, and a complete image never changes.
//!
//! # What a crash leaves
//! The mark is written first and removed last, and each step is written after what it builds on:
//! ancestry before JSON, layer before checksum. So a crash leaves an absent, an unfinished or a
//! complete image. An unfinished one is pushed again from its JSON on.

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Condition, ErrorKind, ObjectPath, UploadHint, UploadProgress, UploadState,
};
use serde_json::{Value, json};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

use super::{
    Error, Registry, Result,
    checksum::{hashed, stored_checksums},
    json,
    names::ImageId,
};
use crate::{layout::v1::ImagePaths, registry::gathering::Gathered, storage::Storage};

/// How often a layer's commit is tried when others commit the same layer at the same time.
const COMMIT_ATTEMPTS: u32 = 8;

impl Registry {
    /// Begins the push of an image, or begins it again.
    ///
    /// # Errors
    /// Those of a JSON that does not fit, [`Error::NoParent`], [`Error::ImageExists`], or the storage's.
    pub async fn put_image_json(&self, call: &CallContext, id: &ImageId, content: Bytes) -> Result<()> {
        let image = match json::parse(content.clone()).await {
            Some(Value::Object(image)) if !image.is_empty() => image,
            _ => return Err(Error::InvalidJson),
        };
        match image.get("id") {
            None => return Err(Error::MissingId),
            Some(Value::String(pushed)) if pushed == id.as_str() => {}
            Some(_) => return Err(Error::OtherId),
        }
        let ancestry = self.ancestry_below(call, id, image.get("parent")).await?;

        let paths = ImagePaths(id);
        let (json_path, mark_path) = (paths.json()?, paths.mark()?);
        let _order = self.locks.lock(id.as_str()).await;
        let (json, mark) = futures::try_join!(self.head(call, &json_path), self.head(call, &mark_path))?;
        if json.is_some() && mark.is_none() {
            return Err(Error::ImageExists);
        }
        self.put(call, &mark_path, "true").await?;
        // A checksum of an earlier try would fit neither the new JSON nor the next layer.
        self.delete(call, &paths.checksum()?).await?;
        self.put(call, &paths.ancestry()?, ancestry).await?;
        self.put(call, &json_path, content).await
    }

    /// Takes the layer of an image whose push has begun.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`] before the JSON, [`Error::ImageExists`] when the image is complete,
    /// [`Error::ImageChanged`], or the storage's; of kind `BodyFailed` when the client broke off. The
    /// upload is discarded then, and the image stays in progress.
    pub async fn put_layer(
        &self,
        call: &CallContext,
        id: &ImageId,
        body: ByteStream,
        size: Option<u64>,
    ) -> Result<()> {
        let paths = ImagePaths(id);
        let (json_path, layer_path, mark_path) = (paths.json()?, paths.layer()?, paths.mark()?);
        let json = self.get(call, &json_path).await?.ok_or(Error::ImageNotFound)?.content;
        self.refuse_complete(call, id).await?;

        let (body, checksum) = hashed(json.clone(), body, size).await?;
        let mut upload = self.take_layer(call, &layer_path, body, size).await?;
        let checksum = checksum.take()?;

        let _order = self.locks.lock(id.as_str()).await;
        let json_now = self.get(call, &json_path).await?.ok_or(Error::ImageNotFound)?.content;
        if json_now != json {
            upload.abort().await;
            return Err(Error::ImageChanged);
        }
        for _ in 0..COMMIT_ATTEMPTS {
            let (layer, mark) =
                futures::try_join!(self.head(call, &layer_path), self.head(call, &mark_path))?;
            if layer.is_some() {
                if mark.is_none() {
                    upload.abort().await;
                    return Err(Error::ImageExists);
                }
                // The checksum of the layer that is about to be replaced must not vouch for the new one.
                self.delete(call, &paths.checksum()?).await?;
            }
            match upload.commit(&layer_path, &self.unchanged(layer.as_ref())).await {
                Ok(()) => {
                    let checksums = json::to_text(&json!([checksum]));
                    return self.put(call, &paths.checksum()?, checksums).await;
                }
                Err(Error::Storage(error)) if error.kind == ErrorKind::ConditionFailed => {}
                Err(error) => {
                    upload.abort().await;
                    return Err(error);
                }
            }
        }
        upload.abort().await;
        Err(Error::Contended)
    }

    /// Takes a layer in. Nothing is to be seen of it before it is committed: that happens on conditions which can
    /// only be looked at when it has come, and perhaps more than once. So the storage's `write` is of no use here.
    async fn take_layer(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        body: ByteStream,
        size: Option<u64>,
    ) -> Result<NewLayer> {
        let body = match self.room.gather(&Bytes::new(), body, size).await? {
            Gathered::Whole(content, room) => {
                let (storage, call) = (self.storage.clone(), call.clone());
                return Ok(NewLayer::Small { storage, call, content, _room: room });
            }
            Gathered::More(body) => body,
        };
        let hint = UploadHint { final_path: Some(path.clone()), size };
        let state = self.storage.open_upload(call, &hint).await?;
        let mut upload = OpenUpload::new(self.storage.clone(), call.clone(), state);
        upload.append(body).await?;
        Ok(NewLayer::Large(upload))
    }

    /// Ends the push: from here on the image is complete and readable.
    ///
    /// # Errors
    /// [`Error::EmptyChecksum`], [`Error::ImageNotFound`], [`Error::NotInProgress`],
    /// [`Error::NoLayer`], [`Error::ChecksumMismatch`], or the storage's. The image stays as it was.
    pub async fn put_checksum(&self, call: &CallContext, id: &ImageId, checksum: &str) -> Result<()> {
        if checksum.is_empty() {
            return Err(Error::EmptyChecksum);
        }
        let paths = ImagePaths(id);
        let (json_path, mark_path, checksum_path) = (paths.json()?, paths.mark()?, paths.checksum()?);
        let _order = self.locks.lock(id.as_str()).await;
        let (json, mark, stored) = futures::try_join!(
            self.get(call, &json_path),
            self.head(call, &mark_path),
            self.get(call, &checksum_path),
        )?;
        let json = json.ok_or(Error::ImageNotFound)?.content;
        mark.ok_or(Error::NotInProgress)?;
        let stored = stored.ok_or(Error::NoLayer)?.content;
        if !stored_checksums(&stored).iter().any(|known| known == checksum) {
            return Err(Error::ChecksumMismatch);
        }
        self.settle_ancestry(call, id, json).await?;
        self.delete(call, &mark_path).await
    }

    /// Refuses a change of an image that has its layer and no mark.
    async fn refuse_complete(&self, call: &CallContext, id: &ImageId) -> Result<()> {
        let paths = ImagePaths(id);
        let (layer_path, mark_path) = (paths.layer()?, paths.mark()?);
        let (layer, mark) = futures::try_join!(self.head(call, &layer_path), self.head(call, &mark_path))?;
        if layer.is_some() && mark.is_none() { Err(Error::ImageExists) } else { Ok(()) }
    }

    /// The ancestry of an image with this `parent` member, as it is stored.
    async fn ancestry_below(
        &self,
        call: &CallContext,
        id: &ImageId,
        parent: Option<&Value>,
    ) -> Result<String> {
        let parent = match parent {
            None | Some(Value::Null | Value::Bool(false)) => return Ok(json::to_text(&json!([id.as_str()]))),
            Some(Value::String(text)) if text.is_empty() => return Ok(json::to_text(&json!([id.as_str()]))),
            // A parent that no image can have is one that does not exist; nor is an image its own.
            Some(Value::String(text)) => ImageId::parse(text).filter(|parent| parent != id),
            Some(_) => None,
        };
        let parent = parent.ok_or(Error::NoParent)?;
        let paths = ImagePaths(&parent);
        let (json_path, ancestry_path) = (paths.json()?, paths.ancestry()?);
        let (json, ancestry) =
            futures::try_join!(self.head(call, &json_path), self.get(call, &ancestry_path))?;
        // The ancestry is written before the JSON, so that both are there or the image is broken.
        let (Some(_), Some(ancestry)) = (json, ancestry) else { return Err(Error::NoParent) };
        match json::parse(ancestry.content).await {
            Some(Value::Array(ancestors)) if !ancestors.contains(&json!(id.as_str())) => {
                let mut ancestry = vec![json!(id.as_str())];
                ancestry.extend(ancestors);
                Ok(json::to_text(&Value::Array(ancestry)))
            }
            _ => Err(Error::NoParent),
        }
    }

    /// Makes the stored ancestry fit the JSON, should a push with another parent have been cut off
    /// between the two.
    async fn settle_ancestry(&self, call: &CallContext, id: &ImageId, json: Bytes) -> Result<()> {
        let image = json::parse(json).await.ok_or(Error::InvalidJson)?;
        let ancestry = self.ancestry_below(call, id, image.get("parent")).await?;
        let path = ImagePaths(id).ancestry()?;
        match self.get(call, &path).await? {
            Some(stored) if stored.content == ancestry => Ok(()),
            _ => self.put(call, &path, ancestry).await,
        }
    }
}

/// A layer that has come and is not visible yet.
enum NewLayer {
    /// In memory.
    Small { storage: Storage, call: CallContext, content: Bytes, _room: Option<OwnedSemaphorePermit> },
    /// In the storage.
    Large(OpenUpload),
}

impl NewLayer {
    async fn commit(&mut self, path: &ObjectPath, condition: &Condition) -> Result<()> {
        match self {
            Self::Small { storage, call, content, .. } => {
                storage.put(call, path, content.clone(), condition).await?;
                Ok(())
            }
            Self::Large(upload) => upload.commit(path, condition).await,
        }
    }

    async fn abort(&mut self) {
        if let Self::Large(upload) = self {
            upload.abort().await;
        }
    }
}

/// An upload that does not outlive its request: it is discarded unless it was committed, also when the
/// request is dropped half-way.
struct OpenUpload {
    storage: Storage,
    call: CallContext,
    runtime: Handle,
    state: Option<UploadState>,
}

impl OpenUpload {
    fn new(storage: Storage, call: CallContext, state: UploadState) -> Self {
        Self { storage, call, runtime: Handle::current(), state: Some(state) }
    }

    fn state(&self) -> Result<&UploadState> {
        self.state.as_ref().ok_or(Error::Contended)
    }

    async fn append(&mut self, body: ByteStream) -> Result<()> {
        match self.storage.append(&self.call, self.state()?, 0, body).await {
            Ok(UploadProgress { state, .. }) => {
                self.state = Some(state);
                Ok(())
            }
            Err(error) => {
                self.abort().await;
                Err(error.into())
            }
        }
    }

    async fn commit(&mut self, path: &ObjectPath, condition: &Condition) -> Result<()> {
        self.storage.commit(&self.call, self.state()?, path, condition).await?;
        self.state = None;
        Ok(())
    }

    async fn abort(&mut self) {
        if let Some(state) = self.state.take() {
            discard(&self.storage, &self.call, &state).await;
        }
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            let (storage, call) = (self.storage.clone(), self.call.clone());
            self.runtime.spawn(async move { discard(&storage, &call, &state).await });
        }
    }
}

async fn discard(storage: &Storage, call: &CallContext, state: &UploadState) {
    if let Err(error) = storage.abort(call, state).await {
        // It stays until uploads of its age are purged; nobody can see it.
        tracing::warn!(%error, "an upload that ended early could not be discarded");
    }
}
