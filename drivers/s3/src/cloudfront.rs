//! Addresses of a CloudFront distribution, signed with the canned policy.
//!
//! The policy says until when anybody who has the address may fetch this one object. CloudFront reads the private
//! bucket for him. The private key never leaves this module.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::xml::encode;
use rsa::{
    PrivateKey,
    pkcs1::DecodeRsaPrivateKey,
    pkcs1v15::SigningKey,
    pkcs8::DecodePrivateKey,
    signature::{SignatureEncoding, Signer},
};
use sha1::Sha1;

use crate::settings::invalid;

/// Signs addresses of one distribution.
#[derive(Clone)]
pub(crate) struct CloudFront {
    base: String,
    key_id: String,
    key: Arc<SigningKey<Sha1>>,
}

impl fmt::Debug for CloudFront {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudFront").field("base", &self.base).finish_non_exhaustive()
    }
}

impl CloudFront {
    /// A distribution at `base`, with a key pair's id and its private key in PEM.
    ///
    /// # Errors
    /// `InvalidConfiguration` for what is no address, no id or no RSA key.
    pub(crate) fn new(base: &str, key_id: &str, pem: &str) -> Result<Self> {
        let base = base.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("https://{base}") };
        let is_address = base.parse::<http::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.query().is_none()
                && !base.contains(['"', '\\'])
        });
        if !is_address {
            return Err(invalid("cloudfront.base must be an address, https://HOST for example"));
        }
        if !key_id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(invalid("cloudfront.keyid is no id of a key pair"));
        }
        // The reason is left out: it could quote the text.
        let key = PrivateKey::from_pkcs1_pem(pem)
            .ok()
            .or_else(|| PrivateKey::from_pkcs8_pem(pem).ok())
            .ok_or_else(|| {
                invalid("cloudfront.keysecret must be an RSA private key in PEM without a password")
            })?;
        Ok(Self { base, key_id: key_id.to_owned(), key: Arc::new(SigningKey::new(key)) })
    }

    /// An address that works until `expires` from now.
    ///
    /// # Errors
    /// `Internal` when the key does not sign.
    pub(crate) async fn sign(&self, key: &str, expires: Duration) -> Result<String> {
        let until = SystemTime::now() + expires;
        let until = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (this, key) = (self.clone(), key.to_owned());
        // Milliseconds of arithmetic.
        tokio::task::spawn_blocking(move || this.signed(&key, until))
            .await
            .map_err(|_| Error::new(ErrorKind::Internal, "signing an address failed"))?
    }

    fn signed(&self, key: &str, until: u64) -> Result<String> {
        let address = format!("{}/{}", self.base, encode(key));
        let signature = self
            .key
            .try_sign(policy(&address, until).as_bytes())
            .map_err(|_| Error::new(ErrorKind::Internal, "cloudfront.keysecret does not sign"))?;
        let signature = for_address(&signature.to_bytes());
        Ok(format!("{address}?Expires={until}&Signature={signature}&Key-Pair-Id={}", self.key_id))
    }
}

/// The canned policy, byte for byte as CloudFront makes it from the address.
fn policy(address: &str, until: u64) -> String {
    format!(
        "{{\"Statement\":[{{\"Resource\":\"{address}\",\"Condition\":{{\"DateLessThan\":\
         {{\"AWS:EpochTime\":{until}}}}}}}]}}"
    )
}

/// Base64 with CloudFront's own replacements for what an address cannot hold.
fn for_address(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes).replace('+', "-").replace('=', "_").replace('/', "~")
}

#[cfg(test)]
#[path = "cloudfront_tests.rs"]
mod tests;
