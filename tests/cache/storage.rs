//! A storage in memory that counts its reads and waits where a test wants it to.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::SystemTime,
};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Capabilities, Capability, Condition, Description, Driver, ETag, Error,
    ErrorKind, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
    Reading, RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress, UploadState,
    async_trait,
};
use tokio::sync::Semaphore;

/// Shared by the replicas of a test.
#[derive(Default)]
pub(crate) struct Storage {
    objects: Mutex<BTreeMap<String, Bytes>>,
    reads: Mutex<HashMap<String, usize>>,
    gates: Mutex<HashMap<(Step, String), Arc<Gate>>>,
    failure: Mutex<Option<Error>>,
}

/// Where a call can be made to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A `get` that has seen the object and not returned it.
    Read,
    /// A `put` that has changed nothing.
    BeforePut,
    /// A `put` that has happened and not returned.
    AfterPut,
}

/// Stops the next call that passes.
pub(crate) struct Gate {
    arrived: Semaphore,
    go: Semaphore,
}

impl Gate {
    /// Until a call waits here.
    pub(crate) async fn reached(&self) {
        self.arrived.acquire().await.expect("it stays open").forget();
    }

    /// Lets it go on.
    pub(crate) fn open(&self) {
        self.go.add_permits(1);
    }
}

impl Storage {
    /// Content that nobody was told of.
    pub(crate) fn set(&self, path: &str, content: &'static str) {
        self.objects.lock().unwrap().insert(path.to_owned(), Bytes::from_static(content.as_bytes()));
    }

    /// How often the object was read.
    pub(crate) fn reads(&self, path: &str) -> usize {
        self.reads.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    /// Makes the next call about the path wait.
    pub(crate) fn gate(&self, step: Step, path: &str) -> Arc<Gate> {
        let gate = Arc::new(Gate { arrived: Semaphore::new(0), go: Semaphore::new(0) });
        self.gates.lock().unwrap().insert((step, path.to_owned()), Arc::clone(&gate));
        gate
    }

    /// The next `put` fails so, and changes nothing.
    pub(crate) fn fail_put(&self, error: Error) {
        *self.failure.lock().unwrap() = Some(error);
    }

    async fn pass(&self, step: Step, path: &ObjectPath) {
        let gate = self.gates.lock().unwrap().remove(&(step, path.to_string()));
        if let Some(gate) = gate {
            gate.arrived.add_permits(1);
            gate.go.acquire().await.expect("it stays open").forget();
        }
    }

    fn object(&self, path: &ObjectPath) -> Result<Object> {
        let content = self.objects.lock().unwrap().get(path.as_str()).cloned();
        let content = content.ok_or_else(|| Error::not_found(path))?;
        let info = ObjectInfo {
            size: content.len() as u64,
            modified: Some(SystemTime::UNIX_EPOCH),
            etag: Some(ETag(format!("{}-{:?}", content.len(), content.first()))),
        };
        Ok(Object { content, info })
    }
}

#[async_trait]
impl Driver for Storage {
    fn describe() -> Description {
        Description { summary: String::new(), licence: String::new(), keys: Vec::new() }
    }
    async fn open(_: Settings, _: HostServices) -> Result<Self> {
        Err(Error::unsupported("open"))
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with(Capability::PutIfAbsent)
    }
    async fn get(&self, _: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        *self.reads.lock().unwrap().entry(path.to_string()).or_default() += 1;
        let object = self.object(path);
        self.pass(Step::Read, path).await;
        match object {
            Ok(object) if object.info.size > max_size => {
                Err(Error::new(ErrorKind::TooLarge, "too large").at(path))
            }
            object => object,
        }
    }
    async fn put(
        &self,
        _: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.pass(Step::BeforePut, path).await;
        if let Some(error) = self.failure.lock().unwrap().take() {
            return Err(error);
        }
        {
            let mut objects = self.objects.lock().unwrap();
            if *condition == Condition::IfAbsent && objects.contains_key(path.as_str()) {
                return Err(Error::new(ErrorKind::ConditionFailed, "it is there"));
            }
            objects.insert(path.to_string(), content);
        }
        self.pass(Step::AfterPut, path).await;
        Ok(None)
    }
    async fn delete(&self, _: &CallContext, path: &ObjectPath) -> Result<()> {
        let gone = self.objects.lock().unwrap().remove(path.as_str());
        gone.map(drop).ok_or_else(|| Error::not_found(path))
    }
    async fn delete_tree(&self, _: &CallContext, prefix: &Prefix) -> Result<u64> {
        let start = prefix.start();
        self.objects.lock().unwrap().retain(|path, _| !path.starts_with(&start));
        Ok(1)
    }
    async fn head(&self, _: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.object(path).map(|object| object.info)
    }
    async fn stat(&self, _: &CallContext, _: &Prefix) -> Result<Stat> {
        Err(Error::unsupported("stat"))
    }
    async fn read(&self, _: &CallContext, _: &ObjectPath, _: ReadRange) -> Result<Reading> {
        Err(Error::unsupported("read"))
    }
    async fn list(&self, _: &CallContext, _: &ListRequest) -> Result<ListPage> {
        Err(Error::unsupported("list"))
    }
    async fn open_upload(&self, _: &CallContext, _: &UploadHint) -> Result<UploadState> {
        Err(Error::unsupported("open_upload"))
    }
    async fn append(
        &self,
        _: &CallContext,
        _: &UploadState,
        _: u64,
        _: ByteStream,
    ) -> Result<UploadProgress> {
        Err(Error::unsupported("append"))
    }
    async fn commit(
        &self,
        _: &CallContext,
        _: &UploadState,
        _: &ObjectPath,
        _: &Condition,
    ) -> Result<ObjectInfo> {
        Err(Error::unsupported("commit"))
    }
    async fn abort(&self, _: &CallContext, _: &UploadState) -> Result<()> {
        Err(Error::unsupported("abort"))
    }
    async fn list_uploads(
        &self,
        _: &CallContext,
        _: SystemTime,
        _: Option<&str>,
        _: u32,
    ) -> Result<UploadPage> {
        Err(Error::unsupported("list_uploads"))
    }
    async fn copy(&self, _: &CallContext, _: &ObjectPath, _: &ObjectPath) -> Result<()> {
        Err(Error::unsupported("copy"))
    }
    async fn rename(&self, _: &CallContext, _: &ObjectPath, _: &ObjectPath) -> Result<()> {
        Err(Error::unsupported("rename"))
    }
    async fn delete_many(&self, _: &CallContext, _: &[ObjectPath]) -> Result<Vec<(ObjectPath, Error)>> {
        Err(Error::unsupported("delete_many"))
    }
    async fn redirect_url(&self, _: &CallContext, _: &RedirectRequest) -> Result<Option<String>> {
        Ok(None)
    }
    async fn health(&self, _: &CallContext) -> Result<()> {
        Ok(())
    }
}
