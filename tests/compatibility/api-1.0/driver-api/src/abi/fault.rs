//! Errors as they cross the boundary.

use std::time::Duration;

use super::{memory::Region, messages::Fault};
use crate::{Error, ErrorKind};

const RETRYABLE: u64 = 1 << 0;
const OUTCOME_UNKNOWN: u64 = 1 << 1;
const HAS_RETRY_AFTER: u64 = 1 << 2;

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let mut flags = 0;
        for (set, flag) in [
            (error.retryable, RETRYABLE),
            (error.outcome_unknown, OUTCOME_UNKNOWN),
            (error.retry_after.is_some(), HAS_RETRY_AFTER),
        ] {
            flags |= if set { flag } else { 0 };
        }
        let nanos = error.retry_after.unwrap_or_default().as_nanos();
        Self {
            size: size_of::<Self>(),
            kind: error.kind as u32,
            reserved: 0,
            flags,
            retry_after_nanos: u64::try_from(nanos).unwrap_or(u64::MAX),
            operation: Region::of_option(Some(error.operation)),
            path: Region::of_option(error.path),
            message: Region::of_option(Some(error.message)),
            source_text: Region::of_option(error.source_text),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        let Fault { kind, flags, retry_after_nanos, operation, path, message, source_text, .. } = fault;
        let has = |flag| flags & flag != 0;
        let mut error = Self::new(ErrorKind::from_code(kind), message.into_text().unwrap_or_default());
        error.retryable = has(RETRYABLE);
        error.outcome_unknown = has(OUTCOME_UNKNOWN);
        error.retry_after = has(HAS_RETRY_AFTER).then(|| Duration::from_nanos(retry_after_nanos));
        error.operation = operation.into_text().unwrap_or_default();
        error.path = path.into_text();
        error.source_text = source_text.into_text();
        error
    }
}
