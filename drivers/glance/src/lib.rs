//! Storage driver `glance`: contents and metadata of images in OpenStack Glance, everything else in another driver.
//!
//! # The two sides
//! Layers, blobs and the small files of docker images are images of Glance, found by their path among their properties
//! (see [`routing`] for which they are, [`document`] for the properties). The other driver is opened by its name
//! in `storage_alternate`, with its keys from the same flavor.
//!
//! # Guarantees
//! - **An object is visible whole or not at all**: an image becomes one in the step that says that all of it is there.
//!   Glance itself calls an image active that was cut off on some of its servers, so the size is compared too.
//! - **Every object has an image of its own**, also the small files of one docker image. Glance reads all properties of
//!   an image and writes all of them back when one changes, so that two servers that change two properties of one
//!   image at the same time lose one of them.
//! - **No conditions.** Nothing in Glance makes a write depend on what is there. The driver offers none, also where the
//!   other driver has them.
//! - **What was written shows at once where Glance has one database.** On replicated ones it may be late, so no consistency is
//!   declared.
//! - Images are private: only their project sees them. Images of others with the same properties are not looked at.
//! - Uploads grow in the other driver and go on wherever it lets them. What a crash leaves on the way to Glance is
//!   found by `list_uploads`.

mod client;
mod content;
mod document;
mod listing;
mod marks;
mod objects;
mod old_images;
mod routing;
mod settings;
mod uploads;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Capability, Condition, Description, Driver, ETag, Error,
    ErrorKind, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
    Reading, ReadingBody, RedirectRequest, Result, Settings, SharedDriver, Stat, UploadHint, UploadPage,
    UploadProgress, UploadState, async_trait, export_driver,
};
use docker_registry_object_storage::{Attempts, Renewal, StoreSettings, http::Transport};
use docker_registry_openstack::{CloudSettings, Session};
use futures::{StreamExt, stream};
use serde_json::Map;

use crate::{
    client::Glance,
    content::stream_of,
    routing::is_image,
    settings::{GlanceSettings, invalid},
};

export_driver! {
    name: "glance",
    driver: GlanceDriver,
    nonblocking: true,
}

/// What the other driver can do and this one can do with it.
const HANDED_ON: [Capability; 3] =
    [Capability::Redirects, Capability::ResumableUploads, Capability::ListUploads];
/// How long it may take to find out whether Glance works.
const OPENING: Duration = Duration::from_secs(50);
/// What the start writes, and no registry.
const PROBE: &str = "docker-registry/probe";
/// Deletions of one call at a time.
const AT_ONCE: usize = 8;

/// The driver.
pub struct GlanceDriver {
    pub(crate) glance: Arc<Glance>,
    pub(crate) alternate: SharedDriver,
}

impl GlanceDriver {
    /// Writes an object that is none of the registry's and deletes it: whether that is allowed is found out now, and which
    /// project it is.
    async fn try_out(&self) -> Result<()> {
        let call = CallContext::with_timeout(OPENING);
        let probe = ObjectPath::new(PROBE)?;
        self.glance.put(&call, &probe, Bytes::from_static(b"?")).await?;
        match self.glance.delete_object(&call, &probe).await {
            // Another server that starts.
            Err(error) if error.is_not_found() => Ok(()),
            result => result,
        }
    }

    async fn copy_across(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        if from == to {
            return self.head(call, from).await.map(drop);
        }
        if is_image(to.as_str()) {
            if !is_image(from.as_str()) {
                return self.send(call, from, to).await.map(drop);
            }
            let open = || async {
                let reading = self.glance.open_reading(call, from, ReadRange::Full).await?;
                Ok((reading.total_size, stream_of(reading.body)))
            };
            return self.glance.write_again(call, to, &Map::new(), open).await.map(drop);
        }
        let reading = self.glance.open_reading(call, from, ReadRange::Full).await?;
        let (size, body) = (reading.total_size, stream_of(reading.body));
        let written = self.alternate.write(call, to, Some(size), body, &Condition::Always).await;
        written.map(drop).map_err(|error| match error.kind {
            // The body was Glance's and not the caller's.
            ErrorKind::BodyFailed => Error { kind: ErrorKind::Unavailable, ..error }.retryable(true),
            _ => error,
        })
    }
}

fn unconditional(condition: &Condition) -> Result<()> {
    match condition {
        Condition::Always => Ok(()),
        _ => Err(Error::new(ErrorKind::Unsupported, "Glance keeps no conditions of writes")),
    }
}

fn are_both_alternates(from: &ObjectPath, to: &ObjectPath) -> bool {
    !is_image(from.as_str()) && !is_image(to.as_str())
}

#[async_trait]
impl Driver for GlanceDriver {
    fn describe() -> Description {
        Description {
            summary: "images of OpenStack Glance, and another driver for everything else".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: GlanceSettings::keys(),
        }
    }

    async fn open(settings: Settings, host: HostServices) -> Result<Self> {
        let own = GlanceSettings::read(&settings)?;
        let cloud = CloudSettings::read(&own.service, &settings)?;
        let shared = StoreSettings::read(&settings)?;
        let mut options = shared.http_options();
        if cloud.ca_bundle.is_some() {
            options.ca_bundle.clone_from(&cloud.ca_bundle);
        }
        let advice = cloud.advice(&own.service, "Glance", own.service.address_key);
        let transport = Transport::new(options, advice).await?;
        let session = Arc::new(Session::new(own.service, cloud, transport));
        let renewal: Arc<dyn Renewal> = Arc::<Session>::clone(&session);
        let alternate = host.open_alternate(&own.alternate, &settings).await.map_err(|error| {
            if error.kind == ErrorKind::Unsupported && error.operation == "open_alternate" {
                return invalid("this server cannot open storage_alternate: it needs driver API 1.2");
            }
            let kind = error.kind;
            let message = format!("storage_alternate {}: {}", own.alternate, error.message);
            Error { kind, message, ..error }
        })?;
        let glance = Glance::new(session, Attempts::new(&shared, renewal), own.store);
        let driver = Self { glance: Arc::new(glance), alternate };
        driver.try_out().await?;
        if !driver.alternate.capabilities().has(Capability::ListUploads) {
            tracing::warn!(
                "the driver of storage_alternate does not list uploads: what crashes leave in Glance and in it stays"
            );
        }
        Ok(driver)
    }

    fn capabilities(&self) -> Capabilities {
        let offered = self.alternate.capabilities();
        HANDED_ON.into_iter().filter(|capability| offered.has(*capability)).collect()
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        match is_image(path.as_str()) {
            true => self.glance.get(call, path, max_size).await,
            false => self.alternate.get(call, path, max_size).await,
        }
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        unconditional(condition)?;
        match is_image(path.as_str()) {
            true => self.glance.put(call, path, content).await,
            false => self.alternate.put(call, path, content, condition).await,
        }
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        match is_image(path.as_str()) {
            true => self.glance.head(call, path).await,
            false => self.alternate.head(call, path).await,
        }
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.stat_both(call, path).await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        match is_image(path.as_str()) {
            true => self.glance.open_reading(call, path, range).await,
            false => {
                // Images are no files, and a driver has readings of one form.
                let reading = self.alternate.read(call, path, range).await?;
                Ok(Reading { body: ReadingBody::Stream(stream_of(reading.body)), ..reading })
            }
        }
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.list_both(call, request).await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        self.begin(call, hint).await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.go_on(call, state, expected_offset, body).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        unconditional(condition)?;
        self.finish(call, state, final_path).await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.give_up(call, state).await
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        unconditional(condition)?;
        match is_image(path.as_str()) {
            true => self.glance.write_stream(call, path, body).await,
            false => self.alternate.write(call, path, size, body, condition).await,
        }
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.pending(call, older_than, after, limit).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        match are_both_alternates(from, to) {
            true => self.alternate.copy(call, from, to).await,
            false => self.copy_across(call, from, to).await,
        }
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        if are_both_alternates(from, to) {
            return self.alternate.rename(call, from, to).await;
        }
        self.copy_across(call, from, to).await?;
        if from == to { Ok(()) } else { self.delete(call, from).await }
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        match is_image(path.as_str()) {
            true => self.glance.delete_object(call, path).await,
            false => self.alternate.delete(call, path).await,
        }
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let (images, others): (Vec<ObjectPath>, Vec<ObjectPath>) =
            paths.iter().cloned().partition(|path| is_image(path.as_str()));
        let mut failures = match others.is_empty() {
            true => Vec::new(),
            false => self.alternate.delete_many(call, &others).await?,
        };
        let deletions = stream::iter(images).map(|path| async move {
            match self.glance.delete_object(call, &path).await {
                Err(error) if !error.is_not_found() => Some((path, error)),
                _ => None,
            }
        });
        let failed: Vec<_> = deletions.buffer_unordered(AT_ONCE).collect().await;
        failures.extend(failed.into_iter().flatten());
        Ok(failures)
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.delete_both(call, prefix).await
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        match is_image(request.path.as_str()) {
            // Glance signs no addresses.
            true => Ok(None),
            false => self.alternate.redirect_url(call, request).await,
        }
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        futures::try_join!(self.glance.probe(call), self.alternate.health(call)).map(drop)
    }

    async fn close(&self, grace: Duration) {
        self.alternate.close(grace).await;
    }
}
