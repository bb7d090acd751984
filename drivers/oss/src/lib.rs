//! Storage driver `oss`: a bucket of Aliyun's Object Storage Service.
//!
//! The keys are those of docker-registry-driver-oss 0.1 and what they lacked. The driver says where the bucket is
//! ([`endpoint`]), who asks ([`credentials`]), how requests are signed ([`dialect`]) and whether the bucket can
//! refuse to overwrite ([`learning`]); uploads, retries, listings and all else come from
//! `docker-registry-object-storage`.
//!
//! OSS's own way to make an object grow, `AppendObject`, is not used: it takes one call after the other, its
//! objects cannot be conditional, copied by parts or made cold, and a large one cannot be moved to its final
//! name without a copy. Uploads grow by parts instead, which may be sent in parallel.

mod credentials;
mod dialect;
mod endpoint;
mod learning;
mod settings;

use std::sync::Arc;

use docker_registry_driver_api::{Description, Result, Settings, async_trait};
use docker_registry_object_storage::{
    driver::{ObjectStorage, Opened},
    http::{Advice, Transport},
    object_store_driver,
    settings::StoreSettings,
    xml::XmlBucket,
};

use crate::{credentials::Credentials, dialect::OssDialect, settings::OssSettings};

/// Aliyun OSS.
struct Oss;

#[async_trait]
impl ObjectStorage for Oss {
    fn describe() -> Description {
        Description {
            summary: "a bucket of Aliyun OSS".to_owned(),
            licence: env!("CARGO_PKG_LICENSE").to_owned(),
            keys: OssSettings::keys(),
        }
    }

    async fn open(settings: &Settings, shared: &StoreSettings) -> Result<Opened> {
        let own = OssSettings::read(settings)?;
        let transport = Transport::new(shared.http_options(), advice()).await?;
        let credentials = Arc::new(Credentials::new(own.account.clone(), transport.clone()));
        let address = own.endpoint.address(&own.bucket);
        let public = own.endpoint.public_address(&own.bucket);
        let open = |keeps_versions| {
            let dialect = OssDialect::new(&own, Arc::clone(&credentials), keeps_versions);
            XmlBucket::new(transport.clone(), dialect, address.clone()).with_public_address(public.clone())
        };
        let bucket = open(false);
        let refuses = learning::refuses_overwrite(&bucket, &own.root, &*credentials, shared).await?;
        let bucket = if refuses { bucket } else { open(true) };
        Ok(Opened { bucket: Arc::new(bucket), root: own.root, renewal: credentials })
    }
}

object_store_driver! { name: "oss", driver: OssDriver, storage: Oss }

/// What an operator is told to look at.
fn advice() -> Advice {
    Advice {
        store: "Aliyun OSS".to_owned(),
        credentials: "oss_accessid and oss_accesskey".to_owned(),
        bucket: "oss_bucket".to_owned(),
        region: "oss_host and oss_region".to_owned(),
        endpoint: "oss_host".to_owned(),
        ca_bundle: "ca_bundle".to_owned(),
        proxy: "proxy".to_owned(),
    }
}
