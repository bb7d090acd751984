//! One table from what a store answered to what the driver reports.
//!
//! The kinds decide what the engine does, so they are decided here and nowhere else: by the error code where
//! the store gives one, by the status where it does not (answers to `HEAD` have no document), by the reason
//! where there is no answer. The sentences name the configuration keys of the driver at hand.

pub(super) mod document;
mod table;

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{Error, ErrorKind};
use http::{Method, StatusCode};

use self::table::Verdict;
use super::{
    exchange::Record,
    reason::{Reason, TransportError},
};

/// The words with which one driver's operator is told where to look: names of configuration keys.
///
/// Each is put behind "check", so `s3_access_key and s3_secret_key` is right.
#[derive(Debug, Clone)]
pub struct Advice {
    /// Name of the store, `S3` for example.
    pub store: String,
    /// Keys of the credentials.
    pub credentials: String,
    /// Keys that name the bucket or container.
    pub bucket: String,
    /// Keys that name the region.
    pub region: String,
    /// Keys that name the endpoint: host, port, scheme.
    pub endpoint: String,
    /// Key of the file with more trusted certificates.
    pub ca_bundle: String,
    /// Key of the proxy.
    pub proxy: String,
}

/// What a request is about: tells what "not found" means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The bucket itself, or a listing of it.
    Bucket,
    /// One object.
    Object,
    /// A large object that was begun.
    Upload,
    /// Where credentials come from.
    Credentials,
}

/// One request by what its failure would mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// What it does, for the log: `put`, `copy part`.
    pub name: &'static str,
    /// What it is about.
    pub subject: Subject,
    /// Whether it may change something: then a lost answer leaves its outcome unknown.
    pub writes: bool,
    /// Whether the store may work on it in silence for minutes, as it does for copies.
    pub slow: bool,
}

impl Call {
    /// A request that changes nothing.
    pub const fn reading(name: &'static str, subject: Subject) -> Self {
        Self { name, subject, writes: false, slow: false }
    }

    /// A request that may change something.
    pub const fn writing(name: &'static str, subject: Subject) -> Self {
        Self { name, subject, writes: true, slow: false }
    }

    /// The same, and the store may be silent for long.
    #[must_use]
    pub const fn slow(mut self) -> Self {
        self.slow = true;
        self
    }
}

/// A request that failed: the error for the engine, and what was on the wire for the driver that wants to
/// look at status or code itself. `?` turns it into the error.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// What was exchanged.
    pub record: Box<Record>,
    /// What it means.
    pub error: Box<Error>,
}

impl Refusal {
    /// What `record` means for `call`.
    pub fn new(advice: &Advice, call: Call, record: Record) -> Self {
        let error = Box::new(error(advice, call, &record));
        Self { record: Box::new(record), error }
    }

    /// The error code of the store, or an empty text.
    pub fn code(&self) -> &str {
        self.record.code()
    }

    /// The status, if there was an answer.
    pub fn status(&self) -> Option<StatusCode> {
        self.record.status
    }

    /// Whether the clocks of the two sides are so far apart that this is the reason, whatever the code says.
    pub fn blames_the_clock(&self) -> bool {
        clocks_differ(&self.record)
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        *refusal.error
    }
}

impl From<Error> for Refusal {
    /// For what failed before anything was sent.
    fn from(error: Error) -> Self {
        Self { record: Box::default(), error: Box::new(error) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refusal {}

/// Clocks that differ by more than this are the reason why signatures are refused.
const LARGEST_SKEW: Duration = Duration::from_secs(5 * 60);

/// The error of a request that could not be signed.
pub fn unsigned(advice: &Advice, error: &reqsign_core::Error) -> Error {
    super::signing::unsigned(advice, error)
}

/// Whether a document that came with a good status is an error all the same.
pub fn is_error_document(document: &[u8]) -> bool {
    document::is_error(document)
}

/// The error of an exchange that failed.
pub fn error(advice: &Advice, call: Call, record: &Record) -> Error {
    if let Some(transport) = &record.transport {
        return unanswered(advice, call, &record.authority, transport);
    }
    let status = record.status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut verdict = table::verdict(call.subject, status, record.code(), record.message.as_deref());
    match verdict {
        Verdict::Credentials | Verdict::Expired | Verdict::Denied if clocks_differ(record) => {
            verdict = Verdict::Clock;
        }
        Verdict::Redirected if record.place.is_some() => verdict = Verdict::Region,
        Verdict::Refused if record.method == Method::HEAD && status == StatusCode::BAD_REQUEST => {
            verdict = Verdict::Unsaid;
        }
        _ => {}
    }
    let (kind, retryable, sentence) = meaning(advice, call, record, verdict);
    let mut error =
        Error::new(kind, format!("{sentence}{}", particulars(status, record))).retryable(retryable);
    error.retry_after = record.retry_after;
    // A server that failed in the middle may have written.
    error.outcome_unknown = call.writes && verdict.may_have_happened(status);
    error
}

fn meaning(advice: &Advice, call: Call, record: &Record, verdict: Verdict) -> (ErrorKind, bool, String) {
    let Advice { store, credentials, bucket, region, endpoint, .. } = advice;
    match verdict {
        Verdict::Absent => (ErrorKind::NotFound, false, "there is nothing at this path".to_owned()),
        Verdict::UploadAbsent => {
            (ErrorKind::NotFound, false, "the store has no such upload (any more)".to_owned())
        }
        Verdict::BucketAbsent => (
            ErrorKind::InvalidConfiguration,
            false,
            format!("{store} has no such bucket: check {bucket}, and {endpoint}"),
        ),
        Verdict::ConditionFailed => {
            (ErrorKind::ConditionFailed, false, "the condition of the write does not hold".to_owned())
        }
        Verdict::Race => (
            ErrorKind::Conflict,
            true,
            format!("{store} refuses because another call on the same object is under way"),
        ),
        Verdict::Conflict => (ErrorKind::Conflict, false, format!("{store} refuses in the present state")),
        Verdict::Range => (ErrorKind::InvalidRange, false, "the range has no byte of this object".to_owned()),
        Verdict::Credentials => (
            ErrorKind::Unauthenticated,
            false,
            format!("{store} does not accept the credentials: check {credentials}"),
        ),
        Verdict::Expired => (
            ErrorKind::Unauthenticated,
            true,
            format!("{store} says that the credentials have expired: check {credentials}"),
        ),
        Verdict::Unsaid => (
            ErrorKind::Unauthenticated,
            true,
            format!(
                "{store} refuses a HEAD request, whose answer has no reason: check {credentials}, and {region}"
            ),
        ),
        Verdict::Denied => (
            ErrorKind::PermissionDenied,
            false,
            format!(
                "{store} accepts the credentials and refuses the call: check {bucket}, and the permissions of \
                 {credentials}"
            ),
        ),
        Verdict::Region => {
            let right = record.place.as_deref().map(|place| format!(" ({store} names {place})"));
            (
                ErrorKind::InvalidConfiguration,
                false,
                format!("the bucket is not in this region: check {region}{}", right.unwrap_or_default()),
            )
        }
        Verdict::Redirected => (
            ErrorKind::InvalidConfiguration,
            false,
            format!("the endpoint sends to another address: check {endpoint}, and {region}"),
        ),
        Verdict::Clock => {
            let skew = skew(record).map(|skew| format!(" by {} seconds", skew.as_secs()));
            (
                ErrorKind::InvalidConfiguration,
                false,
                format!(
                    "the clock of this machine differs from that of {store}{}: set the clock (NTP)",
                    skew.unwrap_or_default()
                ),
            )
        }
        Verdict::Throttled => (ErrorKind::Throttled, true, format!("{store} asks for fewer calls")),
        Verdict::Broken => (ErrorKind::Unavailable, true, format!("{store} does not work at the moment")),
        Verdict::SlowBody => {
            (ErrorKind::Timeout, true, format!("{store} did not get the whole request in time"))
        }
        Verdict::Damaged => (
            ErrorKind::Unavailable,
            true,
            format!("the content was damaged on its way to {store}, which noticed"),
        ),
        Verdict::Full => (ErrorKind::StorageFull, false, format!("{store} is full, or a quota is used up")),
        Verdict::TooLarge => (ErrorKind::TooLarge, false, format!("the object is too large for {store}")),
        Verdict::Name => (ErrorKind::InvalidPath, false, format!("{store} cannot keep this path")),
        Verdict::Unsupported => {
            (ErrorKind::Unsupported, false, format!("{store} does not offer the call \"{}\"", call.name))
        }
        Verdict::Endpoint => (
            ErrorKind::InvalidConfiguration,
            false,
            format!("what answers is no {store}, or not its endpoint: check {endpoint}"),
        ),
        Verdict::Refused => {
            (ErrorKind::Internal, false, format!("{store} refuses the call \"{}\"", call.name))
        }
    }
}

/// Code, message and request id in brackets, as far as the store gave them.
fn particulars(status: StatusCode, record: &Record) -> String {
    let mut parts = vec![format!("status {}", status.as_u16())];
    parts.extend(record.code.clone());
    parts.extend(record.message.clone());
    parts.extend(record.request_id.as_ref().map(|id| format!("request id {id}")));
    format!(" [{}]", parts.join(", "))
}

fn clocks_differ(record: &Record) -> bool {
    skew(record).is_some_and(|skew| skew > LARGEST_SKEW)
}

fn skew(record: &Record) -> Option<Duration> {
    let (date, now) = (record.date?, SystemTime::now());
    Some(now.duration_since(date).unwrap_or_else(|early| early.duration()))
}

/// The error of a request without an answer.
fn unanswered(advice: &Advice, call: Call, authority: &str, transport: &TransportError) -> Error {
    let Advice { store, endpoint, ca_bundle, proxy, .. } = advice;
    let who = if call.subject == Subject::Credentials { "the credential service" } else { store.as_str() };
    let (kind, retryable, sentence) = match transport.reason {
        Reason::Name => (
            ErrorKind::Unavailable,
            true,
            format!("the name of {authority} has no address: check {endpoint}"),
        ),
        Reason::Connect => (
            ErrorKind::Unavailable,
            true,
            format!("{who} does not answer at {authority}: check {endpoint}, and the network"),
        ),
        Reason::Certificate => (
            ErrorKind::Unavailable,
            false,
            format!("the certificate of {authority} is not trusted: check {ca_bundle}, and {endpoint}"),
        ),
        Reason::Tls => (
            ErrorKind::Unavailable,
            true,
            format!("{authority} does not speak TLS as wanted: check {endpoint}"),
        ),
        Reason::Proxy => {
            (ErrorKind::Unavailable, true, format!("the proxy does not reach {authority}: check {proxy}"))
        }
        Reason::Timeout if !transport.sent => (
            ErrorKind::Unavailable,
            true,
            format!("{who} does not answer at {authority} in time: check {endpoint}, and the network"),
        ),
        Reason::Timeout => (ErrorKind::Timeout, true, format!("{who} at {authority} fell silent")),
        Reason::Interrupted => {
            (ErrorKind::Unavailable, true, format!("the connection to {who} at {authority} broke"))
        }
        Reason::Truncated => (
            ErrorKind::Unavailable,
            true,
            format!("the answer of {who} at {authority} is not as long as it was said to be"),
        ),
        Reason::Request => (ErrorKind::Internal, false, format!("the request to {who} cannot be sent")),
    };
    let mut error = Error::new(kind, sentence).retryable(retryable).caused_by(transport);
    error.outcome_unknown = call.writes && transport.sent;
    error
}

#[cfg(test)]
mod tests;
