//! The V2/OCI distribution API.

use crate::{
    http::exchange::{Request, Response, empty},
    storage::Storage,
};

/// What a server allows its clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest manifest that may be pushed, in bytes.
    pub max_manifest_size: u64,
    /// Whether manifests, tags and blobs may be deleted.
    pub delete_enabled: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_manifest_size: 4 * 1024 * 1024, delete_enabled: true }
    }
}

/// The API on one storage.
#[derive(Clone)]
pub struct Api {
    storage: Storage,
    limits: Limits,
}

impl Api {
    /// The API on `storage`.
    pub fn new(storage: Storage, limits: Limits) -> Self {
        Self { storage, limits }
    }

    /// Answers one request for a path under `/v2/`.
    pub async fn handle(&self, request: Request) -> Response {
        tracing::debug!(path = request.path, driver = ?self.storage.capabilities(), limits = ?self.limits);
        empty(http::StatusCode::NOT_FOUND)
    }
}
