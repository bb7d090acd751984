//! The driver in memory, with reads that are counted and calls that wait where a test wants them to.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use docker_registry_driver_api::{
    CallContext, Condition, Driver, ETag, Error, HostServices, Object, ObjectPath, Result, Settings,
    SharedDriver, async_trait,
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};
use docker_registry_driver_memory::MemoryDriver;
use futures::FutureExt;
use tokio::sync::Semaphore;

/// Shared by the replicas of a test.
pub(crate) struct Storage {
    driver: SharedDriver,
    reads: Mutex<HashMap<String, usize>>,
    gates: Mutex<HashMap<(Step, String), Arc<Gate>>>,
    failure: Mutex<Option<Error>>,
    /// Calls of `get` that have begun and neither returned nor been given up.
    reading: AtomicUsize,
}

impl Default for Storage {
    fn default() -> Self {
        let opened = MemoryDriver::open(Settings::default(), HostServices::default());
        let driver = opened.now_or_never().expect("memory answers at once").expect("it opens");
        Self {
            driver: Arc::new(driver),
            reads: Mutex::default(),
            gates: Mutex::default(),
            failure: Mutex::default(),
            reading: AtomicUsize::new(0),
        }
    }
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
        let (call, content) = (CallContext::default(), Bytes::from_static(content.as_bytes()));
        let path = ObjectPath::new(path).expect("a valid path");
        let put = self.driver.put(&call, &path, content, &Condition::Always).now_or_never();
        put.expect("memory answers at once").expect("it takes the content");
    }

    /// The storage as a driver.
    pub(crate) fn shared(self: &Arc<Self>) -> SharedDriver {
        Forwarding::shared(Gated(Arc::clone(self)))
    }

    /// How many reads are under way.
    pub(crate) fn reading(&self) -> usize {
        self.reading.load(SeqCst)
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
}

/// See [`Storage::shared`].
struct Gated(Arc<Storage>);

#[async_trait]
impl Forward for Gated {
    fn inner(&self) -> &SharedDriver {
        &self.0.driver
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        *self.0.reads.lock().unwrap().entry(path.to_string()).or_default() += 1;
        let _counted = Counted::begin(&self.0.reading);
        let object = self.inner().get(call, path, max_size).await;
        self.0.pass(Step::Read, path).await;
        object
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.0.pass(Step::BeforePut, path).await;
        if let Some(error) = self.0.failure.lock().unwrap().take() {
            return Err(error);
        }
        let put = self.inner().put(call, path, content, condition).await;
        self.0.pass(Step::AfterPut, path).await;
        put
    }
}

/// Counts a call until it ends, however that is.
struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
