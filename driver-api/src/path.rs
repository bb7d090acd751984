//! Names of objects.
//!
//! A path is a list of segments joined by `/`, without one at either end, relative to the storage
//! root that the driver was opened with. It is checked once, here, on the host's side; a driver may
//! rely on the rules and need not look again.

use std::fmt;

use crate::{Error, ErrorKind, Result};

/// Longest path, in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest segment of a path, in bytes: the limit of the common file systems.
pub const MAX_SEGMENT_BYTES: usize = 255;

/// The path of one object.
///
/// Guaranteed: 1 to [`MAX_PATH_BYTES`] bytes of UTF-8; no segment is empty, `.`, `..`, longer than
/// [`MAX_SEGMENT_BYTES`] or holds a control character. Upper and lower case differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectPath(String);

impl ObjectPath {
    /// Checks the rules above.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] with the rule that was broken.
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        match broken_rule(&path) {
            None => Ok(Self(path)),
            Some(rule) => Err(Error::new(ErrorKind::InvalidPath, rule).at(path.escape_debug())),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last segment.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for ObjectPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A folder: the storage root, or all objects whose path starts with these segments and a `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Prefix(String);

impl Prefix {
    /// The storage root.
    pub fn root() -> Self {
        Self::default()
    }

    /// The folder of this name, by the rules of [`ObjectPath`]; empty text is the root.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidPath`] with the rule that was broken.
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        if path.is_empty() { Ok(Self::root()) } else { ObjectPath::new(path).map(|path| Self(path.0)) }
    }

    /// The folder as text, without a `/` at the end; empty for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the storage root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// What every path in the folder starts with: empty for the root, else the folder and a `/`.
    pub fn start(&self) -> String {
        if self.is_root() { String::new() } else { format!("{}/", self.0) }
    }
}

impl From<ObjectPath> for Prefix {
    fn from(path: ObjectPath) -> Self {
        Self(path.0)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_root() { "/" } else { &self.0 })
    }
}

fn broken_rule(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("a path cannot be empty");
    }
    if path.len() > MAX_PATH_BYTES {
        return Some("a path has at most 1024 bytes");
    }
    // Bytes and not characters: each call of a driver has a path or several, and nearly all are plain.
    let bytes = path.as_bytes();
    if let Some(rule) = bytes.split(|byte| *byte == b'/').find_map(broken_by_segment) {
        return Some(rule);
    }
    let plain = bytes.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
    (!plain && path.chars().any(char::is_control)).then_some("a path has no control characters")
}

fn broken_by_segment(segment: &[u8]) -> Option<&'static str> {
    match segment {
        [] => Some("a path has no empty segment and no / at either end"),
        b"." | b".." => Some("a segment of a path cannot be . or .."),
        _ if segment.len() > MAX_SEGMENT_BYTES => Some("a segment of a path has at most 255 bytes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distribution_suite_paths_are_valid() {
        for path in [
            "a",
            "2",
            "a.a",
            "0-9/abcdefg",
            "abc/1.2.3.4.5-6_zyx/123.z/4",
            ".abc",
            "_.abc",
            "Abc/Cba",
            "ä/€ ~",
        ] {
            assert_eq!(ObjectPath::new(path).unwrap().as_str(), path);
        }
    }

    #[test]
    fn unsafe_paths_are_refused() {
        let long = "x".repeat(256);
        for path in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\0b", "a\nb", "a\u{7f}b", "ä\u{85}",
            &long,
        ] {
            assert_eq!(ObjectPath::new(path).unwrap_err().kind, ErrorKind::InvalidPath, "{path:?}");
        }
        assert!(ObjectPath::new("y/".repeat(600) + "y").is_err());
    }

    #[test]
    fn a_prefix_matches_whole_segments_only() {
        assert_eq!(Prefix::new("a/b").unwrap().start(), "a/b/");
        assert_eq!(Prefix::root().start(), "");
        assert!(Prefix::new("../a").is_err());
    }
}
