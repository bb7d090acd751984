//! One request and its response, as the API handlers see them.
//!
//! Handlers know neither warp nor hyper nor sockets: they take a [`Request`], they return a
//! [`Response`]. What goes out by `sendfile(2)` and what by copy is decided where the response is
//! written, not here.

use std::net::SocketAddr;

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, CallContext, Reading, Traceparent};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::auth::Login;

/// A request whose body has not been read yet.
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path as it was sent: percent-encoding untouched, without the query.
    pub path: String,
    /// Query as it was sent, without the `?`; empty when there is none.
    pub query: String,
    /// Headers.
    pub headers: HeaderMap,
    /// The body. A client that breaks off, stalls or breaks the framing shows as an `Err` item of kind
    /// `BodyFailed`.
    pub body: ByteStream,
    /// Address of the client, when it is known: a trusted proxy's word counts. The port is 0 when only the address
    /// is known; there is none for a client of the unix socket.
    pub peer: Option<SocketAddr>,
    /// How the client reached this server, or the trusted proxy in front of it.
    pub scheme: Scheme,
    /// The common name in the client's certificate, which TLS has verified; of this connection, so that behind a
    /// proxy it is the proxy's.
    pub client_certificate: Option<String>,
    /// Identity of the request in logs and in the trace.
    pub trace: Option<Traceparent>,
    /// Who the client is, and what it may do.
    pub login: Login,
}

/// How a client speaks to the server that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Encrypted.
    Https,
}

impl Scheme {
    /// Its name in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that a URL need not name.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Request {
    /// The context for storage calls that this request makes. Deadlines are added by the storage.
    pub fn call(&self) -> CallContext {
        CallContext { traceparent: self.trace, ..CallContext::default() }
    }

    /// A header's value when it is present once or more and readable as text; the first one counts.
    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length that the client announced for the body, if it did so readably.
    pub fn content_length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.parse().ok()
    }
}

/// An extension of a response: the user who was logged in, for the log.
#[derive(Debug, Clone)]
pub struct User(pub String);

/// Headers that a response has at most, nearly always.
const MOST_HEADERS: usize = 10;

/// What a handler returns.
pub type Response = http::Response<ResponseBody>;

/// The body of a response.
#[derive(Default)]
pub enum ResponseBody {
    /// Nothing. `Content-Length` is left as the handler set it (for `HEAD`), else 0.
    #[default]
    Empty,
    /// Bytes in memory; `Content-Length` is set from them.
    Whole(Bytes),
    /// An object from the storage; `Content-Length` is set from [`Reading::length`].
    Reading(Reading),
}

/// A response without body.
pub fn empty(status: StatusCode) -> Response {
    with_body(status, ResponseBody::Empty)
}

/// A response with a body in memory and its media type.
pub fn whole(status: StatusCode, media_type: &'static str, content: impl Into<Bytes>) -> Response {
    let mut response = with_body(status, ResponseBody::Whole(content.into()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// A response with any body.
pub fn with_body(status: StatusCode, body: ResponseBody) -> Response {
    let mut response = http::Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = HeaderMap::with_capacity(MOST_HEADERS);
    response
}

/// Sets a header from text. Text that no header may hold (line breaks, control characters) is left
/// out: nothing that reaches this point may split a response.
pub fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
