//! An open driver in plain C behind the trait: each method is one call of a function on a thread.

use std::{
    ffi::c_void,
    ptr,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::{
    answers::{Answers, misused},
    call::{BodyItem, Calling},
    codes,
    instance::Instance,
    lent::{LentText, plain_bytes, plain_option},
    library::LentSettings,
    reading::{self, Source},
    table::{PlainCall, PlainDriver, PlainHost},
    threads::{Kind, Threads},
    values::{
        PlainCondition, PlainListRequest, PlainRange, PlainRedirectRequest, PlainText, PlainUploadHint,
        PlainUploadsRequest,
    },
};
use crate::{
    ByteStream, CallContext, Capabilities, Capability, Condition, Description, Driver, ETag, Error,
    ErrorKind, HostServices, ListPage, ListRequest, MAX_UPLOAD_STATE_BYTES, Object, ObjectInfo, ObjectPath,
    Prefix, ReadRange, Reading, RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage,
    UploadProgress, UploadState, abi::messages::range_parts,
};

/// How long an address of the storage may be, in bytes.
const MAX_URL_BYTES: u64 = 16 * 1024;
/// Chunks of a body that wait between the client and the thread.
const BODY_QUEUE: usize = 2;

/// See the module.
pub(super) struct Opened {
    /// `None` once it is closed.
    instance: RwLock<Option<Arc<Instance>>>,
    threads: &'static Threads,
    capabilities: Capabilities,
}

/// Opens a driver with settings.
pub(super) async fn open(
    table: PlainDriver,
    threads: &'static Threads,
    settings: LentSettings,
    host: &'static PlainHost,
) -> Result<Opened> {
    let (calling, _cancel) = Calling::new(&CallContext::default(), host, "open");
    let opening = move || {
        let Some(open) = table.open else { return Err(Error::unsupported("open")) };
        let (mut pointer, mut code) = (ptr::null_mut(), codes::UNSUPPORTED);
        let answers = calling.run(|call| {
            // SAFETY: the settings are lent for the call, and the pointer is the driver's to write.
            code = settings.with(|settings| unsafe { open(call, ptr::from_ref(settings), &raw mut pointer) });
            code
        });
        // What it opened is closed also when its answers are wrong.
        let instance = (code == codes::OK).then(|| Arc::new(Instance::new(pointer, table, threads, host)));
        answers?;
        let instance = instance.ok_or_else(|| misused("the driver opened nothing"))?;
        // SAFETY: the instance is open.
        let bits = table.capabilities.map_or(0, |capabilities| unsafe { capabilities(instance.pointer()) });
        let capabilities = Capabilities::from_bits(bits);
        if capabilities.has(Capability::ListUploads) && table.list_uploads.is_none() {
            let message = "the driver says that it lists uploads, and its function `list_uploads` is null";
            return Err(Error::new(ErrorKind::Internal, message));
        }
        Ok((instance, capabilities))
    };
    let (instance, capabilities) =
        threads.run(Kind::Storage, opening).await.map_err(|error| named(error, "open", None))?;
    Ok(Opened { instance: RwLock::new(Some(instance)), threads, capabilities })
}

/// A path of either kind, for errors.
type About<'a> = Option<&'a (dyn std::fmt::Display + Sync)>;

fn named(mut error: Error, operation: &str, about: About<'_>) -> Error {
    operation.clone_into(&mut error.operation);
    error.path = error.path.or_else(|| about.map(ToString::to_string));
    error
}

/// What a function is called with besides its own arguments.
struct Ready {
    instance: Arc<Instance>,
    calling: Calling,
}

impl Ready {
    /// Calls a function. `function` gets call and instance.
    fn call(self, function: impl FnOnce(*mut PlainCall, *mut c_void) -> u32) -> Result<Answers> {
        let pointer = self.instance.pointer();
        self.calling.run(|call| function(call, pointer))
    }
}

impl Opened {
    fn instance(&self) -> Result<Arc<Instance>> {
        let instance = self.instance.read().unwrap_or_else(PoisonError::into_inner);
        instance.clone().ok_or_else(|| Error::new(ErrorKind::Unavailable, "the driver is closed"))
    }

    /// Makes one call on a thread.
    async fn run<T: Send + 'static>(
        &self,
        operation: &'static str,
        call: &CallContext,
        about: About<'_>,
        code: impl FnOnce(Ready) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let instance = self.instance()?;
        let (calling, _cancel) = Calling::new(call, instance.host, operation);
        let kind = if operation == "health" { Kind::Health } else { Kind::Storage };
        let running = self.threads.run(kind, move || code(Ready { instance, calling }));
        running.await.map_err(|error| named(error, operation, about))
    }
}

fn plain_condition(condition: &Condition) -> (u32, Option<LentText>) {
    match condition {
        Condition::Always => (codes::ALWAYS, None),
        Condition::IfAbsent => (codes::IF_ABSENT, None),
        Condition::IfMatch(etag) => (codes::IF_MATCH, Some(LentText::new(&etag.0))),
    }
}

fn plain_range(range: ReadRange) -> PlainRange {
    let (kind, offset, length) = range_parts(range);
    // The four kinds have the numbers 0 to 3.
    PlainRange { kind: kind as u32, offset, length }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Calls a function that the library was not loaded without.
macro_rules! call {
    ($ready:ident, $name:ident($($argument:expr),* $(,)?)) => {{
        let function = $ready.instance.table.$name;
        $ready.call(|call, instance| match function {
            // SAFETY: call and instance belong to this library and are alive; what the arguments point to is kept
            // in variables of the caller until the function has returned.
            Some(function) => unsafe { function(call, instance, $($argument),*) },
            None => codes::UNSUPPORTED,
        })
    }};
}

#[async_trait]
impl Driver for Opened {
    fn describe() -> Description {
        Description { summary: String::new(), licence: String::new(), keys: Vec::new() }
    }

    async fn open(_settings: Settings, _host: HostServices) -> Result<Self> {
        Err(Error::unsupported("open"))
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        let lent = LentText::from(path);
        self.run("get", call, Some(path), move |mut ready| {
            ready.calling.allowed.bytes = max_size;
            let mut answers = call!(ready, get(lent.plain(), max_size))?;
            let content = Bytes::from(std::mem::take(&mut answers.bytes));
            let info = answers.required_info()?;
            if info.size != content.len() as u64 {
                return Err(misused("the driver gave another size of the object than it gave bytes"));
            }
            Ok(Object { content, info })
        })
        .await
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let (lent, (kind, etag)) = (LentText::from(path), plain_condition(condition));
        self.run("put", call, Some(path), move |ready| {
            let condition = PlainCondition { kind, etag: plain_option(etag.as_ref()) };
            let answers = call!(ready, put(lent.plain(), plain_bytes(&content), &raw const condition))?;
            Ok(answers.info.and_then(|info| info.etag))
        })
        .await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        let lent = LentText::from(path);
        self.run("head", call, Some(path), move |ready| call!(ready, head(lent.plain()))?.required_info())
            .await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        let lent = LentText::new(path.as_str());
        self.run("stat", call, Some(path), move |ready| {
            let mut answers = call!(ready, stat(lent.plain()))?;
            if answers.folder { Ok(Stat::Folder) } else { answers.required_info().map(Stat::Object) }
        })
        .await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        let lent = LentText::from(path);
        self.run("read", call, Some(path), move |ready| {
            let (wanted, mut filled) = (plain_range(range), reading::unfilled());
            let instance = Arc::clone(&ready.instance);
            let function = instance.table.read_open;
            let mut code = codes::UNSUPPORTED;
            let answers = ready.call(|call, instance| {
                if let Some(read_open) = function {
                    // SAFETY: as in the macro above.
                    code = unsafe {
                        read_open(call, instance, lent.plain(), &raw const wanted, &raw mut filled)
                    };
                }
                code
            });
            // What it opened is ended also when its answers are wrong.
            // SAFETY: the driver has opened the object and said so.
            let source = (code == codes::OK).then(|| unsafe { Source::taken(filled, &instance) });
            let info = answers?.required_info()?;
            let source = source.transpose()?.ok_or_else(|| misused("the driver opened nothing"))?;
            if range.resolve(info.size)? != (filled.offset, filled.length) {
                return Err(misused("the driver opened other bytes than it was asked for"));
            }
            Ok(Reading {
                total_size: info.size,
                offset: filled.offset,
                length: filled.length,
                etag: info.etag,
                body: source.into_body(filled.length),
            })
        })
        .await
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        let (prefix, after) =
            (LentText::new(request.prefix.as_str()), request.after.as_deref().map(LentText::new));
        let (recursive, limit) = (u32::from(request.recursive), request.limit);
        self.run("list", call, Some(&request.prefix), move |mut ready| {
            ready.calling.allowed.items = limit as usize;
            let request = PlainListRequest {
                size: size_of::<PlainListRequest>(),
                prefix: prefix.plain(),
                recursive,
                limit,
                after: plain_option(after.as_ref()),
            };
            let answers = call!(ready, list(&raw const request))?;
            Ok(ListPage { entries: answers.entries, next: answers.next })
        })
        .await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        let lent = hint.final_path.as_ref().map(LentText::from);
        let about = hint.final_path.as_ref().map(|path| path as &(dyn std::fmt::Display + Sync));
        let expected_size = hint.size.unwrap_or(u64::MAX);
        self.run("open_upload", call, about, move |mut ready| {
            ready.calling.allowed.bytes = MAX_UPLOAD_STATE_BYTES as u64;
            let hint = PlainUploadHint {
                size: size_of::<PlainUploadHint>(),
                final_path: plain_option(lent.as_ref()),
                expected_size,
            };
            call!(ready, open_upload(&raw const hint))?.state()
        })
        .await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        mut body: ByteStream,
    ) -> Result<UploadProgress> {
        let instance = self.instance()?;
        let (mut calling, _cancel) = Calling::new(call, instance.host, "append");
        let (sender, receiver) = mpsc::channel(BODY_QUEUE);
        calling.allowed.bytes = MAX_UPLOAD_STATE_BYTES as u64;
        calling.body = Some(receiver);
        let state = state.as_bytes().to_vec();
        let ready = Ready { instance, calling };
        let appending = self.threads.run(Kind::Client, move || {
            let mut offset = 0;
            let mut answers = call!(ready, append(plain_bytes(&state), expected_offset, &raw mut offset))?;
            Ok(UploadProgress { state: answers.state()?, offset })
        });
        // The body is polled here, by the caller's own task: when that goes, so does the body at once.
        let feeding = async move {
            while let Some(item) = body.next().await {
                let item = item.map_or_else(BodyItem::Failed, BodyItem::Chunk);
                let is_last = matches!(item, BodyItem::Failed(_));
                if sender.send(item).await.is_err() || is_last {
                    return;
                }
            }
            // Without a receiver the function has returned already.
            let _ = sender.send(BodyItem::End).await;
        };
        tokio::pin!(appending, feeding);
        let appended = tokio::select! {
            appended = &mut appending => appended,
            () = &mut feeding => appending.await,
        };
        appended.map_err(|error| named(error, "append", None))
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let (lent, (kind, etag)) = (LentText::from(final_path), plain_condition(condition));
        let state = state.as_bytes().to_vec();
        self.run("commit", call, Some(final_path), move |ready| {
            let condition = PlainCondition { kind, etag: plain_option(etag.as_ref()) };
            call!(ready, commit(plain_bytes(&state), lent.plain(), &raw const condition))?.required_info()
        })
        .await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        let state = state.as_bytes().to_vec();
        self.run("abort", call, None, move |ready| call!(ready, abort_upload(plain_bytes(&state))).map(drop))
            .await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        let after = after.map(LentText::new);
        self.run("list_uploads", call, None, move |mut ready| {
            ready.calling.allowed.items = limit.max(1) as usize;
            let request = PlainUploadsRequest {
                size: size_of::<PlainUploadsRequest>(),
                older_than_nanos: nanos(older_than),
                after: plain_option(after.as_ref()),
                limit: limit.max(1),
            };
            let answers = call!(ready, list_uploads(&raw const request))?;
            Ok(UploadPage { uploads: answers.uploads, next: answers.next })
        })
        .await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let (source, target) = (LentText::from(from), LentText::from(to));
        self.run("copy", call, Some(from), move |ready| {
            call!(ready, copy(source.plain(), target.plain())).map(drop)
        })
        .await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let (source, target) = (LentText::from(from), LentText::from(to));
        self.run("rename", call, Some(from), move |ready| {
            call!(ready, rename(source.plain(), target.plain())).map(drop)
        })
        .await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        let lent = LentText::from(path);
        self.run("delete", call, Some(path), move |ready| call!(ready, remove(lent.plain())).map(drop)).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        if self.instance()?.table.remove_many.is_none() {
            let mut failures = Vec::new();
            for path in paths {
                match self.delete(call, path).await {
                    Err(error) if !error.is_not_found() => failures.push((path.clone(), error)),
                    _ => {}
                }
            }
            return Ok(failures);
        }
        let texts: Vec<LentText> = paths.iter().map(LentText::from).collect();
        self.run("delete_many", call, None, move |ready| {
            let plain: Vec<PlainText> = texts.iter().map(LentText::plain).collect();
            Ok(call!(ready, remove_many(plain.as_ptr(), plain.len()))?.failures)
        })
        .await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        let lent = LentText::new(prefix.as_str());
        self.run("delete_tree", call, Some(prefix), move |ready| {
            let mut removed = 0;
            call!(ready, remove_tree(lent.plain(), &raw mut removed))?;
            Ok(removed)
        })
        .await
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        if self.instance()?.table.redirect_url.is_none() {
            return Ok(None);
        }
        let (path, method) = (LentText::from(&request.path), LentText::new(&request.method));
        let expires_millis = u64::try_from(request.expires.as_millis()).unwrap_or(u64::MAX);
        let headers = request.response_headers.iter();
        let headers: Vec<_> =
            headers.map(|(name, value)| (LentText::new(name), LentText::new(value))).collect();
        self.run("redirect_url", call, Some(&request.path), move |mut ready| {
            ready.calling.allowed.bytes = MAX_URL_BYTES;
            let (names, values): (Vec<_>, Vec<_>) =
                headers.iter().map(|(name, value)| (name.plain(), value.plain())).unzip();
            let request = PlainRedirectRequest {
                size: size_of::<PlainRedirectRequest>(),
                path: path.plain(),
                method: method.plain(),
                expires_millis,
                header_names: names.as_ptr(),
                header_values: values.as_ptr(),
                header_count: names.len(),
            };
            let answers = call!(ready, redirect_url(&raw const request))?;
            let url = String::from_utf8(answers.bytes)
                .map_err(|_| misused("the driver gave an address that is not UTF-8"))?;
            Ok(Some(url).filter(|url| !url.is_empty()))
        })
        .await
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.run("health", call, None, move |ready| call!(ready, health()).map(drop)).await
    }

    async fn close(&self, grace: Duration) {
        let instance = self.instance.write().unwrap_or_else(PoisonError::into_inner).take();
        let Some(instance) = instance else { return };
        let closed = instance.tell_when_closed();
        drop(instance);
        if tokio::time::timeout(grace, closed).await.is_err() {
            tracing::warn!(?grace, "the driver did not close in time");
        }
    }
}
