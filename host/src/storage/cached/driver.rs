//! The cache as a decorator: every method of the driver, and which paths each of them changes.

use std::{
    mem,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Capabilities, Condition, Description, Driver, ETag, Error, HostServices,
    ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading, RedirectRequest,
    Result, Settings, Stat, UploadHint, UploadPage, UploadProgress, UploadState, async_trait,
};
use futures::FutureExt;
use tokio::{
    runtime::Handle,
    task::unconstrained,
    time::{Instant, sleep},
};

use super::{Below, Keeping, Shared};

/// How many times longer than a small call one may take whose work grows with the object.
const LARGE: u32 = 20;
/// How often the end of writes is looked for when the storage is closed.
const LOOK: Duration = Duration::from_millis(10);
/// How long they are waited for.
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// One view of a storage behind a cache.
pub(super) struct Cached {
    pub(super) shared: Arc<Shared>,
    /// Whether reads are answered from the cache.
    pub(super) answers: bool,
}

impl Cached {
    /// Those of the paths that may be kept and change.
    fn changing<'a>(&self, paths: impl IntoIterator<Item = &'a ObjectPath>) -> Vec<String> {
        let is_changing =
            |path: &&ObjectPath| matches!(self.shared.rules.keeping(path), Keeping::Changing { .. });
        paths.into_iter().filter(is_changing).map(ToString::to_string).collect()
    }

    fn small(&self) -> Duration {
        self.shared.call_time
    }

    fn large(&self) -> Duration {
        self.shared.call_time * LARGE
    }

    /// Changes the objects at these paths. `time` is what that may take at most.
    async fn change<'a, T>(
        &self,
        paths: impl IntoIterator<Item = &'a ObjectPath> + Clone,
        time: Duration,
        run: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let _forgotten = Forgotten::begin(&self.shared, paths.clone());
        self.shared.write(self.changing(paths), time, run).await
    }
}

/// Content by digest that is written or deleted. What was kept of it is forgotten before and, also when the caller goes
/// away, after it; in Redis afterwards. That is not waited for: what is kept has the digest that its path says, so that
/// nobody reads anything wrong meanwhile. But it is sent before the change is acknowledged, so that this process asks
/// for nothing before Redis has forgotten it.
struct Forgotten {
    shared: Arc<Shared>,
    paths: Vec<ObjectPath>,
}

impl Forgotten {
    fn begin<'a>(shared: &Arc<Shared>, paths: impl IntoIterator<Item = &'a ObjectPath>) -> Self {
        let is_unchanging = |path: &&ObjectPath| shared.rules.keeping(path) == Keeping::Unchanging;
        let paths = paths.into_iter().filter(is_unchanging).cloned().collect();
        let forgotten = Self { shared: Arc::clone(shared), paths };
        forgotten.here();
        forgotten
    }

    fn here(&self) {
        for path in &self.paths {
            self.shared.flights.overtake(path.as_str());
            self.shared.memory.remove(path.as_str());
        }
    }
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        self.here();
        let (Some(live), Ok(runtime)) = (self.shared.server.connection(), Handle::try_current()) else {
            return;
        };
        if self.paths.is_empty() {
            return;
        }
        let (shared, paths) = (Arc::clone(&self.shared), mem::take(&mut self.paths));
        let forgetting = async move {
            for path in paths {
                if !shared.server.forget(&live, path.as_str()).await {
                    return;
                }
            }
        };
        // All commands go one after the other through one connection: the first poll puts this one in the row.
        let mut forgetting = Box::pin(unconstrained(forgetting));
        if forgetting.as_mut().now_or_never().is_none() {
            runtime.spawn(forgetting);
        }
    }
}

#[async_trait]
impl Driver for Cached {
    fn describe() -> Description {
        // A decorator is made around an open driver and is never configured.
        Description { summary: String::new(), licence: String::new(), keys: Vec::new() }
    }

    async fn open(_: Settings, _: HostServices) -> Result<Self> {
        Err(Error::unsupported("open"))
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.storage.capabilities()
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        // What nobody waits for must not push out what somebody will ask for.
        if !self.answers || call.background {
            return self.shared.storage.get(call, path, max_size).await;
        }
        self.shared.get_cached(call, path, max_size).await
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let put = self.shared.storage.put(call, path, content, condition);
        self.change([path], self.small(), put).await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.shared.storage.head(call, path).await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.shared.storage.stat(call, path).await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        self.shared.storage.read(call, path, range).await
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.shared.storage.list(call, request).await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        self.shared.storage.open_upload(call, hint).await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.shared.storage.append(call, state, expected_offset, body).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let commit = self.shared.storage.commit(call, state, final_path, condition);
        self.change([final_path], self.large(), commit).await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.shared.storage.abort(call, state).await
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let write = self.shared.storage.write(call, path, size, body, condition);
        self.change([path], self.large(), write).await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.shared.storage.list_uploads(call, older_than, after, limit).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let copy = self.shared.storage.copy(call, from, to);
        self.change([to], self.large(), copy).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let rename = self.shared.storage.rename(call, from, to);
        self.change([from, to], self.large(), rename).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        let delete = self.shared.storage.delete(call, path);
        self.change([path], self.small(), delete).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let delete = self.shared.storage.delete_many(call, paths);
        let _forgotten = Forgotten::begin(&self.shared, paths);
        // The failures of single paths are in the answer, and any of them may have an outcome that nobody knows.
        let is_known =
            |failures: &Vec<(ObjectPath, Error)>| failures.iter().all(|(_, error)| !error.outcome_unknown);
        self.shared.write_judged(self.changing(paths), self.large(), delete, is_known).await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        let delete = self.shared.storage.delete_tree(call, prefix);
        match self.shared.rules.below(prefix) {
            Below::Nothing => delete.await,
            Below::Scope(scope) => self.shared.write(vec![scope.to_owned()], self.large(), delete).await,
            Below::Everything => {
                self.shared.bar_everything(self.large());
                let result = delete.await;
                self.shared.bar_everything(Duration::ZERO);
                result
            }
        }
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        self.shared.storage.redirect_url(call, request).await
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.shared.storage.health(call).await
    }

    async fn close(&self, grace: Duration) {
        // Tombstones that are lifted now cost the other replicas nothing later.
        let until = Instant::now() + grace.min(LONGEST_LOOK);
        while self.shared.barred.writers() > 0 && Instant::now() < until {
            sleep(LOOK).await;
        }
        self.shared.storage.close(grace).await;
    }
}
