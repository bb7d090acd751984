//! A driver that misbehaves on request: the path says how.
//!
//! It stands on another driver, opened through the host's services, for everything that it does not
//! spoil, so it is also the test of that service. `fault` in the settings spoils `open` itself.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Condition, ConfigurationKey, Description, Driver, ETag,
    Error, ErrorKind, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
    Reading, ReadingBody, RedirectRequest, Result, Settings, SharedDriver, Stat, UploadHint, UploadPage,
    UploadProgress, UploadState, async_trait,
    futures::{StreamExt, stream},
};

/// The driver.
pub struct MisbehavingDriver {
    below: SharedDriver,
    host: HostServices,
}

/// Panics when it is dropped.
struct PanicsInDrop;

impl Drop for PanicsInDrop {
    fn drop(&mut self) {
        panic!("a panic in drop");
    }
}

/// Bytes whose owner panics when it is dropped, which happens on the server's side.
impl AsRef<[u8]> for PanicsInDrop {
    fn as_ref(&self) -> &[u8] {
        b"bytes with an owner"
    }
}

impl MisbehavingDriver {
    async fn spoil(&self, path: &ObjectPath) -> Result<()> {
        match path.as_str() {
            "panic" => panic!("a panic on purpose"),
            "panic-in-drop" => {
                let _bomb = PanicsInDrop;
                tokio::time::sleep(Duration::from_millis(1)).await;
                Ok(())
            }
            "hang" => std::future::pending().await,
            "block" => {
                std::thread::sleep(Duration::from_secs(2));
                Ok(())
            }
            "log" => {
                tracing::warn!(answer = 42, "a driver's {}", "event");
                tracing::trace!("never seen");
                self.host.count("events", 3);
                Ok(())
            }
            "throttle" => {
                let mut error = Error::new(ErrorKind::Throttled, "slow down").outcome_unknown();
                error.retry_after = Some(Duration::from_millis(1500));
                Err(error)
            }
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Driver for MisbehavingDriver {
    fn describe() -> Description {
        Description {
            summary: "misbehaves on request".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: vec![
                ConfigurationKey::text("fault", "`panic` or `error` spoils opening"),
                ConfigurationKey::text("below", "driver that does the work").default("memory"),
            ],
        }
    }

    async fn open(settings: Settings, host: HostServices) -> Result<Self> {
        match settings.text("fault")? {
            Some("panic") => panic!("a panic in open"),
            Some("error") => {
                return Err(Error::new(ErrorKind::InvalidConfiguration, "fault must not be `error`"));
            }
            _ => {}
        }
        let below = settings.text("below")?.unwrap_or("memory").to_owned();
        Ok(Self { below: host.open_driver(&below, Settings::default()).await?, host })
    }

    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        self.spoil(path).await?;
        if path.as_str() == "panic-in-bytes" {
            let content = Bytes::from_owner(PanicsInDrop);
            let info = ObjectInfo { size: content.len() as u64, modified: None, etag: None };
            return Ok(Object { content, info });
        }
        self.below.get(call, path, max_size).await
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.below.put(call, path, content, condition).await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.spoil(path).await?;
        self.below.head(call, path).await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.below.stat(call, path).await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        if path.as_str() == "panic-in-stream" {
            let body = stream::iter(0..3).map(|number| {
                assert!(number < 2, "a panic in a stream");
                Ok(Bytes::from_static(b"x"))
            });
            let body = ReadingBody::Stream(body.boxed());
            return Ok(Reading { total_size: 3, offset: 0, length: 3, etag: None, body });
        }
        self.below.read(call, path, range).await
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.below.list(call, request).await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        self.below.open_upload(call, hint).await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.below.append(call, state, expected_offset, body).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.below.commit(call, state, final_path, condition).await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.below.abort(call, state).await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.below.list_uploads(call, older_than, after, limit).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.below.copy(call, from, to).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.below.rename(call, from, to).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.below.delete(call, path).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        self.below.delete_many(call, paths).await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.below.delete_tree(call, prefix).await
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        self.below.redirect_url(call, request).await
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.below.health(call).await
    }

    async fn close(&self, grace: Duration) {
        Arc::clone(&self.below).close(grace).await;
    }
}

// A lie: `block` blocks the thread that polls it. Tests force the driver's calls onto its own runtime
// to see that this helps.
docker_registry_driver_api::export_driver! {
    name: "misbehaving",
    driver: MisbehavingDriver,
    nonblocking: true,
}
