//! What a driver reports when a call fails.
//!
//! One struct carries everything the server needs to decide: what kind of failure, whether the same
//! call may be tried again, and whether a write may have happened all the same. The server never
//! looks at the texts; operators do.

use std::{error::Error as StdError, fmt, time::Duration};

/// Result of a driver call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in words that the server can act on.
///
/// The numbers cross the ABI and never change; new kinds are appended. A kind that the other side
/// does not know arrives as [`ErrorKind::Internal`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u32)]
pub enum ErrorKind {
    /// There is no object, folder or upload at the path.
    NotFound = 1,
    /// The condition of a conditional write did not hold: nothing was written.
    ConditionFailed = 2,
    /// Somebody else holds or has moved on what this call works on: a stale upload state, an offset
    /// that is not the upload's, an object where a folder is needed. Nothing was changed.
    Conflict = 3,
    /// The storage cannot keep this path.
    InvalidPath = 4,
    /// The range starts at or after the end of the object.
    InvalidRange = 5,
    /// A configuration value is missing or wrong.
    InvalidConfiguration = 6,
    /// The credentials are missing or wrong.
    Unauthenticated = 7,
    /// The credentials are right and do not suffice.
    PermissionDenied = 8,
    /// The storage asks for fewer calls; see [`Error::retry_after`].
    Throttled = 9,
    /// The storage cannot be reached or does not work now.
    Unavailable = 10,
    /// The deadline of the call passed.
    Timeout = 11,
    /// The storage has no room left, or a quota is used up.
    StorageFull = 12,
    /// The object is larger than the caller allowed.
    TooLarge = 13,
    /// The driver does not offer this call; see [`crate::Capabilities`].
    Unsupported = 14,
    /// What the storage returned cannot be right.
    Corrupt = 15,
    /// The caller's byte stream failed; its own error is the source.
    BodyFailed = 16,
    /// A fault of the driver itself, a panic included.
    Internal = 17,
}

impl ErrorKind {
    /// The kind for a number that crossed the ABI; an unknown number is [`ErrorKind::Internal`].
    pub fn from_code(code: u32) -> Self {
        use ErrorKind::*;
        [
            NotFound,
            ConditionFailed,
            Conflict,
            InvalidPath,
            InvalidRange,
            InvalidConfiguration,
            Unauthenticated,
            PermissionDenied,
            Throttled,
            Unavailable,
            Timeout,
            StorageFull,
            TooLarge,
            Unsupported,
            Corrupt,
            BodyFailed,
        ]
        .into_iter()
        .find(|kind| *kind as u32 == code)
        .unwrap_or(Internal)
    }

    /// Whether a later identical call has a fair chance, unless the error says otherwise.
    fn usually_retryable(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable | Self::Timeout)
    }
}

/// A failed driver call.
///
/// `Display` is one line for a log: `read images/…/layer: unavailable: connection refused (…)`.
#[derive(Debug, Clone)]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Whether the same call may succeed when it is made again without changes.
    pub retryable: bool,
    /// How long the storage asked to wait before the next call, if it said so.
    pub retry_after: Option<Duration>,
    /// The call was a write and may have taken effect although it failed. A time-out is not a
    /// failure: the caller must treat the object as changed *and* as unchanged until it looks.
    pub outcome_unknown: bool,
    /// Name of the trait method, filled in by the ABI layer when the driver leaves it empty.
    pub operation: String,
    /// The path that the call was about, if any. Filled in by the ABI layer when left empty.
    pub path: Option<String>,
    /// One sentence for an operator, without secrets.
    pub message: String,
    /// Text of the underlying errors, outermost first, without secrets.
    pub source_text: Option<String>,
}

impl Error {
    /// An error of `kind` with one sentence for an operator. Retryability follows the kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            retryable: kind.usually_retryable(),
            retry_after: None,
            outcome_unknown: false,
            operation: String::new(),
            path: None,
            message: message.into(),
            source_text: None,
        }
    }

    /// There is nothing at `path`.
    pub fn not_found(path: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, "there is nothing at this path").at(path)
    }

    /// The driver does not offer `operation`.
    pub fn unsupported(operation: &str) -> Self {
        let mut error = Self::new(ErrorKind::Unsupported, "this driver does not offer this call");
        error.operation = operation.to_owned();
        error
    }

    /// Names the path that the call was about.
    #[must_use]
    pub fn at(mut self, path: impl fmt::Display) -> Self {
        self.path = Some(path.to_string());
        self
    }

    /// Overrides whether the call may be tried again.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = retryable;
        self
    }

    /// Says that the write may have happened all the same.
    #[must_use]
    pub fn outcome_unknown(mut self) -> Self {
        self.outcome_unknown = true;
        self
    }

    /// Keeps the text of an underlying error and of everything below it.
    #[must_use]
    pub fn caused_by(mut self, source: &(dyn StdError + 'static)) -> Self {
        let mut text = source.to_string();
        let mut next = source.source();
        while let Some(inner) = next {
            let inner_text = inner.to_string();
            if !text.ends_with(&inner_text) {
                text.push_str(": ");
                text.push_str(&inner_text);
            }
            next = inner.source();
        }
        self.source_text = Some(text);
        self
    }

    /// Whether nothing is at the path.
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.operation.is_empty() {
            f.write_str(&self.operation)?;
        }
        if let Some(path) = &self.path {
            write!(f, " {path}")?;
        }
        if !self.operation.is_empty() || self.path.is_some() {
            f.write_str(": ")?;
        }
        f.write_str(&self.message)?;
        if let Some(source) = &self.source_text {
            write!(f, " ({source})")?;
        }
        if self.outcome_unknown {
            f.write_str(" [the write may have happened]")?;
        }
        Ok(())
    }
}

impl StdError for Error {}

impl From<std::io::Error> for Error {
    /// Maps the kinds of the standard library; the text of the source is kept.
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let (kind, message) = match error.kind() {
            Io::NotFound => (ErrorKind::NotFound, "there is nothing at this path"),
            Io::PermissionDenied | Io::ReadOnlyFilesystem => {
                (ErrorKind::PermissionDenied, "the storage refuses access")
            }
            Io::AlreadyExists => (ErrorKind::ConditionFailed, "something is at this path already"),
            Io::NotADirectory | Io::IsADirectory | Io::DirectoryNotEmpty => {
                (ErrorKind::Conflict, "an object is where a folder is needed, or a folder where an object is")
            }
            Io::InvalidFilename => (ErrorKind::InvalidPath, "the storage cannot keep this path"),
            Io::StorageFull | Io::QuotaExceeded => (ErrorKind::StorageFull, "the storage is full"),
            Io::TimedOut => (ErrorKind::Timeout, "the storage did not answer in time"),
            Io::ResourceBusy => (ErrorKind::Unavailable, "the storage is busy"),
            // ENFILE and EMFILE: the standard library has no kind for them.
            _ if matches!(error.raw_os_error(), Some(23 | 24)) => {
                (ErrorKind::Unavailable, "too many files are open")
            }
            Io::ConnectionRefused | Io::ConnectionReset | Io::ConnectionAborted | Io::NotConnected => {
                (ErrorKind::Unavailable, "the storage cannot be reached")
            }
            _ => (ErrorKind::Internal, "the storage failed"),
        };
        Self::new(kind, message).caused_by(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_the_abi_and_an_unknown_one_is_internal() {
        for code in 1..=17 {
            assert_eq!(ErrorKind::from_code(code) as u32, code);
        }
        assert_eq!(ErrorKind::from_code(9_999), ErrorKind::Internal);
    }

    #[test]
    fn display_is_one_line_with_operation_path_and_source() {
        let io = std::io::Error::new(std::io::ErrorKind::StorageFull, "no room");
        let mut error = Error::from(io).at("a/b").outcome_unknown();
        error.operation = "put".into();
        assert_eq!(error.to_string(), "put a/b: the storage is full (no room) [the write may have happened]");
        assert_eq!(error.kind, ErrorKind::StorageFull);
        assert!(!error.retryable);
    }
}
