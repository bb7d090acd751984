//! What the server tells a driver about the call as such.

use std::time::{Duration, Instant};

/// Identity of the trace that a call belongs to, as in the W3C `traceparent` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traceparent {
    /// Trace id, 16 bytes, not all zero.
    pub trace_id: [u8; 16],
    /// Span id of the caller, 8 bytes, not all zero.
    pub span_id: [u8; 8],
    /// Trace flags; bit 0 means sampled.
    pub flags: u8,
}

/// Facts about one call: by when, for which trace, for whom.
///
/// A driver hands it on when it makes calls of its own. The server enforces the deadline itself as
/// well, by dropping the call.
#[derive(Debug, Clone, Default)]
pub struct CallContext {
    /// When the caller stops waiting; `None` for no limit.
    pub deadline: Option<Instant>,
    /// The trace that the call belongs to.
    pub traceparent: Option<Traceparent>,
    /// Whether nobody is waiting for the result (purges, garbage collection): may yield to others.
    pub background: bool,
    /// Whether what this call writes or deletes need not outlive the machine, only the process: it is about work in
    /// progress that somebody would begin anew, or about what is left of it. A driver may leave out what it does for a
    /// power cut (`fsync(2)`). After one the object may be missing, be as it was before, or have any bytes; no other
    /// object suffers. It is about `put` and the deletions; of a `rename` only about that the source is gone. Since
    /// 1.2; a driver that does not look at it keeps more than it is asked to.
    pub transient: bool,
}

impl CallContext {
    /// A context whose deadline is `timeout` from now.
    pub fn with_timeout(timeout: Duration) -> Self {
        Self { deadline: Instant::now().checked_add(timeout), ..Self::default() }
    }

    /// The time left until the deadline; zero when it has passed, `None` without one.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}
