//! A driver that misbehaves on request: see [`fault`] for what it can do and how a test chooses.
//!
//! It stands on another driver, opened through the host's services, for everything that it does not
//! spoil, so it is also the test of that service. Each call is counted under `OPERATION_calls`, so that a
//! test sees how often the server has called; with the key `record` it is a line in a file as well.
//!
//! It does not declare `nonblocking`, because it blocks. The environment variable `MISBEHAVING_DESCRIBE`
//! spoils `describe`, which knows no settings.

mod fault;
mod record;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Condition, ConfigurationKey, Description, Driver, ETag,
    Error, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading,
    RedirectRequest, Result, Settings, SharedDriver, Stat, UploadHint, UploadPage, UploadProgress,
    UploadState, ValueKind, async_trait,
};

use self::{
    fault::{Bomb, Fault, Faults},
    record::Record,
};

/// The largest object whose stream can be spoilt, in bytes.
const LARGEST_SPOILT: u64 = 64 << 20;

/// The driver.
pub struct MisbehavingDriver {
    below: SharedDriver,
    faults: Faults,
    record: Record,
    host: HostServices,
}

impl MisbehavingDriver {
    /// Counts a call and shows its fault. `Some` is a fault that is left for the answer.
    async fn spoil(&self, operation: &str, paths: &[&str]) -> Result<Option<Fault>> {
        self.host.count(&format!("{operation}_calls"), 1);
        self.record.note(&format!("{operation} {}", paths.join(" ")));
        let Some(chosen) = self.faults.of(operation, paths) else { return Ok(None) };
        let fault = chosen.fault;
        chosen.meet().await?;
        if fault == Fault::Spawn {
            self.record.note(&format!("spawned {}", fault::spawn()?));
        }
        Ok(Some(fault))
    }
}

#[async_trait]
impl Driver for MisbehavingDriver {
    fn describe() -> Description {
        match std::env::var("MISBEHAVING_DESCRIBE").as_deref() {
            Ok("panic") => panic!("a panic in describe"),
            Ok("block") => std::thread::sleep(Duration::from_secs(3600)),
            Ok("abort") => std::process::abort(),
            Ok("abort_if_told_secrets") if std::env::var_os("REGISTRY_TOKEN").is_some() => {
                std::process::abort()
            }
            _ => {}
        }
        let text = ConfigurationKey::text;
        Description {
            summary: "misbehaves on request".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: vec![
                text("fault", "what goes wrong: panic, hang, block, abort, segfault, leak, storm and others"),
                text("fault_in", "the operations that it goes wrong in, separated by commas, or `any`"),
                text("fault_within", "only for paths with this text"),
                text("switch", "a file with lines `OPERATION FAULT [TEXT]`, read again in each call"),
                ConfigurationKey::of(
                    ValueKind::Integer,
                    "pause_milliseconds",
                    "how long block and slow last",
                )
                .default("2000"),
                text("record", "a file that gets a line for each call"),
                text("token", "a secret that is of no use").secret(),
                text("below", "the driver that does the work").default("memory"),
                text("below_path", "the folder of the driver that does the work, where it needs one"),
                text("storage_alternate", "the driver that does the work, with the keys that it describes"),
            ],
        }
    }

    async fn open(settings: Settings, host: HostServices) -> Result<Self> {
        let faults = Faults::new(&settings, host.clone())?;
        let record = Record::new(&settings)?;
        let token = settings.text("token")?.map_or(0, str::len);
        record.note(&format!("open with a token of {token} bytes in process {}", std::process::id()));
        if let Some(chosen) = faults.of("open", &[]) {
            chosen.meet().await?;
        }
        let below = settings.text("below")?.unwrap_or("memory").to_owned();
        let mut below_settings = Settings::default().values().clone();
        if let Some(path) = settings.text("below_path")? {
            below_settings.insert("storage_path".to_owned(), path.into());
        }
        let below = match settings.text("storage_alternate")? {
            Some(alternate) => host.open_alternate(alternate, &settings).await?,
            None => host.open_driver(&below, Settings::new(below_settings)).await?,
        };
        Ok(Self { below, faults, record, host })
    }

    fn capabilities(&self) -> Capabilities {
        // The errors of these faults have nowhere to go.
        let _ = self.faults.meet_now("capabilities");
        self.below.capabilities()
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        if self.spoil("get", &[path.as_str()]).await? == Some(Fault::PanicInBytes) {
            let content = Bytes::from_owner(Bomb);
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
        self.spoil("put", &[path.as_str()]).await?;
        self.below.put(call, path, content, condition).await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.spoil("head", &[path.as_str()]).await?;
        self.below.head(call, path).await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.spoil("stat", &[path.as_str()]).await?;
        self.below.stat(call, path).await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        self.spoil("read", &[path.as_str()]).await?;
        let Some(chosen) = self.faults.of("read_stream", &[path.as_str()]) else {
            return self.below.read(call, path, range).await;
        };
        let content = self.below.get(call, path, LARGEST_SPOILT).await?.content;
        stream::spoilt(chosen, &content, range, self.record.clone())
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.spoil("list", &[request.prefix.as_str()]).await?;
        self.below.list(call, request).await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        let path = hint.final_path.as_ref().map_or("", ObjectPath::as_str);
        self.spoil("open_upload", &[path]).await?;
        self.below.open_upload(call, hint).await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.spoil("append", &[]).await?;
        let body = match self.faults.of("append_stream", &[]) {
            Some(chosen) => stream::spoilt_body(chosen, body),
            None => body,
        };
        self.below.append(call, state, expected_offset, body).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.spoil("commit", &[final_path.as_str()]).await?;
        self.below.commit(call, state, final_path, condition).await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.spoil("abort", &[]).await?;
        self.below.abort(call, state).await
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.spoil("write", &[path.as_str()]).await?;
        let body = match self.faults.of("append_stream", &[]) {
            Some(chosen) => stream::spoilt_body(chosen, body),
            None => body,
        };
        self.below.write(call, path, size, body, condition).await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.spoil("list_uploads", &[]).await?;
        self.below.list_uploads(call, older_than, after, limit).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.spoil("copy", &[from.as_str(), to.as_str()]).await?;
        self.below.copy(call, from, to).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.spoil("rename", &[from.as_str(), to.as_str()]).await?;
        self.below.rename(call, from, to).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.spoil("delete", &[path.as_str()]).await?;
        self.below.delete(call, path).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let texts: Vec<&str> = paths.iter().map(ObjectPath::as_str).collect();
        self.spoil("delete_many", &texts).await?;
        self.below.delete_many(call, paths).await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.spoil("delete_tree", &[prefix.as_str()]).await?;
        self.below.delete_tree(call, prefix).await
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        self.spoil("redirect_url", &[request.path.as_str()]).await?;
        self.below.redirect_url(call, request).await
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.spoil("health", &[]).await?;
        self.below.health(call).await
    }

    async fn close(&self, grace: Duration) {
        // As with `capabilities`: only what ends in no error can be shown.
        let _ = self.spoil("close", &[]).await;
        Arc::clone(&self.below).close(grace).await;
    }
}

impl Drop for MisbehavingDriver {
    fn drop(&mut self) {
        self.record.note("dropped");
        let _ = self.faults.meet_now("drop");
    }
}

docker_registry_driver_api::export_driver! {
    name: "misbehaving",
    driver: MisbehavingDriver,
    nonblocking: false,
}
