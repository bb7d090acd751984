//! Addresses of the storage at which a client fetches an object without the server.

use std::time::Duration;

use docker_registry_driver_api::{CallContext, Capability, ObjectPath, RedirectRequest};

use crate::storage::Storage;

/// How long an address works: docker-registry gave as much.
const LIFETIME: Duration = Duration::from_secs(20 * 60);

/// Whether it is worth to ask for addresses at all.
pub(super) fn are_made_by(storage: &Storage) -> bool {
    storage.capabilities().has(Capability::Redirects)
}

/// An address for the object, whether it is there or not. `None` where the storage makes none, and where it failed to:
/// the server can give the content itself.
pub(super) async fn of(storage: &Storage, call: &CallContext, path: ObjectPath) -> Option<String> {
    let request =
        RedirectRequest { path, method: "GET".to_owned(), expires: LIFETIME, response_headers: Vec::new() };
    storage.redirect_url(call, &request).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "the storage made no address for a client");
        None
    })
}
