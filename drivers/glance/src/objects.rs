//! Objects that are images: looking them up, writing, reading and deleting them.
//!
//! # Several writers
//! A write makes a new image, sends the content, looks which revisions of the path there are, and completes the image
//! with the next one. That last step is one request, which Glance does wholly or not at all: before it readers see the
//! old image, after it the new one. Then the older images are deleted, oldest first, so that none of them can come
//! back. Of two writers at the same time both may get the same revision; the greater id counts then, for everybody.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, ETag, Error, ErrorKind, Object, ObjectInfo, ObjectPath, ReadRange,
    Reading, ReadingBody, Result, byte_stream, collect, empty_stream,
};
use futures::{StreamExt, TryStreamExt};
use serde_json::Map;

use crate::{
    client::Glance,
    document::{ID, Image, PATH, small_properties},
    routing::docker_image,
};

/// How often an object is looked for again that was replaced while it was opened.
const LOOKUPS: usize = 5;
/// Attempts at sending content that can be had again.
const SENDINGS: usize = 3;
/// Contents of a write whose path is a small file's, above which nothing is kept in properties.
const LARGEST_SMALL: usize = 180_000;

impl Glance {
    /// The complete images of a path in their order: the last one is the object.
    async fn found(&self, call: &CallContext, path: &str) -> Result<Vec<Image>> {
        let (mut found, mut marker) = (Vec::new(), None::<String>);
        loop {
            let page = self.page(call, &[(PATH, path)], marker.as_deref()).await?;
            marker = page.images.last().map(|image| image.id.clone());
            let is_last = page.next.is_none() || marker.is_none();
            found.extend(
                page.images
                    .into_iter()
                    .filter(|image| self.path(image) == Some(path) && image.complete_size().is_some()),
            );
            if is_last {
                found.sort_by(|one, other| one.order().cmp(&other.order()));
                return Ok(found);
            }
        }
    }

    /// The image that is the object at a path.
    pub(crate) async fn object(&self, call: &CallContext, path: &ObjectPath) -> Result<Image> {
        let image = self.found(call, path.as_str()).await?.pop();
        image.ok_or_else(|| Error::not_found(path))
    }

    /// See [`Driver::head`](docker_registry_driver_api::Driver::head).
    pub(crate) async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.object(call, path).await?.info().ok_or_else(|| Error::not_found(path))
    }

    /// See [`Driver::get`](docker_registry_driver_api::Driver::get).
    pub(crate) async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        let mut number = 0;
        loop {
            number += 1;
            let image = self.object(call, path).await?;
            let info = image.info().ok_or_else(|| Error::not_found(path))?;
            if info.size > max_size {
                let message = format!("the object has {} bytes, {max_size} are allowed", info.size);
                return Err(Error::new(ErrorKind::TooLarge, message));
            }
            let small = docker_image(path.as_str()).and_then(|(_, name)| image.small_content(&name));
            if let Some(content) = small {
                return Ok(Object { content, info });
            }
            let most = usize::try_from(info.size).unwrap_or(usize::MAX);
            match self.content(call, &image.id, info.size, 0, info.size).await {
                Ok(body) => return Ok(Object { content: collect(body, most).await?, info }),
                Err(error) if error.is_not_found() && number < LOOKUPS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// See [`Driver::read`](docker_registry_driver_api::Driver::read).
    pub(crate) async fn open_reading(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        range: ReadRange,
    ) -> Result<Reading> {
        let mut number = 0;
        loop {
            number += 1;
            let image = self.object(call, path).await?;
            let total_size = image.complete_size().ok_or_else(|| Error::not_found(path))?;
            let (offset, length) = range.resolve(total_size)?;
            match self.content(call, &image.id, total_size, offset, length).await {
                Ok(body) => {
                    let (etag, body) = (Some(image.etag()), ReadingBody::Stream(body));
                    return Ok(Reading { total_size, offset, length, etag, body });
                }
                // It was replaced in between.
                Err(error) if error.is_not_found() && number < LOOKUPS => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn content(
        &self,
        call: &CallContext,
        id: &str,
        size: u64,
        offset: u64,
        length: u64,
    ) -> Result<ByteStream> {
        if length == 0 { Ok(empty_stream()) } else { self.read(call, id, size, offset, length).await }
    }

    /// See [`Driver::put`](docker_registry_driver_api::Driver::put).
    pub(crate) async fn put(&self, call: &CallContext, path: &ObjectPath, content: Bytes) -> Result<ETag> {
        let small = match docker_image(path.as_str()) {
            Some((_, name)) if content.len() <= LARGEST_SMALL && !path.as_str().ends_with("/layer") => {
                small_properties(&name, &content)
            }
            _ => Map::new(),
        };
        let body = || async { Ok(byte_stream((!content.is_empty()).then(|| content.clone()))) };
        let info = self.write_again(call, path, &small, Some(content.len() as u64), body).await?;
        info.etag.ok_or_else(|| Error::not_found(path))
    }

    /// Writes content that `open` can open again, so that a failure on the way is not the end.
    pub(crate) async fn write_again<F>(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        small: &Map<String, serde_json::Value>,
        size: Option<u64>,
        open: impl Fn() -> F,
    ) -> Result<ObjectInfo>
    where
        F: Future<Output = Result<ByteStream>>,
    {
        let mut number = 0;
        loop {
            number += 1;
            let error = match self.write_once(call, path, small.clone(), size, open().await?).await {
                Ok(info) => return Ok(info),
                Err(error) => error,
            };
            // An image that was completed in spite of it is replaced by the next one, which has the same content.
            if !error.retryable || number == SENDINGS {
                return Err(error);
            }
            tracing::debug!(%error, number, "an image is sent again");
        }
    }

    /// Writes content that is there once.
    pub(crate) async fn write_stream(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        body: ByteStream,
    ) -> Result<ObjectInfo> {
        let body = body.map_err(|error| {
            Error::new(ErrorKind::BodyFailed, "the content ended with an error").caused_by(&error)
        });
        self.write_once(call, path, Map::new(), None, body.boxed()).await
    }

    async fn write_once(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        small: Map<String, serde_json::Value>,
        size: Option<u64>,
        body: ByteStream,
    ) -> Result<ObjectInfo> {
        let mut properties = small;
        if let Some((id, _)) = docker_image(path.as_str()) {
            properties.insert(ID.to_owned(), id.into());
        }
        let id = self.create(call, path.as_str(), properties).await?;
        let written = self.fill(call, path, &id, size, body).await;
        if let Err(error) = &written
            && !error.outcome_unknown
            && let Err(left) = self.delete(call, &id).await
        {
            // It is found among the pending uploads.
            tracing::debug!(error = %left, image = id, "an image that was not completed stays");
        }
        written
    }

    /// Sends the content and completes the image.
    async fn fill(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        id: &str,
        size: Option<u64>,
        body: ByteStream,
    ) -> Result<ObjectInfo> {
        let sent = Arc::new(AtomicU64::new(0));
        let counted = {
            let sent = Arc::clone(&sent);
            body.inspect_ok(move |chunk| {
                sent.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            })
        };
        self.upload(id, counted.boxed()).await.map_err(|mut error| {
            // Nothing is visible before the image is completed.
            error.outcome_unknown = false;
            error
        })?;
        let sent = sent.load(Ordering::Relaxed);
        if let Some(size) = size.filter(|size| *size != sent) {
            let message = format!("{sent} bytes came of a content of {size} bytes");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        let older = self.found(call, path.as_str()).await?;
        let revision = older.last().map_or(0, Image::revision) + 1;
        let image = self.complete(call, id, sent, revision).await?;
        let Some(info) = image.info() else {
            let message = format!("Glance keeps {} bytes of {sent}", image.stored_size());
            return Err(Error::new(ErrorKind::Unavailable, message).retryable(true));
        };
        for image in older {
            if let Err(error) = self.delete(call, &image.id).await {
                tracing::warn!(%error, %path, image = image.id, "an image that was replaced cannot be deleted");
                break;
            }
        }
        Ok(info)
    }

    /// See [`Driver::delete`](docker_registry_driver_api::Driver::delete).
    pub(crate) async fn delete_object(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        let found = self.found(call, path.as_str()).await?;
        if found.is_empty() {
            return Err(Error::not_found(path));
        }
        for image in found {
            self.delete(call, &image.id).await?;
        }
        Ok(())
    }
}
