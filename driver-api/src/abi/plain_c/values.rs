//! The structs of the plain C interface that carry values. Comments here go into the header and are written for
//! authors in C.

use std::ffi::{c_char, c_int, c_void};

use super::super::memory::Message;

/// Text in UTF-8 that is lent: by the server for the length of one call, or by the driver for the length of one
/// call of a function of the server. No data means that there is no text.
///
/// Behind every text that the server lends stands a zero byte, which `length` does not count, so that it can be
/// used as a C string. A text of the driver needs none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainText {
    /// First byte, or null.
    pub data: *const c_char,
    /// Number of bytes.
    pub length: usize,
}

/// Bytes that are lent, as in docker_registry_text, without a zero byte behind them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainBytes {
    /// First byte, or null.
    pub data: *const c_void,
    /// Number of bytes.
    pub length: usize,
}

/// What is known of one object.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainInfo {
    /// Size of the whole object in bytes.
    pub size: u64,
    /// Time of the last change in nanoseconds since 1970; 0 when it is not known.
    pub modified_nanos: u64,
    /// A text that changes whenever the content does; none where the storage has no such thing.
    pub etag: PlainText,
}

/// More about a failure than its number.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainError {
    /// A set of DOCKER_REGISTRY_ERROR_RETRYABLE and its like.
    pub flags: u64,
    /// How long the storage asked to wait, for DOCKER_REGISTRY_ERROR_HAS_RETRY_AFTER.
    pub retry_after_millis: u64,
    /// One sentence for an operator, without secrets.
    pub message: PlainText,
    /// Text of the underlying error, without secrets, or none.
    pub source: PlainText,
}

/// When a write is to take effect.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainCondition {
    /// DOCKER_REGISTRY_ALWAYS, DOCKER_REGISTRY_IF_ABSENT or DOCKER_REGISTRY_IF_MATCH. Fail with
    /// DOCKER_REGISTRY_UNSUPPORTED for any other and for one that the driver cannot honour.
    pub kind: u32,
    /// The tag, for DOCKER_REGISTRY_IF_MATCH.
    pub etag: PlainText,
}

/// Which bytes of an object are wanted; see docker_registry_resolve_range.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainRange {
    /// DOCKER_REGISTRY_RANGE_FULL and its like.
    pub kind: u32,
    /// Offset of the first byte.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
}

/// One configuration key of a driver. All texts are C strings that are there for ever.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainKey {
    /// Name in the configuration: lower-case letters, digits and `_`.
    pub name: *const c_char,
    /// DOCKER_REGISTRY_KIND_TEXT and its like.
    pub kind: u32,
    /// A set of DOCKER_REGISTRY_KEY_REQUIRED and DOCKER_REGISTRY_KEY_SECRET.
    pub flags: u32,
    /// Value when the key is absent, written as in the configuration file, or null.
    pub default_value: *const c_char,
    /// Environment variable that the sample configuration reads it from, or null.
    pub environment: *const c_char,
    /// One sentence for an operator.
    pub doc: *const c_char,
}

/// One configured value. Its type is the one that the driver's key says; absent keys have got their defaults, and
/// one without a default is not in the settings. A driver that another driver opens is given what that one wrote:
/// look before you rely on a key.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainSetting {
    /// Name of the key.
    pub name: PlainText,
    /// DOCKER_REGISTRY_KIND_TEXT and its like; says which of the fields below counts.
    pub kind: u32,
    /// 1 for true, 0 for false.
    pub boolean: u32,
    /// The whole number.
    pub integer: i64,
    /// The number.
    pub number: f64,
    /// The text.
    pub text: PlainText,
    /// The texts of a list.
    pub items: *const PlainText,
    /// Number of texts in the list.
    pub item_count: usize,
}

/// The configuration that a driver is opened with. Lent until `open` returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainSettings {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// The values.
    pub settings: *const PlainSetting,
    /// Number of values.
    pub count: usize,
}

/// What is to be listed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainListRequest {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// The folder; the empty text is the storage root.
    pub prefix: PlainText,
    /// 1: everything below the folder, objects only. 0: its direct children, objects and folders.
    pub recursive: u32,
    /// Most entries wanted, 1 to 1000.
    pub limit: u32,
    /// Only entries whose path is greater than this text, byte by byte; none for the first page. It is usually
    /// the last path of the page before, and it need not exist (any more).
    pub after: PlainText,
}

/// What is known when an upload begins. All of it may be wrong or missing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainUploadHint {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// Where the object will probably be committed, or none.
    pub final_path: PlainText,
    /// How many bytes will probably come; UINT64_MAX when nobody knows.
    pub expected_size: u64,
}

/// One page of pending uploads.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainUploadsRequest {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// Only uploads that were opened or appended to before this time, in nanoseconds since 1970.
    pub older_than_nanos: u64,
    /// The text that the driver gave to docker_registry_put_next for the page before, or none.
    pub after: PlainText,
    /// Most uploads wanted, at least 1.
    pub limit: u32,
}

/// What an address is wanted for.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainRedirectRequest {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// The object.
    pub path: PlainText,
    /// HTTP method that the client will use: `GET` or `HEAD`.
    pub method: PlainText,
    /// How long the address is to work, in milliseconds.
    pub expires_millis: u64,
    /// Names of the response headers that the storage is asked to send, lower-case.
    pub header_names: *const PlainText,
    /// Their values, in the same order.
    pub header_values: *const PlainText,
    /// Number of headers.
    pub header_count: usize,
}

/// An object that was opened for reading. The server fills in `size`, -1 for `file` and zero for the rest; the
/// driver fills in `offset`, `length`, and either `file` with `file_offset` or `handle`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PlainReading {
    /// Size of this struct in the server's version, in bytes.
    pub size: usize,
    /// Offset of the first byte in the object, as docker_registry_resolve_range says.
    pub offset: u64,
    /// Number of bytes that will be read.
    pub length: u64,
    /// An open regular file whose content does not change while it is open, or -1. It passes to the server, which
    /// closes it, when `read_open` returns DOCKER_REGISTRY_OK, and at no other time. `read_next` and `read_close`
    /// are then not called.
    pub file: c_int,
    /// Offset of the first byte in the file.
    pub file_offset: u64,
    /// Without a file: what `read_next` and `read_close` get.
    pub handle: *mut c_void,
}

macro_rules! messages {
    ($($name:ident)*) => {$(
        // SAFETY: repr(C), the size comes first, and zero is valid for numbers and pointers.
        unsafe impl Message for $name {}
    )*};
}

messages! { PlainSettings PlainListRequest PlainUploadHint PlainUploadsRequest PlainRedirectRequest PlainReading }
