//! The bucket: object_store's client where it is sound, own requests for the rest, both with the same keys.
//!
//! Reading one object and signing addresses go through `object_store`. The others do not: it hashes what is written
//! on the runtime's threads and compares no entity tag, deletes one object by a batch, fails a whole page of a
//! listing for one key that is no path, copies at most 5 GiB and has no parts of other processes.

use std::{
    ops::Range,
    sync::{Arc, OnceLock},
    time::Duration,
};

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result, async_trait};
use docker_registry_object_storage::{
    Renewal,
    adapter::{StoreAdapter, no_retries},
    bucket::{Begun, Bucket, Content, Facts, Limits, ListCall, Listing, NewPart, Opened, Part, SignCall},
    http::{Advice, HttpOptions, Transport},
    object_store::{
        aws::{AmazonS3, AmazonS3Builder, AwsCredentialProvider},
        path::Path,
        signer::{SignedUrlOptions, Signer},
    },
    settings::StoreSettings,
    xml::XmlBucket,
};
use http::Uri;

use crate::{
    cloudfront::CloudFront, credentials::Credentials, dialect::AmazonDialect, learning, settings::S3Settings,
};

/// Longest life of a signed address.
const LONGEST_SIGNATURE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// One bucket of S3 or of a relative.
pub(crate) struct S3Bucket {
    /// Reads.
    reader: StoreAdapter,
    /// Signs addresses.
    signer: Arc<AmazonS3>,
    /// Does all else.
    xml: XmlBucket<AmazonDialect>,
    /// The same without headers of encryption and storage class.
    bare: XmlBucket<AmazonDialect>,
    credentials: Arc<Credentials>,
    cloudfront: Option<CloudFront>,
    root: String,
    /// Known after the server has been tried.
    limits: OnceLock<Limits>,
    /// Until then: nothing that needs an ability is offered.
    least: Limits,
}

impl S3Bucket {
    /// The bucket of a configuration. Nothing is sent yet.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub(crate) async fn new(settings: S3Settings, shared: &StoreSettings) -> Result<Self> {
        let options = shared.http_options();
        let options = HttpOptions { proxy: settings.proxy.clone().or(options.proxy), ..options };
        let transport = Transport::new(options, advice(&settings)).await?;
        let credentials = Arc::new(Credentials::new(settings.account, transport.clone()));
        let (address, region) = (settings.place.address(), settings.place.region());
        let secure = address.base.starts_with("https:");
        let provider: AwsCredentialProvider = Arc::clone(&credentials) as AwsCredentialProvider;
        let client = AmazonS3Builder::new()
            .with_bucket_name(&address.bucket)
            .with_region(&region)
            // The whole address of the bucket, in whatever form.
            .with_endpoint(&address.base)
            .with_virtual_hosted_style_request(true)
            .with_allow_http(true)
            .with_credentials(provider)
            .with_retry(no_retries())
            .with_http_connector(transport.clone())
            .build()
            .map_err(|error| {
                Error::new(ErrorKind::InvalidConfiguration, "boto_host and boto_bucket make no address")
                    .caused_by(&error)
            })?;
        let signer = Arc::new(client);
        let authority = address.base.parse::<Uri>().ok();
        let authority = authority.and_then(|uri| Some(uri.authority()?.to_string())).unwrap_or_default();
        let mut headers = settings.encryption;
        headers.extend(settings.class);
        let xml = |headers| {
            let dialect = AmazonDialect::new(Arc::clone(&credentials), region.clone(), secure, headers);
            XmlBucket::new(transport.clone(), dialect, address.clone())
        };
        Ok(Self {
            reader: StoreAdapter::new(Arc::clone(&signer), transport.clone(), authority),
            xml: xml(headers),
            bare: xml(http::HeaderMap::new()),
            signer,
            credentials,
            cloudfront: settings.cloudfront,
            root: settings.root,
            limits: OnceLock::new(),
            least: learning::least(),
        })
    }

    /// Who replaces the credentials.
    pub(crate) fn renewal(&self) -> Arc<dyn Renewal> {
        Arc::clone(&self.credentials) as Arc<dyn Renewal>
    }
}

fn advice(settings: &S3Settings) -> Advice {
    use crate::settings::Account;
    let credentials = match settings.account {
        Account::Keys { token: None, .. } => "s3_access_key and s3_secret_key",
        Account::Keys { .. } => "s3_access_key, s3_secret_key and s3_session_token",
        Account::Found { .. } => "the credentials of this machine, or set s3_access_key and s3_secret_key",
    };
    let endpoint =
        if settings.place.endpoint.is_some() { "s3_endpoint" } else { "boto_host, boto_port and s3_secure" };
    Advice {
        store: "S3".to_owned(),
        credentials: credentials.to_owned(),
        bucket: "boto_bucket".to_owned(),
        region: "s3_region".to_owned(),
        endpoint: endpoint.to_owned(),
        ca_bundle: "ca_bundle".to_owned(),
        proxy: "boto_proxy and proxy".to_owned(),
    }
}

#[async_trait]
impl Bucket for S3Bucket {
    fn limits(&self) -> &Limits {
        self.limits.get().unwrap_or(&self.least)
    }

    async fn probe(&self, root: &str) -> Result<()> {
        self.xml.probe(root).await?;
        if self.limits.get().is_none() {
            let learnt = learning::learn(&self.xml, &self.bare, &self.root).await?;
            // Two at once come to the same.
            let _ = self.limits.set(learnt);
        }
        Ok(())
    }

    async fn get(&self, key: &str, range: ReadRange, if_match: Option<&ETag>) -> Result<Opened> {
        // Here, because object_store has no words for what goes wrong with them.
        self.credentials.get().await?;
        self.reader.get(key, range, if_match).await
    }

    async fn head(&self, key: &str) -> Result<Facts> {
        self.credentials.get().await?;
        self.reader.head(key).await
    }

    async fn put(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        self.xml.put(key, content, condition, mark).await
    }

    async fn delete(&self, key: &str) -> Result<()> {
        self.xml.delete(key).await
    }

    async fn delete_batch(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        self.xml.delete_batch(keys).await
    }

    async fn list(&self, call: &ListCall) -> Result<Listing> {
        self.xml.list(call).await
    }

    async fn copy(&self, from: &str, to: &str, size: u64) -> Result<()> {
        self.xml.copy(from, to, size).await
    }

    async fn begin(&self, key: &str, condition: &Condition, mark: Option<&str>) -> Result<String> {
        self.xml.begin(key, condition, mark).await
    }

    async fn part(&self, key: &str, id: &str, part: NewPart) -> Result<Part> {
        self.xml.part(key, id, part).await
    }

    async fn copy_part(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        self.xml.copy_part(key, id, number, from, range).await
    }

    async fn finish(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.xml.finish(key, id, parts, condition).await
    }

    async fn abandon(&self, key: &str, id: &str) -> Result<()> {
        self.xml.abandon(key, id).await
    }

    async fn list_begun(&self, prefix: &str, after: Option<&str>) -> Result<(Vec<Begun>, Option<String>)> {
        self.xml.list_begun(prefix, after).await
    }

    async fn sign(&self, call: &SignCall) -> Result<Option<String>> {
        if let Some(cloudfront) = &self.cloudfront {
            return cloudfront.sign(&call.key, call.expires).await.map(Some);
        }
        self.credentials.get().await?;
        let path = Path::parse(&call.key).map_err(|error| {
            Error::new(ErrorKind::InvalidPath, "the storage cannot keep this path").caused_by(&error)
        })?;
        let wishes =
            call.response_headers.iter().map(|(name, value)| (format!("response-{name}"), value.clone()));
        let options = SignedUrlOptions::new().with_query(wishes);
        let expires = call.expires.clamp(Duration::from_secs(1), LONGEST_SIGNATURE);
        let address = self.signer.signed_url_opts(call.method.clone(), &path, expires, &options).await;
        // The text of the failure could hold the address.
        let address = address.map_err(|_| Error::new(ErrorKind::Internal, "an address cannot be signed"))?;
        Ok(Some(address.to_string()))
    }
}
