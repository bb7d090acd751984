//! How requests of OSS are signed, and what it calls the things that the family has.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Condition, Error, ErrorKind, Result, async_trait};
use docker_registry_object_storage::{
    bucket::Limits,
    xml::{Dialect, Form, Payload, Write},
};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts};
use reqsign_aliyun_oss::{RequestSigner, SigningVersion};
use reqsign_core::{SignRequest, time::Timestamp};

use crate::{credentials::Credentials, settings::OssSettings};

/// The write fails when an object is there.
const FORBID_OVERWRITE: HeaderName = HeaderName::from_static("x-oss-forbid-overwrite");
/// Without it a range beyond the end of an object stands for the whole object.
const RANGE_BEHAVIOR: HeaderName = HeaderName::from_static("x-oss-range-behavior");
/// Longest life of a signed address.
const LONGEST_LIFE: Duration = Duration::from_secs(7 * 24 * 3600);

/// OSS's dialect for one bucket and account.
pub(crate) struct OssDialect {
    credentials: Arc<Credentials>,
    signer: RequestSigner,
    bucket: String,
    /// Hosts whose addresses have the bucket in the path.
    path_hosts: Vec<String>,
    begin_headers: HeaderMap,
    form: Form,
    limits: Limits,
}

impl OssDialect {
    /// The dialect for a bucket. One that keeps versions does not honour conditions.
    pub(crate) fn new(settings: &OssSettings, credentials: Arc<Credentials>, keeps_versions: bool) -> Self {
        let signer = RequestSigner::new(&settings.bucket).with_signing_version(settings.signature);
        let signer = match settings.endpoint.region() {
            Some(region) if settings.signature == SigningVersion::V4 => signer.with_region(region),
            _ => signer,
        };
        Self {
            credentials,
            signer,
            bucket: settings.bucket.clone(),
            path_hosts: settings.endpoint.path_hosts(),
            begin_headers: settings.begin_headers.clone(),
            form: Form { etag_is_md5: !settings.uses_kms, ..Form::oss() },
            limits: Limits {
                put_if_absent: !keeps_versions,
                finish_if_absent: !keeps_versions,
                put_if_match: false,
                finish_if_match: false,
                smallest_part: 100 << 10,
                // Above it, copies go by parts.
                largest_copy: 1 << 30,
                ..Limits::s3()
            },
        }
    }

    /// Signs a request, or its address when there is a `life`.
    async fn signed(&self, head: &mut Parts, life: Option<Duration>) -> Result<()> {
        let credential = self.credentials.get().await?;
        let life = life.map(|life| {
            let life = life.min(LONGEST_LIFE);
            // An address does not outlive the keys that it was signed with.
            match credential.expires_in {
                Some(end) => {
                    let left = end.as_second() - Timestamp::now().as_second() - 5;
                    life.min(Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)))
                }
                None => life,
            }
        });
        let authority = head.uri.authority().map(ToString::to_string).unwrap_or_default();
        let host = HeaderValue::from_str(&authority)
            .map_err(|_| Error::new(ErrorKind::InvalidConfiguration, "oss_host cannot be sent"))?;
        // The host is signed as well: no request can be turned to another bucket.
        head.headers.insert(header::HOST, host);
        // The signer sees by the host whether the bucket is in the path. A name of the operator's own does not
        // tell.
        let stands_for_bucket = !self.path_hosts.contains(&authority);
        if stands_for_bucket {
            head.uri = with_authority(&head.uri, &format!("{}.oss", self.bucket))?;
        }
        let context = self.credentials.context();
        let signed = self.signer.sign_request(context, head, Some(&credential), life).await;
        signed.map_err(|error| self.credentials.unsigned(&error))?;
        if stands_for_bucket {
            head.uri = with_authority(&head.uri, &authority)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Dialect for OssDialect {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn form(&self) -> &Form {
        &self.form
    }

    async fn sign(&self, head: &mut Parts, _payload: &Payload) -> Result<()> {
        if head.headers.contains_key(header::RANGE) {
            head.headers.insert(RANGE_BEHAVIOR, HeaderValue::from_static("standard"));
        }
        self.signed(head, None).await
    }

    async fn presign(&self, head: &mut Parts, expires: Duration) -> Result<()> {
        self.signed(head, Some(expires)).await
    }

    fn condition(&self, condition: &Condition, headers: &mut HeaderMap) -> Result<()> {
        match condition {
            Condition::Always => {}
            Condition::IfAbsent => {
                headers.insert(FORBID_OVERWRITE, HeaderValue::from_static("true"));
            }
            Condition::IfMatch(_) => {
                let message = "OSS cannot write under the condition that an object is unchanged";
                return Err(Error::new(ErrorKind::Unsupported, message));
            }
        }
        Ok(())
    }

    fn write_headers(&self, write: Write, headers: &mut HeaderMap) {
        if matches!(write, Write::Put | Write::Begin | Write::Copy) {
            headers.extend(self.begin_headers.clone());
        }
    }
}

fn with_authority(uri: &Uri, authority: &str) -> Result<Uri> {
    let mut parts = uri.clone().into_parts();
    let wrong = || Error::new(ErrorKind::InvalidConfiguration, "oss_host and oss_bucket make no address");
    parts.authority = Some(authority.parse().map_err(|_| wrong())?);
    Uri::from_parts(parts).map_err(|_| wrong())
}
