//! What a client hears when a request could not be done.
//!
//! A client's mistake is a 4xx with the text of 0.9.1. A storage that does not work now is 503 or 507.
//! 500 is left for what is broken here; it is logged, and the client learns nothing of it.

use std::time::Duration;

use docker_registry_driver_api::ErrorKind;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{json::answer, route};
use crate::{
    http::{
        exchange::{Response, set},
        retry_after::{retry_after, seconds},
    },
    registry::v1::Error,
    telemetry::seldom::Seldom,
};

const USER_EXISTS: &str = "Username or email already exists";
static UNAVAILABLE_LINES: Seldom = Seldom::new();

/// Why there is no proper answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The path has bytes that no name may have.
    BadPath,
    /// No route has this path.
    NoRoute,
    /// The path is there, but not for this method; these it has.
    Method(&'static [Method]),
    /// A token is needed.
    Unauthorized,
    /// The name or the password in the body is wrong.
    WrongPassword,
    /// Too many logins have failed; when to come again.
    TooManyLogins(Duration),
    /// The client may not do that.
    Denied,
    /// Nobody can be added here (docker knows the text, and logs in instead).
    UserExists,
    /// The JSON body is longer than any that makes sense.
    BodyTooLarge,
    /// The docker daemon is too old for what it asks (0.9.1's text).
    OldDaemon,
    /// The payload's checksum is not in the headers (0.9.1's text, its two spaces included).
    NoPayloadChecksum,
    /// There is no queue for differences between layers.
    NoDiffQueue,
    /// The registry says no.
    Registry(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Registry(error)
    }
}

impl Failure {
    /// The answer to a request with this method.
    pub(super) fn response(&self, method: &Method) -> Response {
        let (status, text) = match self {
            Self::BadPath => (StatusCode::BAD_REQUEST, "Invalid path".to_owned()),
            Self::NoRoute => (StatusCode::NOT_FOUND, "Not found".to_owned()),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed".to_owned()),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "Requires authorization".to_owned()),
            Self::WrongPassword => (StatusCode::UNAUTHORIZED, "Wrong name or password".to_owned()),
            Self::TooManyLogins(_) => {
                (StatusCode::TOO_MANY_REQUESTS, "Too many failed logins, retry later".to_owned())
            }
            Self::Denied => (StatusCode::FORBIDDEN, "Access denied".to_owned()),
            Self::UserExists => (StatusCode::BAD_REQUEST, USER_EXISTS.to_owned()),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "Request body too large".to_owned()),
            Self::OldDaemon => (
                StatusCode::PRECONDITION_FAILED,
                "This endpoint does not support Docker daemons older than 0.10".to_owned(),
            ),
            Self::NoPayloadChecksum => (
                StatusCode::PRECONDITION_FAILED,
                "X-Docker-Checksum-Payload not set.  If you are using the Docker daemon, you should upgrade \
                 to version 0.10 or later"
                    .to_owned(),
            ),
            Self::NoDiffQueue => (StatusCode::BAD_REQUEST, "Diff queue is disabled".to_owned()),
            Self::Registry(error) => registry_error(error, method),
        };
        // The one text that docker compares with the whole body.
        let body = if matches!(self, Self::UserExists) { json!(text) } else { json!({ "error": text }) };
        let mut response = answer(status, &body);
        match self {
            Self::Method(methods) => set(&mut response, header::ALLOW, &route::allow(methods)),
            Self::Unauthorized => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Token"));
            }
            Self::TooManyLogins(pause) => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds(*pause)));
            }
            Self::Registry(Error::Storage(error)) if status == StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after(error)));
            }
            _ => {}
        }
        response
    }
}

/// The answer to a client that must show a password. `challenge` is what `WWW-Authenticate` says.
pub(crate) fn log_in_first(challenge: &str) -> Response {
    let mut response = Failure::Unauthorized.response(&Method::GET);
    set(&mut response, header::WWW_AUTHENTICATE, challenge);
    response
}

/// The answer to a client that may not do what it asks for.
pub(crate) fn denied() -> Response {
    Failure::Denied.response(&Method::GET)
}

/// The answer to a client from where too many logins have failed.
pub(crate) fn too_many_logins(pause: Duration) -> Response {
    Failure::TooManyLogins(pause).response(&Method::GET)
}

fn registry_error(error: &Error, method: &Method) -> (StatusCode, String) {
    let status = match error {
        Error::Storage(error) => return storage_error(error, method),
        Error::InvalidImageId
        | Error::ImageNotFound
        | Error::NoImagesList
        | Error::RepositoryNotFound
        | Error::TagNotFound
        | Error::NoTagToDelete(_) => StatusCode::NOT_FOUND,
        Error::ImageExists | Error::NotInProgress | Error::ImageChanged => StatusCode::CONFLICT,
        Error::Contended => StatusCode::SERVICE_UNAVAILABLE,
        Error::ImageInProgress
        | Error::InvalidJson
        | Error::MissingId
        | Error::OtherId
        | Error::NoParent
        | Error::EmptyChecksum
        | Error::NoLayer
        | Error::ChecksumMismatch
        | Error::NotAnArchive
        | Error::TooManyFiles
        | Error::InvalidData
        | Error::NotJson => StatusCode::BAD_REQUEST,
    };
    (status, error.to_string())
}

fn storage_error(error: &docker_registry_driver_api::Error, method: &Method) -> (StatusCode, String) {
    let (status, text) = match error.kind {
        // Names are the only part of a path that a client chooses. What cannot be stored is not there.
        ErrorKind::InvalidPath if *method == Method::PUT => (StatusCode::BAD_REQUEST, "Invalid name"),
        ErrorKind::InvalidPath => (StatusCode::NOT_FOUND, "Not found"),
        ErrorKind::BodyFailed => (StatusCode::BAD_REQUEST, "The request body ended early"),
        ErrorKind::StorageFull => (StatusCode::INSUFFICIENT_STORAGE, "The storage is full"),
        ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Timeout => {
            (StatusCode::SERVICE_UNAVAILABLE, "The storage is not available, retry later")
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // The access log has a line for each request; the reason is the same for most of them.
        if let Some(more) = UNAVAILABLE_LINES.now() {
            tracing::warn!(%error, more_before_this = more, "the storage does not answer now");
        }
    } else if status.is_server_error() {
        tracing::error!(%error, "a V1 request failed in the storage");
    }
    (status, text.to_owned())
}
