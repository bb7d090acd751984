//! Registries under test.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use docker_registry::{
    http::v1::{Api, V1Settings},
    storage::Storage,
};
use docker_registry_driver_api::{
    CallContext, Driver, ErrorKind, HostServices, ListRequest, ObjectPath, Prefix, Settings,
};
use docker_registry_driver_memory::MemoryDriver;

use crate::transport::InProcess;

/// A registry over a storage that the test can look into.
pub(crate) struct Registry {
    pub(crate) storage: Storage,
    pub(crate) client: InProcess,
}

impl Registry {
    /// A standalone registry over this storage.
    pub(crate) fn over(storage: Storage) -> Self {
        Self::with_settings(storage, V1Settings::default())
    }

    pub(crate) fn with_settings(storage: Storage, settings: V1Settings) -> Self {
        let api = Arc::new(Api::new(storage.clone(), settings));
        Self { storage, client: InProcess { api, host: "registry.test:5000".to_owned() } }
    }

    /// A standalone registry over an empty memory.
    pub(crate) async fn empty() -> Self {
        Self::over(memory().await)
    }

    /// What lies at a path.
    pub(crate) async fn stored(&self, path: &str) -> Option<Bytes> {
        let path = ObjectPath::new(path).unwrap();
        match self.storage.get(&CallContext::default(), &path, 64 << 20).await {
            Ok(object) => Some(object.content),
            Err(error) if error.kind == ErrorKind::NotFound => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Paths of all objects.
    pub(crate) async fn all_paths(&self) -> Vec<String> {
        let page =
            self.storage.list(&CallContext::default(), &ListRequest::below(Prefix::root())).await.unwrap();
        assert_eq!(page.next, None, "more objects than a test should make");
        page.entries.into_iter().map(|entry| entry.path).collect()
    }

    /// Number of uploads that were neither committed nor discarded.
    pub(crate) async fn pending_uploads(&self) -> usize {
        let call = CallContext::default();
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        self.storage.list_uploads(&call, later, None, 1000).await.unwrap().uploads.len()
    }
}

/// An empty storage in memory.
pub(crate) async fn memory() -> Storage {
    Arc::new(MemoryDriver::open(Settings::default(), HostServices::default()).await.unwrap())
}
