//! What a case expects of one answer, and what it says when the answer is another.

use std::fmt::{Debug, Display};

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};

use crate::{
    failure::{broken, shown},
    promise::Promise,
};
use std::panic::Location;

/// Expects success; `what` was done.
#[track_caller]
pub(crate) fn ok<T>(result: Result<T>, what: impl Display, promise: Promise) -> T {
    match result {
        Ok(value) => value,
        Err(error) => broken(format_args!("{what} succeeds"), shown(&error), promise, Location::caller()),
    }
}

/// Expects an error of one of the kinds, and returns it.
#[track_caller]
pub(crate) fn fails<T>(
    result: Result<T>,
    kinds: &[ErrorKind],
    what: impl Display,
    promise: Promise,
) -> Error {
    let found = match result {
        Err(error) if kinds.contains(&error.kind) => return error,
        Err(error) => shown(&error),
        Ok(_) => "success".to_owned(),
    };
    let names: Vec<_> = kinds.iter().map(|kind| format!("{kind:?}")).collect();
    let expected = format_args!("{what} fails with {}", names.join(" or "));
    broken(expected, found, promise, Location::caller())
}

/// Expects equal values; `what` is looked at.
#[track_caller]
pub(crate) fn same<T: Debug + PartialEq>(found: T, expected: T, what: impl Display, promise: Promise) {
    if found != expected {
        let expected = format_args!("{what}: {expected:?}");
        broken(expected, format_args!("{found:?}"), promise, Location::caller());
    }
}

/// Expects that something holds, which `what` says in words; `found` is what was found instead.
#[track_caller]
pub(crate) fn holds(holds: bool, what: impl Display, found: impl Display, promise: Promise) {
    if !holds {
        broken(what, found, promise, Location::caller());
    }
}

/// Expects equal bytes, without printing megabytes of them.
#[track_caller]
pub(crate) fn same_bytes(found: &[u8], expected: &[u8], what: impl Display, promise: Promise) {
    if found != expected {
        let at = found.iter().zip(expected).take_while(|(a, b)| a == b).count();
        let found = format!("{}; the first difference is at byte {at}", excerpt(found));
        broken(format_args!("{what}: {}", excerpt(expected)), found, promise, Location::caller());
    }
}

/// The beginning of a content and its length.
pub(crate) fn excerpt(content: &[u8]) -> String {
    const SHOWN: usize = 48;
    let start = Bytes::copy_from_slice(&content[..content.len().min(SHOWN)]);
    if content.len() > SHOWN {
        format!("{start:?}… ({} bytes)", content.len())
    } else {
        format!("{start:?} ({} bytes)", content.len())
    }
}
