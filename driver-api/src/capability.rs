//! What a driver can do beyond the minimum.
//!
//! Capabilities are a bit set, because sets of bits can grow: a bit that one side does not know is
//! ignored. They are asked for after `open`, so that a driver can probe the real server first.

use std::fmt;

/// One optional ability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u64)]
pub enum Capability {
    /// `put` and `commit` honour [`Condition::IfAbsent`](crate::Condition::IfAbsent) atomically.
    PutIfAbsent = 1 << 0,
    /// `put` and `commit` honour [`Condition::IfMatch`](crate::Condition::IfMatch) atomically.
    PutIfMatch = 1 << 1,
    /// `read` hands out file regions.
    FileRegions = 1 << 2,
    /// `redirect_url` may return an address.
    Redirects = 1 << 3,
    /// What was written is visible to every reader at once, listings included.
    StrongConsistency = 1 << 4,
    /// `rename` is one step, not a copy. The server then writes small blobs of clients once, and moves them.
    CheapRename = 1 << 5,
    /// Uploads can go on in another process.
    ResumableUploads = 1 << 6,
    /// `list_uploads` finds every pending upload.
    ListUploads = 1 << 7,
}

impl Capability {
    /// All capabilities that this version of the API names.
    pub const ALL: [Self; 8] = [
        Self::PutIfAbsent,
        Self::PutIfMatch,
        Self::FileRegions,
        Self::Redirects,
        Self::StrongConsistency,
        Self::CheapRename,
        Self::ResumableUploads,
        Self::ListUploads,
    ];

    /// Name in listings and documentation.
    pub fn name(self) -> &'static str {
        match self {
            Self::PutIfAbsent => "put-if-absent",
            Self::PutIfMatch => "put-if-match",
            Self::FileRegions => "file-regions",
            Self::Redirects => "redirects",
            Self::StrongConsistency => "strong-consistency",
            Self::CheapRename => "cheap-rename",
            Self::ResumableUploads => "resumable-uploads",
            Self::ListUploads => "list-uploads",
        }
    }
}

/// A set of [`Capability`].
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u64);

impl Capabilities {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set from its bits; unknown bits are kept and ignored.
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of the set.
    pub fn bits(self) -> u64 {
        self.0
    }

    /// The set with `capability` added.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | capability as u64)
    }

    /// Whether the set holds `capability`.
    pub fn has(self, capability: Capability) -> bool {
        self.0 & capability as u64 != 0
    }

    /// The members that this version of the API knows.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.into_iter().filter(move |capability| self.has(*capability))
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Capability::name)).finish()
    }
}
