//! Error answers, by the specification's table of codes.
//!
//! A body is always `{"errors":[{"code","message","detail"}]}` (OCI distribution specification, "Error
//! Codes"; status codes as distribution has them in `registry/api/errcode`).

use std::time::Duration;

use docker_registry_driver_api::{Error, ErrorKind};
use http::{HeaderName, StatusCode, header};
use serde::Serialize;

use crate::{
    http::{
        exchange::{self, Response},
        retry_after::{retry_after, seconds},
    },
    registry::v2::Failure,
    telemetry::seldom::Seldom,
};

/// A code of the table with its usual status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code {
    name: &'static str,
    status: StatusCode,
}

impl Code {
    const fn new(name: &'static str, status: StatusCode) -> Self {
        Self { name, status }
    }
}

pub(super) const BLOB_UNKNOWN: Code = Code::new("BLOB_UNKNOWN", StatusCode::NOT_FOUND);
pub(super) const BLOB_UPLOAD_INVALID: Code = Code::new("BLOB_UPLOAD_INVALID", StatusCode::BAD_REQUEST);
pub(super) const BLOB_UPLOAD_UNKNOWN: Code = Code::new("BLOB_UPLOAD_UNKNOWN", StatusCode::NOT_FOUND);
const DENIED: Code = Code::new("DENIED", StatusCode::FORBIDDEN);
pub(super) const DIGEST_INVALID: Code = Code::new("DIGEST_INVALID", StatusCode::BAD_REQUEST);
pub(super) const MANIFEST_BLOB_UNKNOWN: Code = Code::new("MANIFEST_BLOB_UNKNOWN", StatusCode::BAD_REQUEST);
pub(super) const MANIFEST_INVALID: Code = Code::new("MANIFEST_INVALID", StatusCode::BAD_REQUEST);
pub(super) const MANIFEST_UNKNOWN: Code = Code::new("MANIFEST_UNKNOWN", StatusCode::NOT_FOUND);
pub(super) const NAME_INVALID: Code = Code::new("NAME_INVALID", StatusCode::BAD_REQUEST);
pub(super) const NAME_UNKNOWN: Code = Code::new("NAME_UNKNOWN", StatusCode::NOT_FOUND);
pub(super) const PAGINATION_NUMBER_INVALID: Code =
    Code::new("PAGINATION_NUMBER_INVALID", StatusCode::BAD_REQUEST);
pub(super) const RANGE_INVALID: Code = Code::new("RANGE_INVALID", StatusCode::RANGE_NOT_SATISFIABLE);
pub(super) const SIZE_INVALID: Code = Code::new("SIZE_INVALID", StatusCode::BAD_REQUEST);
pub(super) const TAG_INVALID: Code = Code::new("TAG_INVALID", StatusCode::BAD_REQUEST);
const TOOMANYREQUESTS: Code = Code::new("TOOMANYREQUESTS", StatusCode::TOO_MANY_REQUESTS);
const UNAUTHORIZED: Code = Code::new("UNAUTHORIZED", StatusCode::UNAUTHORIZED);
const UNAVAILABLE: Code = Code::new("UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE);
const UNKNOWN: Code = Code::new("UNKNOWN", StatusCode::INTERNAL_SERVER_ERROR);
pub(super) const UNSUPPORTED: Code = Code::new("UNSUPPORTED", StatusCode::METHOD_NOT_ALLOWED);

/// Details that one answer has at most: a manifest can name tens of thousands of missing blobs.
const MAX_DETAILS: usize = 1000;
static UNAVAILABLE_LINES: Seldom = Seldom::new();

/// An answer that is an error.
#[derive(Debug)]
pub(super) struct Refusal {
    code: Code,
    status: StatusCode,
    message: String,
    details: Vec<String>,
    headers: Vec<(HeaderName, String)>,
}

impl Refusal {
    /// A refusal with the code's usual status and a sentence for the client.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, status: code.status, message: message.into(), details: Vec::new(), headers: Vec::new() }
    }

    /// Another status than the usual one.
    pub(super) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    /// One error of the answer for each detail.
    pub(super) fn details(mut self, details: impl IntoIterator<Item = String>) -> Self {
        self.details = details.into_iter().take(MAX_DETAILS).collect();
        self
    }

    /// A header of the answer.
    pub(super) fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// What the client gets when the server itself failed. The reason is in the log and nowhere else.
    pub(super) fn internal() -> Self {
        Self::new(UNKNOWN, "the registry failed; its log says why")
    }
}

/// The answer to a client that must show a password. `challenge` is what `WWW-Authenticate` says.
pub(crate) fn log_in_first(challenge: &str) -> Response {
    let refusal = Refusal::new(UNAUTHORIZED, "this registry asks for a name and a password");
    refusal.header(header::WWW_AUTHENTICATE, challenge).into()
}

/// The answer to a client that may not do what it asks for. It is the same whether what it asks for is there.
pub(crate) fn denied() -> Response {
    Refusal::new(DENIED, "this user may not do that with this repository").into()
}

/// The answer to a client from where too many logins have failed.
pub(crate) fn too_many_logins(pause: Duration) -> Response {
    let refusal = Refusal::new(TOOMANYREQUESTS, "too many logins have failed; try again later");
    refusal.header(header::RETRY_AFTER, seconds(pause).to_string()).into()
}

#[derive(Serialize)]
struct Body<'a> {
    errors: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

impl From<Refusal> for Response {
    fn from(refusal: Refusal) -> Self {
        let line = |detail| Line { code: refusal.code.name, message: &refusal.message, detail };
        let errors = match refusal.details.as_slice() {
            [] => vec![line(None)],
            details => details.iter().map(|detail| line(Some(detail))).collect(),
        };
        let body = serde_json::to_vec(&Body { errors }).expect("a struct of texts is always JSON");
        let mut response = exchange::whole(refusal.status, "application/json", body);
        for (name, value) in refusal.headers {
            exchange::set(&mut response, name, &value);
        }
        response
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let code = match &failure {
            Failure::RepositoryUnknown => NAME_UNKNOWN,
            Failure::BlobUnknown => BLOB_UNKNOWN,
            Failure::BlobRange { .. } | Failure::UploadOffset { .. } => RANGE_INVALID,
            Failure::ManifestUnknown => MANIFEST_UNKNOWN,
            Failure::ManifestInvalid(_) => MANIFEST_INVALID,
            Failure::MissingReferences(_) => MANIFEST_BLOB_UNKNOWN,
            Failure::UploadUnknown => BLOB_UPLOAD_UNKNOWN,
            Failure::LengthMismatch => SIZE_INVALID,
            Failure::BodyBroken => BLOB_UPLOAD_INVALID,
            Failure::DigestMismatch { .. } => DIGEST_INVALID,
            Failure::Storage(error) => return storage_refusal(error),
        };
        let refusal = Self::new(code, failure.to_string());
        match failure {
            Failure::BlobRange { size } => refusal.header(header::CONTENT_RANGE, format!("bytes */{size}")),
            Failure::MissingReferences(missing) => {
                refusal.details(missing.iter().map(|reference| reference.digest.to_string()))
            }
            Failure::BodyBroken => {
                // Nobody may be left to read the answer.
                tracing::info!("a client broke off in the middle of a body");
                refusal
            }
            _ => refusal,
        }
    }
}

/// A storage error is logged here, once, and the client learns only whether to come again.
fn storage_refusal(error: &Error) -> Refusal {
    match error.kind {
        ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Timeout => {
            // The access log has a line for each request; the reason is the same for most of them.
            if let Some(more) = UNAVAILABLE_LINES.now() {
                let kind = error.kind;
                tracing::warn!(?kind, %error, more_before_this = more, "the storage does not answer now");
            }
            Refusal::new(UNAVAILABLE, "the storage of this registry does not answer now; try again later")
                .header(header::RETRY_AFTER, retry_after(error).to_string())
        }
        ErrorKind::StorageFull => {
            tracing::error!(kind = ?error.kind, %error, "the storage is full");
            Refusal::new(UNAVAILABLE, "the storage of this registry is full")
        }
        ErrorKind::BodyFailed => Failure::BodyBroken.into(),
        // Names are the only part of a path that a client chooses.
        ErrorKind::InvalidPath => {
            Refusal::new(NAME_INVALID, "the storage of this registry cannot keep this name")
        }
        _ => {
            tracing::error!(kind = ?error.kind, %error, "the storage failed");
            Refusal::internal()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_storage_cannot_keep_is_the_clients_mistake() {
        let refusal = storage_refusal(&Error::new(ErrorKind::InvalidPath, "too odd").at("odd"));
        assert_eq!((refusal.code, refusal.status), (NAME_INVALID, StatusCode::BAD_REQUEST));
        assert!(refusal.headers.is_empty());
    }

    #[test]
    fn a_storage_that_is_away_is_503_and_says_when_to_come_again() {
        for kind in [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout] {
            let refusal = storage_refusal(&Error::new(kind, "away"));
            assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(refusal.headers, [(header::RETRY_AFTER, "5".to_owned())]);
        }
    }
}
