//! The JSON documents of the methods that are not called often enough for structs of their own.
//!
//! Unknown fields are ignored and missing ones have defaults, which is how they grow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::{
    ETag, Entry, Error, ErrorKind, ListPage, ListRequest, ObjectInfo, ObjectPath, PendingUpload, Prefix,
    RedirectRequest, Result, UploadHint, UploadPage, UploadState,
};

/// Request of `list`.
#[derive(Serialize, Deserialize)]
pub(super) struct ListDocument {
    prefix: String,
    #[serde(default)]
    recursive: bool,
    #[serde(default)]
    after: Option<String>,
    limit: u32,
}

impl From<&ListRequest> for ListDocument {
    fn from(request: &ListRequest) -> Self {
        Self {
            prefix: request.prefix.as_str().to_owned(),
            recursive: request.recursive,
            after: request.after.clone(),
            limit: request.limit,
        }
    }
}

impl ListDocument {
    pub(super) fn into_request(self) -> Result<ListRequest> {
        Ok(ListRequest {
            prefix: Prefix::new(self.prefix)?,
            recursive: self.recursive,
            after: self.after,
            limit: self.limit,
        })
    }
}

/// Answer of `list`.
#[derive(Serialize, Deserialize)]
pub(super) struct PageDocument {
    entries: Vec<EntryDocument>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct EntryDocument {
    path: String,
    /// Absent for a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified_nanos: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    etag: Option<String>,
}

impl From<ListPage> for PageDocument {
    fn from(page: ListPage) -> Self {
        let entries = page.entries.into_iter().map(|entry| match entry.object {
            None => EntryDocument { path: entry.path, size: None, modified_nanos: None, etag: None },
            Some(info) => EntryDocument {
                path: entry.path,
                size: Some(info.size),
                modified_nanos: info.modified.map(to_nanos),
                etag: info.etag.map(|etag| etag.0),
            },
        });
        Self { entries: entries.collect(), next: page.next }
    }
}

impl From<PageDocument> for ListPage {
    fn from(document: PageDocument) -> Self {
        let entries = document.entries.into_iter().map(|entry| Entry {
            path: entry.path,
            object: entry.size.map(|size| ObjectInfo {
                size,
                modified: entry.modified_nanos.map(from_nanos),
                etag: entry.etag.map(ETag),
            }),
        });
        Self { entries: entries.collect(), next: document.next }
    }
}

/// Request of `open_upload`.
#[derive(Serialize, Deserialize)]
pub(super) struct HintDocument {
    #[serde(default)]
    final_path: Option<String>,
    #[serde(default)]
    size: Option<u64>,
}

impl From<&UploadHint> for HintDocument {
    fn from(hint: &UploadHint) -> Self {
        Self { final_path: hint.final_path.as_ref().map(ToString::to_string), size: hint.size }
    }
}

impl HintDocument {
    pub(super) fn into_hint(self) -> Result<UploadHint> {
        Ok(UploadHint { final_path: self.final_path.map(ObjectPath::new).transpose()?, size: self.size })
    }
}

/// Request of `list_uploads`.
#[derive(Serialize, Deserialize)]
pub(super) struct UploadsDocument {
    pub(super) older_than_nanos: u64,
    #[serde(default)]
    pub(super) after: Option<String>,
    pub(super) limit: u32,
}

/// Answer of `list_uploads`.
#[derive(Serialize, Deserialize)]
pub(super) struct UploadPageDocument {
    uploads: Vec<PendingDocument>,
    #[serde(default)]
    next: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct PendingDocument {
    state: Vec<u8>,
    touched_nanos: u64,
    size: u64,
}

impl From<UploadPage> for UploadPageDocument {
    fn from(page: UploadPage) -> Self {
        let uploads = page.uploads.into_iter().map(|upload| PendingDocument {
            state: upload.state.as_bytes().to_vec(),
            touched_nanos: to_nanos(upload.touched),
            size: upload.size,
        });
        Self { uploads: uploads.collect(), next: page.next }
    }
}

impl UploadPageDocument {
    pub(super) fn into_page(self) -> Result<UploadPage> {
        let uploads = self.uploads.into_iter().map(|upload| {
            Ok(PendingUpload {
                state: UploadState::new(upload.state)?,
                touched: from_nanos(upload.touched_nanos),
                size: upload.size,
            })
        });
        Ok(UploadPage { uploads: uploads.collect::<Result<_>>()?, next: self.next })
    }
}

/// One failure in the answer of `delete_many`.
#[derive(Serialize, Deserialize)]
pub(super) struct FailureDocument {
    path: String,
    kind: u32,
    retryable: bool,
    message: String,
    #[serde(default)]
    source_text: Option<String>,
    #[serde(default)]
    outcome_unknown: bool,
    #[serde(default)]
    retry_after_nanos: Option<u64>,
}

impl FailureDocument {
    pub(super) fn of(path: &ObjectPath, error: Error) -> Self {
        Self {
            path: path.to_string(),
            kind: error.kind as u32,
            retryable: error.retryable,
            message: error.message,
            source_text: error.source_text,
            outcome_unknown: error.outcome_unknown,
            retry_after_nanos: error
                .retry_after
                .map(|after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)),
        }
    }

    pub(super) fn into_failure(self) -> Result<(ObjectPath, Error)> {
        let path = ObjectPath::new(self.path)?;
        let mut error =
            Error::new(ErrorKind::from_code(self.kind), self.message).at(&path).retryable(self.retryable);
        error.operation = "delete_many".to_owned();
        error.source_text = self.source_text;
        error.outcome_unknown = self.outcome_unknown;
        error.retry_after = self.retry_after_nanos.map(Duration::from_nanos);
        Ok((path, error))
    }
}

/// Request of `redirect_url`.
#[derive(Serialize, Deserialize)]
pub(super) struct RedirectDocument {
    path: String,
    method: String,
    expires_nanos: u64,
    #[serde(default)]
    response_headers: Vec<(String, String)>,
}

impl From<&RedirectRequest> for RedirectDocument {
    fn from(request: &RedirectRequest) -> Self {
        Self {
            path: request.path.to_string(),
            method: request.method.clone(),
            expires_nanos: u64::try_from(request.expires.as_nanos()).unwrap_or(u64::MAX),
            response_headers: request.response_headers.clone(),
        }
    }
}

impl RedirectDocument {
    pub(super) fn into_request(self) -> Result<RedirectRequest> {
        Ok(RedirectRequest {
            path: ObjectPath::new(self.path)?,
            method: self.method,
            expires: Duration::from_nanos(self.expires_nanos),
            response_headers: self.response_headers,
        })
    }
}

/// Nanoseconds since 1970; times before it become 0.
pub(super) fn to_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time that many nanoseconds after 1970.
pub(super) fn from_nanos(nanos: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_nanos(nanos)).unwrap_or(UNIX_EPOCH)
}

/// The JSON text of a document.
pub(super) fn encode<T: Serialize>(document: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(document)
        .map_err(|error| Error::new(ErrorKind::Internal, "a document cannot be written").caused_by(&error))
}

/// The document in a JSON text.
pub(super) fn decode<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|error| {
        Error::new(ErrorKind::Internal, "the other side sent a document that cannot be read")
            .caused_by(&error)
    })
}
