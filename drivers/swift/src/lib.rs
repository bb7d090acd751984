//! Storage driver `swift`: a container of OpenStack Swift, or of what speaks its protocol.
//!
//! # In the container
//! The object `a/b` is `STORAGE_PATH/a/b`, as docker-registry 0.x and distribution 2 wrote it. What is written in parts is
//! a static large object; its segments lie below `STORAGE_PATH/.docker-registry/segments/`, and a small object below
//! `STORAGE_PATH/.docker-registry/begun/` stands for each that is not finished.
//!
//! # Guarantees
//! - A write is visible whole or not at all: Swift takes a name over when the last byte has come, and a manifest when all of
//!   its segments are there.
//! - **No conditions.** Swift's `If-None-Match: *` is looked at when a request begins and not when it ends, so that two
//!   writers can both succeed. The driver therefore offers none.
//! - A container that the driver makes is private.
//! - Uploads survive the process: segments stay in the container, and another server goes on.
//! - Tokens are renewed before they end, and once more when the cluster refuses one that was good before.
//!
//! # Consistency
//! Swift answers a write when most copies are there, and lists objects a little later when servers are down. A reading may
//! meet an old copy meanwhile; `swift_newest` asks all copies.
//!
//! # Why no client library
//! The crates for OpenStack bring an HTTP client, TLS and retries of their own, know only Keystone v3, and have neither
//! segments nor bulk deletion. Asking for a token is one request.

mod account;
mod bucket;
mod deleting;
mod learning;
mod listing;
mod objects;
mod segments;
mod settings;
mod temp_url;

use std::sync::Arc;

use docker_registry_driver_api::{Description, Result, Settings, async_trait};
use docker_registry_object_storage::{
    ObjectStorage, Opened, StoreSettings, http::Transport, object_store_driver,
};

use docker_registry_openstack::{CloudSettings, Session};

use crate::{
    account::Account,
    bucket::SwiftBucket,
    settings::{CONTAINER, SERVICE, SwiftSettings},
};

object_store_driver! { name: "swift", driver: SwiftDriver, storage: Swift }

/// Swift as the engine takes it.
pub struct Swift;

#[async_trait]
impl ObjectStorage for Swift {
    fn describe() -> Description {
        Description {
            summary: "a container of OpenStack Swift".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: SwiftSettings::keys(),
        }
    }

    async fn open(settings: &Settings, shared: &StoreSettings) -> Result<Opened> {
        let swift = SwiftSettings::read(settings)?;
        let mut options = shared.http_options();
        let cloud = CloudSettings::read(&SERVICE, settings)?;
        if cloud.ca_bundle.is_some() {
            options.ca_bundle.clone_from(&cloud.ca_bundle);
        }
        let transport = Transport::new(options, cloud.advice(&SERVICE, "Swift", CONTAINER)).await?;
        let root = swift.root.clone();
        let account = Arc::new(Account::new(swift, Session::new(SERVICE, cloud, transport)));
        Ok(Opened { bucket: Arc::new(SwiftBucket::new(Arc::clone(&account))), root, renewal: account })
    }
}
