//! A driver in another process, as everybody else sees it.

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Condition, Description, Driver, ETag, Error, ErrorKind,
    FileRegion, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, PendingUpload, Prefix,
    ReadRange, Reading, ReadingBody, RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage,
    UploadProgress, UploadState, async_trait,
};

use super::{
    body::{self, Sent},
    channel::pair,
    connection::{CallError, Reply},
    facts::WireContext,
    messages::{Answer, Request},
    reading::{self, Opened},
    supervisor::{Absent, Supervisor},
};

/// See the module.
pub(super) struct Remote {
    calls: Arc<Calls>,
    capabilities: Capabilities,
}

/// Makes calls in whatever process there is.
pub(super) struct Calls {
    supervisor: Supervisor,
}

/// An answer that is not an error.
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) content: Bytes,
    pub(super) file: Option<OwnedFd>,
    pub(super) file_lost: bool,
    /// The number of the process that gave it.
    pub(super) generation: u64,
    /// Whether the call had been interrupted before, and is not to be made a third time.
    pub(super) again: bool,
}

impl Remote {
    pub(super) fn new(supervisor: Supervisor, capabilities: Capabilities) -> Self {
        Self { calls: Arc::new(Calls { supervisor }), capabilities }
    }

    async fn ask(&self, call: &CallContext, request: Request, content: Bytes) -> Result<Answered> {
        self.calls.make(call, request, content).await
    }

    /// A call that carries no content and is answered with no more than that it is done.
    async fn done(&self, call: &CallContext, request: Request, content: Bytes) -> Result<()> {
        match self.ask(call, request, content).await?.answer {
            Answer::Done => Ok(()),
            _ => Err(out_of_turn()),
        }
    }

    /// Makes a call that takes a body.
    async fn send(
        &self,
        call: &CallContext,
        request: Request,
        content: Bytes,
        body: ByteStream,
    ) -> Result<Answered> {
        let (mut body, mut dead) = (Some(body), None);
        loop {
            let next = self.calls.supervisor.connection(dead).await;
            let (connection, generation) = next.map_err(|absent| down(&request, absent))?;
            let (ours, theirs) = pair().map_err(|error| about(&request, error.into()))?;
            let ours = body::socket(ours).map_err(|error| about(&request, error.into()))?;
            let calling =
                connection.call(WireContext::from(call), request.clone(), content.clone(), Some(theirs));
            tokio::pin!(calling);
            // Both at once; when this is dropped, the body is cut off and the call is cancelled.
            let reply = tokio::select! {
                reply = &mut calling => reply,
                // A body that was asked for goes as soon as the driver wants no more of it, as it would in this
                // process.
                Sent::Whole | Sent::Unwanted = body::send_when_asked(&mut body, ours) => calling.await,
            };
            match reply {
                // As other calls that have not reached the process when that died; nobody touched the body.
                Err(CallError::Lost { begun: false }) if dead.is_none() && body.is_some() => {
                    dead = Some(generation);
                }
                Err(error) => return Err(self.calls.failed(&request, error)),
                Ok(reply) => return answered(reply, generation, false),
            }
        }
    }
}

impl Calls {
    /// Makes a call. One that has not reached the process when that dies is made in the next; one that was
    /// under way as well, once, if it changes nothing.
    pub(super) async fn make(
        &self,
        call: &CallContext,
        request: Request,
        content: Bytes,
    ) -> Result<Answered> {
        let (connection, generation) =
            self.supervisor.connection(None).await.map_err(|absent| down(&request, absent))?;
        let made = connection.call(WireContext::from(call), request.clone(), content.clone(), None).await;
        match made {
            Ok(reply) => answered(reply, generation, false),
            Err(CallError::Lost { begun }) if !begun || request.only_reads() => {
                self.make_after(call, request, content, generation, begun).await
            }
            Err(error) => Err(self.failed(&request, error)),
        }
    }

    /// Makes a call in a later process than `generation`. `interrupted` says that it was under way in that
    /// one; then this is its last try, and its error says so.
    pub(super) async fn make_after(
        &self,
        call: &CallContext,
        request: Request,
        content: Bytes,
        generation: u64,
        interrupted: bool,
    ) -> Result<Answered> {
        let next = self.supervisor.connection(Some(generation)).await;
        let (connection, generation) =
            next.map_err(|absent| last_word(down(&request, absent), interrupted))?;
        let made = connection.call(WireContext::from(call), request.clone(), content, None).await;
        let made = made.map_err(|error| self.failed(&request, error));
        let answered = made.and_then(|reply| answered(reply, generation, interrupted));
        answered.map_err(|error| last_word(error, interrupted))
    }

    fn failed(&self, request: &Request, error: CallError) -> Error {
        match error {
            CallError::Lost { begun: true } => {
                let mut error = self.cut_off(request);
                error.outcome_unknown = !request.only_reads();
                error
            }
            CallError::Lost { begun: false } => down(request, Absent::Until(self.supervisor.retry_after())),
            CallError::TooLarge(error) => {
                let error = Error::new(ErrorKind::TooLarge, "the call is too large").caused_by(&error);
                about(request, error)
            }
        }
    }

    /// The error of a call whose process died. The server is not to make it again: if it was the call that
    /// ended the process, it has done so twice, and each time to all other calls as well. The client may.
    pub(super) fn cut_off(&self, request: &Request) -> Error {
        let mut error = Error::new(ErrorKind::Unavailable, "the driver's process ended during the call");
        error.retryable = false;
        error.retry_after = Some(self.supervisor.retry_after());
        about(request, error)
    }
}

fn answered(reply: Reply, generation: u64, again: bool) -> Result<Answered> {
    let Reply { answer, content, file, file_lost } = reply;
    Ok(Answered { answer: answer?, content, file, file_lost, generation, again })
}

/// The error of a call that, once it was interrupted, nobody on the server is to make a third time.
fn last_word(error: Error, interrupted: bool) -> Error {
    if interrupted { error.retryable(false) } else { error }
}

/// Nothing was done, because there is no process.
fn down(request: &Request, absent: Absent) -> Error {
    let error = match absent {
        Absent::Until(pause) => {
            let mut error =
                Error::new(ErrorKind::Unavailable, "the driver's process ended and is being started again");
            error.retry_after = Some(pause);
            error
        }
        Absent::Closed => Error::new(ErrorKind::Unavailable, "the driver is closed").retryable(false),
    };
    about(request, error)
}

fn about(request: &Request, mut error: Error) -> Error {
    request.operation().clone_into(&mut error.operation);
    error.path = request.path().map(str::to_owned);
    error
}

/// The process answered with something else than what was asked for, which its code rules out.
pub(super) fn out_of_turn() -> Error {
    Error::new(ErrorKind::Internal, "the driver's process answered another question")
}

fn text(path: &ObjectPath) -> String {
    path.as_str().to_owned()
}

fn state_bytes(state: &UploadState) -> Bytes {
    Bytes::copy_from_slice(state.as_bytes())
}

#[async_trait]
impl Driver for Remote {
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
        let answered = self.ask(call, Request::Get { path: text(path), max_size }, Bytes::new()).await?;
        match answered.answer {
            Answer::Object(info) => Ok(Object { content: answered.content, info: info.into() }),
            _ => Err(out_of_turn()),
        }
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let request = Request::Put { path: text(path), condition: condition.into() };
        match self.ask(call, request, content).await?.answer {
            Answer::ETag(etag) => Ok(etag.map(ETag)),
            _ => Err(out_of_turn()),
        }
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        match self.ask(call, Request::Head { path: text(path) }, Bytes::new()).await?.answer {
            Answer::Info(info) => Ok(info.into()),
            _ => Err(out_of_turn()),
        }
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        let request = Request::Stat { path: path.as_str().to_owned() };
        match self.ask(call, request, Bytes::new()).await?.answer {
            Answer::Info(info) => Ok(Stat::Object(info.into())),
            Answer::Folder => Ok(Stat::Folder),
            _ => Err(out_of_turn()),
        }
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        let request = Request::Read { path: text(path), range: range.into() };
        let answered = self.ask(call, request.clone(), Bytes::new()).await?;
        let (generation, interrupted) = (answered.generation, answered.again);
        let Opened { total_size, offset, length, etag, file, file_offset } =
            reading::opened(answered).map_err(|error| last_word(error, interrupted))?;
        let body = match file_offset {
            Some(offset) => ReadingBody::File(FileRegion { file: File::from(file), offset, length }),
            None => {
                let again = reading::Again {
                    calls: Arc::clone(&self.calls),
                    call: call.clone(),
                    request,
                    generation,
                    interrupted,
                    facts: (total_size, offset, length, etag.clone()),
                };
                let stream = reading::stream(file, again);
                ReadingBody::Stream(stream.map_err(|error| last_word(error, interrupted))?)
            }
        };
        Ok(Reading { total_size, offset, length, etag: etag.map(ETag), body })
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        let request = Request::List {
            prefix: request.prefix.as_str().to_owned(),
            recursive: request.recursive,
            after: request.after.clone(),
            limit: request.limit,
        };
        match self.ask(call, request, Bytes::new()).await?.answer {
            Answer::Page(page) => Ok(page.into()),
            _ => Err(out_of_turn()),
        }
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        let request = Request::OpenUpload { final_path: hint.final_path.as_ref().map(text), size: hint.size };
        let answered = self.ask(call, request, Bytes::new()).await?;
        match answered.answer {
            Answer::State => UploadState::new(answered.content.to_vec()),
            _ => Err(out_of_turn()),
        }
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        let request = Request::Append { expected_offset };
        let answered = self.send(call, request, state_bytes(state), body).await?;
        match answered.answer {
            Answer::Progress { offset } => {
                Ok(UploadProgress { state: UploadState::new(answered.content.to_vec())?, offset })
            }
            _ => Err(out_of_turn()),
        }
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let request = Request::Commit { final_path: text(final_path), condition: condition.into() };
        match self.ask(call, request, state_bytes(state)).await?.answer {
            Answer::Info(info) => Ok(info.into()),
            _ => Err(out_of_turn()),
        }
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.done(call, Request::Abort, state_bytes(state)).await
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let request = Request::Write { path: text(path), size, condition: condition.into() };
        match self.send(call, request, Bytes::new(), body).await?.answer {
            Answer::Info(info) => Ok(info.into()),
            _ => Err(out_of_turn()),
        }
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        let request =
            Request::ListUploads { older_than: older_than.into(), after: after.map(str::to_owned), limit };
        let answered = self.ask(call, request, Bytes::new()).await?;
        let Answer::Uploads { uploads, next } = answered.answer else { return Err(out_of_turn()) };
        let mut states = answered.content;
        let uploads = uploads.into_iter().map(|upload| {
            if upload.state_length > states.len() {
                return Err(out_of_turn());
            }
            let state = UploadState::new(states.split_to(upload.state_length).to_vec())?;
            Ok(PendingUpload { state, touched: upload.touched.into(), size: upload.size })
        });
        Ok(UploadPage { uploads: uploads.collect::<Result<_>>()?, next })
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.done(call, Request::Copy { from: text(from), to: text(to) }, Bytes::new()).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.done(call, Request::Rename { from: text(from), to: text(to) }, Bytes::new()).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.done(call, Request::Delete { path: text(path) }, Bytes::new()).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let request = Request::DeleteMany { paths: paths.iter().map(text).collect() };
        let Answer::Failures(failures) = self.ask(call, request, Bytes::new()).await?.answer else {
            return Err(out_of_turn());
        };
        let failures = failures.into_iter();
        failures.map(|(path, error)| Ok((ObjectPath::new(path)?, error.into()))).collect()
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        let request = Request::DeleteTree { prefix: prefix.as_str().to_owned() };
        match self.ask(call, request, Bytes::new()).await?.answer {
            Answer::Count(count) => Ok(count),
            _ => Err(out_of_turn()),
        }
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        let request = Request::RedirectUrl {
            path: text(&request.path),
            method: request.method.clone(),
            expires: request.expires,
            response_headers: request.response_headers.clone(),
        };
        match self.ask(call, request, Bytes::new()).await?.answer {
            Answer::Url(url) => Ok(url),
            _ => Err(out_of_turn()),
        }
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.done(call, Request::Health, Bytes::new()).await
    }

    async fn close(&self, grace: Duration) {
        self.calls.supervisor.close(grace).await;
    }
}
