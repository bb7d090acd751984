//! One call of a function of a driver: its context, and the functions that the driver has in it.

use std::{
    ffi::{c_int, c_void},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    answers::{self, Allowed, Answers},
    codes,
    lent::{given_bytes, given_sentence, given_text},
    table::{PlainCall, PlainCallFunctions, PlainHost},
    values::{PlainBytes, PlainError, PlainInfo, PlainRange, PlainText},
};
use crate::{
    CallContext, Error, ErrorKind, ObjectInfo, ObjectPath, PendingUpload, Result, UploadState,
    abi::messages::range_from,
};

/// What comes of the body of an upload: chunks, then the end or an error. A channel that closes without an end
/// means that nobody waits any more.
pub(super) enum BodyItem {
    Chunk(Bytes),
    End,
    Failed(Error),
}

/// What a call takes to its thread.
pub(super) struct Calling {
    context: CallContext,
    cancelled: Arc<AtomicBool>,
    host: &'static PlainHost,
    pub(super) allowed: Allowed,
    pub(super) body: Option<mpsc::Receiver<BodyItem>>,
}

/// Tells the function that runs that its caller is gone.
pub(super) struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Calling {
    /// A call of the function for `method`; see [`Allowed`].
    pub(super) fn new(
        context: &CallContext,
        host: &'static PlainHost,
        method: &'static str,
    ) -> (Self, CancelOnDrop) {
        let cancelled = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancelled));
        let allowed = Allowed::of(method);
        (Self { context: context.clone(), cancelled, host, allowed, body: None }, guard)
    }

    /// Runs a function of the driver. It gets the pointer for the length of the call and returns its number.
    ///
    /// # Errors
    /// The failure that the function reported; `Internal` for an answer that cannot be.
    pub(super) fn run(self, function: impl FnOnce(*mut PlainCall) -> u32) -> Result<Answers> {
        let trace = self.context.traceparent;
        let mut state = State {
            answers: Answers::default(),
            said: None,
            mistake: None,
            rest: Bytes::new(),
            body_over: false,
            calling: self,
        };
        let host = ptr::from_ref(state.calling.host);
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        let context = &state.calling.context;
        let flags = flag(context.background, codes::CALL_BACKGROUND)
            | flag(trace.is_some(), codes::CALL_HAS_TRACE)
            | flag(context.transient, codes::CALL_TRANSIENT);
        let mut call = PlainCall {
            size: size_of::<PlainCall>(),
            context: (&raw mut state).cast(),
            functions: &raw const FUNCTIONS,
            host,
            flags,
            trace_id: trace.map_or([0; 16], |trace| trace.trace_id),
            span_id: trace.map_or([0; 8], |trace| trace.span_id),
            trace_flags: trace.map_or(0, |trace| u64::from(trace.flags)),
        };
        let code = function(&raw mut call);
        match code {
            codes::OK => state.mistake.map_or(Ok(state.answers), Err),
            _ => Err(answers::failure(code, state.said)),
        }
    }
}

/// What stands behind the context pointer of a call.
struct State {
    calling: Calling,
    answers: Answers,
    /// The last failure that the driver described.
    said: Option<Error>,
    /// The first answer that could not be taken. A function that goes on regardless has failed.
    mistake: Option<Error>,
    rest: Bytes,
    body_over: bool,
}

impl State {
    /// Notes why a function of the server failed, so that the driver need only hand on the number.
    fn refuse(&mut self, error: Error) -> u32 {
        let code = error.kind as u32;
        self.said = Some(error);
        code
    }

    /// Notes an answer that cannot be taken.
    fn mistaken(&mut self, error: Error) -> u32 {
        if self.mistake.is_none() {
            self.mistake = Some(error.clone().outcome_unknown());
        }
        self.refuse(error)
    }

    fn answered(&mut self, result: Result<()>) -> u32 {
        result.map_or_else(|error| self.mistaken(error), |()| codes::OK)
    }

    fn is_cancelled(&self) -> bool {
        self.calling.cancelled.load(Ordering::Relaxed)
            || self.calling.context.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// Waits for bytes of the body; at most `capacity` of them, none at its end.
    fn read_body(&mut self, capacity: usize) -> Result<Bytes> {
        while self.rest.is_empty() && !self.body_over {
            let next = self.calling.body.as_mut().and_then(mpsc::Receiver::blocking_recv);
            match next {
                Some(BodyItem::Chunk(chunk)) => self.rest = chunk,
                Some(BodyItem::End) => self.body_over = true,
                Some(BodyItem::Failed(error)) => {
                    let failure = Error::new(ErrorKind::BodyFailed, "the content ended with an error");
                    return Err(failure.caused_by(&error));
                }
                None => {
                    return Err(Error::new(ErrorKind::BodyFailed, "nobody waits for the upload any more"));
                }
            }
        }
        Ok(self.rest.split_to(capacity.min(self.rest.len())))
    }
}

static FUNCTIONS: PlainCallFunctions = PlainCallFunctions {
    size: size_of::<PlainCallFunctions>(),
    fail: Some(fail),
    fail_errno: Some(fail_errno),
    is_cancelled: Some(is_cancelled),
    remaining_millis: Some(remaining_millis),
    resolve_range: Some(resolve_range),
    body_read: Some(body_read),
    put_bytes: Some(put_bytes),
    put_info: Some(put_info),
    put_folder: Some(put_folder),
    put_entry: Some(put_entry),
    put_next: Some(put_next),
    put_upload: Some(put_upload),
    put_failure: Some(put_failure),
};

/// Runs the server's own code in a call of the driver. A panic in it, which would be a fault of the server, stops
/// here and fails the call.
///
/// # Safety
/// The pointer is null, or that of a call which is under way on this thread.
unsafe fn within(call: *mut PlainCall, code: impl FnOnce(&mut State) -> u32) -> u32 {
    // SAFETY: passed on to the caller; `Calling::run` keeps the state in place while the function runs, and the
    // functions of a call run one after the other on its thread.
    let Some(state) = (unsafe { call.as_ref().and_then(|call| call.context.cast::<State>().as_mut()) })
    else {
        return codes::INTERNAL;
    };
    catch_unwind(AssertUnwindSafe(|| code(state))).unwrap_or(codes::INTERNAL)
}

/// Takes an answer through the function `name` of a call, if it belongs to what is called.
///
/// # Safety
/// As for [`within`].
unsafe fn answer(call: *mut PlainCall, name: &str, take: impl FnOnce(&mut State) -> Result<()>) -> u32 {
    // SAFETY: passed on to the caller.
    unsafe {
        within(call, |state| {
            let taken = state.calling.allowed.check(name).and_then(|()| take(state));
            state.answered(taken)
        })
    }
}

/// # Safety
/// The pointer is null or to an error whose texts are lent for the call.
unsafe fn described(code: u32, error: *const PlainError) -> Error {
    let kind = ErrorKind::from_code(code);
    // SAFETY: passed on to the caller.
    let Some(given) = (unsafe { error.as_ref() }) else {
        return Error::new(kind, "the driver failed without saying why");
    };
    // SAFETY: as above.
    let (message, source) = unsafe { (given_sentence(given.message), given_sentence(given.source)) };
    let message = message.unwrap_or_else(|| "the driver failed without saying why".to_owned());
    let mut error = answers::with_flags(Error::new(kind, message), given.flags, given.retry_after_millis);
    error.source_text = source;
    error
}

/// # Safety
/// The pointer is to facts whose tag is lent for the call.
unsafe fn described_info(info: *const PlainInfo) -> Result<Option<ObjectInfo>> {
    // SAFETY: passed on to the caller.
    let Some(given) = (unsafe { info.as_ref() }) else { return Ok(None) };
    // SAFETY: as above.
    let etag = answers::etag(unsafe { given_text(given.etag, "a tag", codes::MAX_ETAG_BYTES) }?);
    let modified = UNIX_EPOCH.checked_add(Duration::from_nanos(given.modified_nanos));
    let modified = modified.filter(|_| given.modified_nanos != 0);
    Ok(Some(ObjectInfo { size: given.size, modified, etag }))
}

unsafe extern "C" fn fail(call: *mut PlainCall, code: u32, error: *const PlainError) -> u32 {
    // SAFETY: the driver passes the call that it was given, and lends the error.
    unsafe {
        within(call, |state| {
            state.said = Some(described(code, error));
            // A failure is not made a success by forgetting its number.
            if code == codes::OK { codes::INTERNAL } else { code }
        })
    }
}

unsafe extern "C" fn fail_errno(call: *mut PlainCall, number: c_int, doing: PlainText) -> u32 {
    // SAFETY: as above.
    unsafe {
        within(call, |state| {
            let mut error = Error::from(io::Error::from_raw_os_error(number));
            if let Some(doing) = given_sentence(doing) {
                error.source_text = error.source_text.map(|system| format!("{doing}: {system}"));
            }
            state.refuse(error)
        })
    }
}

unsafe extern "C" fn is_cancelled(call: *mut PlainCall) -> u32 {
    // SAFETY: as above.
    unsafe { within(call, |state| u32::from(state.is_cancelled())) }
}

unsafe extern "C" fn remaining_millis(call: *mut PlainCall) -> u64 {
    let mut millis = 0;
    // SAFETY: as above.
    unsafe {
        within(call, |state| {
            let left = state.calling.context.remaining();
            millis = left.map_or(u64::MAX, |left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX));
            codes::OK
        });
    }
    millis
}

unsafe extern "C" fn resolve_range(
    call: *mut PlainCall,
    range: *const PlainRange,
    object_size: u64,
    offset: *mut u64,
    length: *mut u64,
) -> u32 {
    // SAFETY: as above; the range is lent and the targets are the driver's own.
    unsafe {
        within(call, |state| {
            let (Some(range), Some(offset), Some(length)) =
                (range.as_ref(), offset.as_mut(), length.as_mut())
            else {
                return state.mistaken(answers::misused("docker_registry_resolve_range got a null pointer"));
            };
            let resolved = range_from(u64::from(range.kind), range.offset, range.length)
                .and_then(|range| range.resolve(object_size));
            match resolved {
                Ok(resolved) => {
                    (*offset, *length) = resolved;
                    codes::OK
                }
                Err(error) => state.refuse(error),
            }
        })
    }
}

unsafe extern "C" fn body_read(
    call: *mut PlainCall,
    buffer: *mut c_void,
    capacity: usize,
    filled: *mut usize,
) -> u32 {
    // SAFETY: as above; the buffer is the driver's own and has `capacity` bytes.
    unsafe {
        within(call, |state| {
            let Some(filled) = filled.as_mut() else {
                return state.mistaken(answers::misused("docker_registry_body_read got a null pointer"));
            };
            *filled = 0;
            if buffer.is_null() || capacity == 0 || isize::try_from(capacity).is_err() {
                return state.mistaken(answers::misused("docker_registry_body_read got no buffer"));
            }
            if state.calling.body.is_none() {
                return state.mistaken(answers::misused("docker_registry_body_read is for append only"));
            }
            match state.read_body(capacity) {
                Ok(read) => {
                    ptr::copy_nonoverlapping(read.as_ptr(), buffer.cast(), read.len());
                    *filled = read.len();
                    codes::OK
                }
                Err(error) => state.refuse(error),
            }
        })
    }
}

unsafe extern "C" fn put_bytes(call: *mut PlainCall, bytes: PlainBytes) -> u32 {
    // SAFETY: as above; the bytes are lent for the call.
    unsafe {
        answer(call, "put_bytes", |state| state.answers.add_bytes(given_bytes(bytes)?, state.calling.allowed))
    }
}

unsafe extern "C" fn put_info(call: *mut PlainCall, info: *const PlainInfo) -> u32 {
    // SAFETY: as above.
    unsafe {
        answer(call, "put_info", |state| {
            let info = described_info(info)?;
            let null = || answers::misused("docker_registry_put_info got a null pointer");
            state.answers.info = Some(info.ok_or_else(null)?);
            Ok(())
        })
    }
}

unsafe extern "C" fn put_folder(call: *mut PlainCall) -> u32 {
    // SAFETY: as above.
    unsafe {
        answer(call, "put_folder", |state| {
            state.answers.folder = true;
            Ok(())
        })
    }
}

unsafe extern "C" fn put_entry(call: *mut PlainCall, path: PlainText, info: *const PlainInfo) -> u32 {
    // SAFETY: as above.
    unsafe {
        answer(call, "put_entry", |state| {
            let info = described_info(info)?;
            let path = given_text(path, "a path", codes::MAX_PATH_BYTES)?.unwrap_or_default();
            state.answers.add_entry(path, info, state.calling.allowed)
        })
    }
}

unsafe extern "C" fn put_next(call: *mut PlainCall, after: PlainText) -> u32 {
    // SAFETY: as above.
    unsafe {
        answer(call, "put_next", |state| {
            let after = given_text(after, "a cursor", codes::MAX_PATH_BYTES)?;
            state.answers.next = after.map(str::to_owned);
            Ok(())
        })
    }
}

unsafe extern "C" fn put_upload(
    call: *mut PlainCall,
    upload: PlainBytes,
    touched_nanos: u64,
    upload_size: u64,
) -> u32 {
    // SAFETY: as above.
    unsafe {
        answer(call, "put_upload", |state| {
            let touched = UNIX_EPOCH + Duration::from_nanos(touched_nanos);
            let upload = UploadState::new(given_bytes(upload)?)?;
            let upload = PendingUpload { state: upload, touched, size: upload_size };
            state.answers.add_upload(upload, state.calling.allowed)
        })
    }
}

unsafe extern "C" fn put_failure(
    call: *mut PlainCall,
    path: PlainText,
    code: u32,
    error: *const PlainError,
) -> u32 {
    // SAFETY: as above.
    unsafe {
        answer(call, "put_failure", |state| {
            // A failure that was described with `fail` a moment ago need not be described again.
            let said = if error.is_null() { state.said.take() } else { Some(described(code, error)) };
            let path = given_text(path, "a path", codes::MAX_PATH_BYTES)?;
            let path = ObjectPath::new(path.unwrap_or_default())?;
            let error = answers::failure(code, said).at(&path);
            state.answers.failures.push((path, error));
            Ok(())
        })
    }
}
