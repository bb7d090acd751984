//! The whole boundary as text: every struct field by field, every number, every document.
//!
//! `tests/compatibility/api-1.0/layout.txt` is this text as it was when 1.0 was released, and a test
//! compares the two: what was released may be extended at its end and is otherwise the same for ever.
//! Three kinds of structs are told apart. A `frozen` one never changes. A `message` may get fields at its end,
//! none of which owns anything. A `table` may get functions at its end.

use std::{
    any::type_name,
    fmt::Write,
    mem::offset_of,
    time::{Duration, SystemTime},
};

use super::{
    documents::{
        FailureDocument, HintDocument, ListDocument, PageDocument, RedirectDocument, UploadPageDocument,
        UploadsDocument, encode,
    },
    host::HostTable,
    memory::{Answer, Borrowed, Region},
    messages::{
        AppendRequest, CommitRequest, CountAnswer, DocumentAnswer, DocumentRequest, Fault, GetRequest,
        InfoAnswer, ObjectAnswer, OpenAnswer, OpenRequest, PairRequest, PathRequest, ProgressAnswer,
        PutRequest, RawCall, RawFile, RawInfo, ReadAnswer, ReadRequest, StateRequest, WriteRequest,
        condition_parts, range_parts,
    },
    module::{DriverModule, OPEN_SPAWNED, SYMBOL_PREFIX},
    note::{self, Note},
    plain_c::{
        table::{PlainCall, PlainCallFunctions, PlainDriver, PlainHost},
        values::{
            PlainBytes, PlainCondition, PlainError, PlainInfo, PlainKey, PlainListRequest, PlainRange,
            PlainReading, PlainRedirectRequest, PlainSetting, PlainSettings, PlainText, PlainUploadHint,
            PlainUploadsRequest,
        },
    },
    stream::{self, RawItem, RawStream},
    table::{DriverTable, Method, RawCallPointer, RawDriver},
};
use crate::{
    CallContext, Capability, Condition, ConfigurationKey, Description, ETag, Entry, Error, ErrorKind,
    ListPage, ListRequest, ObjectInfo, ObjectPath, PendingUpload, Prefix, ReadRange, RedirectRequest, Result,
    Traceparent, UploadHint, UploadPage, UploadState, ValueKind,
};

/// A note of this length stands for notes of every length.
type AnyNote = Note<0>;

/// Writes the layout of a struct. Does not compile when a field is missing.
macro_rules! layout {
    ($text:ident, $($kind:literal $type:ident { $($field:ident),* })*) => {$(
        let _every_field_is_here = |value: &$type| {
            let $type { $($field: _),* } = value;
        };
        line(&mut $text, format_args!("\n{} {}, aligned to {}", $kind, stringify!($type), align_of::<$type>()));
        if $kind == "frozen" {
            line(&mut $text, format_args!("  {} bytes", size_of::<$type>()));
        }
        $(field(&mut $text, stringify!($field), offset_of!($type, $field), |value: &$type| &value.$field);)*
    )*};
}

/// The layout of this version.
///
/// # Errors
/// None in practice: the samples that are written are constant and valid.
pub fn text() -> Result<String> {
    let mut text = format!("driver API {}.{}\n", crate::API_VERSION.0, crate::API_VERSION.1);
    layout! { text,
        "frozen" AnyNote { owner_length, content_length, kind, owner, content }
        "frozen" Borrowed { data, length }
        "frozen" Region { data, length, owner, release }
        "frozen" Answer { message, release, failed }
        "frozen" RawInfo { size, modified_nanos, etag }
        "frozen" RawFile { descriptor_plus_one }
        "frozen" RawItem { chunk, fault }
        "frozen" RawStream { object, poll, release }
        "frozen" RawDriver { instance, table }
        "frozen" RawCallPointer { size }
        "frozen" Method { function }
        "message" RawCall { size, remaining_nanos, flags, trace_id, span_id, trace_flags }
        "message" PathRequest { size, path }
        "message" GetRequest { size, path, max_size }
        "message" PutRequest { size, path, content, condition, etag }
        "message" ReadRequest { size, path, range, offset, length }
        "message" AppendRequest { size, state, expected_offset, body }
        "message" CommitRequest { size, state, final_path, condition, etag }
        "message" WriteRequest { size, path, size_plus_one, condition, etag, body }
        "message" StateRequest { size, state }
        "message" PairRequest { size, from, to }
        "message" DocumentRequest { size, document }
        "message" OpenRequest { size, settings, flags }
        "message" ObjectAnswer { size, content, info }
        "message" InfoAnswer { size, info, folder }
        "message" ReadAnswer { size, total_size, offset, length, etag, stream, file, file_offset }
        "message" ProgressAnswer { size, state, offset }
        "message" DocumentAnswer { size, document }
        "message" CountAnswer { size, count }
        "message" OpenAnswer { size, driver }
        "message" Fault {
            size, kind, reserved, flags, retry_after_nanos, operation, path, message, source_text
        }
        "table" DriverTable {
            release, capabilities, get, put, head, stat, read, list, open_upload, append, commit, abort,
            list_uploads, copy, rename, delete, delete_many, delete_tree, redirect_url, health, close, write
        }
        "table" DriverModule { describe, connect, table, open }
        "table" HostTable { api, log_level, log, count, open_driver, open_alternate }
        "frozen" PlainText { data, length }
        "frozen" PlainBytes { data, length }
        "frozen" PlainInfo { size, modified_nanos, etag }
        "frozen" PlainError { flags, retry_after_millis, message, source }
        "frozen" PlainCondition { kind, etag }
        "frozen" PlainRange { kind, offset, length }
        "frozen" PlainKey { name, kind, flags, default_value, environment, doc }
        "frozen" PlainSetting { name, kind, boolean, integer, number, text, items, item_count }
        "message" PlainSettings { size, settings, count }
        "message" PlainListRequest { size, prefix, recursive, limit, after }
        "message" PlainUploadHint { size, final_path, expected_size }
        "message" PlainUploadsRequest { size, older_than_nanos, after, limit }
        "message" PlainRedirectRequest {
            size, path, method, expires_millis, header_names, header_values, header_count
        }
        "message" PlainReading { size, offset, length, file, file_offset, handle }
        "message" PlainCall { size, context, functions, host, flags, trace_id, span_id, trace_flags }
        "table" PlainHost { size, context, api_major, api_minor, log_level, log, count }
        "table" PlainCallFunctions {
            size, fail, fail_errno, is_cancelled, remaining_millis, resolve_range, body_read, put_bytes, put_info,
            put_folder, put_entry, put_next, put_upload, put_failure
        }
        "table" PlainDriver {
            size, api_major, api_minor, summary, licence, keys, key_count, open, close, capabilities, get, put,
            head, stat, read_open, read_next, read_close, list, open_upload, append, commit, abort_upload,
            list_uploads, copy, rename, remove, remove_many, remove_tree, redirect_url, health
        }
    }
    numbers(&mut text);
    documents(&mut text)?;
    Ok(text)
}

fn line(text: &mut String, line: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

fn field<T, F>(text: &mut String, name: &str, offset: usize, _access: fn(&T) -> &F) {
    let kind = short(type_name::<F>());
    line(text, format_args!("  {offset:>3} +{:<3} {name}: {kind}", size_of::<F>()));
}

/// The name of a type without the paths of its parts and without lifetimes.
fn short(name: &str) -> String {
    let mut result = String::new();
    let mut word = String::new();
    for c in name.chars().chain([' ']) {
        if c.is_alphanumeric() || matches!(c, '_' | ':' | '\'') {
            word.push(c);
            continue;
        }
        let last = word.rsplit("::").next().unwrap_or_default();
        if !last.starts_with('\'') {
            result.push_str(last);
        }
        word.clear();
        result.push(c);
    }
    while let Some((before, after)) = result.split_once("for<") {
        let after = after.split_once("> ").map_or("", |(_, rest)| rest);
        result = format!("{before}{after}");
    }
    result.replace("<>", "").replace("<, ", "<").trim_end().to_owned()
}

/// The numbers that stand for words, each read back from the code that sends it.
fn numbers(text: &mut String) {
    line(text, "\nnumbers");
    for code in 1..=200 {
        let kind = ErrorKind::from_code(code);
        if kind as u32 == code {
            line(text, format_args!("  error {kind:?} = {code}"));
        }
    }
    for capability in Capability::ALL {
        line(text, format_args!("  capability {} = {}", capability.name(), capability as u64));
    }
    let etag = ETag("x".to_owned());
    for condition in [Condition::Always, Condition::IfAbsent, Condition::IfMatch(etag)] {
        let name = format!("{condition:?}");
        let name = name.split('(').next().unwrap_or_default();
        line(text, format_args!("  condition {name} = {}", condition_parts(&condition).0));
    }
    let ranges = [
        ReadRange::Full,
        ReadRange::From { offset: 7 },
        ReadRange::Window { offset: 7, length: 9 },
        ReadRange::Last { length: 9 },
    ];
    for range in ranges {
        line(text, format_args!("  range {range:?} = {:?}", range_parts(range)));
    }
    let error = || Error::new(ErrorKind::Internal, "");
    let waits = Error { retry_after: Some(Duration::ZERO), ..error() };
    for (name, error) in [
        ("retryable", error().retryable(true)),
        ("outcome_unknown", error().outcome_unknown()),
        ("retry_after", waits),
    ] {
        line(text, format_args!("  fault flag {name} = {}", Fault::from(error).flags));
    }
    let traceparent = Some(Traceparent { trace_id: [1; 16], span_id: [2; 8], flags: 1 });
    for (name, call) in [
        ("background", CallContext { background: true, ..CallContext::default() }),
        ("traceparent", CallContext { traceparent, ..CallContext::default() }),
        ("transient", CallContext { transient: true, ..CallContext::default() }),
    ] {
        line(text, format_args!("  call flag {name} = {}", RawCall::of(&call).flags));
    }
    line(
        text,
        format_args!("  call without deadline = {}", RawCall::of(&CallContext::default()).remaining_nanos),
    );
    line(text, format_args!("  open flag spawned = {OPEN_SPAWNED}"));
    let polled = [stream::PENDING, stream::CHUNK, stream::END, stream::FAILED];
    line(text, format_args!("  stream pending, chunk, end, failed = {polled:?}"));
    let owner = String::from_utf8_lossy(note::OWNER);
    line(text, format_args!("  note {} of {owner}, type {}", note::SECTION, note::TYPE));
    line(text, format_args!("  symbol {SYMBOL_PREFIX}NAME"));
    plain_numbers(text);
}

/// The numbers that only plain C has; the others are asserted to be the same in `plain_c::codes`.
fn plain_numbers(text: &mut String) {
    use super::plain_c::codes;
    for (name, number) in [
        ("error retryable", codes::ERROR_RETRYABLE),
        ("error outcome_unknown", codes::ERROR_OUTCOME_UNKNOWN),
        ("error retry_after", codes::ERROR_HAS_RETRY_AFTER),
        ("error not retryable", codes::ERROR_NOT_RETRYABLE),
        ("call background", codes::CALL_BACKGROUND),
        ("call trace", codes::CALL_HAS_TRACE),
        ("call transient", codes::CALL_TRANSIENT),
    ] {
        line(text, format_args!("  plain flag {name} = {number}"));
    }
    for (name, number) in [
        ("longest path", codes::MAX_PATH_BYTES),
        ("longest upload state", codes::MAX_UPLOAD_STATE_BYTES),
        ("longest tag", codes::MAX_ETAG_BYTES),
        ("longest message", codes::MAX_MESSAGE_BYTES),
    ] {
        line(text, format_args!("  plain {name} = {number}"));
    }
    for (name, number) in [
        ("ok", codes::OK),
        ("failed as described", codes::FAILED),
        ("condition always", codes::ALWAYS),
        ("condition if absent", codes::IF_ABSENT),
        ("condition if match", codes::IF_MATCH),
        ("range full", codes::RANGE_FULL),
        ("range from", codes::RANGE_FROM),
        ("range window", codes::RANGE_WINDOW),
        ("range last", codes::RANGE_LAST),
        ("kind text", codes::KIND_TEXT),
        ("kind integer", codes::KIND_INTEGER),
        ("kind float", codes::KIND_FLOAT),
        ("kind boolean", codes::KIND_BOOLEAN),
        ("kind list", codes::KIND_LIST),
        ("key required", codes::KEY_REQUIRED),
        ("key secret", codes::KEY_SECRET),
        ("log error", codes::LOG_ERROR),
        ("log warning", codes::LOG_WARNING),
        ("log info", codes::LOG_INFO),
        ("log debug", codes::LOG_DEBUG),
        ("log trace", codes::LOG_TRACE),
    ] {
        line(text, format_args!("  plain {name} = {number}"));
    }
}

/// A sample of every JSON document, all fields given.
fn documents(text: &mut String) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(7);
    let path = ObjectPath::new("a/b")?;
    let info = ObjectInfo { size: 3, modified: Some(time), etag: Some(ETag("v".to_owned())) };
    let list =
        ListRequest { prefix: Prefix::new("a")?, recursive: true, after: Some("a/a".to_owned()), limit: 5 };
    let page = ListPage {
        entries: vec![
            Entry { path: "a/b".to_owned(), object: Some(info) },
            Entry { path: "a/c".to_owned(), object: None },
        ],
        next: Some("a/c".to_owned()),
    };
    let hint = UploadHint { final_path: Some(path.clone()), size: Some(3) };
    let uploads = UploadsDocument { older_than_nanos: 7, after: Some("x".to_owned()), limit: 5 };
    let pending = PendingUpload { state: UploadState::new("s")?, touched: time, size: 3 };
    let pending = UploadPage { uploads: vec![pending], next: Some("x".to_owned()) };
    let error = Error {
        retry_after: Some(Duration::from_nanos(9)),
        source_text: Some("cause".to_owned()),
        ..Error::new(ErrorKind::Throttled, "sentence").outcome_unknown()
    };
    let redirect = RedirectRequest {
        path: path.clone(),
        method: "GET".to_owned(),
        expires: Duration::from_nanos(9),
        response_headers: vec![("content-type".to_owned(), "x/y".to_owned())],
    };
    let key = |kind| ConfigurationKey::of(kind, "k", "doc").default("d").environment("E").required().secret();
    let kinds = [ValueKind::Text, ValueKind::Integer, ValueKind::Float, ValueKind::Boolean, ValueKind::List];
    let description = Description {
        summary: "summary".to_owned(),
        licence: "licence".to_owned(),
        keys: kinds.map(key).into(),
    };
    line(text, "\ndocuments");
    for (name, document) in [
        ("list request", encode(&ListDocument::from(&list))?),
        ("list answer", encode(&PageDocument::from(page))?),
        ("open_upload request", encode(&HintDocument::from(&hint))?),
        ("list_uploads request", encode(&uploads)?),
        ("list_uploads answer", encode(&UploadPageDocument::from(pending))?),
        ("delete_many request", encode(&[path.as_str()])?),
        ("delete_many answer", encode(&[FailureDocument::of(&path, error)])?),
        ("redirect_url request", encode(&RedirectDocument::from(&redirect))?),
        ("description", encode(&description)?),
    ] {
        line(text, format_args!("  {name}: {}", String::from_utf8_lossy(&document)));
    }
    Ok(())
}
