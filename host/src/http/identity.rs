//! Who a request is: its id in logs and answers, and its place in a distributed trace.
//!
//! An id from outside is taken over only when it cannot do harm in a log line or a header.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use docker_registry_driver_api::Traceparent;
use http::{HeaderMap, HeaderName, HeaderValue};

/// Name of the header that carries the id, in requests and responses.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const LONGEST_ID: usize = 128;

/// Id and trace of one request.
#[derive(Debug, Clone)]
pub(crate) struct Identity {
    /// The client's `X-Request-Id`, or the trace id in hexadecimal digits.
    pub(crate) id: HeaderValue,
    /// The client's `traceparent`, or a new one that is not sampled.
    pub(crate) trace: Traceparent,
}

impl Identity {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let trace = headers.get(TRACEPARENT).and_then(parse_traceparent).unwrap_or_else(new_trace);
        let id = headers.get(REQUEST_ID).filter(|id| is_harmless(id)).cloned();
        Self { id: id.unwrap_or_else(|| trace_id_text(trace)), trace }
    }

    /// The id as text.
    pub(crate) fn id_text(&self) -> &str {
        self.id.to_str().unwrap_or_default()
    }
}

fn is_harmless(id: &HeaderValue) -> bool {
    let id = id.as_bytes();
    (1..=LONGEST_ID).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte))
}

fn trace_id_text(trace: Traceparent) -> HeaderValue {
    let digits = format!("{:032x}", u128::from_be_bytes(trace.trace_id));
    HeaderValue::try_from(digits).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Version 00 of <https://www.w3.org/TR/trace-context/#traceparent-header>; of later versions the part
/// that they share with it.
fn parse_traceparent(header: &HeaderValue) -> Option<Traceparent> {
    let text = header.to_str().ok()?;
    let mut fields = text.split('-');
    let version: [u8; 1] = hexadecimal(fields.next()?)?;
    let trace_id = hexadecimal(fields.next()?)?;
    let span_id = hexadecimal(fields.next()?)?;
    let [flags] = hexadecimal(fields.next()?)?;
    let known = version != [0xff] && (version != [0] || fields.next().is_none());
    (known && trace_id != [0; 16] && span_id != [0; 8]).then_some(Traceparent { trace_id, span_id, flags })
}

/// Exactly `N` bytes as lower-case hexadecimal digits.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// A trace that does not repeat: keyed hashes of a counter. It identifies and keeps nothing secret.
fn new_trace() -> Traceparent {
    static KEYS: OnceLock<RandomState> = OnceLock::new();
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let keys = KEYS.get_or_init(RandomState::new);
    let number = COUNTER.fetch_add(1, Relaxed);
    let word = |part: u8| {
        let mut hasher = keys.build_hasher();
        hasher.write_u64(number);
        hasher.write_u8(part);
        // All zero means "none" in this header.
        hasher.finish().max(1).to_be_bytes()
    };
    let mut trace_id = [0; 16];
    trace_id[..8].copy_from_slice(&word(0));
    trace_id[8..].copy_from_slice(&word(1));
    Traceparent { trace_id, span_id: word(2), flags: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(headers: &[(HeaderName, &'static str)]) -> Identity {
        Identity::of(&headers.iter().map(|(n, v)| (n.clone(), HeaderValue::from_static(v))).collect())
    }

    #[test]
    fn a_harmless_id_is_kept_and_another_replaced() {
        assert_eq!(identity(&[(REQUEST_ID, "abc-1.2:3")]).id, "abc-1.2:3");
        for id in ["", "a b", "a\"b", "a\tb"] {
            let own = identity(&[(REQUEST_ID, id)]).id;
            assert_eq!(own.len(), 32, "{id:?} gave {own:?}");
        }
        assert_ne!(identity(&[]).id, identity(&[]).id);
    }

    #[test]
    fn traceparent_is_read_by_the_rules_of_trace_context() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = identity(&[(TRACEPARENT, valid)]);
        assert_eq!(read.trace.flags, 1);
        assert_eq!(read.trace.span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
        assert_eq!(read.id, "0af7651916cd43dd8448eb211c80319c");
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more";
        assert!(parse_traceparent(&HeaderValue::from_static(later)).is_some());
        for broken in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7-b7ad6b7169203331-01",
            "",
        ] {
            assert_eq!(parse_traceparent(&HeaderValue::from_static(broken)), None, "{broken}");
        }
    }
}
