//! What came of what was sent: store and driver notice when it arrives changed.

use base64::{Engine, prelude::BASE64_STANDARD};
use docker_registry_driver_api::{Error, ErrorKind, Result};
use http::HeaderMap;

use super::dialect::Form;
use crate::sums::{Sums, hexadecimal};

/// SHA-256 of no bytes.
pub(super) const SHA256_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Compares the entity tag that the store gave with the MD5 of what was sent.
///
/// # Errors
/// They differ: something between changed the content or the answer. Sending again may help, and nobody knows
/// what the store has.
pub(super) fn compare(form: &Form, headers: &HeaderMap, tag: Option<&str>, sums: &Sums) -> Result<()> {
    let (true, Some(md5)) = (form.etag_is_md5, &sums.md5) else { return Ok(()) };
    let encryption = format!("{}server-side-encryption", form.header_prefix);
    // With keys of a key management service the tag is no hash of the content.
    if headers.get(encryption).is_some_and(|value| value != "AES256") {
        return Ok(());
    }
    let tag = tag.unwrap_or_default().trim_matches('"');
    if tag.eq_ignore_ascii_case(&hexadecimal(md5)) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unavailable,
        "the entity tag that the store gave is not the MD5 of what was sent: something on the way changes \
         content or answers",
    )
    .outcome_unknown())
}
