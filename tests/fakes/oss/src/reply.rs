//! Pieces of answers: bodies, XML, dates.

use bytes::Bytes;
use http::{Response, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quick_xml::escape::escape;

/// Body of every answer.
pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// Everything but what an address may hold as it is, the slash included.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// A body that is known.
pub(crate) fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed()
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status of three digits");
    response
}

/// An answer with an XML document, whose root element is `root`.
pub(crate) fn document(root: &str, inner: &str) -> Response<Body> {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}>{inner}</{root}>");
    let mut response = Response::new(full(xml));
    response.headers_mut().insert(header::CONTENT_TYPE, "application/xml".parse().expect("a header value"));
    response
}

/// Adds an element with a text.
pub(crate) fn element(xml: &mut String, name: &str, text: &str) {
    xml.push_str(&format!("<{name}>{}</{name}>", escape(text)));
}

/// Encodes everything but letters, digits and `-_.~`.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// Like [`encoded`], but leaves slashes.
pub(crate) fn encoded_path(text: &str) -> String {
    utf8_percent_encode(text, ENCODED_PATH).to_string()
}

/// A time as it is in XML documents.
pub(crate) fn iso(seconds: i64) -> String {
    let time = jiff::Timestamp::from_second(seconds).unwrap_or_default();
    time.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}
