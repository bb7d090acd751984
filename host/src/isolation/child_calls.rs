//! One call in the driver's process: from the message to the method and back.

use std::{os::fd::OwnedFd, panic::AssertUnwindSafe};

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Driver, Error, ErrorKind, ListRequest, ObjectPath, Prefix, Reading, ReadingBody,
    RedirectRequest, Result, SharedDriver, Stat, UploadHint, UploadPage, UploadState,
};
use futures::{FutureExt, StreamExt};
use tokio::net::UnixStream;

use super::{
    body::{self, Broken},
    channel::{MAX_CONTENT, pair},
    facts::{WireContext, WireError},
    messages::{Answer, PendingUploadFacts, Request},
};

/// A call that arrived.
pub(super) struct Served {
    pub(super) context: WireContext,
    pub(super) request: Request,
    pub(super) content: Bytes,
    pub(super) file: Option<OwnedFd>,
    pub(super) file_lost: bool,
}

/// What it came to.
pub(super) struct Done {
    pub(super) answer: Result<Answer, WireError>,
    pub(super) content: Bytes,
    /// An open file, or the server's end of a body's socket.
    pub(super) file: Option<OwnedFd>,
    /// A body that is to be sent once the answer is out.
    pub(super) body: Option<(ByteStream, UnixStream)>,
}

impl From<Answer> for Done {
    fn from(answer: Answer) -> Self {
        Self { answer: Ok(answer), content: Bytes::new(), file: None, body: None }
    }
}

impl Done {
    fn with(answer: Answer, content: impl Into<Bytes>) -> Self {
        Self { content: content.into(), ..answer.into() }
    }
}

/// Makes the call.
pub(super) async fn serve(driver: Option<SharedDriver>, served: Served) -> Done {
    let done = match driver {
        // The driver's own panics are caught on its side; a call must be answered whatever happens on this.
        Some(driver) => AssertUnwindSafe(call(&*driver, served))
            .catch_unwind()
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Internal, "the call of the driver panicked"))),
        None => Err(Error::new(ErrorKind::Unavailable, "the driver is not open")),
    };
    done.unwrap_or_else(|error| Done { answer: Err(error.into()), ..Answer::Done.into() })
}

async fn call(driver: &dyn Driver, served: Served) -> Result<Done> {
    let Served { context, request, content, file, file_lost } = served;
    let call = &CallContext::from(context);
    let done = match request {
        Request::Get { path, max_size } => {
            let largest = max_size.min(MAX_CONTENT as u64);
            let object = driver.get(call, &ObjectPath::new(path)?, largest).await?;
            return Ok(Done::with(Answer::Object(object.info.into()), object.content));
        }
        Request::Put { path, condition } => {
            let etag = driver.put(call, &ObjectPath::new(path)?, content, &condition.into()).await?;
            Answer::ETag(etag.map(|etag| etag.0))
        }
        Request::Head { path } => Answer::Info(driver.head(call, &ObjectPath::new(path)?).await?.into()),
        Request::Stat { path } => match driver.stat(call, &Prefix::new(path)?).await? {
            Stat::Object(info) => Answer::Info(info.into()),
            Stat::Folder => Answer::Folder,
        },
        Request::Read { path, range } => {
            return reading(driver.read(call, &ObjectPath::new(path)?, range.into()).await?);
        }
        Request::List { prefix, recursive, after, limit } => {
            let request = ListRequest { prefix: Prefix::new(prefix)?, recursive, after, limit };
            Answer::Page(driver.list(call, &request).await?.into())
        }
        Request::OpenUpload { final_path, size } => {
            let final_path = final_path.map(ObjectPath::new).transpose()?;
            let state = driver.open_upload(call, &UploadHint { final_path, size }).await?;
            return Ok(Done::with(Answer::State, state.as_bytes().to_vec()));
        }
        Request::Append { expected_offset } => {
            let body = arriving_body(file, file_lost)?;
            let progress = driver.append(call, &state(&content)?, expected_offset, body).await?;
            let answer = Answer::Progress { offset: progress.offset };
            return Ok(Done::with(answer, progress.state.as_bytes().to_vec()));
        }
        Request::Commit { final_path, condition } => {
            let final_path = ObjectPath::new(final_path)?;
            let info = driver.commit(call, &state(&content)?, &final_path, &condition.into()).await?;
            Answer::Info(info.into())
        }
        Request::Abort => {
            driver.abort(call, &state(&content)?).await?;
            Answer::Done
        }
        Request::Write { path, size, condition } => {
            let body = arriving_body(file, file_lost)?;
            let info = driver.write(call, &ObjectPath::new(path)?, size, body, &condition.into()).await?;
            Answer::Info(info.into())
        }
        Request::ListUploads { older_than, after, limit } => {
            return Ok(uploads(driver.list_uploads(call, older_than.into(), after.as_deref(), limit).await?));
        }
        Request::Copy { from, to } => {
            driver.copy(call, &ObjectPath::new(from)?, &ObjectPath::new(to)?).await?;
            Answer::Done
        }
        Request::Rename { from, to } => {
            driver.rename(call, &ObjectPath::new(from)?, &ObjectPath::new(to)?).await?;
            Answer::Done
        }
        Request::Delete { path } => {
            driver.delete(call, &ObjectPath::new(path)?).await?;
            Answer::Done
        }
        Request::DeleteMany { paths } => {
            let paths = paths.into_iter().map(ObjectPath::new).collect::<Result<Vec<_>>>()?;
            let failures = driver.delete_many(call, &paths).await?.into_iter();
            Answer::Failures(failures.map(|(path, error)| (path.to_string(), error.into())).collect())
        }
        Request::DeleteTree { prefix } => {
            Answer::Count(driver.delete_tree(call, &Prefix::new(prefix)?).await?)
        }
        Request::RedirectUrl { path, method, expires, response_headers } => {
            let path = ObjectPath::new(path)?;
            let request = RedirectRequest { path, method, expires, response_headers };
            Answer::Url(driver.redirect_url(call, &request).await?)
        }
        Request::Health => {
            driver.health(call).await?;
            Answer::Done
        }
    };
    Ok(done.into())
}

fn state(content: &Bytes) -> Result<UploadState> {
    UploadState::new(content.to_vec())
}

fn reading(reading: Reading) -> Result<Done> {
    let Reading { total_size, offset, length, etag, body } = reading;
    let etag = etag.map(|etag| etag.0);
    let answer = |file_offset| Answer::Reading { total_size, offset, length, etag, file_offset };
    match body {
        ReadingBody::File(region) => {
            Ok(Done { file: Some(region.file.into()), ..answer(Some(region.offset)).into() })
        }
        ReadingBody::Stream(stream) => {
            let no_socket = |error: std::io::Error| {
                Error::new(ErrorKind::Unavailable, "there is no socket for the body").caused_by(&error)
            };
            let (ours, theirs) = pair().map_err(no_socket)?;
            let body = Some((stream, body::socket(ours).map_err(no_socket)?));
            Ok(Done { file: Some(theirs), body, ..answer(None).into() })
        }
    }
}

/// The body of an upload as the driver sees it.
fn arriving_body(file: Option<OwnedFd>, file_lost: bool) -> Result<ByteStream> {
    let Some(socket) = file else {
        let why = if file_lost { "too many files are open" } else { "an upload came without a body" };
        return Err(Error::new(ErrorKind::Unavailable, why));
    };
    let body = body::ask(body::socket(socket)?);
    Ok(body
        .map(|item| {
            item.map_err(|broken| match broken {
                Broken::Reported(error) => error,
                Broken::Cut => Error::new(ErrorKind::BodyFailed, "the body was cut off"),
            })
        })
        .boxed())
}

fn uploads(page: UploadPage) -> Done {
    let mut states = Vec::new();
    let uploads = page.uploads.into_iter().map(|upload| {
        states.extend_from_slice(upload.state.as_bytes());
        let state_length = upload.state.as_bytes().len();
        PendingUploadFacts { state_length, touched: upload.touched.into(), size: upload.size }
    });
    let uploads = uploads.collect();
    Done::with(Answer::Uploads { uploads, next: page.next }, states)
}
