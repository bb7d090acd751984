//! The numbers of the plain C interface. Comments here go into the header and are written for authors in C.
//!
//! Every number is the one that the Rust side uses; constants at the end of the file prove it.

/// Version of the driver API that this header describes.
pub const API_MAJOR: u32 = 1;
/// What was appended to a struct of this header says from which minor version on it is there.
pub const API_MINOR: u32 = 2;

/// The call succeeded.
pub const OK: u32 = 0;
/// There is no object, folder or upload at the path.
pub const NOT_FOUND: u32 = 1;
/// The condition of a conditional write did not hold: nothing was written.
pub const CONDITION_FAILED: u32 = 2;
/// Somebody else has moved on what the call works on: a stale upload state, an offset that is not the upload's,
/// an object where a folder is needed. Nothing was changed.
pub const CONFLICT: u32 = 3;
/// The storage cannot keep this path.
pub const INVALID_PATH: u32 = 4;
/// The range has no byte of the object; see docker_registry_resolve_range.
pub const INVALID_RANGE: u32 = 5;
/// A configuration value is missing or wrong; the message names the key.
pub const INVALID_CONFIGURATION: u32 = 6;
/// The credentials are missing or wrong.
pub const UNAUTHENTICATED: u32 = 7;
/// The credentials are right and do not suffice.
pub const PERMISSION_DENIED: u32 = 8;
/// The storage asks for fewer calls. The server may make the call again.
pub const THROTTLED: u32 = 9;
/// The storage cannot be reached or does not work now. The server may make the call again.
pub const UNAVAILABLE: u32 = 10;
/// The deadline passed, or nobody waits any more. The server may make the call again.
pub const TIMEOUT: u32 = 11;
/// The storage has no room left, or a quota is used up.
pub const STORAGE_FULL: u32 = 12;
/// The object is larger than the caller allowed.
pub const TOO_LARGE: u32 = 13;
/// The driver does not offer this.
pub const UNSUPPORTED: u32 = 14;
/// What the storage returned cannot be right.
pub const CORRUPT: u32 = 15;
/// docker_registry_body_read failed; hand its result on.
pub const BODY_FAILED: u32 = 16;
/// A fault of the driver itself. A number that is not in this list counts as this one.
pub const INTERNAL: u32 = 17;
/// The call failed as docker_registry_fail or its like has described last. For functions that fail at one place and
/// return at another.
pub const FAILED: u32 = 0xffff_ffff;

/// Of an error: the same call may succeed when it is made again without changes.
pub const ERROR_RETRYABLE: u64 = 1 << 0;
/// Of an error: the write may have taken effect although it failed.
pub const ERROR_OUTCOME_UNKNOWN: u64 = 1 << 1;
/// Of an error: `retry_after_millis` counts.
pub const ERROR_HAS_RETRY_AFTER: u64 = 1 << 2;
/// Of an error: making the same call again is in vain, also where the result's number says otherwise.
pub const ERROR_NOT_RETRYABLE: u64 = 1 << 3;

/// `put` and `commit` honour DOCKER_REGISTRY_IF_ABSENT atomically.
pub const CAN_PUT_IF_ABSENT: u64 = 1 << 0;
/// `put` and `commit` honour DOCKER_REGISTRY_IF_MATCH atomically.
pub const CAN_PUT_IF_MATCH: u64 = 1 << 1;
/// `read_open` hands out open files, which the server sends with sendfile(2).
pub const CAN_FILE_REGIONS: u64 = 1 << 2;
/// `redirect_url` may answer with an address.
pub const CAN_REDIRECT: u64 = 1 << 3;
/// What was written is visible to every reader at once, listings included.
pub const CAN_STRONG_CONSISTENCY: u64 = 1 << 4;
/// `rename` is one step, not a copy.
pub const CAN_CHEAP_RENAME: u64 = 1 << 5;
/// Uploads can go on in another process.
pub const CAN_RESUME_UPLOADS: u64 = 1 << 6;
/// `list_uploads` finds every pending upload.
pub const CAN_LIST_UPLOADS: u64 = 1 << 7;

/// A condition that always holds: what is there is replaced.
pub const ALWAYS: u32 = 0;
/// Holds when nothing is there: of many such writers exactly one succeeds.
pub const IF_ABSENT: u32 = 1;
/// Holds when the object there still has this tag.
pub const IF_MATCH: u32 = 2;

/// All bytes.
pub const RANGE_FULL: u32 = 0;
/// From the byte at `offset` to the end.
pub const RANGE_FROM: u32 = 1;
/// At most `length` bytes from `offset`.
pub const RANGE_WINDOW: u32 = 2;
/// The last bytes, at most `length` of them.
pub const RANGE_LAST: u32 = 3;

/// A text, kept exactly as written.
pub const KIND_TEXT: u32 = 1;
/// A whole number.
pub const KIND_INTEGER: u32 = 2;
/// A number.
pub const KIND_FLOAT: u32 = 3;
/// True or false.
pub const KIND_BOOLEAN: u32 = 4;
/// A list of texts.
pub const KIND_LIST: u32 = 5;

/// Of a key: the driver cannot open without it.
pub const KEY_REQUIRED: u32 = 1 << 0;
/// Of a key: the value must never be shown.
pub const KEY_SECRET: u32 = 1 << 1;

/// Of a call: nobody waits for the result (purges, garbage collection).
pub const CALL_BACKGROUND: u64 = 1 << 0;
/// Of a call: the trace fields count.
pub const CALL_HAS_TRACE: u64 = 1 << 1;
/// Of a call: what it writes or deletes has to outlive the process only, so a driver may leave out what it does for a
/// power cut (`fsync`). Of `rename` this is said of the source alone: what is at `to` has to survive one. Since 1.2.
pub const CALL_TRANSIENT: u64 = 1 << 2;

/// A failure that an operator must act on.
pub const LOG_ERROR: u32 = 1;
/// Something that will become one.
pub const LOG_WARNING: u32 = 2;
/// A fact of normal work.
pub const LOG_INFO: u32 = 3;
/// For the author of the driver.
pub const LOG_DEBUG: u32 = 4;
/// Every step.
pub const LOG_TRACE: u32 = 5;

/// Longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest state of an upload, in bytes.
pub const MAX_UPLOAD_STATE_BYTES: usize = 16384;
/// Longest tag, in bytes.
pub const MAX_ETAG_BYTES: usize = 1024;
/// Longest sentence of an error, of the log and of a description, in bytes. What is longer is cut; in a description
/// it is refused.
pub const MAX_MESSAGE_BYTES: usize = 4096;

/// The numbers are those of the other side.
const _: () = {
    use crate::{Capability as C, ErrorKind as E};
    assert!(NOT_FOUND == E::NotFound as u32 && CONDITION_FAILED == E::ConditionFailed as u32);
    assert!(CONFLICT == E::Conflict as u32 && INVALID_PATH == E::InvalidPath as u32);
    assert!(INVALID_RANGE == E::InvalidRange as u32);
    assert!(INVALID_CONFIGURATION == E::InvalidConfiguration as u32);
    assert!(UNAUTHENTICATED == E::Unauthenticated as u32 && PERMISSION_DENIED == E::PermissionDenied as u32);
    assert!(THROTTLED == E::Throttled as u32 && UNAVAILABLE == E::Unavailable as u32);
    assert!(TIMEOUT == E::Timeout as u32 && STORAGE_FULL == E::StorageFull as u32);
    assert!(TOO_LARGE == E::TooLarge as u32 && UNSUPPORTED == E::Unsupported as u32);
    assert!(CORRUPT == E::Corrupt as u32 && BODY_FAILED == E::BodyFailed as u32);
    assert!(INTERNAL == E::Internal as u32);
    assert!(CAN_PUT_IF_ABSENT == C::PutIfAbsent as u64 && CAN_PUT_IF_MATCH == C::PutIfMatch as u64);
    assert!(CAN_FILE_REGIONS == C::FileRegions as u64 && CAN_REDIRECT == C::Redirects as u64);
    assert!(CAN_STRONG_CONSISTENCY == C::StrongConsistency as u64);
    assert!(CAN_CHEAP_RENAME == C::CheapRename as u64 && CAN_RESUME_UPLOADS == C::ResumableUploads as u64);
    assert!(CAN_LIST_UPLOADS == C::ListUploads as u64);
    assert!(API_MAJOR == crate::API_VERSION.0 && API_MINOR == crate::API_VERSION.1);
    assert!(MAX_PATH_BYTES == crate::MAX_PATH_BYTES);
    assert!(MAX_UPLOAD_STATE_BYTES == crate::MAX_UPLOAD_STATE_BYTES);
};
