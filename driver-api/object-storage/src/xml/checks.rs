//! Hashes of what is sent, so that store and driver notice when it arrives changed.

use base64::{Engine, prelude::BASE64_STANDARD};
use docker_registry_driver_api::{Error, ErrorKind, Result};
use http::HeaderMap;
use md5::Md5;
use sha2::{Digest, Sha256};

use super::dialect::Form;
use crate::bucket::Content;

/// SHA-256 of no bytes.
pub(super) const SHA256_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Content above this size is hashed beside the runtime.
const SMALL: usize = 16 << 10;

/// Hashes as far as they were asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Hashes {
    pub md5: Option<Vec<u8>>,
    /// In hexadecimal.
    pub sha256: Option<String>,
}

/// Hashes content without blocking the runtime.
pub(super) async fn hashes(content: &Content, md5: bool, sha256: bool) -> Result<Hashes> {
    if !md5 && !sha256 {
        return Ok(Hashes::default());
    }
    if content.content_length() <= SMALL {
        return Ok(hash(content, md5, sha256));
    }
    let content = content.clone();
    tokio::task::spawn_blocking(move || hash(&content, md5, sha256))
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "hashing failed").caused_by(&error))
}

fn hash(content: &Content, md5: bool, sha256: bool) -> Hashes {
    let mut hashes = Hashes::default();
    let mut of_md5 = md5.then(Md5::new);
    let mut of_sha256 = sha256.then(Sha256::new);
    for piece in content {
        if let Some(state) = &mut of_md5 {
            state.update(piece);
        }
        if let Some(state) = &mut of_sha256 {
            state.update(piece);
        }
    }
    hashes.md5 = of_md5.map(|state| state.finalize().to_vec());
    hashes.sha256 = of_sha256.map(|state| hexadecimal(&state.finalize()));
    hashes
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

/// Compares the entity tag that the store gave with the MD5 of what was sent.
///
/// # Errors
/// They differ: something between changed the content or the answer. Sending again may help, and nobody knows
/// what the store has.
pub(super) fn compare(form: &Form, headers: &HeaderMap, tag: Option<&str>, hashes: &Hashes) -> Result<()> {
    let (true, Some(md5)) = (form.etag_is_md5, &hashes.md5) else { return Ok(()) };
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
