//! Replicas: caches around one storage, each with a connection and a memory of its own.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use docker_registry::{
    layout::kept::{CACHE_SECRET, Kept},
    storage::Cache,
};
use docker_registry_config::{CacheSettings, Environment, Loader};
use docker_registry_driver_api::{CallContext, Condition, ObjectPath, Prefix, Result};
use docker_registry_tests::content::digest;

use crate::storage::Storage;

/// A tag of V1, which changes.
pub(crate) const TAG: &str = "repositories/library/app/tag_latest";
/// Its repository.
pub(crate) const REPOSITORY: &str = "repositories/library/app";
/// Content by digest: the word `blob`.
pub(crate) const BLOB: &str = "docker/registry/v2/blobs/sha256/fa/fa2c8cc4f28176bbeed4b736df569a34c79cd3723e9ec42f9674b4d46ac6b8b8/data";
/// What a small call of the storage may take.
pub(crate) const CALL_TIME: Duration = Duration::from_secs(30);

/// Patient with Redis, so that a busy machine does not make it look slow.
pub(crate) const PATIENT: &str = "{tag_ttl: 1h, patience: 5s, timeout: 5s}";

pub(crate) fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a valid path")
}

/// Where this content lies by its digest.
pub(crate) fn content_path(content: &str) -> String {
    let digest = digest(content.as_bytes());
    let hex = digest.trim_start_matches("sha256:");
    format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2])
}

/// The settings that a configuration with these keys of `cache_lru` has.
pub(crate) fn settings(url: &str, keys: &str) -> CacheSettings {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("config.yml");
    fs::write(&file, format!("dev:\n  storage: local\n  cache_lru: {keys}\n")).expect("a file");
    let environment: Environment = [("CACHE_LRU_REDIS_URL", url)].into_iter().collect();
    let loaded = Loader::new(environment).file(Some(file)).load().expect("a configuration");
    assert!(!loaded.check(None).has_errors(), "{}", loaded.check(None));
    loaded.settings.cache.expect("a cache")
}

/// One replica.
pub(crate) struct Replica {
    pub(crate) cache: Cache,
}

impl Replica {
    /// Around the storage, with the settings; connected or not.
    pub(crate) fn start(storage: &Arc<Storage>, settings: &CacheSettings) -> Replica {
        Replica { cache: Cache::start(storage.shared(), settings, Kept, path(CACHE_SECRET), CALL_TIME) }
    }

    /// The same, once what it reads comes to lie in Redis.
    pub(crate) async fn connected(storage: &Arc<Storage>, settings: &CacheSettings) -> Replica {
        let replica = Replica::start(storage, settings);
        replica.is_connected(storage).await;
        replica
    }

    /// Waits until a second reading of an object of its own does not reach the storage.
    pub(crate) async fn is_connected(&self, storage: &Arc<Storage>) {
        static PROBES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        eventually("the replica is connected", async || {
            let number = PROBES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let probe = format!("repositories/probe/{number}/tag_probe");
            storage.set(&probe, "probe");
            for _ in 0..3 {
                self.read(&probe).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            storage.reads(&probe) < 3
        })
        .await;
    }

    /// What a client reads.
    pub(crate) async fn get(&self, text: &str) -> Result<Bytes> {
        let object = self.cache.reads.get(&CallContext::default(), &path(text), 1 << 20).await?;
        Ok(object.content)
    }

    /// The same, as text; empty for what is absent.
    pub(crate) async fn read(&self, text: &str) -> String {
        match self.get(text).await {
            Ok(content) => String::from_utf8_lossy(&content).into_owned(),
            Err(error) if error.is_not_found() => String::new(),
            Err(error) => panic!("a request failed: {error}"),
        }
    }

    pub(crate) async fn put(&self, text: &str, content: &'static str) -> Result<()> {
        let (call, content) = (CallContext::default(), Bytes::from_static(content.as_bytes()));
        self.cache.storage.put(&call, &path(text), content, &Condition::Always).await.map(drop)
    }

    pub(crate) async fn delete_tree(&self, text: &str) {
        let folder = Prefix::new(text).expect("a valid folder");
        self.cache.storage.delete_tree(&CallContext::default(), &folder).await.expect("it is deleted");
    }
}

/// Waits until something is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
