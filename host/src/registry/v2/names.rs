//! The names that clients choose, checked.
//!
//! The grammars are those of the OCI distribution specification ("Pulling manifests") and of
//! distribution's reference grammar. A value of these types is safe in a storage path and in a header.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::registry::digest::{Algorithm, Digest};

/// Longest name of a repository, in bytes.
const MAX_NAME_BYTES: usize = 255;
/// Longest tag, in bytes.
const MAX_TAG_BYTES: usize = 128;

/// Name of a repository: parts joined by `/`, each of lower-case letters and digits with single `.`,
/// `_`, double `__` or any number of `-` between them; at most 255 bytes in all.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// Checks the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= MAX_NAME_BYTES && text.split('/').all(is_part)).then(|| Self(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_part(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    // What stands between the runs of plain characters must be one whole separator each.
    is_plain(*first)
        && is_plain(*last)
        && bytes
            .split(|byte| is_plain(*byte))
            .all(|separator| matches!(separator, b"" | b"." | b"_" | b"__") || is_dashes(separator))
}

fn is_dashes(separator: &[u8]) -> bool {
    separator.iter().all(|byte| *byte == b'-')
}

/// A tag: 1 to 128 of letters, digits, `_`, `.`, `-`, the first one none of `.` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(String);

impl Tag {
    /// Checks the grammar.
    pub fn parse(text: &str) -> Option<Self> {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let (first, rest) = text.as_bytes().split_first()?;
        let fits = text.len() <= MAX_TAG_BYTES
            && is_word(*first)
            && rest.iter().all(|byte| is_word(*byte) || matches!(byte, b'.' | b'-'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Names an upload: a random UUID, as distribution's are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UploadId(Uuid);

impl UploadId {
    /// A new one that nobody can guess.
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// Reads the hyphenated lower-case form and no other.
    pub fn parse(text: &str) -> Option<Self> {
        let id = Self(Uuid::try_parse(text).ok()?);
        (id.to_string() == text).then_some(id)
    }
}

/// Tells one record of an upload from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(u32);

impl Revision {
    /// A new one.
    pub(super) fn random() -> Self {
        Self(fastrand::u32(..))
    }

    /// That of content which lies by itself: any process finds the same one.
    pub(super) fn of_content(sha256: &Digest) -> Self {
        let first = sha256.hex().get(..8).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        Self(first.expect("a digest is longer, and hexadecimal"))
    }
}

/// What a client was shown of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Nothing that says where it stands.
    Nothing,
    /// That it has begun, and is hashed with this algorithm. Nothing is stored of it then.
    New(Algorithm),
    /// The record of this revision.
    Record(Revision),
}

/// Where a client goes on with an upload: its id, and what the client was shown of it.
///
/// As text it is one segment of a path: `ID`, `ID.ALGORITHM` or `ID.REVISION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadLocation {
    /// The upload.
    pub id: UploadId,
    /// What the client knows of it.
    pub shown: Shown,
}

impl UploadLocation {
    /// Reads what [`fmt::Display`] writes. A revision that makes no sense counts as none: it only saves a look.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, shown) = match text.split_once('.') {
            Some((id, shown)) => (id, Shown::parse(shown)),
            None => (text, Shown::Nothing),
        };
        Some(Self { id: UploadId::parse(id)?, shown })
    }
}

impl Shown {
    fn parse(text: &str) -> Self {
        let revision = || Some(Self::Record(Revision(u32::from_str_radix(text, 16).ok()?)));
        Algorithm::from_name(text).map(Self::New).or_else(revision).unwrap_or(Self::Nothing)
    }
}

impl From<UploadId> for UploadLocation {
    fn from(id: UploadId) -> Self {
        Self { id, shown: Shown::Nothing }
    }
}

impl fmt::Display for UploadLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shown {
            Shown::Nothing => self.id.fmt(f),
            Shown::New(algorithm) => write!(f, "{}.{}", self.id, algorithm.name()),
            Shown::Record(Revision(number)) => write!(f, "{}.{number:08x}", self.id),
        }
    }
}

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repository_names_follow_the_grammar() {
        for name in ["a", "0", "library/ubuntu", "a.b", "a_b", "a__b", "a-b", "a----b", "a/b/c-d.e_f"] {
            assert!(RepositoryName::parse(name).is_some(), "{name}");
        }
        let long = "a".repeat(256);
        for name in [
            "", "/", "a/", "/a", "a//b", "A", "a.", ".a", "a..b", "a___b", "a_-b", "_a", "a-", "-", "..",
            "a/../b", "a b", "a\0b", "a%2fb", "é", "a\n", &long,
        ] {
            assert!(RepositoryName::parse(name).is_none(), "{name:?}");
        }
    }

    #[test]
    fn tags_follow_the_grammar() {
        for tag in ["latest", "1", "_", "V1.0-rc_2", "a..b", &"x".repeat(128)] {
            assert!(Tag::parse(tag).is_some(), "{tag}");
        }
        for tag in ["", ".a", "-a", "..", "a/b", "a:b", "a b", "a\0", "é", &"x".repeat(129)] {
            assert!(Tag::parse(tag).is_none(), "{tag:?}");
        }
    }

    #[test]
    fn a_location_is_read_as_it_is_written_and_nonsense_says_nothing() {
        let id = UploadId::random();
        for shown in [
            Shown::Nothing,
            Shown::New(Algorithm::Sha256),
            Shown::New(Algorithm::Sha512),
            Shown::Record(Revision(0)),
            Shown::Record(Revision(u32::MAX)),
        ] {
            let location = UploadLocation { id: id.clone(), shown };
            assert_eq!(UploadLocation::parse(&location.to_string()), Some(location));
        }
        for nonsense in ["", "md5", "SHA256", "sha256.", "123456789", "-1", "new"] {
            let read = UploadLocation::parse(&format!("{id}.{nonsense}")).unwrap();
            assert_eq!(read.shown, Shown::Nothing, "{nonsense}");
        }
        assert_eq!(UploadLocation::parse("sha256"), None);
    }

    #[test]
    fn upload_ids_have_one_form() {
        let id = UploadId::random();
        let text = id.to_string();
        assert_eq!(UploadId::parse(&text), Some(id));
        for other in [text.to_uppercase(), text.replace('-', ""), format!("{{{text}}}"), "..".to_owned()] {
            assert_eq!(UploadId::parse(&other), None, "{other}");
        }
    }
}
