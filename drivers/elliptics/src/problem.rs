//! Why a group did not do what it was asked, and what follows from it: whether to ask again, and what the caller is told.

use std::fmt;

use docker_registry_driver_api::{Error, ErrorKind};

use crate::{
    connection::Failure,
    wire::{E2BIG, EBADFD, EILSEQ, ENOENT, ENOSPC, ENOTSUP, EROFS, Malformed},
};

/// Why a group did not do what it was asked.
#[derive(Debug, Clone)]
pub(crate) enum Problem {
    /// The node that keeps the object is away, for long or only just, or nobody serves the group.
    Unserved { for_long: bool },
    /// No answer.
    Failed(Failure),
    /// The node refuses.
    Status(i32),
    /// The answer makes no sense.
    Malformed(Malformed),
}

impl Problem {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Status(ENOENT))
    }

    /// The comparison of a write did not hold.
    pub(crate) fn is_mismatch(&self) -> bool {
        matches!(self, Self::Status(EBADFD))
    }

    /// Whether the same request may get another answer soon.
    pub(crate) fn may_pass(&self) -> bool {
        const FINAL: [i32; 7] = [EBADFD, ENOENT, ENOSPC, EROFS, ENOTSUP, E2BIG, EILSEQ];
        match self {
            Self::Unserved { .. } | Self::Failed(_) => true,
            Self::Malformed(_) => false,
            Self::Status(status) => !FINAL.contains(status),
        }
    }

    /// Whether a write may have happened all the same.
    pub(crate) fn may_have_happened(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.may_have_happened(),
            Self::Malformed(_) => true,
            Self::Unserved { .. } => false,
            // Said of the command itself. Others may come from a node on the way, which does not know.
            Self::Status(status) => ![EBADFD, ENOENT, ENOSPC, EROFS, ENOTSUP, E2BIG].contains(status),
        }
    }

    /// The error for the caller.
    pub(crate) fn error(&self, group: u32) -> Error {
        let (kind, retryable) = match self {
            Self::Unserved { .. } | Self::Failed(_) => (ErrorKind::Unavailable, true),
            Self::Malformed(_) | Self::Status(EILSEQ) => (ErrorKind::Corrupt, true),
            Self::Status(ENOENT | E2BIG) => (ErrorKind::NotFound, false),
            Self::Status(ENOSPC) => (ErrorKind::StorageFull, false),
            Self::Status(EROFS) => (ErrorKind::PermissionDenied, false),
            Self::Status(ENOTSUP) => (ErrorKind::Unsupported, false),
            Self::Status(_) => (ErrorKind::Unavailable, true),
        };
        Error::new(kind, format!("group {group} of elliptics_groups: {self}")).retryable(retryable)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unserved { .. } => formatter.write_str("the node that keeps the object is not connected"),
            Self::Failed(failure) => failure.fmt(formatter),
            Self::Status(ENOSPC) => formatter.write_str("the node has no room left"),
            Self::Status(EROFS) => formatter.write_str("the node takes no writes"),
            Self::Status(EILSEQ) => formatter.write_str("the content is not what its checksum says"),
            Self::Status(status) => write!(formatter, "the node answers with status {status}"),
            Self::Malformed(malformed) => malformed.fmt(formatter),
        }
    }
}
