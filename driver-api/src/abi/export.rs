//! The side that owns a driver: one exported function for each method of the trait.
//!
//! Each function copies what it needs of the request, starts the method inside the guard, and turns the
//! result into an answer. A panic anywhere, argument handling included, becomes an error answer.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    time::Duration,
};

use abi_stable::prefix_type::PrefixTypeTrait;
use async_ffi::FfiFuture;
use bytes::Bytes;

use super::{
    documents::{self, FailureDocument, HintDocument, ListDocument, PageDocument, RedirectDocument},
    guard::{Side, panic_to_error},
    memory::{Answer, Borrowed, Message, Region},
    messages::{
        AppendRequest, CommitRequest, CountAnswer, DocumentAnswer, DocumentRequest, GetRequest, InfoAnswer,
        ObjectAnswer, PairRequest, PathRequest, ProgressAnswer, PutRequest, RawFile, RawInfo, ReadAnswer,
        ReadRequest, StateRequest, WriteRequest, condition_from, range_from,
    },
    stream::RawStream,
    table::{DriverTable, DriverTableRef, Instance, Method, RawCallPointer, RawDriver},
};
use crate::{
    CallContext, ObjectInfo, ObjectPath, Prefix, ReadingBody, Result, SharedDriver, Stat, UploadState,
};

/// What stands behind an [`Instance`].
struct Exported {
    driver: SharedDriver,
    side: Side,
}

/// Hands a driver over to the other side.
pub(super) fn export(driver: SharedDriver, side: Side) -> RawDriver {
    let instance = Arc::into_raw(Arc::new(Exported { driver, side }));
    RawDriver::new(instance.cast(), table_reference())
}

/// The one table of this library.
pub(super) fn table_reference() -> DriverTableRef {
    static TABLE: OnceLock<DriverTableRef> = OnceLock::new();
    *TABLE.get_or_init(|| table().leak_into_prefix())
}

fn table() -> DriverTable {
    let method = |function| Method { function };
    DriverTable {
        release,
        capabilities,
        get: method(get),
        put: method(put),
        head: method(head),
        stat: method(stat),
        read: method(read),
        list: method(list),
        open_upload: method(open_upload),
        append: method(append),
        commit: method(commit),
        abort: method(abort),
        list_uploads: method(list_uploads),
        copy: method(copy),
        rename: method(rename),
        delete: method(delete),
        delete_many: method(delete_many),
        delete_tree: method(delete_tree),
        redirect_url: method(redirect_url),
        health: method(health),
        close: method(close),
        write: method(write),
    }
}

unsafe extern "C" fn release(instance: Instance) {
    // SAFETY: the pointer was made in `export` and is released once.
    let exported = unsafe { Arc::from_raw(instance.cast::<Exported>()) };
    let side = exported.side.clone();
    side.release(exported);
}

unsafe extern "C" fn capabilities(instance: Instance) -> u64 {
    // SAFETY: the pointer was made in `export` and is not released during a call.
    let exported = unsafe { &*instance.cast::<Exported>() };
    exported.side.guarded(|| exported.driver.capabilities().bits()).unwrap_or(0)
}

/// What an exported method works with. One count of references for everything: atomic steps are what a
/// small call spends its time on.
struct Call {
    exported: Arc<Exported>,
    context: CallContext,
}

/// Starts a method: `prepare` reads the request at once, the future it returns runs inside the guard.
///
/// # Safety
/// The pointers are those of a call through the table; `prepare` reads the request as its own type.
unsafe fn start<P, F>(
    operation: &'static str,
    instance: Instance,
    call: *const RawCallPointer,
    prepare: P,
) -> FfiFuture<Answer>
where
    P: FnOnce(Call) -> Result<F>,
    F: Future<Output = Result<Answer>> + Send + 'static,
{
    let prepared = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the instance was made in `export` from an `Arc` and lives as long as calls do, so
        // that one more reference can be taken; the context is lent for this call.
        let (exported, context) = unsafe {
            let instance = instance.cast::<Exported>();
            Arc::increment_strong_count(instance);
            (Arc::from_raw(instance), RawCallPointer::read(call))
        };
        Ok((prepare(Call { exported: Arc::clone(&exported), context })?, exported))
    }))
    .unwrap_or_else(|panic| Err(panic_to_error(panic)));
    FfiFuture::new(async move {
        let result = match prepared {
            Ok((future, exported)) => exported.side.run(future).await,
            Err(error) => Err(error),
        };
        // The path is added by the caller, who still has it; here it would cost every call a copy.
        result.unwrap_or_else(|mut error| {
            if error.operation.is_empty() {
                operation.clone_into(&mut error.operation);
            }
            Answer::fault(error)
        })
    })
}

/// # Safety
/// The text is still lent.
unsafe fn object_path(path: Borrowed) -> Result<ObjectPath> {
    // SAFETY: passed on to the caller.
    ObjectPath::new(unsafe { path.required_text() }?)
}

/// # Safety
/// The bytes are still lent.
unsafe fn upload_state(state: Borrowed) -> Result<UploadState> {
    // SAFETY: passed on to the caller.
    UploadState::new(unsafe { state.bytes() }.unwrap_or_default())
}

fn info_answer(info: ObjectInfo) -> Answer {
    Answer::of(InfoAnswer { size: InfoAnswer::SIZE, info: RawInfo::of(info), folder: 0 })
}

fn document_answer(document: Bytes) -> Answer {
    Answer::of(DocumentAnswer { size: DocumentAnswer::SIZE, document: Region::of(document) })
}

/// Declares an exported method. `$request` is taken from the pointer before anything else, so that
/// what it owns is owned here even when the rest fails.
macro_rules! exported {
    ($name:ident($request:ident: $type:ty, $call:ident) $body:block) => {
        unsafe extern "C" fn $name(
            instance: Instance,
            call: *const RawCallPointer,
            request: *const (),
        ) -> FfiFuture<Answer> {
            // SAFETY: the table promises these pointers for the length of the call and a request of
            // this type; the text that the request lends is copied inside `prepare`, which runs in it.
            unsafe {
                let $request = <$type>::take(request.cast());
                start(stringify!($name), instance, call, move |$call| $body)
            }
        }
    };
}

exported!(get(request: GetRequest, call) {
    let path = object_path(request.path)?;
    let max_size = request.max_size;
    Ok(async move {
        let object = call.exported.driver.get(&call.context, &path, max_size).await?;
        Ok(Answer::of(ObjectAnswer {
            size: ObjectAnswer::SIZE,
            content: Region::of(object.content),
            info: RawInfo::of(object.info),
        }))
    })
});

exported!(put(request: PutRequest, call) {
    let path = object_path(request.path)?;
    let condition = condition_from(request.condition, request.etag)?;
    let content = request.content.into_bytes();
    Ok(async move {
        let etag = call.exported.driver.put(&call.context, &path, content, &condition).await?;
        Ok(info_answer(ObjectInfo { size: 0, modified: None, etag }))
    })
});

exported!(head(request: PathRequest, call) {
    let path = object_path(request.path)?;
    Ok(async move { call.exported.driver.head(&call.context, &path).await.map(info_answer) })
});

exported!(stat(request: PathRequest, call) {
    let path = Prefix::new(request.path.required_text()?)?;
    Ok(async move {
        Ok(match call.exported.driver.stat(&call.context, &path).await? {
            Stat::Object(info) => info_answer(info),
            Stat::Folder => Answer::of(InfoAnswer { size: InfoAnswer::SIZE, info: RawInfo::NONE, folder: 1 }),
        })
    })
});

exported!(read(request: ReadRequest, call) {
    let path = object_path(request.path)?;
    let range = range_from(request.range, request.offset, request.length)?;
    Ok(async move {
        let reading = call.exported.driver.read(&call.context, &path, range).await?;
        let (stream, file, file_offset) = match reading.body {
            ReadingBody::Stream(stream) => (RawStream::of(stream, &call.exported.side), RawFile::NONE, 0),
            ReadingBody::File(region) => (RawStream::NONE, RawFile::of(region.file), region.offset),
        };
        Ok(Answer::of(ReadAnswer {
            size: ReadAnswer::SIZE,
            total_size: reading.total_size,
            offset: reading.offset,
            length: reading.length,
            etag: Region::of_option(reading.etag.map(|etag| etag.0)),
            stream,
            file,
            file_offset,
        }))
    })
});

exported!(list(request: DocumentRequest, call) {
    let document: ListDocument = documents::decode(request.document.bytes().unwrap_or_default())?;
    let request = document.into_request()?;
    Ok(async move {
        let page = call.exported.driver.list(&call.context, &request).await?;
        Ok(document_answer(documents::encode(&PageDocument::from(page))?.into()))
    })
});

exported!(open_upload(request: DocumentRequest, call) {
    let document: HintDocument = documents::decode(request.document.bytes().unwrap_or_default())?;
    let hint = document.into_hint()?;
    Ok(async move {
        let state = call.exported.driver.open_upload(&call.context, &hint).await?;
        Ok(document_answer(Bytes::copy_from_slice(state.as_bytes())))
    })
});

exported!(append(request: AppendRequest, call) {
    let state = upload_state(request.state)?;
    let (offset, body) = (request.expected_offset, request.body.into_stream());
    Ok(async move {
        let progress = call.exported.driver.append(&call.context, &state, offset, body).await?;
        Ok(Answer::of(ProgressAnswer {
            size: ProgressAnswer::SIZE,
            state: Region::of(Bytes::copy_from_slice(progress.state.as_bytes())),
            offset: progress.offset,
        }))
    })
});

exported!(commit(request: CommitRequest, call) {
    let (state, path) = (upload_state(request.state)?, object_path(request.final_path)?);
    let condition = condition_from(request.condition, request.etag)?;
    Ok(async move {
        call.exported.driver.commit(&call.context, &state, &path, &condition).await.map(info_answer)
    })
});

exported!(abort(request: StateRequest, call) {
    let state = upload_state(request.state)?;
    Ok(async move {
        call.exported.driver.abort(&call.context, &state).await?;
        Ok(Answer::done())
    })
});

exported!(list_uploads(request: DocumentRequest, call) {
    let document: documents::UploadsDocument =
        documents::decode(request.document.bytes().unwrap_or_default())?;
    Ok(async move {
        let older_than = documents::from_nanos(document.older_than_nanos);
        let page = call
            .exported
            .driver
            .list_uploads(&call.context, older_than, document.after.as_deref(), document.limit)
            .await?;
        Ok(document_answer(documents::encode(&documents::UploadPageDocument::from(page))?.into()))
    })
});

exported!(copy(request: PairRequest, call) {
    let (from, to) = (object_path(request.from)?, object_path(request.to)?);
    Ok(async move {
        call.exported.driver.copy(&call.context, &from, &to).await?;
        Ok(Answer::done())
    })
});

exported!(rename(request: PairRequest, call) {
    let (from, to) = (object_path(request.from)?, object_path(request.to)?);
    Ok(async move {
        call.exported.driver.rename(&call.context, &from, &to).await?;
        Ok(Answer::done())
    })
});

exported!(delete(request: PathRequest, call) {
    let path = object_path(request.path)?;
    Ok(async move {
        call.exported.driver.delete(&call.context, &path).await?;
        Ok(Answer::done())
    })
});

exported!(delete_many(request: DocumentRequest, call) {
    let texts: Vec<String> = documents::decode(request.document.bytes().unwrap_or_default())?;
    let paths = texts.into_iter().map(ObjectPath::new).collect::<Result<Vec<_>>>()?;
    Ok(async move {
        let failures = call.exported.driver.delete_many(&call.context, &paths).await?;
        let failures: Vec<_> =
            failures.into_iter().map(|(path, error)| FailureDocument::of(&path, error)).collect();
        Ok(document_answer(documents::encode(&failures)?.into()))
    })
});

exported!(delete_tree(request: PathRequest, call) {
    let path = Prefix::new(request.path.required_text()?)?;
    Ok(async move {
        let count = call.exported.driver.delete_tree(&call.context, &path).await?;
        Ok(Answer::of(CountAnswer { size: CountAnswer::SIZE, count }))
    })
});

exported!(redirect_url(request: DocumentRequest, call) {
    let document: RedirectDocument = documents::decode(request.document.bytes().unwrap_or_default())?;
    let request = document.into_request()?;
    Ok(async move {
        let url = call.exported.driver.redirect_url(&call.context, &request).await?;
        Ok(Answer::of(DocumentAnswer { size: DocumentAnswer::SIZE, document: Region::of_option(url) }))
    })
});

exported!(health(_request: PathRequest, call) {
    Ok(async move {
        call.exported.driver.health(&call.context).await?;
        Ok(Answer::done())
    })
});

exported!(close(_request: PathRequest, call) {
    Ok(async move {
        let grace = call.context.remaining().unwrap_or(Duration::MAX);
        call.exported.driver.close(grace).await;
        Ok(Answer::done())
    })
});

exported!(write(request: WriteRequest, call) {
    let path = object_path(request.path)?;
    let condition = condition_from(request.condition, request.etag)?;
    let (size, body) = (request.size_plus_one.checked_sub(1), request.body.into_stream());
    Ok(async move {
        call.exported.driver.write(&call.context, &path, size, body, &condition).await.map(info_answer)
    })
});
