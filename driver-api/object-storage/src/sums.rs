//! Hashes of what is sent, made beside the runtime where there is much of it.

use docker_registry_driver_api::{Error, ErrorKind, Result};
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::bucket::Content;

/// Content above this size is hashed beside the runtime.
const SMALL: usize = 16 << 10;

/// Hashes as far as they were asked for.
#[derive(Debug, Clone, Default)]
pub struct Sums {
    /// MD5.
    pub md5: Option<[u8; 16]>,
    /// SHA-256, in hexadecimal.
    pub sha256: Option<String>,
}

impl Sums {
    /// Hashes content.
    ///
    /// # Errors
    /// `Internal` when the runtime ends meanwhile.
    pub async fn of(content: &Content, md5: bool, sha256: bool) -> Result<Self> {
        if !md5 && !sha256 {
            return Ok(Self::default());
        }
        if content.content_length() <= SMALL {
            return Ok(hash(content, md5, sha256));
        }
        let content = content.clone();
        tokio::task::spawn_blocking(move || hash(&content, md5, sha256))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "hashing failed").caused_by(&error))
    }
}

/// MD5 of content.
///
/// # Errors
/// As [`Sums::of`].
pub async fn md5(content: &Content) -> Result<[u8; 16]> {
    Ok(Sums::of(content, true, false).await?.md5.unwrap_or_default())
}

fn hash(content: &Content, md5: bool, sha256: bool) -> Sums {
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
    Sums {
        md5: of_md5.map(|state| state.finalize().into()),
        sha256: of_sha256.map(|state| hexadecimal(&state.finalize())),
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
