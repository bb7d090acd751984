//! Why a group did not do what it was asked, and what follows from it: whether to ask again, and what the caller is told.

use std::fmt;

use docker_registry_driver_api::{Error, ErrorKind};

use crate::{
    connection::Failure,
    wire::{E2BIG, EACCES, EBADFD, EILSEQ, EINVAL, ENOENT, ENOSPC, ENOSYS, ENOTSUP, EPERM, EROFS, Malformed},
};

/// Why a group did not do what it was asked.
#[derive(Debug, Clone)]
pub(crate) enum Problem {
    /// The node that keeps the object is away, for long or only just, or nobody serves the group.
    Unserved { for_long: bool },
    /// The node is there and its backend that keeps the object is not: it is not ready, or was switched off just now.
    NoBackend,
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

    /// The same of a command that every backend knows: what the node does not know is then the backend.
    pub(crate) fn of_object(self) -> Self {
        if matches!(self, Self::Status(ENOTSUP)) { Self::NoBackend } else { self }
    }

    /// Whether the same request may get another answer soon.
    pub(crate) fn may_pass(&self) -> bool {
        const FINAL: [i32; 11] =
            [EPERM, ENOENT, E2BIG, EACCES, EINVAL, ENOSPC, EROFS, ENOSYS, EBADFD, EILSEQ, ENOTSUP];
        match self {
            Self::Unserved { .. } | Self::NoBackend | Self::Failed(_) => true,
            Self::Malformed(_) => false,
            Self::Status(status) => !FINAL.contains(status),
        }
    }

    /// Whether a write may have happened all the same.
    pub(crate) fn may_have_happened(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.may_have_happened(),
            Self::Malformed(_) => true,
            Self::Unserved { .. } | Self::NoBackend => false,
            // Said of the command itself. Others may come from a node on the way, which does not know, or say no more of
            // a write than that its last step failed.
            Self::Status(status) => ![EBADFD, ENOENT, ENOSPC, EROFS, ENOTSUP, E2BIG].contains(status),
        }
    }

    /// The error for the caller.
    pub(crate) fn error(&self, group: u32) -> Error {
        let (kind, retryable) = match self {
            Self::Unserved { .. } | Self::NoBackend | Self::Failed(_) => (ErrorKind::Unavailable, true),
            Self::Malformed(_) | Self::Status(EILSEQ) => (ErrorKind::Corrupt, true),
            Self::Status(ENOENT | E2BIG) => (ErrorKind::NotFound, false),
            Self::Status(ENOSPC) => (ErrorKind::StorageFull, false),
            Self::Status(EROFS | EPERM | EACCES) => (ErrorKind::PermissionDenied, false),
            Self::Status(ENOTSUP | ENOSYS) => (ErrorKind::Unsupported, false),
            Self::Status(EINVAL) => (ErrorKind::Internal, false),
            Self::Status(_) => (ErrorKind::Unavailable, true),
        };
        Error::new(kind, format!("group {group} of elliptics_groups: {self}")).retryable(retryable)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unserved { .. } => formatter.write_str("the node that keeps the object is not connected"),
            Self::NoBackend => formatter.write_str("the backend that keeps the object is not there for now"),
            Self::Failed(failure) => failure.fmt(formatter),
            Self::Status(ENOSPC) => formatter.write_str("the node has no room left"),
            Self::Status(EROFS) => formatter.write_str("the node takes no writes"),
            Self::Status(EPERM | EACCES) => formatter.write_str("the node does not allow it"),
            Self::Status(EINVAL) => formatter.write_str("the request makes no sense to the node"),
            Self::Status(EILSEQ) => formatter.write_str("the content is not what its checksum says"),
            Self::Status(status) => write!(formatter, "the node answers with status {status}"),
            Self::Malformed(malformed) => malformed.fmt(formatter),
        }
    }
}
