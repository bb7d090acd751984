//! Objects that are images: looking them up, writing, reading and deleting them.
//!
//! # Several writers
//! A write makes a new image, sends the content, looks which revisions of the path there are, and completes the image
//! with the next one. That last step is one request, which Glance does wholly or not at all: before it readers see the
//! old image, after it the new one. Then the images below it are deleted, oldest first, so that none of them can come
//! back. Of two writers at the same time both may get the same revision; the greater id counts then, for everybody.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, ETag, Error, ErrorKind, Object, ObjectInfo, ObjectPath, ReadRange,
    Reading, ReadingBody, Result, byte_stream, collect, empty_stream,
};
use docker_registry_object_storage::from_caller;
use futures::{StreamExt, stream};
use serde_json::Map;
use uuid::Uuid;

use crate::{
    client::{Glance, unseen},
    document::{ID, Image, PATH, small_properties},
    routing::docker_image,
};

/// How often an object is looked for again that was replaced while it was opened.
const LOOKUPS: usize = 5;
/// How long it may take to delete what a write left behind that failed.
const AFTERWARDS: Duration = Duration::from_secs(30);
/// Contents of a write whose path is a small file's, above which nothing is kept in properties.
const LARGEST_SMALL: usize = 180_000;

/// Why an image was not written.
struct Unwritten {
    error: Error,
    /// Whether another image may fare better: the step that failed was made once, and not as often as attempts are made.
    is_sent_again: bool,
}

impl From<Error> for Unwritten {
    fn from(error: Error) -> Self {
        Self { error, is_sent_again: false }
    }
}

/// Content that can be had again and again, and its size.
pub(crate) type Again = (u64, ByteStream);

impl Glance {
    /// The images of a path that were completed, also those whose content is not what it should be, in their order.
    async fn completed(&self, call: &CallContext, path: &str) -> Result<Vec<Image>> {
        let (mut found, mut marker) = (Vec::new(), None::<String>);
        loop {
            let page = self.page(call, &[(PATH, path)], marker.as_deref()).await?;
            marker = page.images.last().map(|image| image.id.clone());
            let is_last = page.next.is_none() || marker.is_none();
            found.extend(
                page.images
                    .into_iter()
                    .filter(|image| self.path(image) == Some(path) && !image.is_being_written()),
            );
            if is_last {
                found.sort_by(|one, other| one.order().cmp(&other.order()));
                // A listing that began anew shows some of them twice.
                found.dedup_by(|one, other| one.id == other.id);
                return Ok(found);
            }
        }
    }

    /// The image that is the object at a path, and what there is to know of the object.
    pub(crate) async fn object(&self, call: &CallContext, path: &ObjectPath) -> Result<(Image, ObjectInfo)> {
        let completed = self.completed(call, path.as_str()).await?;
        let found = completed.into_iter().rev().find_map(|image| image.info().map(|info| (image, info)));
        found.ok_or_else(|| Error::not_found(path))
    }

    /// See [`Driver::head`](docker_registry_driver_api::Driver::head).
    pub(crate) async fn head(self: &Arc<Self>, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        match self.object(call, path).await {
            Ok((_, info)) => Ok(info),
            Err(absent) if absent.is_not_found() => self.old_head(call, path, absent).await,
            Err(error) => Err(error),
        }
    }

    /// See [`Driver::get`](docker_registry_driver_api::Driver::get).
    pub(crate) async fn get(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        max_size: u64,
    ) -> Result<Object> {
        let mut number = 0;
        loop {
            number += 1;
            let (image, info) = match self.object(call, path).await {
                Ok(found) => found,
                Err(absent) if absent.is_not_found() => {
                    return self.old_get(call, path, max_size, absent).await;
                }
                Err(error) => return Err(error),
            };
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
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        range: ReadRange,
    ) -> Result<Reading> {
        let mut number = 0;
        loop {
            number += 1;
            let (image, ObjectInfo { size: total_size, etag, .. }) = match self.object(call, path).await {
                Ok(found) => found,
                Err(absent) if absent.is_not_found() => {
                    return self.old_reading(call, path, range, absent).await;
                }
                Err(error) => return Err(error),
            };
            let (offset, length) = range.resolve(total_size)?;
            match self.content(call, &image.id, total_size, offset, length).await {
                Ok(body) => {
                    let body = ReadingBody::Stream(body);
                    return Ok(Reading { total_size, offset, length, etag, body });
                }
                // It was replaced in between.
                Err(error) if error.is_not_found() && number < LOOKUPS => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(crate) async fn content(
        self: &Arc<Self>,
        call: &CallContext,
        id: &str,
        size: u64,
        offset: u64,
        length: u64,
    ) -> Result<ByteStream> {
        if length == 0 { Ok(empty_stream()) } else { self.read(call, id, size, offset, length).await }
    }

    /// See [`Driver::put`](docker_registry_driver_api::Driver::put).
    pub(crate) async fn put(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
    ) -> Result<Option<ETag>> {
        let small = match docker_image(path.as_str()) {
            Some((_, name)) if content.len() <= LARGEST_SMALL && !path.as_str().ends_with("/layer") => {
                small_properties(&name, &content)
            }
            _ => Map::new(),
        };
        let size = content.len() as u64;
        let open = || async { Ok((size, byte_stream((!content.is_empty()).then(|| content.clone())))) };
        Ok(self.write_again(call, path, &small, open).await?.etag)
    }

    /// Writes content that `open` can open again, so that a failure on the way is not the end.
    pub(crate) async fn write_again<F>(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        small: &Map<String, serde_json::Value>,
        open: impl Fn() -> F,
    ) -> Result<ObjectInfo>
    where
        F: Future<Output = Result<Again>>,
    {
        let mut number = 0;
        loop {
            number += 1;
            let (size, body) = open().await?;
            let Unwritten { mut error, is_sent_again } =
                match self.write_once(call, path, small.clone(), Some(size), body).await {
                    Ok(info) => return Ok(info),
                    Err(unwritten) => unwritten,
                };
            if error.kind == ErrorKind::BodyFailed {
                // The body is the one that was opened here, and no caller's.
                error = Error { kind: ErrorKind::Unavailable, ..error }.retryable(true);
            }
            // An image that was completed in spite of it is replaced by the next one, which has the same content.
            let pause = if is_sent_again { self.attempts.again(call, &error, number) } else { None };
            let Some(pause) = pause else { return Err(error) };
            tracing::debug!(%error, number, "an image is sent again");
            tokio::time::sleep(pause).await;
        }
    }

    /// Writes content that is there once.
    pub(crate) async fn write_stream(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        body: ByteStream,
    ) -> Result<ObjectInfo> {
        // The size that a caller tells promises nothing.
        let written = self.write_once(call, path, Map::new(), None, from_caller(body)).await;
        written.map_err(|unwritten| unwritten.error)
    }

    async fn write_once(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        small: Map<String, serde_json::Value>,
        size: Option<u64>,
        body: ByteStream,
    ) -> Result<ObjectInfo, Unwritten> {
        let mut properties = small;
        if let Some((id, _)) = docker_image(path.as_str()) {
            properties.insert(ID.to_owned(), id.into());
        }
        let id = Uuid::new_v4().to_string();
        let _mark = self.under_way.begin(&id);
        if let Err(error) = self.create(call, &id, path.as_str(), properties).await {
            if error.outcome_unknown {
                self.delete_later(id, self.attempts.silence());
            }
            return Err(unseen(error).into());
        }
        let filled = self.fill(call, path, &id, size, body).await;
        if let Err(unwritten) = &filled
            && !unwritten.error.outcome_unknown
        {
            self.delete_later(id, Duration::ZERO);
        }
        filled
    }

    /// Deletes an image that was not completed, after a while when the request that makes it may still be under way.
    fn delete_later(self: &Arc<Self>, id: String, pause: Duration) {
        let glance = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Err(error) = glance.delete(&CallContext::with_timeout(AFTERWARDS), &id).await {
                // It is found among the pending uploads.
                tracing::debug!(%error, image = id, "an image that was not completed stays");
            }
        });
    }

    /// Sends the content and completes the image.
    async fn fill(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        id: &str,
        size: Option<u64>,
        body: ByteStream,
    ) -> Result<ObjectInfo, Unwritten> {
        let sent = Arc::new(AtomicU64::new(0));
        let again = |error| Unwritten { error, is_sent_again: true };
        self.upload(id, counted(body, Arc::clone(&sent), size), size).await.map_err(again)?;
        let sent = sent.load(Ordering::Relaxed);
        let older = self.completed(call, path.as_str()).await?;
        let revision = older.last().map_or(0, Image::revision) + 1;
        let info = match self.complete(call, id, sent, revision).await {
            Ok(image) => image.info().ok_or_else(|| {
                let message = format!("Glance keeps {} bytes of {sent}", image.stored_size());
                again(Error::new(ErrorKind::Unavailable, message).retryable(true))
            })?,
            Err(error) if error.outcome_unknown => {
                self.was_completed(call, path, id, sent, revision).await.ok_or(error)?
            }
            Err(error) => return Err(error.into()),
        };
        self.tidy(call, path).await;
        Ok(info)
    }

    /// What became of an image when the answer to the request that completes it was lost: it is an object, or it was one
    /// until a later writer replaced it and took it away. `None` where neither can be seen.
    async fn was_completed(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        id: &str,
        size: u64,
        revision: u64,
    ) -> Option<ObjectInfo> {
        let completed = self.completed(call, path.as_str()).await.ok()?;
        if let Some(image) = completed.iter().find(|image| image.id == id) {
            return image.info();
        }
        let last = completed.last().filter(|last| last.info().is_some() && last.order() > (revision, id))?;
        let is_gone = self.image(call, id).await.is_err_and(|error| error.is_not_found());
        is_gone.then(|| {
            tracing::debug!(%path, image = id, by = last.id, "an image was replaced before its writer knew");
            ObjectInfo { size, modified: None, etag: Some(ETag(id.to_owned())) }
        })
    }

    /// Deletes what was replaced. It is looked for after the new image is complete: of two writers at the same time
    /// the later one to look sees both.
    async fn tidy(&self, call: &CallContext, path: &ObjectPath) {
        let tidied: Result<()> = async {
            let mut completed = self.completed(call, path.as_str()).await?;
            let Some(object) = completed.iter().rposition(|image| image.info().is_some()) else {
                return Ok(());
            };
            completed.truncate(object);
            for image in completed {
                self.delete(call, &image.id).await?;
            }
            Ok(())
        }
        .await;
        if let Err(error) = tidied {
            tracing::warn!(%error, %path, "images that were replaced stay until the next write or deletion");
        }
    }

    /// See [`Driver::delete`](docker_registry_driver_api::Driver::delete).
    pub(crate) async fn delete_object(self: &Arc<Self>, call: &CallContext, path: &ObjectPath) -> Result<()> {
        match self.old_head(call, path, Error::not_found(path)).await {
            Ok(_) => {
                let message =
                    "docker-registry 0.x wrote this image of Glance, which is only read: delete it in Glance";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let completed = self.completed(call, path.as_str()).await?;
        let was_there = completed.iter().any(|image| image.info().is_some());
        for image in completed {
            self.delete(call, &image.id).await?;
        }
        if was_there { Ok(()) } else { Err(Error::not_found(path)) }
    }
}

/// The body, counted in `sent`. It ends with an error where it has not the size that it should have.
fn counted(body: ByteStream, sent: Arc<AtomicU64>, size: Option<u64>) -> ByteStream {
    let ended = Arc::clone(&sent);
    let end = stream::once(async move {
        let sent = ended.load(Ordering::Relaxed);
        let size = size.filter(|size| *size != sent)?;
        let message = format!("{sent} bytes came of a content of {size} bytes");
        Some(Err(Error::new(ErrorKind::BodyFailed, message)))
    });
    let counted = body.map(move |chunk| {
        let chunk = chunk?;
        let now = sent.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
        match size.filter(|size| now > *size) {
            Some(size) => {
                let message = format!("more than {size} bytes came of a content of {size} bytes");
                Err(Error::new(ErrorKind::BodyFailed, message))
            }
            None => Ok(chunk),
        }
    });
    counted.chain(end.filter_map(|end| async { end })).boxed()
}
