//! A registry in this process, and short ways to ask it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry::{
    auth::Login,
    http::{
        exchange::{Request, Response, ResponseBody, Scheme},
        v2::{Api, Limits},
    },
    registry::{
        digest::{Algorithm, Digest},
        hashing::Hasher,
    },
};
use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Capability, Condition, Driver, HostServices, ListRequest,
    ObjectPath, Prefix, ReadingBody, Settings, SharedDriver, async_trait, byte_stream, collect, empty_stream,
};
use docker_registry_driver_conformance::forwarding::{Forward, Forwarding};
use docker_registry_driver_local::LocalDriver;
use docker_registry_driver_memory::MemoryDriver;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const REPOSITORIES: &str = "docker/registry/v2/repositories";

/// A driver of fewer capabilities: without cheap renames it is as an object store, and without conditions as Swift.
pub(crate) struct Without(pub(crate) SharedDriver, pub(crate) &'static [Capability]);

#[async_trait]
impl Forward for Without {
    fn inner(&self) -> &SharedDriver {
        &self.0
    }

    fn capabilities(&self) -> Capabilities {
        let all = self.0.capabilities().iter();
        all.filter(|capability| !self.1.contains(capability)).collect()
    }
}

/// A registry and the storage that it stands on.
pub(crate) struct Registry {
    pub(crate) storage: Arc<dyn Driver>,
    api: Api,
    _folder: Option<TempDir>,
}

impl Registry {
    pub(crate) async fn on_memory() -> Self {
        let driver = MemoryDriver::open(Settings::default(), HostServices::default()).await.unwrap();
        let driver = Without(Arc::new(driver), &[Capability::CheapRename]);
        Self::on(Forwarding::shared(driver), Limits::default())
    }

    pub(crate) async fn on_local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = json!({ "storage_path": folder.path() }).as_object().unwrap().clone();
        let driver = LocalDriver::open(Settings::new(settings), HostServices::default()).await.unwrap();
        Self { _folder: Some(folder), ..Self::on(Arc::new(driver), Limits::default()) }
    }

    pub(crate) fn on(storage: Arc<dyn Driver>, limits: Limits) -> Self {
        Self { api: Api::new(storage.clone(), limits), storage, _folder: None }
    }

    /// The same, which answers clients from another storage: a cache of any age.
    pub(crate) fn reading_from(self, reads: Arc<dyn Driver>) -> Self {
        Self { api: self.api.with_reads(reads), ..self }
    }

    /// Another server on the same storage.
    pub(crate) fn second(&self) -> Self {
        Self::on(self.storage.clone(), Limits::default())
    }

    pub(crate) async fn ask(&self, ask: Ask) -> Answer {
        Answer::of(self.api.handle(ask.0).await).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(ask("GET", path)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask(ask("DELETE", path)).await
    }

    /// Uploads a blob in one request and returns its digest.
    pub(crate) async fn push_blob(&self, name: &str, content: &[u8]) -> String {
        let digest = sha256(content);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        self.ask(ask("POST", &path).body(content)).await.expect(201);
        digest
    }

    /// Begins an upload and returns its location.
    pub(crate) async fn start_upload(&self, name: &str) -> String {
        let answer = self.ask(ask("POST", &format!("/v2/{name}/blobs/uploads/"))).await.expect(202);
        answer.header("location").to_owned()
    }

    /// Begins an upload, sends a first byte, and returns where it goes on.
    pub(crate) async fn begin_upload(&self, name: &str) -> String {
        let location = self.start_upload(name).await;
        let answer = self.ask(ask("PATCH", &location).body(b"1")).await.expect(202);
        answer.header("location").to_owned()
    }

    pub(crate) async fn put_manifest(
        &self,
        name: &str,
        reference: &str,
        media_type: &str,
        content: &[u8],
    ) -> Answer {
        let put = ask("PUT", &format!("/v2/{name}/manifests/{reference}"));
        self.ask(put.header("content-type", media_type).body(content)).await
    }

    /// Pushes an image of one layer and returns its manifest.
    pub(crate) async fn push_image(&self, name: &str, reference: &str, layer: &[u8]) -> Vec<u8> {
        let config = self.push_blob(name, b"{}").await;
        let layer = self.push_blob(name, layer).await;
        let manifest = image(OCI_MANIFEST, &config, &[&layer]);
        self.put_manifest(name, reference, OCI_MANIFEST, &manifest).await.expect(201);
        manifest
    }

    /// Writes an object as another program would.
    pub(crate) async fn write(&self, path: &str, content: impl Into<Bytes>) {
        let path = ObjectPath::new(path).unwrap();
        self.storage.put(&call(), &path, content.into(), &Condition::Always).await.unwrap();
    }

    pub(crate) async fn read(&self, path: &str) -> Option<Bytes> {
        let path = ObjectPath::new(path).unwrap();
        self.storage.get(&call(), &path, 1 << 20).await.ok().map(|object| object.content)
    }

    /// All objects in the storage.
    pub(crate) async fn objects(&self) -> Vec<String> {
        let mut request = ListRequest::below(Prefix::root());
        let mut paths = Vec::new();
        loop {
            let page = self.storage.list(&call(), &request).await.unwrap();
            paths.extend(page.entries.into_iter().map(|entry| entry.path));
            request.after = page.next;
            if request.after.is_none() {
                return paths;
            }
        }
    }

    /// Uploads that the driver holds.
    pub(crate) async fn pending_uploads(&self) -> usize {
        let later = SystemTime::now() + Duration::from_secs(60);
        self.storage.list_uploads(&call(), later, None, 1000).await.unwrap().uploads.len()
    }

    pub(crate) async fn assert_no_upload_is_left(&self) {
        let objects = self.objects().await;
        let left: Vec<_> = objects.iter().filter(|path| path.contains("/_uploads/")).collect();
        assert_eq!(left, Vec::<&String>::new());
        assert_eq!(self.pending_uploads().await, 0, "uploads are left at the driver");
    }

    pub(crate) async fn assert_empty(&self) {
        assert_eq!(self.objects().await, Vec::<String>::new());
        assert_eq!(self.pending_uploads().await, 0, "uploads are left at the driver");
    }
}

fn call() -> CallContext {
    CallContext::default()
}

/// A request in the making.
pub(crate) struct Ask(Request);

/// A request without body for a path, which may have a query.
pub(crate) fn ask(method: &str, target: &str) -> Ask {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ask(Request {
        method: method.parse::<Method>().unwrap(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: HeaderMap::new(),
        body: empty_stream(),
        peer: None,
        scheme: Scheme::Http,
        client_certificate: None,
        trace: None,
        login: Login::default(),
    })
}

impl Ask {
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().unwrap();
        self.0.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    /// A body with its length, in pieces as they come from a socket.
    pub(crate) fn body(self, content: &[u8]) -> Self {
        let length = content.len().to_string();
        let pieces: Vec<_> = content.chunks(100_000).map(Bytes::copy_from_slice).collect();
        self.header("content-length", &length).stream(byte_stream(pieces))
    }

    /// A body of unknown length.
    pub(crate) fn stream(mut self, body: ByteStream) -> Self {
        self.0.body = body;
        self
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the body came as part of an open file.
    pub(crate) from_file: bool,
}

impl Answer {
    async fn of(response: Response) -> Self {
        let (head, body) = response.into_parts();
        assert_eq!(head.headers["docker-distribution-api-version"], "registry/2.0");
        let mut from_file = false;
        let body = match body {
            ResponseBody::Empty => Bytes::new(),
            ResponseBody::Whole(content) => content,
            ResponseBody::Reading(reading) => {
                let content = match reading.body {
                    ReadingBody::Stream(stream) => collect(stream, 1 << 30).await.unwrap(),
                    ReadingBody::File(region) => {
                        use std::os::unix::fs::FileExt;
                        from_file = true;
                        let mut content = vec![0; region.length as usize];
                        region.file.read_exact_at(&mut content, region.offset).unwrap();
                        content.into()
                    }
                };
                assert_eq!(content.len() as u64, reading.length);
                content
            }
        };
        Self { status: head.status.as_u16(), headers: head.headers, body, from_file }
    }

    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// Checks status and code of an error answer.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        let body = self.json();
        assert_eq!(body["errors"][0]["code"], code, "{self:?}");
        assert!(body["errors"][0]["message"].as_str().is_some_and(|message| !message.is_empty()));
        self
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

pub(crate) fn sha256(content: &[u8]) -> String {
    digest(Algorithm::Sha256, content).to_string()
}

pub(crate) fn sha512(content: &[u8]) -> String {
    digest(Algorithm::Sha512, content).to_string()
}

fn digest(algorithm: Algorithm, content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(algorithm);
    hasher.update(content);
    hasher.finish()
}

/// Bytes that do not repeat soon.
pub(crate) fn content(seed: u32, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(size)
    .collect()
}

/// An image manifest. The odd spaces are there to be kept.
pub(crate) fn image(media_type: &str, config: &str, layers: &[&str]) -> Vec<u8> {
    let layers: Vec<_> = layers.iter().map(|layer| descriptor("application/octet-stream", layer)).collect();
    let config = descriptor("application/vnd.oci.image.config.v1+json", config);
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
    format!("{manifest}  \n ").into_bytes()
}

pub(crate) fn index(media_type: &str, children: &[Value]) -> Vec<u8> {
    json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": children }).to_string().into_bytes()
}

pub(crate) fn descriptor(media_type: &str, digest: &str) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": 1 })
}
