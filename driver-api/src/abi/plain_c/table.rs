//! The functions of the plain C interface, of both sides. Comments here go into the header and are written for
//! authors in C.

use std::ffi::{c_char, c_int, c_void};

use super::{
    super::memory::Message,
    values::{
        PlainBytes, PlainCondition, PlainError, PlainInfo, PlainKey, PlainListRequest, PlainRange,
        PlainReading, PlainRedirectRequest, PlainSettings, PlainText, PlainUploadHint, PlainUploadsRequest,
    },
};

/// The server, as a driver sees it. It is there as long as the process, and its functions may be called from any
/// thread at any time. Use docker_registry_log and docker_registry_count.
#[repr(C)]
pub struct PlainHost {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// The server's own.
    pub context: *const c_void,
    /// Version of the API that the server speaks.
    pub api_major: u32,
    /// A driver that uses what a later 1.x appended looks here first.
    pub api_minor: u32,
    /// The most detailed level that is logged; 0 for none.
    pub log_level: Option<unsafe extern "C" fn(host: *const PlainHost) -> u32>,
    /// See docker_registry_log.
    pub log: Option<unsafe extern "C" fn(host: *const PlainHost, level: u32, line: PlainText)>,
    /// See docker_registry_count.
    pub count: Option<unsafe extern "C" fn(host: *const PlainHost, counter: PlainText, amount: u64)>,
}

/// One call of a function of the driver. It belongs to the thread that the function was called on and is gone
/// when the function returns.
#[repr(C)]
pub struct PlainCall {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// The server's own.
    pub context: *mut c_void,
    /// What the driver may do in this call; use the functions of the same names in this header.
    pub functions: *const PlainCallFunctions,
    /// The server.
    pub host: *const PlainHost,
    /// A set of DOCKER_REGISTRY_CALL_BACKGROUND, DOCKER_REGISTRY_CALL_HAS_TRACE and DOCKER_REGISTRY_CALL_TRANSIENT.
    pub flags: u64,
    /// Trace id, as in the W3C `traceparent` header.
    pub trace_id: [u8; 16],
    /// Span id of the caller.
    pub span_id: [u8; 8],
    /// Trace flags in the lowest byte.
    pub trace_flags: u64,
}

/// What a driver may do in a call. Each is explained at the function of the same name with
/// `docker_registry_` in front, which is the way to use it.
#[repr(C)]
pub struct PlainCallFunctions {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// See docker_registry_fail_with.
    pub fail: Option<unsafe extern "C" fn(call: *mut PlainCall, code: u32, error: *const PlainError) -> u32>,
    /// See docker_registry_fail_errno.
    pub fail_errno:
        Option<unsafe extern "C" fn(call: *mut PlainCall, number: c_int, doing: PlainText) -> u32>,
    /// See docker_registry_is_cancelled.
    pub is_cancelled: Option<unsafe extern "C" fn(call: *mut PlainCall) -> u32>,
    /// See docker_registry_remaining_millis.
    pub remaining_millis: Option<unsafe extern "C" fn(call: *mut PlainCall) -> u64>,
    /// See docker_registry_resolve_range.
    pub resolve_range: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            range: *const PlainRange,
            object_size: u64,
            offset: *mut u64,
            length: *mut u64,
        ) -> u32,
    >,
    /// See docker_registry_body_read.
    pub body_read: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            buffer: *mut c_void,
            capacity: usize,
            filled: *mut usize,
        ) -> u32,
    >,
    /// See docker_registry_put_bytes.
    pub put_bytes: Option<unsafe extern "C" fn(call: *mut PlainCall, bytes: PlainBytes) -> u32>,
    /// See docker_registry_put_info.
    pub put_info: Option<unsafe extern "C" fn(call: *mut PlainCall, info: *const PlainInfo) -> u32>,
    /// See docker_registry_put_folder.
    pub put_folder: Option<unsafe extern "C" fn(call: *mut PlainCall) -> u32>,
    /// See docker_registry_put_entry.
    pub put_entry:
        Option<unsafe extern "C" fn(call: *mut PlainCall, path: PlainText, info: *const PlainInfo) -> u32>,
    /// See docker_registry_put_next.
    pub put_next: Option<unsafe extern "C" fn(call: *mut PlainCall, after: PlainText) -> u32>,
    /// See docker_registry_put_upload.
    pub put_upload: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            state: PlainBytes,
            touched_nanos: u64,
            upload_size: u64,
        ) -> u32,
    >,
    /// See docker_registry_put_failure.
    pub put_failure: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            path: PlainText,
            code: u32,
            error: *const PlainError,
        ) -> u32,
    >,
}

/// A driver: what it is, and its functions. Make one static of this type, zero in all that it does not offer, and
/// name it in DOCKER_REGISTRY_DRIVER.
///
/// A function returns DOCKER_REGISTRY_OK or the number of a failure, best by `return docker_registry_fail(...)`.
/// What is marked as optional may be null; a library in which another function is null is not loaded.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainDriver {
    /// `sizeof(struct docker_registry_driver)`.
    pub size: usize,
    /// DOCKER_REGISTRY_API_MAJOR.
    pub api_major: u32,
    /// DOCKER_REGISTRY_API_MINOR.
    pub api_minor: u32,
    /// One line: what the driver stores in. A C string.
    pub summary: *const c_char,
    /// Licence of the driver, as an SPDX expression. A C string.
    pub licence: *const c_char,
    /// Every configuration key.
    pub keys: *const PlainKey,
    /// Number of keys.
    pub key_count: usize,

    /// Connects to the storage and writes the driver's own pointer to `instance`, which every other function gets.
    /// It may be called again with other settings while the first instance is open.
    ///
    /// Reach out far enough to find wrong settings now, not on the first request. Fail with
    /// DOCKER_REGISTRY_INVALID_CONFIGURATION and the key in the message.
    pub open: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            settings: *const PlainSettings,
            instance: *mut *mut c_void,
        ) -> u32,
    >,
    /// Ends the driver's work and frees the instance. Called once, when no other function is running or will be
    /// called. Optional.
    pub close: Option<unsafe extern "C" fn(instance: *mut c_void)>,
    /// What this open driver can do beyond the minimum: a set of DOCKER_REGISTRY_CAN_PUT_IF_ABSENT and its like.
    /// Asked for once, after `open`. Optional: nothing.
    pub capabilities: Option<unsafe extern "C" fn(instance: *mut c_void) -> u64>,

    /// Reads a small object whole: docker_registry_put_bytes with the content, in pieces if you like, and
    /// docker_registry_put_info.
    ///
    /// DOCKER_REGISTRY_NOT_FOUND; DOCKER_REGISTRY_TOO_LARGE when the object has more than `max_size` bytes, found
    /// before they are read into memory.
    pub get: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            path: PlainText,
            max_size: u64,
        ) -> u32,
    >,
    /// Writes a small object whole and atomically, making the folders it needs. Where the storage has tags,
    /// docker_registry_put_info with the new one.
    ///
    /// DOCKER_REGISTRY_CONDITION_FAILED when the condition does not hold; DOCKER_REGISTRY_CONFLICT when a folder is
    /// at the path or an object is where one of its folders would be, in stores that have folders.
    pub put: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            path: PlainText,
            content: PlainBytes,
            condition: *const PlainCondition,
        ) -> u32,
    >,
    /// Facts of exactly one object: docker_registry_put_info. A folder is DOCKER_REGISTRY_NOT_FOUND here.
    pub head:
        Option<unsafe extern "C" fn(call: *mut PlainCall, instance: *mut c_void, path: PlainText) -> u32>,
    /// What lies at a path: docker_registry_put_info for an object, docker_registry_put_folder for a folder with
    /// at least one object somewhere below it. The empty path is the storage root, which is always a folder.
    ///
    /// DOCKER_REGISTRY_NOT_FOUND.
    pub stat:
        Option<unsafe extern "C" fn(call: *mut PlainCall, instance: *mut c_void, path: PlainText) -> u32>,
    /// Opens an object for reading: docker_registry_put_info, and the rest into `reading`. What was opened is not
    /// disturbed by a replacement or deletion of the object: it yields the old content, or an error, but never a
    /// mixture.
    ///
    /// DOCKER_REGISTRY_NOT_FOUND; DOCKER_REGISTRY_INVALID_RANGE, which docker_registry_resolve_range finds out.
    pub read_open: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            path: PlainText,
            range: *const PlainRange,
            reading: *mut PlainReading,
        ) -> u32,
    >,
    /// Reads on: at least one byte and at most `capacity` into `buffer`, their number into `filled`. Never called
    /// for more bytes than the reading's length, and never twice at once for one handle. Optional for a driver
    /// that hands out files only.
    pub read_next: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            handle: *mut c_void,
            buffer: *mut c_void,
            capacity: usize,
            filled: *mut usize,
        ) -> u32,
    >,
    /// Frees a handle, read to its end or not. Optional.
    pub read_close: Option<unsafe extern "C" fn(instance: *mut c_void, handle: *mut c_void)>,
    /// One page of a listing in byte order of the full paths: docker_registry_put_entry for each entry, and
    /// docker_registry_put_next with the last path when there are more. A page may have fewer entries than were
    /// asked for and still not be the last. What is added or deleted between two pages does not disturb the rest: an
    /// entry that is there all the time is listed exactly once. A folder that does not exist is an empty page. A
    /// folder `a` sorts as `a`.
    pub list: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            request: *const PlainListRequest,
        ) -> u32,
    >,
    /// Begins an upload: docker_registry_put_bytes with its first state.
    ///
    /// A state is all that another process needs to go on with the upload, and only the driver reads it. Nothing
    /// is visible at any path before `commit` returns. A state belongs to one point of one upload: when two
    /// callers go on from the same state, at most one gets DOCKER_REGISTRY_OK; the other gets
    /// DOCKER_REGISTRY_CONFLICT and has changed nothing that the winner relies on. The later caller takes over from
    /// an earlier one that still waits for its body, and never waits for it.
    ///
    /// Everywhere, a state that this driver did not hand out is refused with DOCKER_REGISTRY_CONFLICT or
    /// DOCKER_REGISTRY_NOT_FOUND and never taken for another upload's.
    pub open_upload: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            hint: *const PlainUploadHint,
        ) -> u32,
    >,
    /// Adds what docker_registry_body_read yields at `expected_offset`, which must be where the upload stands:
    /// docker_registry_put_bytes with the new state, and the number of bytes of the upload into `offset`. When it
    /// returns, they are durable.
    ///
    /// DOCKER_REGISTRY_CONFLICT for a stale state or another offset; DOCKER_REGISTRY_NOT_FOUND when the upload is
    /// gone. When the body fails, or nobody waits any more before it has ended, the upload stays as it was, and the
    /// state stays valid.
    pub append: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            state: PlainBytes,
            expected_offset: u64,
            offset: *mut u64,
        ) -> u32,
    >,
    /// Makes the upload an object at `final_path`, atomically, and ends it: docker_registry_put_info.
    ///
    /// DOCKER_REGISTRY_CONFLICT for a stale state; DOCKER_REGISTRY_NOT_FOUND when the upload is gone. Condition and
    /// path fail as in `put`, and the upload then stays open.
    ///
    /// There is no function for content that is written in one call: the server opens, appends and commits.
    pub commit: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            state: PlainBytes,
            final_path: PlainText,
            condition: *const PlainCondition,
        ) -> u32,
    >,
    /// Discards the upload. Works with any state of it, stale ones included; one that is gone, or was never there,
    /// is DOCKER_REGISTRY_OK.
    pub abort_upload:
        Option<unsafe extern "C" fn(call: *mut PlainCall, instance: *mut c_void, state: PlainBytes) -> u32>,
    /// Pending uploads: docker_registry_put_upload for each, and docker_registry_put_next when there are more.
    /// Optional without DOCKER_REGISTRY_CAN_LIST_UPLOADS.
    pub list_uploads: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            request: *const PlainUploadsRequest,
        ) -> u32,
    >,
    /// Copies one object, replacing what is at `to`. A copy onto itself changes nothing.
    ///
    /// DOCKER_REGISTRY_NOT_FOUND for the source; DOCKER_REGISTRY_CONFLICT for the path as in `put`; what is at `to` is
    /// then unchanged.
    pub copy: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            from: PlainText,
            to: PlainText,
        ) -> u32,
    >,
    /// Moves one object, replacing what is at `to`. Onto itself and in its errors as `copy`. The source goes only when
    /// the target is complete.
    pub rename: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            from: PlainText,
            to: PlainText,
        ) -> u32,
    >,
    /// Deletes one object, and nothing in a folder of the same name. DOCKER_REGISTRY_NOT_FOUND, where the storage
    /// tells.
    pub remove:
        Option<unsafe extern "C" fn(call: *mut PlainCall, instance: *mut c_void, path: PlainText) -> u32>,
    /// Deletes exactly these objects; absent ones are no error. docker_registry_put_failure for each that could
    /// not be deleted. Optional: `remove` is called for each.
    pub remove_many: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            paths: *const PlainText,
            count: usize,
        ) -> u32,
    >,
    /// Deletes everything below the folder and the object of the same name, and nothing else: `a` takes `a` and
    /// `a/b`, never `ab`. Writes how many objects went to `removed`; nothing there is 0 and DOCKER_REGISTRY_OK. The
    /// empty path empties the store, pending uploads not counted.
    pub remove_tree: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            prefix: PlainText,
            removed: *mut u64,
        ) -> u32,
    >,
    /// An address where a client can fetch the object from the storage itself: docker_registry_put_bytes with it,
    /// or nothing. Optional.
    pub redirect_url: Option<
        unsafe extern "C" fn(
            call: *mut PlainCall,
            instance: *mut c_void,
            request: *const PlainRedirectRequest,
        ) -> u32,
    >,
    /// Whether the storage answers and can be written, as cheaply as that can be known.
    pub health: Option<unsafe extern "C" fn(call: *mut PlainCall, instance: *mut c_void) -> u32>,
}

macro_rules! messages {
    ($($name:ident)*) => {$(
        // SAFETY: repr(C), the size comes first, and zero is valid for numbers, pointers and optional functions.
        unsafe impl Message for $name {}
    )*};
}

messages! { PlainHost PlainCall PlainCallFunctions PlainDriver }

// SAFETY: the pointers in a table lead to what the library keeps for ever and never changes.
unsafe impl Send for PlainDriver {}
// SAFETY: as above.
unsafe impl Sync for PlainDriver {}
// SAFETY: the context is a `dyn Host`, which may be used on any thread, and is never released.
unsafe impl Sync for PlainHost {}
