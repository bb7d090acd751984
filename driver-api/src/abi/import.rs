//! The side that uses a driver: the trait again, made from a table.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    documents::{
        self, FailureDocument, HintDocument, ListDocument, PageDocument, RedirectDocument,
        UploadPageDocument, UploadsDocument,
    },
    guard::Side,
    memory::{Answer, Borrowed, Message, Region},
    messages::{
        AppendRequest, CommitRequest, CountAnswer, DocumentAnswer, DocumentRequest, GetRequest, InfoAnswer,
        ObjectAnswer, PairRequest, PathRequest, ProgressAnswer, PutRequest, RawCall, ReadAnswer, ReadRequest,
        StateRequest, WriteRequest, condition_parts, range_parts, request as pointer,
    },
    stream::{RawStream, while_called},
    table::{DriverTableRef, Instance, Method, RawCallPointer, RawDriver},
};
use crate::{
    ByteStream, CallContext, Capabilities, Condition, Description, Driver, ETag, Error, ErrorKind,
    FileRegion, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
    Reading, ReadingBody, RedirectRequest, Result, Settings, SharedDriver, Stat, UploadHint, UploadPage,
    UploadProgress, UploadState, driver::write_in_steps,
};

/// A driver of the other side.
struct Imported {
    raw: RawDriver,
    instance: Instance,
    table: DriverTableRef,
    capabilities: Capabilities,
    /// This side, for the streams that are lent to the driver.
    side: Side,
}

// SAFETY: `instance` is only passed to the functions of its table, which may be called from any thread;
// `raw` owns it and is `Send + Sync`.
unsafe impl Send for Imported {}
// SAFETY: as above.
unsafe impl Sync for Imported {}

/// Takes over a driver. Streams that it will be given are polled inside the runtime of `side`.
///
/// # Errors
/// [`ErrorKind::Internal`] when the driver is absent.
pub fn import(raw: RawDriver, side: Side) -> Result<SharedDriver> {
    let (instance, table) = raw
        .parts()
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the driver opened without handing itself over"))?;
    // SAFETY: the instance belongs to the table and is alive.
    let capabilities = Capabilities::from_bits(unsafe { table.capabilities()(instance) });
    Ok(Arc::new(Imported { raw, instance, table, capabilities, side }))
}

impl Imported {
    /// Calls a method; `request` is lent for the call, which is over before the first await.
    fn call<T: Message>(
        &self,
        method: Method,
        call: &CallContext,
        request: &T,
    ) -> impl Future<Output = Answer> + Send + use<T> {
        debug_assert!(self.raw.parts().is_some());
        let raw_call = RawCall::of(call);
        // SAFETY: instance and method belong together; both pointers are valid during the call, which
        // is all that the contract of `Method` asks for.
        unsafe { (method.function)(self.instance, RawCallPointer::of(&raw_call), pointer(request)) }
    }

    /// `about` is the path that an error is given when it comes without one.
    async fn done<T: Message>(
        &self,
        method: Method,
        call: &CallContext,
        request: T,
        about: Option<&About>,
    ) -> Result<()> {
        let answer = self.call(method, call, &request);
        forget(request);
        answer.await.check().map_err(|error| named(error, about))
    }

    /// # Safety
    /// `A` is the answer message of `method`.
    async unsafe fn ask<T: Message, A: Message>(
        &self,
        method: Method,
        call: &CallContext,
        request: T,
        about: Option<&About>,
    ) -> Result<A> {
        let answer = self.call(method, call, &request);
        forget(request);
        // SAFETY: passed on to the caller.
        unsafe { answer.await.open::<A>() }.map_err(|error| named(error, about))
    }

    async fn document<D: serde::Serialize + Sync>(
        &self,
        method: Method,
        call: &CallContext,
        document: D,
        about: Option<&About>,
    ) -> Result<Region> {
        let text = documents::encode(&document)?;
        let request = DocumentRequest { size: DocumentRequest::SIZE, document: Borrowed::of(&text) };
        // SAFETY: the methods called through here answer with documents.
        let answer: DocumentAnswer = unsafe { self.ask(method, call, request, about) }.await?;
        Ok(answer.document)
    }
}

/// A path of either kind, for errors.
type About = dyn std::fmt::Display + Sync;

fn named(mut error: Error, about: Option<&About>) -> Error {
    error.path = error.path.or_else(|| about.map(ToString::to_string));
    error
}

/// What a request owned has passed to the callee.
fn forget<T: Message>(request: T) {
    std::mem::forget(request);
}

fn path_request(path: &str) -> PathRequest {
    PathRequest { size: PathRequest::SIZE, path: Borrowed::of(path.as_bytes()) }
}

fn pair_request(from: &ObjectPath, to: &ObjectPath) -> PairRequest {
    PairRequest {
        size: PairRequest::SIZE,
        from: Borrowed::of(from.as_str().as_bytes()),
        to: Borrowed::of(to.as_str().as_bytes()),
    }
}

#[async_trait]
impl Driver for Imported {
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
        let request =
            GetRequest { size: GetRequest::SIZE, path: Borrowed::of(path.as_str().as_bytes()), max_size };
        // SAFETY: `get` answers with an object.
        let answer: ObjectAnswer = unsafe { self.ask(self.table.get(), call, request, Some(path)) }.await?;
        Ok(Object { content: answer.content.into_bytes(), info: answer.info.into_info() })
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let (condition, etag) = condition_parts(condition);
        let request = PutRequest {
            size: PutRequest::SIZE,
            path: Borrowed::of(path.as_str().as_bytes()),
            content: Region::of(content),
            condition,
            etag,
        };
        // SAFETY: `put` answers with facts.
        let answer: InfoAnswer = unsafe { self.ask(self.table.put(), call, request, Some(path)) }.await?;
        Ok(answer.info.into_info().etag)
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        // SAFETY: `head` answers with facts.
        let answer: InfoAnswer =
            unsafe { self.ask(self.table.head(), call, path_request(path.as_str()), Some(path)) }.await?;
        Ok(answer.info.into_info())
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        // SAFETY: `stat` answers with facts.
        let answer: InfoAnswer =
            unsafe { self.ask(self.table.stat(), call, path_request(path.as_str()), Some(path)) }.await?;
        Ok(if answer.folder == 1 { Stat::Folder } else { Stat::Object(answer.info.into_info()) })
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        let (range, offset, length) = range_parts(range);
        let lent = Borrowed::of(path.as_str().as_bytes());
        let request = ReadRequest { size: ReadRequest::SIZE, path: lent, range, offset, length };
        // SAFETY: `read` answers with a reading.
        let answer: ReadAnswer = unsafe { self.ask(self.table.read(), call, request, Some(path)) }.await?;
        let ReadAnswer { total_size, offset, length, etag, stream, file, file_offset, .. } = answer;
        let body = match file.into_file() {
            Some(file) => ReadingBody::File(FileRegion { file, offset: file_offset, length }),
            None => ReadingBody::Stream(stream.into_stream()),
        };
        Ok(Reading { total_size, offset, length, etag: etag.into_text().map(ETag), body })
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        let page = self
            .document(self.table.list(), call, ListDocument::from(request), Some(&request.prefix))
            .await?;
        Ok(documents::decode::<PageDocument>(page.as_ref())?.into())
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        let about = hint.final_path.as_ref().map(|path| path as &About);
        let document = HintDocument::from(hint);
        let state = self.document(self.table.open_upload(), call, document, about).await?;
        UploadState::new(state.as_ref())
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        let (body, _while_called) = while_called(body);
        let request = AppendRequest {
            size: AppendRequest::SIZE,
            state: Borrowed::of(state.as_bytes()),
            expected_offset,
            body: RawStream::of(body, &self.side),
        };
        // SAFETY: `append` answers with progress.
        let answer: ProgressAnswer = unsafe { self.ask(self.table.append(), call, request, None) }.await?;
        Ok(UploadProgress { state: UploadState::new(answer.state.as_ref())?, offset: answer.offset })
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let (condition, etag) = condition_parts(condition);
        let request = CommitRequest {
            size: CommitRequest::SIZE,
            state: Borrowed::of(state.as_bytes()),
            final_path: Borrowed::of(final_path.as_str().as_bytes()),
            condition,
            etag,
        };
        // SAFETY: `commit` answers with facts.
        let answer: InfoAnswer =
            unsafe { self.ask(self.table.commit(), call, request, Some(final_path)) }.await?;
        Ok(answer.info.into_info())
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        let request = StateRequest { size: StateRequest::SIZE, state: Borrowed::of(state.as_bytes()) };
        self.done(self.table.abort(), call, request, None).await
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let Some(method) = self.table.write() else {
            // A driver of 1.0.
            return write_in_steps(self, call, path, size, body, condition).await;
        };
        let (body, _while_called) = while_called(body);
        let (condition, etag) = condition_parts(condition);
        let request = WriteRequest {
            size: WriteRequest::SIZE,
            path: Borrowed::of(path.as_str().as_bytes()),
            size_plus_one: size.map_or(0, |size| size.saturating_add(1)),
            condition,
            etag,
            body: RawStream::of(body, &self.side),
        };
        // SAFETY: `write` answers with facts.
        let answer: InfoAnswer = unsafe { self.ask(method, call, request, Some(path)) }.await?;
        Ok(answer.info.into_info())
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        let document = UploadsDocument {
            older_than_nanos: documents::to_nanos(older_than),
            after: after.map(str::to_owned),
            limit,
        };
        let page = self.document(self.table.list_uploads(), call, document, None).await?;
        documents::decode::<UploadPageDocument>(page.as_ref())?.into_page()
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.done(self.table.copy(), call, pair_request(from, to), Some(from)).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.done(self.table.rename(), call, pair_request(from, to), Some(from)).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.done(self.table.delete(), call, path_request(path.as_str()), Some(path)).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let texts: Vec<&str> = paths.iter().map(ObjectPath::as_str).collect();
        let failures = self.document(self.table.delete_many(), call, texts, None).await?;
        let failures: Vec<FailureDocument> = documents::decode(failures.as_ref())?;
        failures.into_iter().map(FailureDocument::into_failure).collect()
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        let request = path_request(prefix.as_str());
        // SAFETY: `delete_tree` answers with a count.
        let answer: CountAnswer =
            unsafe { self.ask(self.table.delete_tree(), call, request, Some(prefix)) }.await?;
        Ok(answer.count)
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        let url = self
            .document(self.table.redirect_url(), call, RedirectDocument::from(request), Some(&request.path))
            .await?;
        Ok(url.into_text())
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.done(self.table.health(), call, path_request(""), None).await
    }

    async fn close(&self, grace: Duration) {
        let call = CallContext::with_timeout(grace);
        let closing = self.done(self.table.close(), &call, path_request(""), None);
        match tokio::time::timeout(grace, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the driver failed to close"),
            Err(_) => tracing::warn!(?grace, "the driver did not close in time"),
        }
    }
}
