//! Answers and refusals, in the words of the XML API and of the JSON API.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};

/// What every handler returns.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// A refused request: a code of the XML API's list of errors, with its status.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, code, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidArgument", message)
    }

    pub(crate) fn no_such_key() -> Self {
        Self::new(404, "NoSuchKey", "The specified key does not exist.")
    }

    pub(crate) fn no_such_bucket() -> Self {
        Self::new(404, "NoSuchBucket", "The specified bucket does not exist.")
    }

    pub(crate) fn no_such_upload() -> Self {
        Self::new(404, "NoSuchUpload", "The requested upload was not found.")
    }

    pub(crate) fn condition_failed() -> Self {
        let message = "At least one of the pre-conditions you specified did not hold.";
        Self::new(412, "PreconditionFailed", message)
    }

    /// The answer of the XML API.
    pub(crate) fn xml(&self) -> Answer {
        let text = format!(
            "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message></Error>",
            self.code,
            quick_xml::escape::escape(&self.message)
        );
        with_type(self.status, "application/xml; charset=UTF-8", text)
    }

    /// The answer of the JSON API.
    pub(crate) fn json(&self) -> Answer {
        let reason = match self.code {
            "NoSuchKey" | "NoSuchBucket" | "NoSuchUpload" => "notFound",
            "PreconditionFailed" => "conditionNotMet",
            "AuthenticationRequired" => "authError",
            "AccessDenied" => "forbidden",
            "InvalidRange" => "requestedRangeNotSatisfiable",
            _ => "invalid",
        };
        let error = serde_json::json!({"error": {
            "code": self.status.as_u16(),
            "message": self.message,
            "errors": [{"domain": "global", "reason": reason, "message": self.message}],
        }});
        with_type(self.status, "application/json; charset=UTF-8", error.to_string())
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Self::new(500, "InternalError", error.to_string())
    }
}

/// An answer without content.
pub(crate) fn empty(status: u16) -> Answer {
    let mut answer = Response::new(whole(Bytes::new()));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    answer
}

/// An XML document.
pub(crate) fn document(text: String) -> Answer {
    with_type(StatusCode::OK, "application/xml; charset=UTF-8", text)
}

/// A JSON document.
pub(crate) fn json(value: &serde_json::Value) -> Answer {
    with_type(StatusCode::OK, "application/json; charset=UTF-8", value.to_string())
}

/// A text with its type.
pub(crate) fn with_type(status: StatusCode, kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(whole(Bytes::from(text)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// A body of known bytes.
pub(crate) fn whole(bytes: Bytes) -> UnsyncBoxBody<Bytes, std::io::Error> {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}
