//! Storage driver `s3`: a bucket of Amazon S3, or of a server that speaks its protocol.
//!
//! The keys are those of docker-registry 0.9.1 and what they lacked. The driver says where the bucket is
//! ([`address`]), who asks ([`credentials`]), how requests are signed ([`dialect`]), what the server at hand can
//! really do ([`learning`]) and where clients fetch content ([`cloudfront`]); uploads, retries, listings and all
//! else come from `docker-registry-object-storage`.

mod address;
mod bucket;
mod cloudfront;
mod credentials;
mod dialect;
mod learning;
mod settings;

use std::sync::Arc;

use docker_registry_driver_api::{Description, Result, Settings, async_trait};
use docker_registry_object_storage::{
    driver::{ObjectStorage, Opened},
    object_store_driver,
    settings::StoreSettings,
};

use crate::{bucket::S3Bucket, settings::S3Settings};

/// Amazon S3 and its relatives.
struct S3;

#[async_trait]
impl ObjectStorage for S3 {
    fn describe() -> Description {
        Description {
            summary: "A bucket of Amazon S3, or of a server that speaks its protocol".to_owned(),
            licence: env!("CARGO_PKG_LICENSE").to_owned(),
            keys: S3Settings::keys(),
        }
    }

    async fn open(settings: &Settings, shared: &StoreSettings) -> Result<Opened> {
        let own = S3Settings::read(settings)?;
        let root = own.root.clone();
        let bucket = S3Bucket::new(own, shared).await?;
        Ok(Opened { renewal: bucket.renewal(), bucket: Arc::new(bucket), root })
    }
}

object_store_driver! { name: "s3", driver: S3Driver, storage: S3 }
