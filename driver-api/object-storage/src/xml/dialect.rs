//! Where the stores of the S3 family differ.

use std::time::Duration;

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, Result};
use http::{HeaderMap, HeaderValue, header, request::Parts};

use crate::bucket::Limits;

/// Where a bucket is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host, port and, with path-style addresses, the bucket: `https://bucket.s3.amazonaws.com` or
    /// `http://127.0.0.1:9000/bucket`. No `/` at the end.
    pub base: String,
    /// Name of the bucket, for the source of copies.
    pub bucket: String,
}

/// How pages of a listing go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listings {
    /// `list-type=2` with `start-after` and `continuation-token`.
    Second,
    /// `marker`, the oldest form. The marker serves as the token.
    First,
}

/// How a store is enabled to notice that content was changed on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadCheck {
    /// The SHA-256 of the content is part of the signature.
    SignedHash,
    /// `Content-MD5`.
    Md5,
    /// Nothing is said.
    Nothing,
}

/// The constants of a dialect.
#[derive(Debug, Clone)]
pub struct Form {
    /// What the store's own headers begin with: `x-amz-`.
    pub header_prefix: &'static str,
    /// How listings go on.
    pub listings: Listings,
    /// Listings take `encoding-type=url`.
    pub encoded_listings: bool,
    /// How content is checked by the store.
    pub payload_check: PayloadCheck,
    /// The entity tag of a put and of a part is the MD5 of what was sent, which is then compared. Not so with
    /// keys of a key management service.
    pub etag_is_md5: bool,
}

impl Form {
    /// The form of S3.
    pub fn s3() -> Self {
        Self {
            header_prefix: "x-amz-",
            listings: Listings::Second,
            encoded_listings: true,
            payload_check: PayloadCheck::Md5,
            etag_is_md5: true,
        }
    }

    /// The form of Aliyun OSS.
    pub fn oss() -> Self {
        Self { header_prefix: "x-oss-", ..Self::s3() }
    }

    /// The form of the XML API of Google's store.
    pub fn gcs() -> Self {
        Self { header_prefix: "x-goog-", ..Self::s3() }
    }
}

/// Which request is being made, for headers that only some of them take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// A whole object.
    Put,
    /// The beginning of a large object.
    Begin,
    /// One of its parts.
    Part,
    /// One of its parts, copied.
    CopyPart,
    /// Its end.
    Finish,
    /// A copy of a whole object.
    Copy,
}

/// What is known of the content of a request when it is signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// Number of bytes.
    pub length: u64,
    /// SHA-256 of the content in hexadecimal. `None`: the signature leaves the content out, as it must with
    /// anything but [`PayloadCheck::SignedHash`] where there is content.
    pub sha256: Option<String>,
}

/// One store of the family.
#[docker_registry_driver_api::async_trait]
pub trait Dialect: Send + Sync + 'static {
    /// Abilities and limits.
    fn limits(&self) -> &Limits;

    /// The constants.
    fn form(&self) -> &Form;

    /// Signs a request: `head` has the whole address and every header, except `content-length` and `host`.
    /// It may add headers. Errors of `reqsign` become the driver's by
    /// [`crate::http::fault::unsigned`].
    async fn sign(&self, head: &mut Parts, payload: &Payload) -> Result<()>;

    /// Signs an address: the signature goes into the query of `head.uri`.
    async fn presign(&self, head: &mut Parts, expires: Duration) -> Result<()>;

    /// Puts the condition of a write into its headers.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] where the store has no such condition.
    fn condition(&self, condition: &Condition, headers: &mut HeaderMap) -> Result<()> {
        match condition {
            Condition::Always => {}
            Condition::IfAbsent => {
                headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
            }
            Condition::IfMatch(tag) => {
                headers.insert(header::IF_MATCH, tag_header(tag)?);
            }
        }
        Ok(())
    }

    /// Puts the condition of a read into its headers.
    ///
    /// # Errors
    /// [`ErrorKind::ConditionFailed`] for a tag that cannot be one of this store.
    fn read_condition(&self, tag: &ETag, headers: &mut HeaderMap) -> Result<()> {
        headers.insert(header::IF_MATCH, tag_header(tag)?);
        Ok(())
    }

    /// Puts what the configuration asks for into the headers of a write: encryption, storage class.
    fn write_headers(&self, write: Write, headers: &mut HeaderMap) {
        let _ = (write, headers);
    }

    /// The tag of an object in the headers of an answer.
    fn tag(&self, headers: &HeaderMap) -> Option<ETag> {
        let tag = headers.get(header::ETAG)?.to_str().ok()?;
        (!tag.is_empty()).then(|| ETag(tag.to_owned()))
    }

    /// The tag of a listed object, from its elements `ETag` and `Generation`.
    fn listed_tag(&self, etag: Option<String>, generation: Option<String>) -> Option<ETag> {
        let _ = generation;
        etag.filter(|tag| !tag.is_empty()).map(ETag)
    }
}

/// A tag as the value of a header.
///
/// # Errors
/// [`ErrorKind::ConditionFailed`]: what is no header value is no tag that a store gave.
pub fn tag_header(tag: &ETag) -> Result<HeaderValue> {
    HeaderValue::from_str(&tag.0)
        .map_err(|_| Error::new(ErrorKind::ConditionFailed, "this tag was not given by the store"))
}
