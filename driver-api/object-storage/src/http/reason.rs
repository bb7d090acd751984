//! Why a request got no answer, without the address that it was sent to.

use std::{error::Error as StdError, fmt, io};

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The name of the host has no address.
    Name,
    /// No connection to the host.
    Connect,
    /// The certificate of the host is not trusted.
    Certificate,
    /// TLS could not be agreed on.
    Tls,
    /// The proxy refused.
    Proxy,
    /// Nothing moved for too long.
    Timeout,
    /// The connection ended in the middle.
    Interrupted,
    /// The body is not as long as was said.
    Truncated,
    /// The request cannot be sent as it is.
    Request,
}

/// A request that got no answer, or not the whole.
#[derive(Debug, Clone)]
pub struct TransportError {
    /// What kind of failure it was.
    pub reason: Reason,
    /// Whether the store may have got the request.
    pub sent: bool,
    /// The texts of the libraries, without addresses.
    pub text: String,
}

impl TransportError {
    /// An error of this crate's own.
    pub fn new(reason: Reason, sent: bool, text: impl Into<String>) -> Self {
        Self { reason, sent, text: text.into() }
    }

    /// What the client library says, told apart by the causes inside.
    pub(super) fn of(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let mut texts: Vec<String> = Vec::new();
        let mut io_kind = None;
        let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
        while let Some(inner) = next {
            if let Some(error) = inner.downcast_ref::<Self>() {
                return error.clone();
            }
            if let Some(error) = inner.downcast_ref::<io::Error>() {
                io_kind = Some(error.kind());
                // An io::Error hides what it wraps from `source`.
                if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Self>()) {
                    return error.clone();
                }
            }
            let text = super::exchange::one_line(&inner.to_string());
            if !texts.iter().any(|known| known.contains(&text)) {
                texts.push(text);
            }
            next = inner.source();
        }
        let text = texts.join(": ");
        let lower = text.to_ascii_lowercase();
        let reason = if error.is_builder() || error.is_request() && lower.contains("invalid uri") {
            Reason::Request
        } else if lower.contains("certificate") {
            Reason::Certificate
        } else if error.is_timeout() || io_kind == Some(io::ErrorKind::TimedOut) {
            Reason::Timeout
        } else if error.is_connect() && lower.contains("dns error") {
            Reason::Name
        } else if error.is_connect() && (lower.contains("proxy") || lower.contains("tunnel")) {
            Reason::Proxy
        } else if error.is_connect() && io_kind == Some(io::ErrorKind::InvalidData) {
            Reason::Tls
        } else if error.is_connect() {
            Reason::Connect
        } else {
            Reason::Interrupted
        };
        let sent = !error.is_connect() && !error.is_builder();
        Self { reason, sent, text }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for TransportError {}
