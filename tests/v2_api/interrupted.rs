//! A storage that stops working between any two of its calls.
//!
//! To the store it makes no difference whether the server died or the storage did. So each change is cut
//! off after its first write, after its second, and so on, and after each cut another server looks at
//! what is there: it finds the old state or the new one, and can do the change.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use docker_registry::http::v2::Limits;
use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Condition, Description, Driver, ETag, Error, ErrorKind,
    HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading,
    RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress, UploadState,
    async_trait,
};
use serde_json::json;

use crate::registry::{OCI_MANIFEST, Registry, ask, content, image, sha256, sha512};

/// A driver that does a number of writes and then fails at everything, or that fails at one write.
pub(crate) struct Interrupted {
    inner: Arc<dyn Driver>,
    writes_left: AtomicU64,
    /// The method that fails the next time it is called.
    full_at: Mutex<Option<&'static str>>,
}

impl Interrupted {
    fn after(writes: u64, inner: Arc<dyn Driver>) -> Self {
        Self { inner, writes_left: AtomicU64::new(writes), full_at: Mutex::new(None) }
    }

    /// A driver that fails once, in `method`, and works before and afterwards.
    pub(crate) fn once_at(method: &'static str, inner: Arc<dyn Driver>) -> Self {
        Self { full_at: Mutex::new(Some(method)), ..Self::after(u64::MAX, inner) }
    }

    fn write(&self, method: &str) -> Result<()> {
        if self.full_at.lock().unwrap().take_if(|full_at| *full_at == method).is_some() {
            return Err(Error::new(ErrorKind::StorageFull, "the storage is full"));
        }
        self.writes_left
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .map(|_| ())
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the storage is gone"))
    }

    fn read(&self) -> Result<&dyn Driver> {
        if self.writes_left.load(Ordering::SeqCst) == 0 {
            return Err(Error::new(ErrorKind::Unavailable, "the storage is gone"));
        }
        Ok(&*self.inner)
    }
}

#[async_trait]
impl Driver for Interrupted {
    fn describe() -> Description {
        Description { summary: String::new(), licence: String::new(), keys: Vec::new() }
    }

    async fn open(_: Settings, _: HostServices) -> Result<Self> {
        Err(Error::unsupported("open"))
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        self.read()?.get(call, path, max_size).await
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.write("put")?;
        self.inner.put(call, path, content, condition).await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.read()?.head(call, path).await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.read()?.stat(call, path).await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        Interrupted::read(self)?.read(call, path, range).await
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.read()?.list(call, request).await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        self.write("open_upload")?;
        self.inner.open_upload(call, hint).await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.write("append")?;
        self.inner.append(call, state, expected_offset, body).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.write("commit")?;
        self.inner.commit(call, state, final_path, condition).await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.write("abort")?;
        self.inner.abort(call, state).await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.read()?.list_uploads(call, older_than, after, limit).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.write("copy")?;
        self.inner.copy(call, from, to).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.write("rename")?;
        self.inner.rename(call, from, to).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.write("delete")?;
        self.inner.delete(call, path).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        self.write("delete_many")?;
        self.inner.delete_many(call, paths).await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.write("delete_tree")?;
        self.inner.delete_tree(call, prefix).await
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        self.read()?.redirect_url(call, request).await
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.read()?.health(call).await
    }
}

/// Runs `change` on stores that `prepare` made, cut off after 0, 1, 2… writes, until it gets through.
/// After each cut `check` looks at the store, and is told whether the change was acknowledged.
async fn cut_everywhere(
    prepare: impl AsyncFn(&Registry),
    change: impl AsyncFn(&Registry) -> bool,
    check: impl AsyncFn(&Registry, bool),
) {
    for writes in 0.. {
        let whole = Registry::on_memory().await;
        prepare(&whole).await;
        let cut = Arc::new(Interrupted::after(writes, whole.storage.clone()));
        let done = change(&Registry::on(cut.clone(), Limits::default())).await;
        check(&whole, done).await;
        if done && cut.writes_left.load(Ordering::SeqCst) > 0 {
            assert!(writes > 2, "the change was hardly cut");
            return;
        }
        assert!(writes < 100, "the change never gets through");
    }
}

/// What must hold in every state: what is listed can be had, whole.
async fn assert_sound(registry: &Registry) {
    let catalog = registry.get("/v2/_catalog").await.expect(200).json();
    for name in catalog["repositories"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        let tags = registry.get(&format!("/v2/{name}/tags/list")).await.expect(200).json();
        for tag in tags["tags"].as_array().unwrap() {
            let path = format!("/v2/{name}/manifests/{}", tag.as_str().unwrap());
            let manifest = registry.get(&path).await.expect(200);
            assert_eq!(sha256(&manifest.body), manifest.header("docker-content-digest"));
            let manifest = manifest.json();
            let layers = manifest["layers"].as_array().unwrap();
            for part in layers.iter().chain([&manifest["config"]]) {
                let digest = part["digest"].as_str().unwrap();
                let blob = registry.get(&format!("/v2/{name}/blobs/{digest}")).await.expect(200);
                assert_eq!(sha256(&blob.body), digest);
            }
        }
    }
}

#[tokio::test]
async fn a_push_that_is_cut_off_shows_nothing_half_done_and_can_be_repeated() {
    let manifest = image(OCI_MANIFEST, &sha256(b"{}"), &[&sha256(b"layer")]);
    let push = async |registry: &Registry| {
        let digest = sha256(b"{}");
        let config = format!("/v2/app/blobs/uploads/?digest={digest}");
        if registry.ask(ask("POST", &config).body(b"{}")).await.status != 201 {
            return false;
        }
        let begun = registry.ask(ask("POST", "/v2/app/blobs/uploads/")).await;
        let Some(location) = begun.headers.get("location") else { return false };
        let location = location.to_str().unwrap();
        if registry.ask(ask("PATCH", location).body(b"lay")).await.status != 202 {
            return false;
        }
        let end = format!("{location}?digest={}", sha256(b"layer"));
        registry.ask(ask("PUT", &end).body(b"er")).await.status == 201
            && registry.put_manifest("app", "v1", OCI_MANIFEST, &manifest).await.status == 201
    };
    let nothing = async |_: &Registry| {};
    cut_everywhere(nothing, push, async |registry, done| {
        assert_sound(registry).await;
        if done {
            assert_eq!(registry.get("/v2/app/manifests/v1").await.expect(200).body, manifest);
        }
        assert!(push(registry).await, "the push cannot be repeated");
        assert_eq!(registry.get("/v2/app/manifests/v1").await.expect(200).body, manifest);
        assert_sound(registry).await;
    })
    .await;
}

#[tokio::test]
async fn an_upload_hashed_again_that_is_cut_off_shows_nothing_half_done() {
    let content = content(5, LARGE);
    let digest = sha512(&content);
    let upload = async |registry: &Registry| {
        let begun = registry.ask(ask("POST", "/v2/app/blobs/uploads/")).await;
        let Some(location) = begun.headers.get("location") else { return false };
        let location = location.to_str().unwrap();
        registry.ask(ask("PATCH", location).body(&content)).await.status == 202
            && registry.ask(ask("PUT", &format!("{location}?digest={digest}"))).await.status == 201
    };
    let nothing = async |_: &Registry| {};
    cut_everywhere(nothing, upload, async |registry, done| {
        let blob = registry.get(&format!("/v2/app/blobs/{digest}")).await;
        match done {
            true => assert!(blob.expect(200).body == content),
            false => assert!(blob.status == 404 || blob.body == content, "other content"),
        }
        assert!(upload(registry).await, "the upload cannot be repeated");
    })
    .await;
}

#[tokio::test]
async fn a_tag_that_is_moved_while_the_storage_stops_is_the_old_or_the_new() {
    let old = image(OCI_MANIFEST, &sha256(b"{}"), &[]);
    let new = image(OCI_MANIFEST, &sha256(b"{}"), &[&sha256(b"layer")]);
    let prepare = async |registry: &Registry| {
        registry.push_blob("app", b"layer").await;
        registry.push_blob("app", b"{}").await;
        registry.put_manifest("app", "v1", OCI_MANIFEST, &old).await.expect(201);
    };
    let change = async |registry: &Registry| {
        registry.put_manifest("app", "v1", OCI_MANIFEST, &new).await.status == 201
    };
    cut_everywhere(prepare, change, async |registry, done| {
        assert_sound(registry).await;
        let now = registry.get("/v2/app/manifests/v1").await.expect(200).body;
        assert!(now == new || (!done && now == old));
    })
    .await;
}

#[tokio::test]
async fn a_deletion_that_is_cut_off_leaves_tags_that_work_or_none() {
    let manifest = image(OCI_MANIFEST, &sha256(b"{}"), &[]);
    let path = format!("/v2/app/manifests/{}", sha256(&manifest));
    let prepare = async |registry: &Registry| {
        registry.push_blob("app", b"{}").await;
        for tag in ["v1", "v2", "v3"] {
            registry.put_manifest("app", tag, OCI_MANIFEST, &manifest).await.expect(201);
        }
    };
    let change = async |registry: &Registry| registry.delete(&path).await.status == 202;
    cut_everywhere(prepare, change, async |registry, done| {
        assert_sound(registry).await;
        let again = registry.delete(&path).await.status;
        assert_eq!(again, if done { 404 } else { 202 });
        let tags = registry.get("/v2/app/tags/list").await.expect(200);
        assert_eq!(tags.json()["tags"], json!([]));
    })
    .await;
}

/// So much that the content is an upload of the driver's by then.
const LARGE: usize = 1_100_000;

#[tokio::test]
async fn a_last_request_that_the_storage_refuses_can_be_repeated() {
    let content = content(1, LARGE + 4);
    let (begin, end) = content.split_at(LARGE);
    // The hash of the one digest is at hand, the content is read again for the other.
    for digest in [sha256(&content), sha512(&content)] {
        let whole = Registry::on_memory().await;
        let location = whole.start_upload("app").await;
        whole.ask(ask("PATCH", &location).body(begin)).await.expect(202);
        let full = Interrupted::once_at("commit", whole.storage.clone());
        let full = Registry::on(Arc::new(full), Limits::default());
        let target = format!("{location}?digest={digest}");
        let last = || ask("PUT", &target).header("content-range", "1100000-1100003").body(end);
        assert!(full.ask(last()).await.status >= 500);
        // The bytes are there, so the same chunk does not fit any more, and the client learns why.
        assert_eq!(full.get(&location).await.expect(204).header("range"), "0-1100003");
        full.ask(last()).await.expect_error(416, "RANGE_INVALID");
        full.ask(ask("PUT", &target)).await.expect(201);
        assert_eq!(whole.get(&format!("/v2/app/blobs/{digest}")).await.expect(200).body, content);
        whole.assert_no_upload_is_left().await;
    }
}

#[tokio::test]
async fn a_last_request_of_small_content_that_the_storage_refuses_makes_no_blob_and_can_be_repeated() {
    for digest in [sha256(b"content"), sha512(b"content")] {
        let whole = Registry::on_memory().await;
        let location = whole.start_upload("app").await;
        whole.ask(ask("PATCH", &location).body(b"con")).await.expect(202);
        let full = Interrupted::once_at("put", whole.storage.clone());
        let full = Registry::on(Arc::new(full), Limits::default());
        let target = format!("{location}?digest={digest}");
        let last = || ask("PUT", &target).header("content-range", "3-6").body(b"tent");
        assert!(full.ask(last()).await.status >= 500);
        assert_eq!(full.get(&location).await.expect(204).header("range"), "0-2");
        let blob = format!("/v2/app/blobs/{digest}");
        for method in ["HEAD", "GET"] {
            assert_eq!(
                full.ask(ask(method, &blob)).await.status,
                404,
                "the link may be there, and leads nowhere"
            );
        }
        full.ask(last()).await.expect(201);
        assert_eq!(whole.get(&blob).await.expect(200).body, "content");
        whole.assert_no_upload_is_left().await;
    }
}

#[tokio::test]
async fn a_whole_blob_that_the_storage_refuses_can_be_sent_again() {
    for (content, method) in [(content(2, 7), "put"), (content(3, LARGE), "commit")] {
        let whole = Registry::on_memory().await;
        let location = whole.start_upload("app").await;
        let full = Interrupted::once_at(method, whole.storage.clone());
        let full = Registry::on(Arc::new(full), Limits::default());
        let put = || ask("PUT", &format!("{location}?digest={}", sha256(&content))).body(&content);
        assert!(full.ask(put()).await.status >= 500);
        full.ask(put()).await.expect(201);
        whole.assert_no_upload_is_left().await;
    }
}

/// The driver has gone on and the record has not: no client could ever add to such an upload.
#[tokio::test]
async fn an_upload_whose_record_is_behind_the_storage_is_unknown() {
    let content = content(4, LARGE + 4);
    let (begin, end) = content.split_at(LARGE);
    let whole = Registry::on_memory().await;
    let location = whole.start_upload("app").await;
    whole.ask(ask("PATCH", &location).body(begin)).await.expect(202);
    let cut = Interrupted::after(1, whole.storage.clone());
    let cut = Registry::on(Arc::new(cut), Limits::default());
    cut.ask(ask("PATCH", &location).body(&end[..2])).await.expect_error(503, "UNAVAILABLE");
    let target = format!("{location}?digest={}", sha256(&content));
    for again in [ask("PATCH", &location).body(&end[..2]), ask("PUT", &target).body(end)] {
        whole.ask(again).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    }
    let target = format!("{location}?digest={}", sha256(begin));
    whole.ask(ask("PUT", &target)).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    assert_eq!(whole.push_blob("app", &content).await, sha256(&content));
}

/// Small content is in the record, and so it is never behind.
#[tokio::test]
async fn a_small_chunk_that_the_storage_refuses_can_be_sent_again() {
    let whole = Registry::on_memory().await;
    let location = whole.start_upload("app").await;
    whole.ask(ask("PATCH", &location).body(b"con")).await.expect(202);
    let full = Registry::on(Arc::new(Interrupted::once_at("put", whole.storage.clone())), Limits::default());
    assert!(full.ask(ask("PATCH", &location).body(b"tent")).await.status >= 500);
    assert_eq!(full.get(&location).await.expect(204).header("range"), "0-2");
    full.ask(ask("PATCH", &location).body(b"tent")).await.expect(202);
    whole.ask(ask("PUT", &format!("{location}?digest={}", sha256(b"content")))).await.expect(201);
}

/// A storage that fails is an answer that says so, and never a panic or a broken connection.
#[tokio::test]
async fn a_storage_that_is_away_is_an_error_that_asks_to_come_again() {
    let inner = Registry::on_memory().await.storage;
    let registry = Registry::on(Arc::new(Interrupted::after(0, inner)), Limits::default());
    let digest = sha256(b"x");
    let upload = "/v2/app/blobs/uploads/6a7d5f4e-3c5b-4f0a-9f57-111111111111";
    for (method, path) in [
        ("GET", "/v2/_catalog"),
        ("GET", "/v2/app/tags/list"),
        ("GET", "/v2/app/manifests/v1"),
        ("DELETE", "/v2/app/manifests/v1"),
        ("GET", &format!("/v2/app/blobs/{digest}")),
        ("DELETE", &format!("/v2/app/blobs/{digest}")),
        ("POST", &format!("/v2/app/blobs/uploads/?digest={digest}")),
        ("POST", &format!("/v2/app/blobs/uploads/?mount={digest}&from=other")),
        ("GET", upload),
        ("PATCH", upload),
        ("PUT", &format!("{upload}?digest={digest}")),
        ("DELETE", upload),
    ] {
        let answer = registry.ask(ask(method, path).body(b"x")).await.expect_error(503, "UNAVAILABLE");
        assert_eq!(answer.header("retry-after"), "5", "{method} {path}");
    }
    // It begins in the location that the client gets.
    registry.start_upload("app").await;
    let manifest = image(OCI_MANIFEST, &digest, &[]);
    let put = registry.put_manifest("app", "v1", OCI_MANIFEST, &manifest).await;
    put.expect_error(503, "UNAVAILABLE");
}
