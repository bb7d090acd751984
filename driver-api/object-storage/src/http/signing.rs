//! What the credential providers of `reqsign` are given: this crate's client, files read beside the
//! runtime, the environment. Programs are not started.

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind};
use futures::TryStreamExt;
use object_store::client::HttpRequestBody;
use reqsign_core::{Context, FileRead, HttpSend, OsEnv};

use super::{Advice, Transport, transport::Outgoing};

/// Most bytes of a credential service's answer.
const LARGEST_ANSWER: usize = 1 << 20;

pub(super) fn context(transport: &Transport) -> Context {
    Context::new().with_file_read(Files).with_http_send(Sender(transport.clone())).with_env(OsEnv)
}

#[derive(Debug)]
struct Files;

impl FileRead for Files {
    async fn file_read(&self, path: &str) -> reqsign_core::Result<Vec<u8>> {
        tokio::fs::read(path).await.map_err(|error| {
            reqsign_core::Error::config_invalid(format!("{path} cannot be read: {}", error.kind()))
        })
    }
}

#[derive(Debug)]
struct Sender(Transport);

impl HttpSend for Sender {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign_core::Result<http::Response<Bytes>> {
        let broken = |error: super::TransportError| {
            let text = format!("the credential service does not answer: {error}");
            reqsign_core::Error::unexpected(text).set_retryable(true)
        };
        let request = request.map(|body| Outgoing::Content(HttpRequestBody::from(body)));
        let answer = self.0.dispatch(request, self.0.patience(false)).await.map_err(broken)?;
        let (parts, mut body) = answer.into_parts();
        let mut whole = Vec::new();
        while let Some(piece) = body.try_next().await.map_err(broken)? {
            if whole.len() + piece.len() > LARGEST_ANSWER {
                return Err(reqsign_core::Error::unexpected("the credential service's answer is too large"));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(http::Response::from_parts(parts, whole.into()))
    }
}

/// The driver's error for a request that could not be signed.
pub(super) fn unsigned(advice: &Advice, error: &reqsign_core::Error) -> Error {
    use reqsign_core::ErrorKind as Kind;
    let keys = &advice.credentials;
    let (kind, sentence) = match error.kind() {
        Kind::CredentialInvalid => {
            (ErrorKind::Unauthenticated, format!("there are no usable credentials: check {keys}"))
        }
        Kind::PermissionDenied => {
            (ErrorKind::PermissionDenied, format!("the credential service refuses: check {keys}"))
        }
        Kind::ConfigInvalid => {
            (ErrorKind::InvalidConfiguration, format!("the credentials cannot be used: check {keys}"))
        }
        Kind::RateLimited => (ErrorKind::Throttled, "the credential service asks for fewer calls".to_owned()),
        Kind::RequestInvalid => (ErrorKind::Internal, "the request cannot be signed".to_owned()),
        _ => (ErrorKind::Unavailable, format!("the credentials cannot be fetched: check {keys}")),
    };
    let retryable = error.is_retryable() || matches!(kind, ErrorKind::Throttled | ErrorKind::Unavailable);
    Error::new(kind, sentence).retryable(retryable).caused_by(error)
}
