//! The memory that the parts of all uploads may hold together.

/// The budget.
#[derive(Debug)]
pub(crate) struct Memory {
    _bytes: u64,
}

impl Memory {
    /// A budget of this many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        Self { _bytes: bytes }
    }
}
