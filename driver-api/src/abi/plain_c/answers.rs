//! What a driver answers during one call, as it is gathered and checked.

use super::codes;
use crate::{ETag, Entry, Error, ErrorKind, ObjectInfo, ObjectPath, PendingUpload, Result, UploadState};

/// What one function may answer with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Allowed {
    /// The method of [`Driver`](crate::Driver) that the function is for, or `read_next`.
    method: &'static str,
    /// Bytes at most.
    pub(super) bytes: u64,
    /// Entries or uploads at most.
    pub(super) items: usize,
}

impl Allowed {
    /// What the function for a method may answer with, so far no bytes and no entries.
    pub(super) fn of(method: &'static str) -> Self {
        Self { method, bytes: 0, items: 0 }
    }

    /// Whether the function may answer through `docker_registry_` and `name`.
    ///
    /// # Errors
    /// `Internal` when such an answer does not belong to it.
    pub(super) fn check(self, name: &str) -> Result<()> {
        let belonging: &[&str] = match self.method {
            "get" => &["put_bytes", "put_info"],
            "put" | "head" | "read" | "commit" => &["put_info"],
            "stat" => &["put_info", "put_folder"],
            "list" => &["put_entry", "put_next"],
            "open_upload" | "append" | "redirect_url" => &["put_bytes"],
            "list_uploads" => &["put_upload", "put_next"],
            "delete_many" => &["put_failure"],
            _ => &[],
        };
        if belonging.contains(&name) {
            return Ok(());
        }
        Err(misused(&format!(
            "the driver called docker_registry_{name}, which is no answer to {}",
            self.method
        )))
    }
}

/// The answers so far.
#[derive(Debug, Default)]
pub(super) struct Answers {
    pub(super) bytes: Vec<u8>,
    pub(super) info: Option<ObjectInfo>,
    pub(super) folder: bool,
    pub(super) entries: Vec<Entry>,
    pub(super) uploads: Vec<PendingUpload>,
    pub(super) next: Option<String>,
    pub(super) failures: Vec<(ObjectPath, Error)>,
}

impl Answers {
    /// Takes bytes behind those that are there.
    ///
    /// # Errors
    /// `TooLarge` for more than may be.
    pub(super) fn add_bytes(&mut self, bytes: &[u8], allowed: Allowed) -> Result<()> {
        if (self.bytes.len() + bytes.len()) as u64 > allowed.bytes {
            let message = format!("the answer has more than {} bytes", allowed.bytes);
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Takes an entry of a listing.
    ///
    /// # Errors
    /// `TooLarge` when the page is full; `Internal` for a path that no object can have and one that is out of
    /// order.
    pub(super) fn add_entry(&mut self, path: &str, info: Option<ObjectInfo>, allowed: Allowed) -> Result<()> {
        if self.entries.len() >= allowed.items {
            return Err(full(allowed));
        }
        if let Err(error) = ObjectPath::new(path) {
            let message = format!("the driver listed a path that cannot be: {}", error.message);
            return Err(Error::new(ErrorKind::Internal, message));
        }
        if self.entries.last().is_some_and(|last| last.path.as_str() >= path) {
            return Err(Error::new(ErrorKind::Internal, "the driver's listing is not in byte order").at(path));
        }
        self.entries.push(Entry { path: path.to_owned(), object: info });
        Ok(())
    }

    /// Takes a pending upload.
    ///
    /// # Errors
    /// `TooLarge` when the page is full or the state is too long.
    pub(super) fn add_upload(&mut self, upload: PendingUpload, allowed: Allowed) -> Result<()> {
        if self.uploads.len() >= allowed.items {
            return Err(full(allowed));
        }
        self.uploads.push(upload);
        Ok(())
    }

    /// The facts, which the function must have given.
    ///
    /// # Errors
    /// `Internal`.
    pub(super) fn required_info(&mut self) -> Result<ObjectInfo> {
        self.info.take().ok_or_else(|| misused("the driver answered without docker_registry_put_info"))
    }

    /// The bytes as the state of an upload.
    ///
    /// # Errors
    /// `Internal` when the function gave none.
    pub(super) fn state(&mut self) -> Result<UploadState> {
        if self.bytes.is_empty() {
            return Err(misused("the driver answered without a state of the upload"));
        }
        UploadState::new(std::mem::take(&mut self.bytes))
    }
}

fn full(allowed: Allowed) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the driver answered with more than {} entries", allowed.items))
}

/// A mistake of the driver in a call that it believes to have done.
pub(super) fn misused(message: &str) -> Error {
    Error::new(ErrorKind::Internal, message).outcome_unknown()
}

/// A tag within its limit.
pub(super) fn etag(text: Option<&str>) -> Option<ETag> {
    text.filter(|text| !text.is_empty()).map(|text| ETag(text.to_owned()))
}

/// The error for a number that a function returned, with what it said about it.
pub(super) fn failure(code: u32, said: Option<Error>) -> Error {
    let code = match (code, &said) {
        (codes::FAILED, Some(said)) => said.kind as u32,
        (codes::FAILED, None) => codes::INTERNAL,
        _ => code,
    };
    let kind = ErrorKind::from_code(code);
    let mut error = said.unwrap_or_else(|| Error::new(kind, "the driver failed without saying why"));
    if kind as u32 != code {
        let message =
            format!("the driver returned {code}, which is no number of a failure: {}", error.message);
        error.message = message;
    }
    if error.kind != kind {
        // What the function returns counts; a failure that it got over may have been noted before.
        error.kind = kind;
        error.retryable = Error::new(kind, "").retryable;
    }
    error
}

/// Flags of an error, for the kind that `code` is.
pub(super) fn with_flags(mut error: Error, flags: u64, retry_after_millis: u64) -> Error {
    let has = |flag| flags & flag != 0;
    error.retryable = (error.retryable || has(codes::ERROR_RETRYABLE)) && !has(codes::ERROR_NOT_RETRYABLE);
    error.outcome_unknown |= has(codes::ERROR_OUTCOME_UNKNOWN);
    if has(codes::ERROR_HAS_RETRY_AFTER) {
        error.retry_after = Some(std::time::Duration::from_millis(retry_after_millis));
    }
    error
}
