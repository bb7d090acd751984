//! How often the storage is asked for each request of a client.
//!
//! On an object store every one of these calls is at least one round trip, and `open_upload` is none. What the
//! requests cost there, parts not counted, is asserted by `tests/object_stores`.

use std::sync::{Arc, Mutex};

use docker_registry::http::v2::Limits;
use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capability, Condition, ETag, Error, ListPage, ListRequest, Object,
    ObjectInfo, ObjectPath, Prefix, ReadRange, Reading, Result, SharedDriver, Stat, UploadHint,
    UploadProgress, UploadState, async_trait,
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};

use crate::registry::{Answer, Ask, OCI_MANIFEST, Registry, Without, ask, content, image, sha256};

/// A driver that notes the names of its calls.
struct Noting {
    inner: SharedDriver,
    calls: Arc<Mutex<Vec<&'static str>>>,
}

macro_rules! noting {
    ($($method:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        #[async_trait]
        impl Forward for Noting {
            fn inner(&self) -> &SharedDriver {
                &self.inner
            }

            $(async fn $method(&self, call: &CallContext, $($argument: $type),*) -> Result<$answer> {
                self.calls.lock().unwrap().push(stringify!($method));
                self.inner.$method(call, $($argument),*).await
            })+
        }
    };
}

noting! {
    get(path: &ObjectPath, max_size: u64) -> Object;
    put(path: &ObjectPath, content: Bytes, condition: &Condition) -> Option<ETag>;
    head(path: &ObjectPath) -> ObjectInfo;
    stat(path: &Prefix) -> Stat;
    read(path: &ObjectPath, range: ReadRange) -> Reading;
    list(request: &ListRequest) -> ListPage;
    open_upload(hint: &UploadHint) -> UploadState;
    append(state: &UploadState, expected_offset: u64, body: ByteStream) -> UploadProgress;
    commit(state: &UploadState, final_path: &ObjectPath, condition: &Condition) -> ObjectInfo;
    abort(state: &UploadState) -> ();
    write(path: &ObjectPath, size: Option<u64>, body: ByteStream, condition: &Condition) -> ObjectInfo;
    copy(from: &ObjectPath, to: &ObjectPath) -> ();
    rename(from: &ObjectPath, to: &ObjectPath) -> ();
    delete(path: &ObjectPath) -> ();
    delete_many(paths: &[ObjectPath]) -> Vec<(ObjectPath, Error)>;
    delete_tree(prefix: &Prefix) -> u64;
}

/// A registry whose storage calls are noted.
struct Noted {
    registry: Registry,
    calls: Arc<Mutex<Vec<&'static str>>>,
    /// Keeps the folder of the storage.
    _beneath: Option<Registry>,
}

impl Noted {
    async fn new() -> Self {
        Self::over(Registry::on_memory().await.storage)
    }

    /// Where a rename costs nothing.
    async fn on_local() -> Self {
        let local = Registry::on_local().await;
        let noted = Self::over(local.storage.clone());
        Self { _beneath: Some(local), ..noted }
    }

    /// Where no write is conditional.
    async fn without_conditions() -> Self {
        let conditions = &[Capability::PutIfAbsent, Capability::PutIfMatch];
        Self::over(Forwarding::shared(Without(Registry::on_memory().await.storage, conditions)))
    }

    /// A server that knows nothing of what others did on the storage.
    fn over(storage: SharedDriver) -> Self {
        let calls = Arc::default();
        let driver = Forwarding::shared(Noting { inner: storage, calls: Arc::clone(&calls) });
        Self { registry: Registry::on(driver, Limits::default()), calls, _beneath: None }
    }

    /// Another server, and no call is noted yet.
    fn cold(&self) -> Self {
        Self::over(self.registry.storage.clone())
    }

    async fn ask(&self, ask: Ask, status: u16) -> Answer {
        self.registry.ask(ask).await.expect(status)
    }

    /// The calls since the last time, in the order of their beginning.
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// POST, PATCH and PUT as docker sends them. Returns the digest.
    async fn push_as_docker(&self, content: &[u8]) -> String {
        let digest = sha256(content);
        let begun = self.ask(ask("POST", "/v2/app/blobs/uploads/"), 202).await;
        let patch = ask("PATCH", begun.header("location"));
        let pieces: Vec<_> = content.chunks(30_000).map(Bytes::copy_from_slice).collect();
        let sent = self.ask(patch.stream(docker_registry_driver_api::byte_stream(pieces)), 202).await;
        let end = format!("{}?digest={digest}", sent.header("location"));
        self.ask(ask("PUT", &end).body(b""), 201).await;
        digest
    }

    async fn push_at_once(&self, content: &[u8]) -> String {
        self.registry.push_blob("app", content).await
    }

    async fn push_manifest(&self, config: &str, layer: &str) -> String {
        let manifest = image(OCI_MANIFEST, config, &[layer]);
        self.registry.put_manifest("app", "latest", OCI_MANIFEST, &manifest).await.expect(201);
        sha256(&manifest)
    }
}

const LARGE: usize = 3_000_000;

#[tokio::test]
async fn a_manifest_by_tag_is_three_calls_and_by_digest_two() {
    let noted = Noted::new().await;
    let (config, layer) = (noted.push_at_once(b"{}").await, noted.push_at_once(b"layer").await);
    let digest = noted.push_manifest(&config, &layer).await;
    for method in ["GET", "HEAD"] {
        let cold = noted.cold();
        cold.ask(ask(method, "/v2/app/manifests/latest"), 200).await;
        assert_eq!(cold.take(), ["get", "get", "get"], "{method}");
        cold.ask(ask(method, &format!("/v2/app/manifests/{digest}")), 200).await;
        assert_eq!(cold.take(), ["get", "get"], "{method}");
    }
}

#[tokio::test]
async fn a_blob_is_two_calls() {
    let noted = Noted::new().await;
    let layer = noted.push_at_once(b"layer").await;
    let cold = noted.cold();
    cold.ask(ask("HEAD", &format!("/v2/app/blobs/{layer}")), 200).await;
    assert_eq!(cold.take(), ["get", "head"]);
    cold.ask(ask("GET", &format!("/v2/app/blobs/{layer}")), 200).await;
    assert_eq!(cold.take(), ["get", "read"]);
}

#[tokio::test]
async fn a_blob_with_a_known_digest_is_written_at_its_place_and_linked() {
    let noted = Noted::new().await;
    for size in [7, LARGE] {
        noted.push_at_once(&content(1, size)).await;
        assert_eq!(noted.take(), ["write", "put"], "{size}");
    }
}

#[tokio::test]
async fn a_small_blob_as_docker_sends_it_is_four_calls_and_three_where_it_is_moved() {
    for size in [0, 7, 1 << 20] {
        for can_move in [true, false] {
            let noted = if can_move { Noted::on_local().await } else { Noted::new().await };
            noted.push_as_docker(&content(2, size)).await;
            match (size, can_move) {
                (0, _) => assert_eq!(noted.take(), ["put", "put"], "nothing came with the PATCH"),
                (1_048_576, true) => assert_eq!(noted.take(), ["put", "put", "rename"]),
                _ => assert_eq!(noted.take(), ["put", "put", "put", "delete"], "{size}"),
            }
        }
    }
}

#[tokio::test]
async fn a_large_blob_as_docker_sends_it_is_an_upload_and_three_calls() {
    let noted = Noted::new().await;
    noted.push_as_docker(&content(3, LARGE)).await;
    assert_eq!(noted.take(), ["open_upload", "append", "put", "commit", "put", "delete"]);
}

/// What this process remembers of an upload is as good as a condition, and saves a look.
#[tokio::test]
async fn storage_without_conditions_is_asked_no_more_often() {
    let noted = Noted::without_conditions().await;
    noted.push_as_docker(&content(2, 7)).await;
    assert_eq!(noted.take(), ["put", "put", "put", "delete"]);
    noted.push_as_docker(&content(3, LARGE)).await;
    assert_eq!(noted.take(), ["open_upload", "append", "put", "commit", "put", "delete"]);
}

#[tokio::test]
async fn content_in_the_last_request_is_written_at_its_place() {
    for (size, write) in [(7, "put"), (LARGE, "write")] {
        let noted = Noted::new().await;
        let content = content(4, size);
        let location = noted.registry.start_upload("app").await;
        let put = ask("PUT", &format!("{location}?digest={}", sha256(&content)));
        noted.ask(put.body(&content), 201).await;
        assert_eq!(noted.take(), [write, "put"]);
    }
}

#[tokio::test]
async fn the_manifest_of_an_image_that_was_just_pushed_is_six_calls() {
    let noted = Noted::new().await;
    let (config, layer) = (noted.push_at_once(b"{}").await, noted.push_at_once(b"layer").await);
    noted.take();
    noted.push_manifest(&config, &layer).await;
    // The links of its two blobs are looked at; then come its content, its link, and the two files of the tag.
    assert_eq!(noted.take(), ["get", "get", "put", "put", "put", "put"]);
    // Another server has not seen the blobs and looks at their content, too.
    let cold = noted.cold();
    cold.push_manifest(&config, &layer).await;
    assert_eq!(cold.take().len(), 8);
}

#[tokio::test]
async fn an_image_of_one_layer_is_ten_calls_and_fourteen_or_thirteen_as_docker_pushes_it() {
    let noted = Noted::new().await;
    let (config, layer) = (noted.push_at_once(b"{}").await, noted.push_at_once(b"layer").await);
    noted.push_manifest(&config, &layer).await;
    assert_eq!(noted.take().len(), 10);
    for (noted, calls) in [(Noted::on_local().await, 13), (Noted::new().await, 14)] {
        let (config, layer) =
            (noted.push_as_docker(b"{}").await, noted.push_as_docker(&content(5, 100_000)).await);
        noted.push_manifest(&config, &layer).await;
        assert_eq!(noted.take().len(), calls);
    }
}

/// Who goes on with an upload elsewhere reads its record, and no more.
#[tokio::test]
async fn another_server_reads_the_record_of_an_upload_once_for_each_request() {
    let noted = Noted::new().await;
    let location = noted.registry.start_upload("app").await;
    let other = noted.cold();
    let sent = other.ask(ask("PATCH", &location).body(b"content"), 202).await;
    assert_eq!(other.take(), ["get", "put"]);
    let third = other.cold();
    let end = format!("{}?digest={}", sent.header("location"), sha256(b"content"));
    third.ask(ask("PUT", &end).body(b""), 201).await;
    assert_eq!(third.take(), ["get", "put", "put", "delete"]);
}

/// Where content may lie by itself, its name is looked for as well.
#[tokio::test]
async fn another_server_looks_for_content_that_lies_by_itself() {
    let (noted, content) = (Noted::on_local().await, content(6, 100_000));
    let location = noted.registry.start_upload("app").await;
    let other = noted.cold();
    let sent = other.ask(ask("PATCH", &location).body(&content), 202).await;
    assert_eq!(
        other.take(),
        ["get", "list", "get", "get", "list", "get", "put"],
        "once more before it is kept"
    );
    let third = other.cold();
    let end = format!("{}?digest={}", sent.header("location"), sha256(&content));
    third.ask(ask("PUT", &end).body(b""), 201).await;
    assert_eq!(third.take(), ["get", "list", "get", "put", "rename"]);
}
