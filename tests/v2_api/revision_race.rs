//! A push and a deletion of the same manifest that meet.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use docker_registry::http::v2::Limits;
use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Condition, Description, Driver, ETag, Error, HostServices,
    ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading, RedirectRequest,
    Result, Settings, Stat, UploadHint, UploadPage, UploadProgress, UploadState, async_trait,
    futures::{FutureExt, future, future::BoxFuture},
};
use tokio::{sync::oneshot, time::timeout};

use crate::registry::{OCI_MANIFEST, REPOSITORIES, Registry, sha256};

/// What happens before a deletion. An error takes its place.
type Before = BoxFuture<'static, Result<()>>;

/// A driver between the registry and the real one, which can be made to do something else before it
/// deletes.
pub(crate) struct Interposed {
    inner: Arc<dyn Driver>,
    before: Mutex<Option<(String, Before)>>,
}

impl Interposed {
    pub(crate) fn over(inner: Arc<dyn Driver>) -> Arc<Self> {
        Arc::new(Self { inner, before: Mutex::new(None) })
    }

    /// Lets something happen before the first deletion of the object or folder at `path`.
    pub(crate) fn before_deleting(&self, path: &str, before: Before) {
        *self.before.lock().unwrap() = Some((path.to_owned(), before));
    }

    async fn before(&self, path: &str) -> Result<()> {
        let before = self.before.lock().unwrap().take_if(|(awaited, _)| awaited == path);
        match before {
            Some((_, before)) => before.await,
            None => Ok(()),
        }
    }
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
        self.inner.get(call, path, max_size).await
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.inner.put(call, path, content, condition).await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.inner.head(call, path).await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.inner.stat(call, path).await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        self.inner.read(call, path, range).await
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.inner.list(call, request).await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        self.inner.open_upload(call, hint).await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.inner.append(call, state, expected_offset, body).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.inner.commit(call, state, final_path, condition).await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.inner.abort(call, state).await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.inner.list_uploads(call, older_than, after, limit).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.inner.copy(call, from, to).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.inner.rename(call, from, to).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.before(path.as_str()).await?;
        self.inner.delete(call, path).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        self.inner.delete_many(call, paths).await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.before(prefix.as_str()).await?;
        self.inner.delete_tree(call, prefix).await
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        self.inner.redirect_url(call, request).await
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.inner.health(call).await
    }
}

/// The deletion has taken the tags and is about to take the link when the same manifest is pushed under
/// another tag. Time stands still while anything can go on, so that "a second" is: until all wait.
#[tokio::test(start_paused = true)]
async fn a_tag_that_is_pushed_while_its_manifest_is_deleted_leads_somewhere() {
    for reference in ["old", "new"] {
        let driver = Interposed::over(Registry::on_memory().await.storage);
        let registry = Registry::on(driver.clone(), Limits::default());
        let manifest = registry.push_image("app", "old", b"layer").await;
        let digest = sha256(&manifest);
        let (_, hex) = digest.split_once(':').unwrap();
        let (reached, deleting) = oneshot::channel();
        let (go_on, release) = oneshot::channel::<()>();
        let pause = async move {
            reached.send(()).unwrap();
            release.await.unwrap();
            Ok(())
        };
        let link = format!("{REPOSITORIES}/app/_manifests/revisions/sha256/{hex}/link");
        driver.before_deleting(&link, pause.boxed());
        let path = format!("/v2/app/manifests/{digest}");
        let push = async {
            deleting.await.unwrap();
            let mut push = Box::pin(registry.put_manifest("app", reference, OCI_MANIFEST, &manifest));
            let early = timeout(Duration::from_secs(1), &mut push).await;
            go_on.send(()).unwrap();
            match early {
                Ok(answer) => answer,
                Err(_) => push.await,
            }
        };
        let (deleted, pushed) = future::join(registry.delete(&path), push).await;
        deleted.expect(202);
        pushed.expect(201);
        let found = registry.get(&format!("/v2/app/manifests/{reference}")).await.expect(200);
        assert_eq!(found.body, manifest);
        registry.get(&path).await.expect(200);
    }
}
