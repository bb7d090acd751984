//! Storage driver `azureblob`: a container of Azure Blob Storage.
//!
//! # In the container
//! The object `a/b` is the block blob `STORAGE_PATH/a/b`, or `a/b` where no `storage_path` is set, as it was with
//! docker-registry 0.x. What the driver itself needs lies below `STORAGE_PATH/.docker-registry/`.
//!
//! # Guarantees
//! - A write is one Put Blob, or one Put Block List over blocks that were staged before: readers see the old blob
//!   or the new one. Conditions are the service's own.
//! - A container that the driver makes is private. One that is public is named in the log at every start.
//! - Uploads survive the process: staged blocks lie in the container for a week, and another server goes on.
//! - A copy is complete when the call returns.
//!
//! The engine, the retries and the deadlines are those of `docker-registry-object-storage`.

mod account;
mod batch;
mod blobs;
mod blocks;
mod bucket;
mod container;
mod copying;
mod headers;
mod listing;
mod settings;
mod signing;
mod sources;

use std::sync::Arc;

use docker_registry_driver_api::{Description, Result, Settings, async_trait};
use docker_registry_object_storage::{ObjectStorage, Opened, StoreSettings};

use crate::{account::Account, bucket::AzureBucket, settings::AzureSettings};

docker_registry_object_storage::object_store_driver! {
    name: "azureblob",
    driver: AzureBlobDriver,
    storage: AzureBlob,
}

/// Azure Blob Storage as the engine takes it.
pub struct AzureBlob;

#[async_trait]
impl ObjectStorage for AzureBlob {
    fn describe() -> Description {
        Description {
            summary: "a container of Azure Blob Storage".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: settings::keys(),
        }
    }

    async fn open(settings: &Settings, shared: &StoreSettings) -> Result<Opened> {
        let azure = AzureSettings::read(settings)?;
        let root = azure.root.clone();
        let account = Arc::new(Account::new(azure, shared.http_options()).await?);
        Ok(Opened { bucket: Arc::new(AzureBucket::new(Arc::clone(&account))), root, renewal: account })
    }
}
