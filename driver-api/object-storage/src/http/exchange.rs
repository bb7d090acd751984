//! What a store answered, remembered beside the call: the last exchange of one attempt.
//!
//! `object_store` gives errors as text. The decisions are made by what was on the wire instead: the transport
//! notes each answer in a value local to the task, and whoever made the call takes it out.

use std::{
    cell::RefCell,
    future::Future,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, Method, StatusCode, header};

use super::{ranges::says_empty, reason::TransportError};

/// Most bytes of an error document that are read.
pub const LARGEST_DOCUMENT: usize = 64 << 10;

/// One exchange with a store.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Host and port that were asked.
    pub authority: String,
    /// Method of the request.
    pub method: Method,
    /// Status of the answer, if there was one.
    pub status: Option<StatusCode>,
    /// Error code of the store, from the document or a header.
    pub code: Option<String>,
    /// Message of the store, shortened to one line.
    pub message: Option<String>,
    /// What the store calls this request in its own log.
    pub request_id: Option<String>,
    /// How long the store asks to wait.
    pub retry_after: Option<Duration>,
    /// The region or endpoint that the store names as the right one.
    pub place: Option<String>,
    /// The store's clock.
    pub date: Option<SystemTime>,
    /// A range was answered with that of an empty object.
    pub empty: bool,
    /// Why there is no answer.
    pub transport: Option<TransportError>,
}

tokio::task_local! {
    static LAST: RefCell<Option<Record>>;
}

/// Runs a call and gives what was exchanged last while it ran.
pub async fn observed<T>(call: impl Future<Output = T>) -> (T, Option<Record>) {
    LAST.scope(RefCell::new(None), async {
        let result = call.await;
        (result, LAST.with(|last| last.borrow_mut().take()))
    })
    .await
}

/// Remembers an exchange; outside of [`observed`] it is forgotten.
pub(super) fn note(record: &Record) {
    // Nobody may be looking, which is fine.
    let _ = LAST.try_with(|last| *last.borrow_mut() = Some(record.clone()));
}

/// Headers in which the stores name their requests.
const REQUEST_IDS: [&str; 8] = [
    "x-amz-request-id",
    "x-ms-request-id",
    "x-guploader-uploadid",
    "x-oss-request-id",
    "x-goog-request-id",
    "x-trans-id",
    "x-openstack-request-id",
    "x-request-id",
];

impl Record {
    /// The record of an answer whose body, as far as it is an error document, is `document`.
    pub fn of_answer(
        authority: String,
        method: Method,
        status: StatusCode,
        headers: &HeaderMap,
        document: &[u8],
    ) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(one_line);
        let mut record = Self {
            authority,
            method,
            status: Some(status),
            request_id: REQUEST_IDS.iter().find_map(|name| text(name)),
            retry_after: retry_after(headers),
            place: text("x-amz-bucket-region"),
            date: text("date").and_then(|date| httpdate::parse_http_date(&date).ok()),
            code: text("x-ms-error-code"),
            empty: says_empty(headers),
            ..Self::default()
        };
        // OSS puts the document of an answer to HEAD into a header.
        let in_header = headers.get("x-oss-err").and_then(|text| BASE64_STANDARD.decode(text).ok());
        let document = if document.is_empty() { in_header.as_deref().unwrap_or_default() } else { document };
        let said = super::fault::document::read(document);
        record.code = said.code.or(record.code);
        record.message = said.message;
        record.place = said.place.or(record.place);
        record.request_id = record.request_id.or(said.request_id);
        record
    }

    /// The record of a request that got no answer.
    pub fn of_failure(authority: String, method: Method, error: TransportError) -> Self {
        Self { authority, method, transport: Some(error), ..Self::default() }
    }

    /// The error code, or an empty text.
    pub fn code(&self) -> &str {
        self.code.as_deref().unwrap_or_default()
    }
}

/// Shortens what a store said to something that fits in a log line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value).ok()?.duration_since(SystemTime::now()).ok()
}
