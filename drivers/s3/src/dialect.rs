//! How requests of S3 are signed, and what their headers say of encryption and storage class.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use docker_registry_driver_api::{Error, ErrorKind, Result, async_trait};
use docker_registry_object_storage::{
    bucket::Limits,
    object_store::{aws::AwsAuthorizer, client::HttpRequestBody},
    xml::{Dialect, Form, Payload, PayloadCheck, Write},
};
use http::{HeaderMap, request::Parts};

use crate::credentials::Credentials;

/// S3's dialect with one account.
pub(crate) struct AmazonDialect {
    credentials: Arc<Credentials>,
    region: String,
    /// Encryption and storage class, for requests that begin an object.
    begin_headers: HeaderMap,
    limits: Limits,
    /// Without and with the comparison of entity tags.
    forms: [Form; 2],
    compares_tags: AtomicBool,
}

impl AmazonDialect {
    /// The dialect for a region; `secure` when the connection is encrypted.
    pub(crate) fn new(credentials: Arc<Credentials>, region: String, secure: bool, begin_headers: HeaderMap) -> Self {
        let form = Form {
            // On an open connection nobody but the signature vouches for the content.
            payload_check: if secure { PayloadCheck::Md5 } else { PayloadCheck::SignedHash },
            ..Form::s3()
        };
        Self {
            credentials,
            region,
            begin_headers,
            limits: Limits::s3(),
            forms: [Form { etag_is_md5: false, ..form.clone() }, Form { etag_is_md5: true, ..form }],
            compares_tags: AtomicBool::new(false),
        }
    }

    /// From now on the entity tags of puts and parts are compared with the MD5 of what was sent.
    pub(crate) fn compare_tags(&self) {
        self.compares_tags.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Dialect for AmazonDialect {
    fn limits(&self) -> &Limits {
        &self.limits
    }

    fn form(&self) -> &Form {
        &self.forms[usize::from(self.compares_tags.load(Ordering::Relaxed))]
    }

    async fn sign(&self, head: &mut Parts, payload: &Payload) -> Result<()> {
        let keys = self.credentials.get().await?;
        let digest = payload.sha256.as_deref().map(from_hexadecimal).transpose()?;
        let mut request = http::Request::new(HttpRequestBody::empty());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = std::mem::take(&mut head.headers);
        let authorizer =
            AwsAuthorizer::new(&keys, "s3", &self.region).with_sign_payload(digest.is_some());
        authorizer
            .try_authorize(&mut request, digest.as_deref())
            .map_err(|error| Error::new(ErrorKind::Internal, "the request cannot be signed").caused_by(&error))?;
        head.headers = std::mem::take(request.headers_mut());
        Ok(())
    }

    async fn presign(&self, _head: &mut Parts, _expires: Duration) -> Result<()> {
        // The bucket signs addresses with object_store's client, whose authorizer does not do it for others.
        Err(Error::unsupported("redirect_url"))
    }

    fn write_headers(&self, write: Write, headers: &mut HeaderMap) {
        if matches!(write, Write::Put | Write::Begin | Write::Copy) {
            headers.extend(self.begin_headers.clone());
        }
    }
}

fn from_hexadecimal(text: &str) -> Result<Vec<u8>> {
    let digit = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len())
        .step_by(2)
        .map(digit)
        .collect::<Option<_>>()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a digest is not in hexadecimal"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_from_hexadecimal() {
        assert_eq!(from_hexadecimal("00ff7f").unwrap(), [0, 255, 127]);
        assert!(from_hexadecimal("0").is_err());
        assert!(from_hexadecimal("xx").is_err());
        assert!(from_hexadecimal("ää").is_err());
    }
}
