//! Objects and what is known about them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::ObjectPath;

/// A text that changes whenever the content of an object changes.
///
/// Two objects with equal tags at different paths say nothing. An author may use any text of at most
/// 1 KiB; it is compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ETag(pub String);

/// What is known of one object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change, if the storage keeps one. Calls may give it with different precision and
    /// differ by less than a second for that.
    pub modified: Option<SystemTime>,
    /// Version of the content, if the storage has one. Needed for [`Condition::IfMatch`].
    pub etag: Option<ETag>,
}

/// A small object, whole.
#[derive(Debug, Clone)]
pub struct Object {
    /// The content.
    pub content: Bytes,
    /// What is known of it; `info.size` equals the length of the content.
    pub info: ObjectInfo,
}

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stat {
    /// An object.
    Object(ObjectInfo),
    /// A folder with at least one object somewhere below it, or the storage root.
    Folder,
}

/// When a write is to take effect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Condition {
    /// In any case, replacing what is there.
    #[default]
    Always,
    /// Only when nothing is there: of many such writers exactly one succeeds.
    IfAbsent,
    /// Only when the object there still has this tag.
    IfMatch(ETag),
}

/// What a signed address is wanted for.
#[derive(Debug, Clone)]
pub struct RedirectRequest {
    /// The object.
    pub path: ObjectPath,
    /// HTTP method that the client will use: `GET` or `HEAD`.
    pub method: String,
    /// How long the address is to work.
    pub expires: Duration,
    /// Response headers that the storage is asked to send, lower-case names.
    pub response_headers: Vec<(String, String)>,
}
