//! What calls speak of, in the form that goes through the control socket: errors, facts of objects,
//! conditions, ranges, pages, the call's context.
//!
//! Both sides are the same program, so these forms follow the driver API's types and need no defaults.
//! Paths are checked again where they arrive.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use docker_registry_driver_api::{
    CallContext, Condition, ETag, Entry, Error, ErrorKind, ListPage, ObjectInfo, ReadRange, Traceparent,
};
use serde::{Deserialize, Serialize};

/// An error of a driver.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WireError {
    kind: u32,
    retryable: bool,
    retry_after: Option<Duration>,
    outcome_unknown: bool,
    operation: String,
    path: Option<String>,
    message: String,
    source_text: Option<String>,
}

impl WireError {
    /// The error as JSON of at most `limit` bytes; a longer text is cut out of it and goes to the log, as far as a
    /// line of that takes it.
    pub(super) fn to_json(&self, limit: usize) -> Vec<u8> {
        let text = serde_json::to_vec(self).unwrap_or_default();
        if !text.is_empty() && text.len() <= limit {
            return text;
        }
        tracing::warn!(error = self.message, "an error of the driver was too long to be passed on");
        let short = Self {
            operation: String::new(),
            path: None,
            message: "the driver failed with an error that is too long to be passed on".to_owned(),
            source_text: None,
            ..self.clone()
        };
        serde_json::to_vec(&short).unwrap_or_default()
    }
}

impl From<Error> for WireError {
    fn from(error: Error) -> Self {
        Self {
            kind: error.kind as u32,
            retryable: error.retryable,
            retry_after: error.retry_after,
            outcome_unknown: error.outcome_unknown,
            operation: error.operation,
            path: error.path,
            message: error.message,
            source_text: error.source_text,
        }
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        let mut error = Self::new(ErrorKind::from_code(wire.kind), wire.message).retryable(wire.retryable);
        error.retry_after = wire.retry_after;
        error.outcome_unknown = wire.outcome_unknown;
        error.operation = wire.operation;
        error.path = wire.path;
        error.source_text = wire.source_text;
        error
    }
}

/// Facts of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireInfo {
    size: u64,
    modified: Option<WireTime>,
    etag: Option<String>,
}

impl From<ObjectInfo> for WireInfo {
    fn from(info: ObjectInfo) -> Self {
        Self { size: info.size, modified: info.modified.map(Into::into), etag: info.etag.map(|etag| etag.0) }
    }
}

impl From<WireInfo> for ObjectInfo {
    fn from(wire: WireInfo) -> Self {
        Self { size: wire.size, modified: wire.modified.map(Into::into), etag: wire.etag.map(ETag) }
    }
}

/// A time since 1970; earlier ones become 1970, as in the driver ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireTime(Duration);

impl From<SystemTime> for WireTime {
    fn from(time: SystemTime) -> Self {
        Self(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}

impl From<WireTime> for SystemTime {
    fn from(wire: WireTime) -> Self {
        UNIX_EPOCH.checked_add(wire.0).unwrap_or(UNIX_EPOCH)
    }
}

/// When a write is to take effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WireCondition {
    Always,
    IfAbsent,
    IfMatch(String),
}

impl From<&Condition> for WireCondition {
    fn from(condition: &Condition) -> Self {
        match condition {
            Condition::Always => Self::Always,
            Condition::IfAbsent => Self::IfAbsent,
            Condition::IfMatch(ETag(text)) => Self::IfMatch(text.clone()),
        }
    }
}

impl From<WireCondition> for Condition {
    fn from(wire: WireCondition) -> Self {
        match wire {
            WireCondition::Always => Self::Always,
            WireCondition::IfAbsent => Self::IfAbsent,
            WireCondition::IfMatch(text) => Self::IfMatch(ETag(text)),
        }
    }
}

/// Which bytes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum WireRange {
    Full,
    From { offset: u64 },
    Window { offset: u64, length: u64 },
    Last { length: u64 },
}

impl From<ReadRange> for WireRange {
    fn from(range: ReadRange) -> Self {
        match range {
            ReadRange::Full => Self::Full,
            ReadRange::From { offset } => Self::From { offset },
            ReadRange::Window { offset, length } => Self::Window { offset, length },
            ReadRange::Last { length } => Self::Last { length },
        }
    }
}

impl From<WireRange> for ReadRange {
    fn from(wire: WireRange) -> Self {
        match wire {
            WireRange::Full => Self::Full,
            WireRange::From { offset } => Self::From { offset },
            WireRange::Window { offset, length } => Self::Window { offset, length },
            WireRange::Last { length } => Self::Last { length },
        }
    }
}

/// A page of a listing; an entry without facts is a folder.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WirePage {
    entries: Vec<(String, Option<WireInfo>)>,
    next: Option<String>,
}

impl From<ListPage> for WirePage {
    fn from(page: ListPage) -> Self {
        let entries = page.entries.into_iter().map(|entry| (entry.path, entry.object.map(Into::into)));
        Self { entries: entries.collect(), next: page.next }
    }
}

impl From<WirePage> for ListPage {
    fn from(wire: WirePage) -> Self {
        let entries = wire.entries.into_iter();
        Self {
            entries: entries.map(|(path, info)| Entry { path, object: info.map(Into::into) }).collect(),
            next: wire.next,
        }
    }
}

/// The context of a call. The deadline travels as the time that is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WireContext {
    remaining: Option<Duration>,
    traceparent: Option<([u8; 16], [u8; 8], u8)>,
    background: bool,
    transient: bool,
}

impl From<&CallContext> for WireContext {
    fn from(call: &CallContext) -> Self {
        let traceparent = call.traceparent.map(|trace| (trace.trace_id, trace.span_id, trace.flags));
        Self {
            remaining: call.remaining(),
            traceparent,
            background: call.background,
            transient: call.transient,
        }
    }
}

impl From<WireContext> for CallContext {
    fn from(wire: WireContext) -> Self {
        let traceparent =
            wire.traceparent.map(|(trace_id, span_id, flags)| Traceparent { trace_id, span_id, flags });
        Self {
            deadline: wire.remaining.and_then(|remaining| Instant::now().checked_add(remaining)),
            traceparent,
            background: wire.background,
            transient: wire.transient,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back<T: Serialize + serde::de::DeserializeOwned>(wire: &T) -> T {
        serde_json::from_slice(&serde_json::to_vec(wire).unwrap()).unwrap()
    }

    #[test]
    fn a_context_keeps_its_deadline_its_trace_and_its_flags() {
        let traceparent = Traceparent { trace_id: [7; 16], span_id: [9; 8], flags: 1 };
        let call = CallContext {
            traceparent: Some(traceparent),
            background: true,
            transient: true,
            ..CallContext::with_timeout(Duration::from_secs(3600))
        };
        let back: CallContext = there_and_back(&WireContext::from(&call)).into();
        assert_eq!((back.traceparent, back.background, back.transient), (call.traceparent, true, true));
        let (sent, arrived) = (call.deadline.unwrap(), back.deadline.unwrap());
        assert!(arrived >= sent && arrived < sent + Duration::from_secs(3600));
        let none: CallContext = there_and_back(&WireContext::from(&CallContext::default())).into();
        assert!(none.deadline.is_none() && none.traceparent.is_none() && !none.background && !none.transient);
    }

    #[test]
    fn facts_conditions_and_ranges_survive() {
        let info = ObjectInfo {
            size: u64::MAX,
            modified: Some(UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789)),
            etag: Some(ETag("\"ä\u{0}\"".to_owned())),
        };
        assert_eq!(ObjectInfo::from(there_and_back(&WireInfo::from(info.clone()))), info);
        for condition in [Condition::Always, Condition::IfAbsent, Condition::IfMatch(ETag("x".into()))] {
            assert_eq!(Condition::from(there_and_back(&WireCondition::from(&condition))), condition);
        }
        for range in [
            ReadRange::Full,
            ReadRange::From { offset: u64::MAX },
            ReadRange::Window { offset: 3, length: 4 },
            ReadRange::Last { length: 5 },
        ] {
            assert_eq!(ReadRange::from(there_and_back(&WireRange::from(range))), range);
        }
    }

    #[test]
    fn an_error_that_is_too_long_keeps_what_the_server_acts_on() {
        let mut error = Error::new(ErrorKind::Throttled, "x".repeat(5000)).outcome_unknown();
        error.retry_after = Some(Duration::from_millis(1500));
        let text = WireError::from(error).to_json(2000);
        assert!(text.len() <= 2000);
        let back: Error = serde_json::from_slice::<WireError>(&text).unwrap().into();
        assert_eq!((back.kind, back.retry_after), (ErrorKind::Throttled, Some(Duration::from_millis(1500))));
        assert!(back.outcome_unknown && back.retryable);
    }
}
