//! Why a call on the registry was refused, or failed.

use docker_registry_driver_api::Error;

use super::references::MissingReference;
use crate::registry::digest::Digest;

/// Result of a call on the registry.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Every reason that a client can act on, and the storage's own.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no such repository.
    #[error("there is no repository of this name")]
    RepositoryUnknown,
    /// The repository has no such blob.
    #[error("the repository has no blob with this digest")]
    BlobUnknown,
    /// No byte of the blob is in the range.
    #[error("the range has no byte of this blob of {size} bytes")]
    BlobRange {
        /// Size of the blob.
        size: u64,
    },
    /// The repository has no such manifest, or no such tag.
    #[error("the repository has no manifest of this name")]
    ManifestUnknown,
    /// The manifest cannot be accepted; the text says why.
    #[error("{0}")]
    ManifestInvalid(String),
    /// The manifest refers to content that the repository does not have.
    #[error("the manifest refers to content that the repository does not have")]
    MissingReferences(Vec<MissingReference>),
    /// There is no such upload in the repository.
    #[error("the repository has no such upload")]
    UploadUnknown,
    /// The chunk does not begin where the upload stands, or another caller has gone on with it.
    #[error("the upload stands at byte {offset}; a chunk must begin there, and one at a time")]
    UploadOffset {
        /// Number of bytes that the upload has.
        offset: u64,
    },
    /// The body has fewer or more bytes than its headers say.
    #[error("the body has another length than its headers say")]
    LengthMismatch,
    /// The client broke off in the middle of the body.
    #[error("the body ended early")]
    BodyBroken,
    /// The content has another digest than the client says.
    #[error("the content has the digest {found}")]
    DigestMismatch {
        /// What was computed.
        found: Digest,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] Error),
}

impl Failure {
    /// `instead` when the storage said that there is nothing; the storage's error otherwise.
    pub(super) fn absent_as(instead: Self) -> impl FnOnce(Error) -> Self {
        |error| if error.is_not_found() { instead } else { Self::Storage(error) }
    }
}
