//! Storage driver `gcs`: objects of one bucket of Google Cloud Storage.
//!
//! # Two APIs
//! HMAC keys exist in the XML API only, and so the configuration of the original is served by it: every request
//! is signed with `GOOG4-HMAC-SHA256`. Tokens of OAuth (service accounts, users, the metadata server) work with both
//! APIs. They use the JSON API unless `gs_api` says `xml`: copies are rewrites there, and deletions are batched. Large
//! objects go through resumable sessions in both.
//!
//! # Guarantees
//! - The tag of an object is its generation. Conditional writes are generation preconditions, which Google
//!   checks atomically.
//! - Tokens are renewed before they expire, and once more when Google refuses one that was good before.
//! - The address of a session is a secret: it is kept in the upload's state and never logged.
//!
//! # Why `object_store` has a small part here
//! Its client for this store signs addresses for Google's own host only, cannot be told where tokens come from,
//! and has neither HMAC keys nor sessions. The driver uses its content type and speaks for itself.

mod credentials;
mod dialect;
mod json;
mod service;
mod sessions;
mod settings;
mod signature;
mod signing;
mod tokens;
mod xml;

use std::sync::Arc;

use docker_registry_driver_api::{Description, Result, Settings, async_trait};
use docker_registry_object_storage::{
    Bucket,
    driver::{ObjectStorage, Opened, Renewal, Unchanging},
    http::Transport,
    object_store_driver, settings as shared,
    xml::{Address, XmlBucket},
};

use crate::{
    credentials::Credentials,
    dialect::Google,
    json::JsonBucket,
    service::Service,
    settings::{Api, GcsSettings},
    signing::Signer,
    tokens::Tokens,
    xml::XmlStore,
};

object_store_driver! { name: "gcs", driver: GcsDriver, storage: Gcs }

/// The store behind the driver.
pub struct Gcs;

#[async_trait]
impl ObjectStorage for Gcs {
    fn describe() -> Description {
        Description {
            summary: "a bucket of Google Cloud Storage".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: GcsSettings::keys(),
        }
    }

    async fn open(settings: &Settings, shared: &shared::StoreSettings) -> Result<Opened> {
        let settings = GcsSettings::read(settings)?;
        let credentials = Credentials::find(&settings).await?;
        let options = shared.http_options();
        let transport = Transport::new(options, settings.advice(&credentials)).await?;
        let (bucket, endpoint) = (settings.bucket.clone(), settings.endpoint.clone());
        let address = Address { base: format!("{endpoint}/{bucket}"), bucket };
        let (signer, renewal): (_, Arc<dyn Renewal>) = match credentials {
            Credentials::Hmac { id, secret } => (Signer::Hmac { id, secret }, Arc::<Unchanging>::default()),
            Credentials::Anonymous => (Signer::Anonymous, Arc::<Unchanging>::default()),
            Credentials::Tokens(source) => {
                let tokens = Arc::new(Tokens::new(source, transport.clone()));
                (Signer::Tokens(Arc::clone(&tokens)), tokens)
            }
        };
        let signer = Arc::new(signer);
        let service = Service { transport: transport.clone(), signer: Arc::clone(&signer), endpoint };
        let bucket: Arc<dyn Bucket> = match settings.api {
            Api::Xml => {
                let xml = XmlBucket::new(transport, Google::new(signer), address);
                Arc::new(XmlStore::new(xml, service, settings.bucket.clone()))
            }
            Api::Json => Arc::new(JsonBucket::new(service, address)),
        };
        Ok(Opened { bucket, root: settings.root, renewal })
    }
}
