//! V4 signatures of Google: `GOOG4-HMAC-SHA256` and `GOOG4-RSA-SHA256`, in headers and in addresses.

use std::time::SystemTime;

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest, Sha256};

/// All but the unreserved characters.
const STRICT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

const TERMINATOR: &str = "goog4_request";
/// The store does not look at the place; `auto` is what its documentation advises.
const PLACE: &str = "auto/storage";

/// What stands for content that is not part of the signature.
pub(crate) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The moment of a signature, in the two forms that it needs.
pub(crate) struct Moment {
    /// `20191201T190859Z`
    pub(crate) time: String,
    /// `20191201`
    pub(crate) date: String,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self::of(Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH))
    }

    fn of(time: Timestamp) -> Self {
        let time = time.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = time.chars().take(8).collect();
        Self { time, date }
    }

    /// Date, place and terminator.
    pub(crate) fn scope(&self) -> String {
        format!("{}/{PLACE}/{TERMINATOR}", self.date)
    }
}

/// Names of the headers that are signed, and their lines in the canonical request. Host is always one of them.
pub(crate) fn signed_headers(head: &Parts) -> (String, String) {
    let host = head.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let mut lines = vec![("host".to_owned(), host.to_owned())];
    for name in head.headers.keys() {
        let values = head.headers.get_all(name).iter();
        let values: Vec<String> = values
            .filter_map(|value| value.to_str().ok())
            .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        lines.push((name.as_str().to_owned(), values.join(",")));
    }
    lines.sort();
    let names: Vec<&str> = lines.iter().map(|(name, _)| name.as_str()).collect();
    let text = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    (names.join(";"), text)
}

/// The text that is signed.
pub(crate) fn string_to_sign(head: &Parts, algorithm: &str, moment: &Moment, payload: &str) -> String {
    let (names, lines) = signed_headers(head);
    let mut query: Vec<(String, String)> = head
        .uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode_again(name), encode_again(value)))
        .collect();
    query.sort();
    let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    let canonical =
        format!("{}\n{}\n{}\n{lines}\n{names}\n{payload}", head.method, head.uri.path(), query.join("&"),);
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    format!("{algorithm}\n{}\n{}\n{hash}", moment.time, moment.scope())
}

/// The signature with the secret of an HMAC key.
pub(crate) fn hmac_signature(secret: &str, moment: &Moment, text: &str) -> String {
    let mut key = hmac(format!("GOOG4{secret}").as_bytes(), &moment.date);
    for step in PLACE.split('/').chain([TERMINATOR]) {
        key = hmac(&key, step);
    }
    hex(&hmac(&key, text))
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // Keys of any length are taken.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// Percent-encoding of all but the unreserved characters.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, STRICT).to_string()
}

fn encode_again(text: &str) -> String {
    percent_encoding::percent_encode(&percent_decode_str(text).collect::<Vec<u8>>(), STRICT).to_string()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
