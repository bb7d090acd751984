//! A driver between the registry and the real one, which lets other tasks run before every call and can
//! make calls fail.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use docker_registry::storage::Storage;
use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Condition, Description, Driver, ETag, Error, ErrorKind,
    HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading,
    RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress, UploadState,
    async_trait,
};

/// What goes wrong with the storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing, ever.
    None,
    /// The write of this number fails and does nothing. Later calls work.
    Refused(u64),
    /// The write of this number happens, but its caller hears that it failed. Later calls work.
    Unreported(u64),
    /// From the write of this number on nothing happens any more.
    DiesBefore(u64),
    /// The write of this number still happens, and then nothing any more; its caller hears no good.
    DiesAfter(u64),
}

/// The driver in between.
pub(crate) struct Interposed {
    inner: Storage,
    fault: Fault,
    writes: AtomicU64,
    meanwhile: Mutex<Option<(String, Meanwhile)>>,
}

/// What happens in the middle of something else.
type Meanwhile = futures::future::BoxFuture<'static, ()>;

impl Interposed {
    pub(crate) fn new(inner: Storage, fault: Fault) -> Arc<Self> {
        Arc::new(Self { inner, fault, writes: AtomicU64::new(0), meanwhile: Mutex::new(None) })
    }

    /// Lets something happen just before the object at `path` is read for the first time.
    pub(crate) fn before_reading(&self, path: String, meanwhile: Meanwhile) {
        *self.meanwhile.lock().unwrap() = Some((path, meanwhile));
    }

    async fn before_object(&self, path: &ObjectPath) -> Result<()> {
        let meanwhile = self.meanwhile.lock().unwrap().take_if(|(awaited, _)| awaited == path.as_str());
        if let Some((_, meanwhile)) = meanwhile {
            meanwhile.await;
        }
        self.before_read().await
    }

    /// How many writes were tried.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    fn is_dead(&self) -> bool {
        match self.fault {
            Fault::DiesBefore(last) | Fault::DiesAfter(last) => self.writes() > last,
            _ => false,
        }
    }

    async fn before_read(&self) -> Result<()> {
        tokio::task::yield_now().await;
        if self.is_dead() { Err(failure(false)) } else { Ok(()) }
    }

    async fn write<T>(&self, write: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::task::yield_now().await;
        let dead = self.is_dead();
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            _ if dead => Err(failure(false)),
            Fault::Refused(bad) | Fault::DiesBefore(bad) if bad == number => Err(failure(false)),
            Fault::Unreported(bad) | Fault::DiesAfter(bad) if bad == number => {
                write.await?;
                Err(failure(true))
            }
            _ => write.await,
        }
    }
}

fn failure(unknown: bool) -> Error {
    let error = Error::new(ErrorKind::Unavailable, "the test took the storage away");
    if unknown { error.outcome_unknown() } else { error }
}

#[async_trait]
impl Driver for Interposed {
    fn describe() -> Description {
        unreachable!("only drivers that are loaded are described")
    }

    async fn open(_: Settings, _: HostServices) -> Result<Self> {
        Err(Error::unsupported("open"))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        self.before_object(path).await?;
        self.inner.get(call, path, max_size).await
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.write(self.inner.put(call, path, content, condition)).await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.before_read().await?;
        self.inner.head(call, path).await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.before_read().await?;
        self.inner.stat(call, path).await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        self.before_object(path).await?;
        self.inner.read(call, path, range).await
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.before_read().await?;
        self.inner.list(call, request).await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        self.write(self.inner.open_upload(call, hint)).await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.write(self.inner.append(call, state, expected_offset, body)).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.write(self.inner.commit(call, state, final_path, condition)).await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.write(self.inner.abort(call, state)).await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.before_read().await?;
        self.inner.list_uploads(call, older_than, after, limit).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.write(self.inner.copy(call, from, to)).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.write(self.inner.rename(call, from, to)).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.write(self.inner.delete(call, path)).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        self.write(self.inner.delete_many(call, paths)).await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.write(self.inner.delete_tree(call, prefix)).await
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        self.inner.redirect_url(call, request).await
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.inner.health(call).await
    }
}
