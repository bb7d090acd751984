//! What the pieces of an answer cost by themselves: the hash, and requests of V2 that are answered in this process,
//! without a socket.
//!
//! Beside the hasher of the registry stands the crate that it is made of. Requests go to the memory driver, so that
//! nearly nothing but the registry is measured, and to the local driver, which an operator has.

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use docker_registry::{
    auth::Login,
    http::{
        exchange::{Request, ResponseBody, Scheme},
        v2::{Api, Limits},
    },
    registry::{
        digest::{Algorithm, Digest},
        hashing::Hasher,
    },
};
use docker_registry_driver_api::{
    Bytes, Driver, HostServices, Settings, SharedDriver, byte_stream, empty_stream,
};
use docker_registry_driver_local::LocalDriver;
use docker_registry_driver_memory::MemoryDriver;
use docker_registry_tests::{content::digest, v2};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const HASHED: usize = 1 << 20;
const BLOB: usize = 1024;
/// A registry takes this many pushes and is thrown away, so that its memory stays small.
const PUSHES: u64 = 1000;

fn registry_hash(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    hasher.finish()
}

fn hashing(criterion: &mut Criterion) {
    let content = vec![7; HASHED];
    let mut group = criterion.benchmark_group("SHA-256 of 1 MiB");
    group.throughput(Throughput::Bytes(HASHED as u64));
    group.bench_function("the hasher of the registry", |bencher| {
        bencher.iter(|| registry_hash(black_box(&content)))
    });
    group.bench_function("sha2", |bencher| bencher.iter(|| Sha256::digest(black_box(&content))));
    group.finish();
}

/// A request with a body for a path, which may have a query.
fn request(method: Method, target: &str, media_type: &'static str, content: Option<Bytes>) -> Request {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    if let Some(content) = &content {
        headers.insert(header::CONTENT_LENGTH, content.len().into());
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    }
    Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: content.map_or_else(empty_stream, |content| byte_stream([content])),
        peer: None,
        scheme: Scheme::Http,
        client_certificate: None,
        trace: None,
        login: Login::default(),
    }
}

/// The answer to a request, whose status must be this one; what it has in memory counts as read.
async fn ask(api: &Api, request: Request, status: StatusCode) -> Bytes {
    let response = api.handle(request).await;
    assert_eq!(response.status(), status);
    match response.into_body() {
        ResponseBody::Whole(content) => content,
        ResponseBody::Empty => Bytes::new(),
        ResponseBody::Reading(_) => panic!("nothing here is so large that it is no answer in memory"),
    }
}

/// A push of this blob in one request.
fn push(content: Bytes) -> Request {
    let target = format!("/v2/app/blobs/uploads/?digest={}", digest(&content));
    request(Method::POST, &target, "application/octet-stream", Some(content))
}

async fn on_memory() -> Api {
    let driver = MemoryDriver::open(Settings::default(), HostServices::default()).await.expect("it opens");
    Api::new(Arc::new(driver), Limits::default())
}

async fn on_local(folder: &TempDir) -> Api {
    let root = folder.path().to_str().expect("a path of text");
    let settings = Settings::new([("storage_path".to_owned(), root.into())].into_iter().collect());
    let driver = LocalDriver::open(settings, HostServices::default()).await.expect("it opens");
    Api::new(Arc::new(driver) as SharedDriver, Limits::default())
}

/// Pushes an image of one layer as `app:latest`. Returns its manifest and the digest of the layer.
async fn push_image(api: &Api) -> (Bytes, String) {
    let (configuration, layer) = (Bytes::from_static(b"{}"), Bytes::from(vec![7; BLOB]));
    let described = [&configuration, &layer].map(|blob| (digest(blob), blob.len() as u64));
    let (manifest, layer_digest) = (Bytes::from(v2::manifest(&described)), digest(&layer));
    for blob in [configuration, layer] {
        ask(api, push(blob), StatusCode::CREATED).await;
    }
    let put = request(Method::PUT, "/v2/app/manifests/latest", v2::MANIFEST, Some(manifest.clone()));
    ask(api, put, StatusCode::CREATED).await;
    (manifest, layer_digest)
}

fn reads(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let apis =
        runtime.block_on(async { [("memory", on_memory().await), ("local", on_local(&folder).await)] });
    for (driver, api) in &apis {
        let (manifest, layer) = runtime.block_on(push_image(api));
        let by_digest = format!("/v2/app/manifests/{}", digest(&manifest));
        let mut group = criterion.benchmark_group(format!("answers on {driver}"));
        for (name, method, target, content) in [
            ("manifest by tag", Method::GET, "/v2/app/manifests/latest", &manifest),
            ("manifest by digest", Method::GET, &by_digest, &manifest),
            ("blob HEAD", Method::HEAD, &format!("/v2/app/blobs/{layer}"), &Bytes::new()),
        ] {
            group.bench_function(name, |bencher| {
                bencher.iter_custom(|rounds| {
                    runtime.block_on(async {
                        let start = Instant::now();
                        for _ in 0..rounds {
                            let asked = request(method.clone(), target, "", None);
                            assert_eq!(ask(api, asked, StatusCode::OK).await, *content);
                        }
                        start.elapsed()
                    })
                });
            });
        }
        group.finish();
    }
}

/// Each push is of content that is not there yet.
fn pushes(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    criterion.bench_function("push of 1 KiB to memory", |bencher| {
        bencher.iter_custom(|rounds| {
            runtime.block_on(async {
                let (mut taken, mut api) = (Duration::ZERO, on_memory().await);
                for round in 0..rounds {
                    if round % PUSHES == 0 {
                        api = on_memory().await;
                    }
                    let mut content = vec![7; BLOB];
                    content[..8].copy_from_slice(&round.to_le_bytes());
                    let pushed = push(content.into());
                    let start = Instant::now();
                    ask(&api, pushed, StatusCode::CREATED).await;
                    taken += start.elapsed();
                }
                taken
            })
        });
    });
}

fn settings() -> Criterion {
    Criterion::default().measurement_time(Duration::from_secs(4)).warm_up_time(Duration::from_secs(1))
}

criterion_group! {
    name = pieces;
    config = settings();
    targets = hashing, reads, pushes
}
criterion_main!(pieces);
