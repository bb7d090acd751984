//! Requests and answers, field by field.
//!
//! Every struct is a [`Message`]: `repr(C)`, its size first, zero is valid. Fields of released
//! versions never move; `const` checks at the end of the file pin them.

use std::{
    ptr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{
    memory::{Answer, Borrowed, Message, Region},
    stream::{RawItem, RawStream},
    table::RawDriver,
};
use crate::{CallContext, Condition, ETag, ObjectInfo, ReadRange, Result, Traceparent};

/// Declares messages: the size field, the trait and a constructor-friendly `SIZE`.
macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[repr(C)]
        pub struct $name {
            /// Size of the struct in the writer's version, in bytes.
            pub size: usize,
            $($(#[$field_doc])* pub $field: $type,)*
        }

        // SAFETY: repr(C), the size comes first, and zero is valid for numbers, pointers, absent
        // regions, absent streams and absent drivers alike.
        unsafe impl Message for $name {}

        // SAFETY: the pointers in a message lend memory for one call, or belong to a type of this
        // module that is itself `Send`.
        unsafe impl Send for $name {}

        impl $name {
            /// Size in this version.
            pub const SIZE: usize = size_of::<Self>();
        }
    )*};
}

messages! {
    /// The call context.
    RawCall {
        /// Time left until the deadline; `u64::MAX` for none.
        remaining_nanos: u64,
        /// Bit 0: background. Bit 1: the trace fields count. Bit 2, since 1.2: transient.
        flags: u64,
        /// Trace id.
        trace_id: [u8; 16],
        /// Span id of the caller.
        span_id: [u8; 8],
        /// Trace flags in the lowest byte.
        trace_flags: u64,
    }

    /// Request of the methods that are about one path and no more: `head`, `stat`, `delete`,
    /// `delete_tree`.
    PathRequest {
        /// The path; the empty text is the storage root where a method allows it.
        path: Borrowed,
    }

    /// Request of `get`.
    GetRequest {
        /// The path.
        path: Borrowed,
        /// Most bytes wanted.
        max_size: u64,
    }

    /// Request of `put`.
    PutRequest {
        /// The path.
        path: Borrowed,
        /// The content; the callee takes it.
        content: Region,
        /// 0 always, 1 if absent, 2 if the tag matches.
        condition: u64,
        /// The tag, for condition 2.
        etag: Borrowed,
    }

    /// Request of `read`.
    ReadRequest {
        /// The path.
        path: Borrowed,
        /// 0 full, 1 from an offset, 2 a window, 3 the last bytes.
        range: u64,
        /// Offset of the first byte, for ranges 1 and 2.
        offset: u64,
        /// Number of bytes, for ranges 2 and 3.
        length: u64,
    }

    /// Request of `append`.
    AppendRequest {
        /// State of the upload.
        state: Borrowed,
        /// Offset at which the caller believes the upload to stand.
        expected_offset: u64,
        /// The content; the callee takes it.
        body: RawStream,
    }

    /// Request of `commit`.
    CommitRequest {
        /// State of the upload.
        state: Borrowed,
        /// Where the object is to be.
        final_path: Borrowed,
        /// As in [`PutRequest`].
        condition: u64,
        /// As in [`PutRequest`].
        etag: Borrowed,
    }

    /// Request of `write`.
    WriteRequest {
        /// The path.
        path: Borrowed,
        /// Number of bytes that will probably come, plus one; 0 when that is not known.
        size_plus_one: u64,
        /// As in [`PutRequest`].
        condition: u64,
        /// As in [`PutRequest`].
        etag: Borrowed,
        /// The content; the callee takes it.
        body: RawStream,
    }

    /// Request of `abort`.
    StateRequest {
        /// State of the upload.
        state: Borrowed,
    }

    /// Request of `copy` and `rename`.
    PairRequest {
        /// The source.
        from: Borrowed,
        /// The target.
        to: Borrowed,
    }

    /// Request of the methods whose arguments are a JSON document: `list`, `open_upload`,
    /// `list_uploads`, `delete_many`, `redirect_url`; see `abi::documents`.
    DocumentRequest {
        /// The JSON text.
        document: Borrowed,
    }

    /// Request of `open`.
    OpenRequest {
        /// Settings as a JSON object.
        settings: Borrowed,
        /// Bit 0: spawn every call on the driver's own runtime.
        flags: u64,
    }

    /// Answer of `get`.
    ObjectAnswer {
        /// The content.
        content: Region,
        /// Facts of the object.
        info: RawInfo,
    }

    /// Answer of `head`, `stat`, `commit`, `write` and `put`, which leaves all but the tag empty.
    InfoAnswer {
        /// Facts of the object.
        info: RawInfo,
        /// 1: the path is a folder and the facts do not count.
        folder: u64,
    }

    /// Answer of `read`.
    ReadAnswer {
        /// Size of the whole object.
        total_size: u64,
        /// Offset of the first byte.
        offset: u64,
        /// Number of bytes that follow.
        length: u64,
        /// Tag of the object, or absent.
        etag: Region,
        /// The bytes, unless `file` is given.
        stream: RawStream,
        /// The open file, or an absent one.
        file: RawFile,
        /// Offset of the first byte in the file.
        file_offset: u64,
    }

    /// Answer of `append`.
    ProgressAnswer {
        /// The new state.
        state: Region,
        /// Durable bytes so far.
        offset: u64,
    }

    /// Answer of the methods that return bytes or a JSON document.
    DocumentAnswer {
        /// The bytes.
        document: Region,
    }

    /// Answer of `delete_tree`.
    CountAnswer {
        /// The number.
        count: u64,
    }

    /// Answer of `open`.
    OpenAnswer {
        /// The open driver.
        driver: RawDriver,
    }

    /// A failed call; see [`crate::Error`] for the fields.
    Fault {
        /// Number of the [`crate::ErrorKind`].
        kind: u32,
        /// Zero.
        reserved: u32,
        /// Bit 0: retryable. Bit 1: outcome unknown. Bit 2: `retry_after_nanos` counts.
        flags: u64,
        /// How long the storage asked to wait.
        retry_after_nanos: u64,
        /// Method.
        operation: Region,
        /// Path, or absent.
        path: Region,
        /// Sentence.
        message: Region,
        /// Text of the underlying errors, or absent.
        source_text: Region,
    }
}

/// Facts of an object. Frozen: new facts become new fields of the answers.
#[repr(C)]
pub struct RawInfo {
    /// Size in bytes.
    pub size: u64,
    /// Last change in nanoseconds since 1970; 0 when not known.
    pub modified_nanos: u64,
    /// Tag, or absent.
    pub etag: Region,
}

/// An open file that changes its owner by crossing.
#[repr(C)]
pub struct RawFile {
    /// The descriptor plus one; 0 for an absent file, so that zero is valid.
    pub(super) descriptor_plus_one: i64,
}

impl RawFile {
    /// Absent.
    pub const NONE: Self = Self { descriptor_plus_one: 0 };

    /// Hands over a file.
    pub fn of(file: std::fs::File) -> Self {
        use std::os::fd::IntoRawFd;
        Self { descriptor_plus_one: i64::from(file.into_raw_fd()) + 1 }
    }

    /// The file, or `None` when absent.
    pub fn into_file(mut self) -> Option<std::fs::File> {
        self.take()
    }

    fn take(&mut self) -> Option<std::fs::File> {
        use std::os::fd::FromRawFd;
        let descriptor = std::mem::take(&mut self.descriptor_plus_one) - 1;
        let descriptor = i32::try_from(descriptor).ok().filter(|descriptor| *descriptor >= 0)?;
        // SAFETY: the descriptor came from `into_raw_fd` on the other side, which gave it up, and
        // `mem::take` makes this the only use.
        Some(unsafe { std::fs::File::from_raw_fd(descriptor) })
    }
}

impl Drop for RawFile {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl RawCall {
    /// The context for one crossing.
    pub fn of(call: &CallContext) -> Self {
        let trace = call.traceparent.as_ref();
        Self {
            size: Self::SIZE,
            remaining_nanos: call
                .remaining()
                .map_or(u64::MAX, |left| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)),
            flags: u64::from(call.background)
                | (u64::from(trace.is_some()) << 1)
                | (u64::from(call.transient) << 2),
            trace_id: trace.map_or([0; 16], |trace| trace.trace_id),
            span_id: trace.map_or([0; 8], |trace| trace.span_id),
            trace_flags: trace.map_or(0, |trace| u64::from(trace.flags)),
        }
    }

    /// The context on the other side.
    pub fn to_context(&self) -> CallContext {
        let deadline = match self.remaining_nanos {
            u64::MAX => None,
            nanos => Instant::now().checked_add(Duration::from_nanos(nanos)),
        };
        let traceparent = (self.flags & 2 != 0).then(|| Traceparent {
            trace_id: self.trace_id,
            span_id: self.span_id,
            flags: self.trace_flags.to_le_bytes()[0],
        });
        let [background, transient] = [1, 4].map(|flag| self.flags & flag != 0);
        CallContext { deadline, traceparent, background, transient }
    }
}

impl RawInfo {
    /// No facts at all.
    pub const NONE: Self = Self { size: 0, modified_nanos: 0, etag: Region::NONE };

    /// Hands over the facts.
    pub fn of(info: ObjectInfo) -> Self {
        let since_epoch = info.modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Self {
            size: info.size,
            modified_nanos: since_epoch.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0)),
            etag: Region::of_option(info.etag.map(|etag| etag.0)),
        }
    }

    /// The facts on the other side.
    pub fn into_info(self) -> ObjectInfo {
        ObjectInfo {
            size: self.size,
            modified: nanos_to_time(self.modified_nanos),
            etag: self.etag.into_text().map(ETag),
        }
    }
}

fn nanos_to_time(nanos: u64) -> Option<SystemTime> {
    (nanos != 0).then(|| UNIX_EPOCH.checked_add(Duration::from_nanos(nanos))).flatten()
}

/// Number and tag of a condition.
pub fn condition_parts(condition: &Condition) -> (u64, Borrowed) {
    match condition {
        Condition::Always => (0, Borrowed::NONE),
        Condition::IfAbsent => (1, Borrowed::NONE),
        Condition::IfMatch(etag) => (2, Borrowed::of(etag.0.as_bytes())),
    }
}

/// The condition with this number and tag. An unknown number is refused: writing without the
/// condition that the caller asked for could lose data.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] for an unknown number.
///
/// # Safety
/// The tag is still lent.
pub unsafe fn condition_from(number: u64, etag: Borrowed) -> Result<Condition> {
    Ok(match number {
        0 => Condition::Always,
        1 => Condition::IfAbsent,
        // SAFETY: passed on to the caller.
        2 => Condition::IfMatch(ETag(unsafe { etag.required_text() }?.to_owned())),
        _ => return Err(crate::Error::unsupported("condition")),
    })
}

/// Number, offset and length of a range.
pub fn range_parts(range: ReadRange) -> (u64, u64, u64) {
    match range {
        ReadRange::Full => (0, 0, 0),
        ReadRange::From { offset } => (1, offset, 0),
        ReadRange::Window { offset, length } => (2, offset, length),
        ReadRange::Last { length } => (3, 0, length),
    }
}

/// The range with this number, offset and length.
///
/// # Errors
/// [`crate::ErrorKind::Unsupported`] for an unknown number.
pub fn range_from(number: u64, offset: u64, length: u64) -> Result<ReadRange> {
    Ok(match number {
        0 => ReadRange::Full,
        1 => ReadRange::From { offset },
        2 => ReadRange::Window { offset, length },
        3 => ReadRange::Last { length },
        _ => return Err(crate::Error::unsupported("range")),
    })
}

/// A pointer to a request, for the call.
pub fn request<T: Message>(message: &T) -> *const () {
    ptr::from_ref(message).cast()
}

/// The layout of 1.1. A change here breaks drivers that are out in the world.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<Borrowed>() == 16 && size_of::<Region>() == 32 && size_of::<RawInfo>() == 48);
    assert!(size_of::<RawStream>() == 24 && size_of::<RawFile>() == 8 && size_of::<RawDriver>() == 16);
    assert!(size_of::<Answer>() == 24 && size_of::<RawItem>() == 56);
    assert!(offset_of!(RawCall, trace_flags) == 48 && RawCall::SIZE == 56);
    assert!(offset_of!(GetRequest, max_size) == 24);
    assert!(offset_of!(PutRequest, content) == 24 && offset_of!(PutRequest, etag) == 64);
    assert!(offset_of!(ReadRequest, range) == 24 && offset_of!(ReadRequest, length) == 40);
    assert!(offset_of!(AppendRequest, expected_offset) == 24 && offset_of!(AppendRequest, body) == 32);
    assert!(offset_of!(CommitRequest, final_path) == 24 && offset_of!(CommitRequest, etag) == 48);
    assert!(offset_of!(WriteRequest, size_plus_one) == 24 && offset_of!(WriteRequest, body) == 56);
    assert!(offset_of!(PairRequest, to) == 24 && offset_of!(OpenRequest, flags) == 24);
    assert!(offset_of!(ObjectAnswer, info) == 40 && offset_of!(InfoAnswer, folder) == 56);
    assert!(offset_of!(ReadAnswer, stream) == 64 && offset_of!(ReadAnswer, file_offset) == 96);
    assert!(offset_of!(ProgressAnswer, offset) == 40 && offset_of!(Fault, source_text) == 128);
};
