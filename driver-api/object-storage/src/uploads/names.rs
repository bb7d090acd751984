//! Names of the objects of an upload, and the marks on them.
//!
//! ```text
//! ROOT/.docker-registry/uploads/UUID/GENERATION           what ended the append of that number
//! ROOT/.docker-registry/uploads/UUID/GENERATION.NONCE     the same, where the store has no conditions,
//!                                                         or data that a claim names
//! ```
//! A mark says what an object is, where in the upload its bytes begin, and who wrote it:
//! `KIND.BEGIN.NONCE`. It is kept as user metadata, so that one `head` tells everything.

use std::fmt;

use uuid::Uuid;

use crate::engine::{Engine, OWN};

/// A random number in a name or a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Nonce(pub(crate) u64);

impl Nonce {
    pub(crate) fn draw() -> Self {
        Self(Uuid::new_v4().as_u64_pair().1)
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What an object of an upload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Content.
    Segment,
    /// A claim: the content is in the object whose name has the nonce as well.
    Claim,
    /// The upload was committed, or is being committed.
    Commit,
    /// A commit that did not come about. The next generation counts.
    Withdrawn,
}

/// The mark on an object of an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) kind: Kind,
    /// Offset of the object's first byte in the upload.
    pub(crate) begin: u64,
    pub(crate) nonce: Nonce,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Segment => 's',
            Kind::Claim => 'n',
            Kind::Commit => 'c',
            Kind::Withdrawn => 'w',
        };
        write!(f, "{kind}.{:x}.{}", self.begin, self.nonce)
    }
}

impl Mark {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split('.');
        let kind = match words.next()? {
            "s" => Kind::Segment,
            "n" => Kind::Claim,
            "c" => Kind::Commit,
            "w" => Kind::Withdrawn,
            _ => return None,
        };
        let begin = u64::from_str_radix(words.next()?, 16).ok()?;
        let nonce = Nonce(u64::from_str_radix(words.next()?, 16).ok()?);
        words.next().is_none().then_some(Self { kind, begin, nonce })
    }
}

fn staging(root: &str) -> String {
    let path = format!("{OWN}/uploads/");
    if root.is_empty() { path } else { format!("{root}/{path}") }
}

/// The number of a segment and the nonce in its name, from the end of its key.
pub(crate) type Place = (u64, Option<Nonce>);

impl Engine {
    /// What the keys of all uploads begin with.
    pub(crate) fn staging(&self) -> String {
        staging(&self.root)
    }

    /// What the keys of one upload begin with.
    pub(crate) fn upload_folder(&self, upload: Uuid) -> String {
        format!("{}{}/", self.staging(), upload.simple())
    }

    /// The key of one object of an upload.
    pub(crate) fn segment_key(&self, upload: Uuid, generation: u64, nonce: Option<Nonce>) -> String {
        let folder = self.upload_folder(upload);
        match nonce {
            None => format!("{folder}{generation:010}"),
            Some(nonce) => format!("{folder}{generation:010}.{nonce}"),
        }
    }

    /// The upload that an object belongs to, and which of its objects it is.
    pub(crate) fn parse_segment_key(&self, key: &str) -> Option<(Uuid, Place)> {
        let (upload, name) = key.strip_prefix(&self.staging())?.split_once('/')?;
        let upload = Uuid::try_parse(upload).ok()?;
        let (generation, nonce) = match name.split_once('.') {
            None => (name, None),
            Some((generation, nonce)) => (generation, Some(Nonce(u64::from_str_radix(nonce, 16).ok()?))),
        };
        Some((upload, (generation.parse().ok()?, nonce)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_were_written() {
        for kind in [Kind::Segment, Kind::Claim, Kind::Commit, Kind::Withdrawn] {
            let mark = Mark { kind, begin: u64::MAX, nonce: Nonce::draw() };
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark));
        }
        for other in ["", "s", "s.1", "x.1.2", "s.1.2.3", "s..", "0123456789abcdef"] {
            assert_eq!(Mark::parse(other), None, "{other}");
        }
    }
}
