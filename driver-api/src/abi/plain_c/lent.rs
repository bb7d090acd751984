//! Texts and bytes as they are lent, in both directions.

use std::{
    ffi::{CStr, c_char},
    ptr, slice,
};

use super::{
    codes,
    values::{PlainBytes, PlainText},
};
use crate::{Error, ErrorKind, ObjectPath, Result};

/// A text that is lent to the driver, with the zero byte behind it.
pub(super) struct LentText(Vec<u8>);

impl LentText {
    pub(super) fn new(text: &str) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        Self(bytes)
    }

    pub(super) fn plain(&self) -> PlainText {
        PlainText { data: self.0.as_ptr().cast(), length: self.0.len() - 1 }
    }
}

impl From<&ObjectPath> for LentText {
    fn from(path: &ObjectPath) -> Self {
        Self::new(path.as_str())
    }
}

/// No text.
pub(super) const NO_TEXT: PlainText = PlainText { data: ptr::null(), length: 0 };

/// The text, or none.
pub(super) fn plain_option(text: Option<&LentText>) -> PlainText {
    text.map_or(NO_TEXT, LentText::plain)
}

/// Lends bytes.
pub(super) fn plain_bytes(bytes: &[u8]) -> PlainBytes {
    PlainBytes { data: bytes.as_ptr().cast(), length: bytes.len() }
}

/// Bytes of the driver. No data with a length, and more bytes than an address space has, are refused.
///
/// # Errors
/// [`ErrorKind::Internal`].
///
/// # Safety
/// The driver keeps `length` bytes at `data` for `'a`.
pub(super) unsafe fn given_bytes<'a>(bytes: PlainBytes) -> Result<&'a [u8]> {
    if bytes.length == 0 {
        return Ok(&[]);
    }
    if bytes.data.is_null() || isize::try_from(bytes.length).is_err() {
        let message = format!("the driver gave {} bytes at no place that can hold them", bytes.length);
        return Err(Error::new(ErrorKind::Internal, message));
    }
    // SAFETY: that the bytes are there is the caller's promise; null and lengths that a slice cannot have were
    // refused.
    Ok(unsafe { slice::from_raw_parts(bytes.data.cast(), bytes.length) })
}

/// A text of the driver that names something, or `None` when it is absent. `what` says what it is.
///
/// # Errors
/// [`ErrorKind::Internal`] when it is longer than `limit` bytes or not UTF-8.
///
/// # Safety
/// As for [`given_bytes`].
pub(super) unsafe fn given_text<'a>(text: PlainText, what: &str, limit: usize) -> Result<Option<&'a str>> {
    if text.data.is_null() && text.length == 0 {
        return Ok(None);
    }
    if text.length > limit {
        let message = format!("the driver gave {what} of {} bytes; {limit} are allowed", text.length);
        return Err(Error::new(ErrorKind::Internal, message));
    }
    // SAFETY: passed on to the caller.
    let bytes = unsafe { given_bytes(PlainBytes { data: text.data.cast(), length: text.length }) }?;
    std::str::from_utf8(bytes).map(Some).map_err(|error| {
        Error::new(ErrorKind::Internal, format!("the driver gave {what} that is not UTF-8")).caused_by(&error)
    })
}

/// A sentence of the driver: what is too long is cut, what is not UTF-8 is replaced. `None` when it is absent.
///
/// # Safety
/// As for [`given_bytes`].
pub(super) unsafe fn given_sentence(text: PlainText) -> Option<String> {
    let length = text.length.min(codes::MAX_MESSAGE_BYTES);
    // SAFETY: passed on to the caller; fewer bytes than promised are there as well.
    let bytes = unsafe { given_bytes(PlainBytes { data: text.data.cast(), length }) }.ok()?;
    let mut sentence = String::from_utf8_lossy(bytes).into_owned();
    if length < text.length {
        sentence.push('…');
    }
    (!text.data.is_null()).then_some(sentence)
}

/// A C string that is part of a driver's table.
///
/// # Errors
/// What is wrong with it, to be put behind its name.
///
/// # Safety
/// The pointer is null, or to bytes that are there for ever, either with a zero byte among them or more than
/// [`codes::MAX_MESSAGE_BYTES`] of them.
pub(super) unsafe fn c_string(
    data: *const c_char,
) -> std::result::Result<Option<&'static str>, &'static str> {
    if data.is_null() {
        return Ok(None);
    }
    let mut length = 0;
    // SAFETY: each byte before the zero byte, and as many as are looked at, are there by the caller's promise.
    while unsafe { *data.add(length) } != 0 {
        length += 1;
        if length > codes::MAX_MESSAGE_BYTES {
            return Err("is longer than 4096 bytes");
        }
    }
    // SAFETY: the zero byte was found, and the bytes are there for ever.
    unsafe { CStr::from_ptr(data) }.to_str().map(Some).map_err(|_| "is not UTF-8")
}
