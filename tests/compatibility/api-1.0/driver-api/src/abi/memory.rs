//! How memory crosses the boundary: borrowed text, owned regions, sized messages, boxed answers.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
};

use abi_stable::StableAbi;
use bytes::Bytes;

use crate::{Error, ErrorKind, Result};

/// Bytes that the caller lends for the length of one call. A null pointer means "absent".
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Borrowed {
    /// First byte, or null.
    pub data: *const u8,
    /// Number of bytes.
    pub length: usize,
}

impl Borrowed {
    /// Absent.
    pub const NONE: Self = Self { data: ptr::null(), length: 0 };

    /// Lends bytes. The caller keeps them alive for as long as the receiver may look.
    pub fn of(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr(), length: bytes.len() }
    }

    /// Lends text, or nothing.
    pub fn of_option(text: Option<&str>) -> Self {
        text.map_or(Self::NONE, |text| Self::of(text.as_bytes()))
    }

    /// The bytes, or `None` when absent.
    ///
    /// # Safety
    /// The lender must still keep the bytes alive for `'a`.
    pub unsafe fn bytes<'a>(self) -> Option<&'a [u8]> {
        // SAFETY: a pointer that is not null covers `length` readable bytes, by the contract of the
        // type; that they live for 'a is the caller's promise.
        (!self.data.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.data, self.length) })
    }

    /// The text, or `None` when absent.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it is not UTF-8.
    ///
    /// # Safety
    /// As for [`Self::bytes`].
    pub unsafe fn text<'a>(self) -> Result<Option<&'a str>> {
        // SAFETY: passed on to the caller.
        let Some(bytes) = (unsafe { self.bytes() }) else { return Ok(None) };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(error) => Err(Error::new(ErrorKind::Internal, "the other side sent text that is not UTF-8")
                .caused_by(&error)),
        }
    }

    /// The text; empty when absent. For messages that always carry it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] when it is not UTF-8.
    ///
    /// # Safety
    /// As for [`Self::bytes`].
    pub unsafe fn required_text<'a>(self) -> Result<&'a str> {
        // SAFETY: passed on to the caller.
        Ok(unsafe { self.text() }?.unwrap_or_default())
    }
}

/// Bytes that change their owner by crossing. All zero means "absent".
#[repr(C)]
#[derive(StableAbi)]
pub struct Region {
    pub(super) data: *const u8,
    pub(super) length: usize,
    pub(super) owner: *mut (),
    pub(super) release: Option<unsafe extern "C" fn(*mut ())>,
}

// SAFETY: a region is made from `Bytes` only, which may be read and dropped on any thread.
unsafe impl Send for Region {}
// SAFETY: as above; shared access only reads.
unsafe impl Sync for Region {}

impl Region {
    /// Absent.
    pub const NONE: Self = Self { data: ptr::null(), length: 0, owner: ptr::null_mut(), release: None };

    /// Hands over bytes.
    pub fn of(bytes: Bytes) -> Self {
        unsafe extern "C" fn release(owner: *mut ()) {
            // SAFETY: `owner` came from `Box::into_raw` of a `Box<Bytes>` below and is given back once.
            let owner = unsafe { Box::from_raw(owner.cast::<Bytes>()) };
            // The bytes may have an owner of their own, whose destructor is not ours. It runs on the
            // other side's thread, outside any runtime.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(owner))) {
                mem::forget(panic);
                tracing::error!("the destructor of an object's bytes panicked");
            }
        }
        let owner = Box::new(bytes);
        let (data, length) = (owner.as_ptr(), owner.len());
        Self { data, length, owner: Box::into_raw(owner).cast(), release: Some(release) }
    }

    /// Hands over text, or nothing.
    pub fn of_option(text: Option<String>) -> Self {
        text.map_or(Self::NONE, |text| Self::of(Bytes::from(text)))
    }

    /// Whether nothing was handed over.
    pub fn is_none(&self) -> bool {
        self.data.is_null()
    }

    /// The bytes without a copy; released when the last clone of the result goes.
    pub fn into_bytes(self) -> Bytes {
        if self.is_none() || self.length == 0 { Bytes::new() } else { Bytes::from_owner(self) }
    }

    /// The text, or `None` when absent; characters that are not UTF-8 are replaced.
    pub fn into_text(self) -> Option<String> {
        (!self.is_none()).then(|| String::from_utf8_lossy(self.as_ref()).into_owned())
    }
}

impl AsRef<[u8]> for Region {
    fn as_ref(&self) -> &[u8] {
        if self.data.is_null() {
            return &[];
        }
        // SAFETY: a region that is not absent covers `length` readable bytes until it is released,
        // which happens in `drop` only.
        unsafe { std::slice::from_raw_parts(self.data, self.length) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            // SAFETY: `release` and `owner` came together from the side that made the region, and
            // `take` makes this the only call.
            unsafe { release(self.owner) }
        }
    }
}

/// A struct that crosses by pointer and may grow at its end.
///
/// # Safety
/// The type is `repr(C)`, its first field is a `usize` that holds its size in the writer's version,
/// and a value whose bytes are all zero is valid and owns nothing.
pub unsafe trait Message: Sized {
    /// Reads a message of a side that may know fewer or more fields. Missing fields are zero. What the
    /// message owns passes to the result; the original must not be dropped.
    ///
    /// # Safety
    /// `message` points at a valid message of its writer's version of this type.
    unsafe fn take(message: *const Self) -> Self {
        let mut known = mem::MaybeUninit::<Self>::zeroed();
        // SAFETY: the message is at least as long as its first field says, the target as `Self`; both
        // are plain bytes, and zeroed bytes beyond are valid by the contract of the trait.
        unsafe {
            let written = ptr::read_unaligned(message.cast::<usize>());
            let length = written.min(size_of::<Self>());
            ptr::copy_nonoverlapping(message.cast::<u8>(), known.as_mut_ptr().cast::<u8>(), length);
            known.assume_init()
        }
    }
}

/// What a method answers: an answer message or an error message, boxed by its writer.
#[repr(C)]
#[derive(StableAbi)]
pub struct Answer {
    /// Null for an answer without content.
    pub(super) message: *mut (),
    /// Frees the box, with what the message owns when the second argument is 1.
    pub(super) release: Option<unsafe extern "C" fn(*mut (), u32)>,
    /// 0: the call succeeded; 1: the message is a [`super::messages::Fault`].
    pub(super) failed: u32,
}

// SAFETY: messages hold regions, streams, descriptors and driver handles, all of which are `Send`.
unsafe impl Send for Answer {}

impl Answer {
    /// Success without content.
    pub fn done() -> Self {
        Self { message: ptr::null_mut(), release: None, failed: 0 }
    }

    /// Success with a message.
    pub fn of<T: Message + Send>(message: T) -> Self {
        Self::boxed(message, 0)
    }

    /// Failure.
    pub fn fault(error: Error) -> Self {
        Self::boxed(super::messages::Fault::from(error), 1)
    }

    fn boxed<T: Message + Send>(message: T, failed: u32) -> Self {
        unsafe extern "C" fn release<T>(message: *mut (), contents_too: u32) {
            // SAFETY: the pointer came from `Box::into_raw` of this type below and is released once;
            // `ManuallyDrop` has the layout of its content.
            unsafe {
                if contents_too == 1 {
                    drop(Box::from_raw(message.cast::<T>()));
                } else {
                    drop(Box::from_raw(message.cast::<mem::ManuallyDrop<T>>()));
                }
            }
        }
        Self { message: Box::into_raw(Box::new(message)).cast(), release: Some(release::<T>), failed }
    }

    /// The message, or the error.
    ///
    /// # Errors
    /// What the other side reported; [`ErrorKind::Internal`] when it sent no message.
    ///
    /// # Safety
    /// The answer belongs to a method whose answer message is `T`.
    pub unsafe fn open<T: Message>(self) -> Result<T> {
        if self.failed != 0 {
            // SAFETY: a failed answer carries a fault.
            return Err(match unsafe { self.unbox::<super::messages::Fault>() } {
                Some(fault) => fault.into(),
                None => Error::new(ErrorKind::Internal, "the other side failed without saying why"),
            });
        }
        // SAFETY: that the message is a `T` is the caller's promise.
        unsafe { self.unbox::<T>() }
            .ok_or_else(|| Error::new(ErrorKind::Internal, "the other side answered without a message"))
    }

    /// Whether the call succeeded; a message is discarded.
    ///
    /// # Errors
    /// What the other side reported.
    pub fn check(self) -> Result<()> {
        if self.failed == 0 {
            return Ok(());
        }
        // SAFETY: the answer is a failed one, so the type is never used to read a message.
        unsafe { self.open::<super::messages::Fault>() }.map(drop)
    }

    /// # Safety
    /// The message is a `T` of its writer's version.
    unsafe fn unbox<T: Message>(mut self) -> Option<T> {
        let release = self.release.take()?;
        // SAFETY: with `release` present the pointer is a live box of the message; `take` moves out
        // what it owns, and the box alone is freed.
        unsafe {
            let message = T::take(self.message.cast());
            release(self.message, 0);
            Some(message)
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            // SAFETY: `take` makes this the only release.
            unsafe { release(self.message, 1) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    struct Older {
        size: usize,
        number: u64,
    }

    #[repr(C)]
    struct Newer {
        size: usize,
        number: u64,
        text: Region,
    }

    // SAFETY: repr(C), size first, zero is valid.
    unsafe impl Message for Older {}
    // SAFETY: as above.
    unsafe impl Message for Newer {}

    #[test]
    fn a_region_hands_over_the_same_memory_and_releases_it_once() {
        let bytes = Bytes::from(vec![7_u8; 4096]);
        let address = bytes.as_ptr();
        let crossed = Region::of(bytes).into_bytes();
        assert_eq!(crossed.as_ptr(), address);
        assert_eq!(crossed.len(), 4096);
        assert!(Region::NONE.into_text().is_none());
        assert_eq!(Region::of(Bytes::new()).into_text().as_deref(), Some(""));
    }

    #[test]
    fn a_newer_reader_finds_missing_fields_absent() {
        let older = Older { size: size_of::<Older>(), number: 5 };
        // SAFETY: `Older` is what an older writer of `Newer` would send.
        let read = unsafe { Newer::take((&raw const older).cast()) };
        assert_eq!(read.number, 5);
        assert!(read.text.is_none());
    }

    #[test]
    fn an_older_reader_ignores_fields_that_it_does_not_know() {
        let newer = Newer { size: size_of::<Newer>(), number: 6, text: Region::NONE };
        // SAFETY: `Newer` is what a newer writer of `Older` would send.
        assert_eq!(unsafe { Older::take((&raw const newer).cast()) }.number, 6);
        assert_eq!(newer.size, size_of::<Newer>());
    }

    #[test]
    fn an_answer_yields_its_message_or_its_error() {
        let answer = Answer::of(Newer { size: size_of::<Newer>(), number: 1, text: Region::of("x".into()) });
        // SAFETY: the message is a `Newer`.
        let message = unsafe { answer.open::<Newer>() }.unwrap();
        assert_eq!(message.text.into_text().as_deref(), Some("x"));
        let error = Answer::fault(Error::not_found("a/b").outcome_unknown()).check().unwrap_err();
        assert_eq!((error.kind, error.path.as_deref()), (ErrorKind::NotFound, Some("a/b")));
        assert!(error.outcome_unknown);
        Answer::done().check().unwrap();
    }
}
