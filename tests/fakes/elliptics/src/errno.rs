//! The statuses of answers: negated error numbers of Linux, as the servers send them.

/// Not permitted: a plain write or a commit of a record that is committed, a wrong cookie.
pub(crate) const EPERM: i32 = -1;
/// No such record.
pub(crate) const ENOENT: i32 = -2;
/// The disk failed.
pub(crate) const EIO: i32 = -5;
/// Beyond the end of a record, or of the room that was prepared.
pub(crate) const E2BIG: i32 = -7;
/// A request that makes no sense.
pub(crate) const EINVAL: i32 = -22;
/// A backend that is read only.
pub(crate) const EROFS: i32 = -30;
/// More is committed than there is room.
pub(crate) const ERANGE: i32 = -34;
/// Versions that do not fit.
pub(crate) const EPROTO: i32 = -71;
/// A compare-and-swap that failed.
pub(crate) const EBADFD: i32 = -77;
/// The checksum of a record is wrong.
pub(crate) const EILSEQ: i32 = -84;
/// No such command, or no backend for the id.
pub(crate) const ENOTSUP: i32 = -95;
