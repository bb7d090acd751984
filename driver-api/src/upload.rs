//! Uploads: content that becomes an object in steps.
//!
//! # The life of an upload
//! `open_upload` → any number of `append` → `commit` or `abort`. Nothing is visible at any path
//! before `commit` returns, and afterwards the object is there whole.
//!
//! # State
//! Every step hands back an opaque [`UploadState`], and the next step is given the latest one. The
//! state is all that another process needs to go on: it may be written down, moved to another
//! machine and used there, as long as both see the same storage. **When `append` returns, the bytes
//! it took are durable**, so that a state that says "offset n" is true after a power cut.
//!
//! # Fencing
//! A state belongs to one point of one upload. When two callers go on from the same state (a client
//! that retries while its first connection still hangs, or two replicas), at most one of them gets an
//! `Ok`; the other gets [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) and has changed nothing
//! that the winner relies on. The later caller takes over from an earlier one that still waits for its
//! body, and never waits for it.
//!
//! A state that the driver did not hand out is refused with `Conflict` or
//! [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) and never taken for another upload's; `abort` has
//! nothing to do then and returns `Ok`.

use std::time::SystemTime;

use crate::{Error, ErrorKind, ObjectPath, Result};

/// Longest state that a driver may hand out, in bytes.
pub const MAX_UPLOAD_STATE_BYTES: usize = 16 * 1024;

/// Where an upload stands, in a form that only its driver reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadState(Vec<u8>);

impl UploadState {
    /// Wraps a driver's own record.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] above [`MAX_UPLOAD_STATE_BYTES`].
    pub fn new(record: impl Into<Vec<u8>>) -> Result<Self> {
        let record = record.into();
        if record.len() > MAX_UPLOAD_STATE_BYTES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                format!("the upload state has {} bytes, {MAX_UPLOAD_STATE_BYTES} are allowed", record.len()),
            ));
        }
        Ok(Self(record))
    }

    /// The record.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What is known when an upload begins. All of it may be wrong or missing.
#[derive(Debug, Clone, Default)]
pub struct UploadHint {
    /// Where the object will probably be committed, so that a store without rename can start there.
    pub final_path: Option<ObjectPath>,
    /// How many bytes will probably come.
    pub size: Option<u64>,
}

/// Result of an append.
#[derive(Debug, Clone)]
pub struct UploadProgress {
    /// The state to go on from.
    pub state: UploadState,
    /// Number of durable bytes of the upload so far.
    pub offset: u64,
}

/// An upload that was opened and neither committed nor aborted.
#[derive(Debug, Clone)]
pub struct PendingUpload {
    /// A state that `abort` accepts.
    pub state: UploadState,
    /// When the upload was opened or last appended to.
    pub touched: SystemTime,
    /// Number of durable bytes.
    pub size: u64,
}

/// One page of pending uploads, oldest or smallest name first as the driver likes.
#[derive(Debug, Clone, Default)]
pub struct UploadPage {
    /// The uploads.
    pub uploads: Vec<PendingUpload>,
    /// Cursor for the next page, meaningful to the driver only; `None` when this was the last.
    pub next: Option<String>,
}
