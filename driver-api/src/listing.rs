//! Listings: pages of entries in byte order.

use crate::{ObjectInfo, Prefix};

/// Largest page that the server asks for.
pub const MAX_PAGE: u32 = 1000;

/// What is to be listed.
#[derive(Debug, Clone)]
pub struct ListRequest {
    /// The folder.
    pub prefix: Prefix,
    /// `true`: everything below the folder, objects only. `false`: its direct children, objects and
    /// folders.
    pub recursive: bool,
    /// Only entries whose path is greater than this text, compared byte by byte. It is usually the
    /// last path of the page before, and it need not exist (any more).
    pub after: Option<String>,
    /// Most entries wanted, 1 to [`MAX_PAGE`].
    pub limit: u32,
}

impl ListRequest {
    /// The first page of the direct children of `prefix`.
    pub fn children(prefix: Prefix) -> Self {
        Self { prefix, recursive: false, after: None, limit: MAX_PAGE }
    }

    /// The first page of all objects below `prefix`.
    pub fn below(prefix: Prefix) -> Self {
        Self { recursive: true, ..Self::children(prefix) }
    }
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the storage root, without a `/` at the end.
    pub path: String,
    /// The object's facts, or `None` for a folder. Size and time are right where they are present;
    /// the tag may be left out to save a round trip.
    pub object: Option<ObjectInfo>,
}

/// One page of a listing.
///
/// Entries are in ascending byte order of their paths and none is repeated. A page may hold fewer
/// entries than were asked for and still not be the last one. What is added or deleted between two
/// pages does not disturb the rest: an entry that is there all the time is listed exactly once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    /// The entries.
    pub entries: Vec<Entry>,
    /// The `after` for the next page; `None` when this page was the last.
    pub next: Option<String>,
}
