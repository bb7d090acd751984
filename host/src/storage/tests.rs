//! What the decorators do, around a driver that does as its paths say.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Capabilities, Capability, Condition, Description, Driver, ETag, Error,
    ErrorKind, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
    Reading, ReadingBody, RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress,
    UploadState, async_trait, byte_stream,
};
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;

use super::decorate;

pub(super) const DEADLINE: Duration = Duration::from_secs(10);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// A driver that hangs, waits or answers; everything that no test asks for is unsupported.
pub(super) struct Scripted {
    pub(super) running: AtomicUsize,
    pub(super) most: AtomicUsize,
    pub(super) go: Semaphore,
    /// How many calls about `flaky` paths fail from now on.
    pub(super) failures: AtomicUsize,
    /// The paths of the calls that came, in their order.
    pub(super) calls: Mutex<Vec<String>>,
}

impl Scripted {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            running: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            go: Semaphore::new(0),
            failures: AtomicUsize::new(0),
            calls: Mutex::default(),
        })
    }

    async fn act(&self, path: &ObjectPath) -> Result<()> {
        self.calls.lock().unwrap().push(path.to_string());
        match path.as_str() {
            "hang" => std::future::pending().await,
            flaky if flaky.starts_with("flaky") => {
                let left = self.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
                let error = || Error::new(ErrorKind::Unavailable, "busy");
                match (flaky, left) {
                    (_, Err(_)) => Ok(()),
                    ("flaky/unknown", _) => Err(error().outcome_unknown()),
                    ("flaky/for good", _) => Err(error().retryable(false)),
                    ("flaky/later", _) => Err(Error { retry_after: Some(HOUR), ..error() }),
                    _ => Err(error()),
                }
            }
            wait if wait.starts_with("wait") => {
                let running = self.running.fetch_add(1, SeqCst) + 1;
                self.most.fetch_max(running, SeqCst);
                self.go.acquire().await.unwrap().forget();
                self.running.fetch_sub(1, SeqCst);
                Ok(())
            }
            _ => Err(Error::not_found(path)),
        }
    }
}

fn info() -> ObjectInfo {
    ObjectInfo { size: 0, modified: None, etag: None }
}

#[async_trait]
impl Driver for Scripted {
    fn describe() -> Description {
        Description { summary: String::new(), licence: String::new(), keys: Vec::new() }
    }
    async fn open(_: Settings, _: HostServices) -> Result<Self> {
        Err(Error::unsupported("open"))
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE.with(Capability::CheapRename)
    }
    async fn get(&self, _: &CallContext, path: &ObjectPath, _: u64) -> Result<Object> {
        self.act(path).await.map(|()| Object { content: Bytes::new(), info: info() })
    }
    async fn put(&self, _: &CallContext, path: &ObjectPath, _: Bytes, _: &Condition) -> Result<Option<ETag>> {
        self.act(path).await.map(|()| None)
    }
    async fn head(&self, call: &CallContext, _: &ObjectPath) -> Result<ObjectInfo> {
        // The time left, as the size.
        Ok(ObjectInfo { size: call.remaining().unwrap().as_secs(), ..info() })
    }
    async fn stat(&self, _: &CallContext, _: &Prefix) -> Result<Stat> {
        Err(Error::unsupported("stat"))
    }
    async fn read(&self, call: &CallContext, path: &ObjectPath, _: ReadRange) -> Result<Reading> {
        assert_eq!(call.deadline, None, "a stream has no deadline as a whole");
        let pace = if path.as_str() == "slow" { DEADLINE / 2 } else { DEADLINE * 2 };
        let chunks = stream::iter(0..4).then(move |_| async move {
            tokio::time::sleep(pace).await;
            Ok(Bytes::from("x"))
        });
        let body = ReadingBody::Stream(chunks.boxed());
        Ok(Reading { total_size: 4, offset: 0, length: 4, etag: None, body })
    }
    async fn list(&self, _: &CallContext, _: &ListRequest) -> Result<ListPage> {
        Err(Error::unsupported("list"))
    }
    async fn open_upload(&self, _: &CallContext, _: &UploadHint) -> Result<UploadState> {
        UploadState::new(*b"take")
    }
    /// Takes the body and then works for as many seconds as the state says. For `hang` it takes nothing,
    /// for `prepare` it works before. For `look away` it asks for the body once and then waits for its
    /// storage for ever; for `let go` it also drops the body.
    async fn append(
        &self,
        _: &CallContext,
        state: &UploadState,
        _: u64,
        mut body: ByteStream,
    ) -> Result<UploadProgress> {
        match state.as_bytes() {
            b"hang" => std::future::pending().await,
            b"prepare" => tokio::time::sleep(DEADLINE * 3).await,
            b"look away" => {
                assert!(futures::poll!(body.next()).is_pending());
                std::future::pending().await
            }
            b"let go" => {
                assert!(futures::poll!(body.next()).is_pending());
                drop(body);
                return std::future::pending().await;
            }
            _ => {}
        }
        let mut offset = 0;
        while let Some(chunk) = body.next().await {
            offset += chunk?.len() as u64;
        }
        let work = std::str::from_utf8(state.as_bytes()).unwrap().parse().unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(work)).await;
        Ok(UploadProgress { state: state.clone(), offset })
    }
    async fn commit(
        &self,
        _: &CallContext,
        _: &UploadState,
        path: &ObjectPath,
        _: &Condition,
    ) -> Result<ObjectInfo> {
        self.act(path).await.map(|()| info())
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
    async fn delete(&self, _: &CallContext, _: &ObjectPath) -> Result<()> {
        Err(Error::unsupported("delete"))
    }
    async fn delete_many(&self, _: &CallContext, _: &[ObjectPath]) -> Result<Vec<(ObjectPath, Error)>> {
        Err(Error::unsupported("delete_many"))
    }
    async fn delete_tree(&self, _: &CallContext, _: &Prefix) -> Result<u64> {
        Err(Error::unsupported("delete_tree"))
    }
    async fn redirect_url(&self, _: &CallContext, _: &RedirectRequest) -> Result<Option<String>> {
        Err(Error::unsupported("redirect_url"))
    }
    async fn health(&self, _: &CallContext) -> Result<()> {
        Ok(())
    }
}

pub(super) fn path(path: &str) -> ObjectPath {
    ObjectPath::new(path).unwrap()
}

pub(super) fn state(state: &str) -> UploadState {
    UploadState::new(state).unwrap()
}

#[tokio::test]
async fn every_method_reaches_the_same_method_of_the_driver() {
    let storage = decorate(Scripted::new(), "scripted", 4, DEADLINE);
    let call = CallContext::default();
    let (a, root) = (path("a"), Prefix::root());
    assert!(storage.capabilities().has(Capability::CheapRename));
    assert!(storage.get(&call, &a, 1).await.unwrap_err().is_not_found());
    assert_eq!(storage.open_upload(&call, &UploadHint::default()).await.unwrap(), state("take"));
    storage.health(&call).await.unwrap();
    let redirect = RedirectRequest {
        path: a.clone(),
        method: "GET".to_owned(),
        expires: HOUR,
        response_headers: Vec::new(),
    };
    let errors = [
        ("stat", storage.stat(&call, &root).await.err()),
        ("list", storage.list(&call, &ListRequest::children(root.clone())).await.err()),
        ("abort", storage.abort(&call, &state("take")).await.err()),
        ("list_uploads", storage.list_uploads(&call, SystemTime::UNIX_EPOCH, None, 1).await.err()),
        ("copy", storage.copy(&call, &a, &a).await.err()),
        ("rename", storage.rename(&call, &a, &a).await.err()),
        ("delete", storage.delete(&call, &a).await.err()),
        ("delete_many", storage.delete_many(&call, &[]).await.err()),
        ("delete_tree", storage.delete_tree(&call, &root).await.err()),
        ("redirect_url", storage.redirect_url(&call, &redirect).await.err()),
    ];
    for (method, error) in errors {
        assert_eq!(error.unwrap().operation, method);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_times_out_and_a_write_may_have_happened() {
    let storage = decorate(Scripted::new(), "scripted", 4, DEADLINE);
    let call = CallContext::default();
    let error = storage.get(&call, &path("hang"), 1).await.unwrap_err();
    assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Timeout, false));
    let error = storage.put(&call, &path("hang"), Bytes::new(), &Condition::Always).await.unwrap_err();
    assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Timeout, true));
    let commit = storage.commit(&call, &state("take"), &path("hang"), &Condition::Always).await;
    assert!(commit.unwrap_err().outcome_unknown);
}

#[tokio::test]
async fn the_driver_is_told_the_earlier_of_both_deadlines() {
    let storage = decorate(Scripted::new(), "scripted", 4, DEADLINE);
    let own = storage.head(&CallContext::default(), &path("a")).await.unwrap().size;
    assert!((DEADLINE.as_secs() - 1..=DEADLINE.as_secs()).contains(&own));
    let earlier = CallContext::with_timeout(Duration::from_secs(3));
    assert!(storage.head(&earlier, &path("a")).await.unwrap().size <= 3);
    let later = CallContext::with_timeout(HOUR);
    assert!(storage.head(&later, &path("a")).await.unwrap().size <= DEADLINE.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_object_may_take_long_as_a_whole_but_not_for_one_chunk() {
    let storage = decorate(Scripted::new(), "scripted", 4, DEADLINE);
    let read = async |name| {
        let reading = storage.read(&CallContext::default(), &path(name), ReadRange::Full).await.unwrap();
        let ReadingBody::Stream(stream) = reading.body else { panic!("a stream") };
        stream.collect::<Vec<_>>().await
    };
    assert_eq!(read("slow").await.into_iter().filter(Result::is_ok).count(), 4);
    let broken = read("too slow").await;
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0].as_ref().unwrap_err().kind, ErrorKind::Timeout);
}

#[tokio::test(start_paused = true)]
async fn an_upload_may_wait_for_its_client_but_the_storage_must_move() {
    let storage = decorate(Scripted::new(), "scripted", 4, DEADLINE);
    let call = CallContext::default();
    let slow_client = stream::iter(0..3).then(|_| async {
        tokio::time::sleep(HOUR).await;
        Ok(Bytes::from("x"))
    });
    assert_eq!(storage.append(&call, &state("take"), 0, slow_client.boxed()).await.unwrap().offset, 3);
    let body = || byte_stream([Bytes::from("xy")]);
    assert_eq!(
        storage.append(&call, &state("100"), 0, body()).await.unwrap().offset,
        2,
        "syncing takes time"
    );
    let prepared = storage.append(&call, &state("prepare"), 0, body()).await;
    assert_eq!(prepared.unwrap().offset, 2, "so does what comes before the first byte");
    for stuck in ["hang", "1000"] {
        let error = storage.append(&call, &state(stuck), 0, body()).await.unwrap_err();
        assert_eq!((error.kind, error.outcome_unknown), (ErrorKind::Timeout, true), "{stuck}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_stands_still_is_found_out_while_the_body_is_pending() {
    let storage = decorate(Scripted::new(), "scripted", 4, DEADLINE);
    let call = CallContext::default();
    let begun = tokio::time::Instant::now();
    for (stuck, earliest) in [("look away", HOUR), ("let go", Duration::ZERO)] {
        let late_client = stream::once(async {
            tokio::time::sleep(HOUR).await;
            Ok(Bytes::from("x"))
        });
        let state = state(stuck);
        let append = storage.append(&call, &state, 0, late_client.boxed());
        let error = tokio::time::timeout(HOUR * 9, append).await.expect(stuck).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout, "{stuck}");
        assert!(begun.elapsed() >= earliest, "{stuck}: the client had not come back");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_ends_at_the_deadline_of_its_caller() {
    let storage = decorate(Scripted::new(), "scripted", 4, DEADLINE);
    let call = CallContext::with_timeout(Duration::from_secs(3));
    let begun = tokio::time::Instant::now();
    let state = state("take");
    let append = storage.append(&call, &state, 0, stream::pending().boxed());
    let error = tokio::time::timeout(HOUR, append).await.unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
    assert!(begun.elapsed() < DEADLINE, "the clock of the test is the runtime's");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_answers_is_counted_as_failed() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let storage = decorate(Scripted::new(), "scripted", 4, DEADLINE);
    let call = CallContext::default();
    let (hang, absent) = (path("hang"), path("absent"));
    storage.get(&call, &hang, 1).await.unwrap_err();
    let put = storage.put(&call, &hang, Bytes::new(), &Condition::Always);
    tokio::time::timeout(DEADLINE / 2, put).await.expect_err("it hangs");
    storage.get(&call, &absent, 1).await.unwrap_err();
    let mut failures: Vec<_> = recorder.handle().render().lines().map(str::to_owned).collect();
    failures.retain(|line| line.starts_with("registry_storage_errors_total"));
    failures.sort_unstable();
    assert_eq!(failures.len(), 2, "an answer is no failure: {failures:?}");
    for (failure, (action, kind)) in failures.iter().zip([("get", "timeout"), ("put", "dropped")]) {
        assert!(failure.contains(&format!("action=\"{action}\"")), "{failure}");
        assert!(failure.contains(&format!("kind=\"{kind}\"")) && failure.ends_with(" 1"), "{failure}");
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_so_many_calls_run_at_once_and_uploads_and_health_do_not_wait() {
    let driver = Scripted::new();
    // A quarter of the turns is kept for writes.
    let storage = decorate(Arc::clone(&driver) as _, "scripted", 4, HOUR);
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { storage.get(&CallContext::default(), &path("wait"), 1).await })
        })
        .collect();
    while driver.running.load(SeqCst) < 3 {
        tokio::task::yield_now().await;
    }
    let call = CallContext::default();
    storage.health(&call).await.unwrap();
    storage.append(&call, &state("take"), 0, byte_stream([])).await.unwrap();
    driver.go.add_permits(10);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(driver.most.load(SeqCst), 3);
}
