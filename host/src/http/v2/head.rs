//! A request without its body.
//!
//! Bodies are streams that one thread at a time may touch. Apart from its body a request may be looked
//! at from anywhere, which lets handlers hold on to it while they wait for the storage.

use docker_registry_driver_api::{ByteStream, CallContext};
use http::{HeaderMap, Method, header};

use crate::{auth::Login, http::exchange::Request};

/// Everything of a request but its path and body.
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    query: String,
    call: CallContext,
    pub(super) login: Login,
}

impl Head {
    /// Parts a request from its body.
    pub(super) fn of(request: Request) -> (Self, ByteStream) {
        let call = request.call();
        let Request { method, headers, query, body, login, .. } = request;
        (Self { method, headers, query, call, login }, body)
    }

    /// The context for storage calls that the request makes.
    pub(super) fn call(&self) -> &CallContext {
        &self.call
    }

    /// A header's first value, if it is text.
    pub(super) fn header(&self, name: header::HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The length that the client announced for the body.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH)?.parse().ok()
    }

    /// The first value of a parameter in the query.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).next()
    }

    /// All values of a parameter in the query.
    pub(super) fn parameters(&self, name: &str) -> impl Iterator<Item = String> {
        form_urlencoded::parse(self.query.as_bytes())
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }
}
