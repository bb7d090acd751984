//! What all decorators share: forwarding every method of the driver through one place.

use std::sync::Arc;

use bytes::Bytes;
use docker_registry_driver_api::{
    ByteStream, CallContext, Capabilities, Condition, Description, Driver, ETag, Error, ErrorKind,
    HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading,
    RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress, UploadState,
    async_trait,
};

/// The calls of a driver, by the name of their method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Operation {
    Get,
    Put,
    Head,
    Stat,
    Read,
    List,
    OpenUpload,
    Append,
    Commit,
    Abort,
    ListUploads,
    Copy,
    Rename,
    Delete,
    DeleteMany,
    DeleteTree,
    RedirectUrl,
    Health,
    Write,
}

impl Operation {
    pub(crate) const ALL: [Self; 19] = [
        Self::Get,
        Self::Put,
        Self::Head,
        Self::Stat,
        Self::Read,
        Self::List,
        Self::OpenUpload,
        Self::Append,
        Self::Commit,
        Self::Abort,
        Self::ListUploads,
        Self::Copy,
        Self::Rename,
        Self::Delete,
        Self::DeleteMany,
        Self::DeleteTree,
        Self::RedirectUrl,
        Self::Health,
        Self::Write,
    ];

    /// Name of the trait method.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Head => "head",
            Self::Stat => "stat",
            Self::Read => "read",
            Self::List => "list",
            Self::OpenUpload => "open_upload",
            Self::Append => "append",
            Self::Commit => "commit",
            Self::Abort => "abort",
            Self::ListUploads => "list_uploads",
            Self::Copy => "copy",
            Self::Rename => "rename",
            Self::Delete => "delete",
            Self::DeleteMany => "delete_many",
            Self::DeleteTree => "delete_tree",
            Self::RedirectUrl => "redirect_url",
            Self::Health => "health",
            Self::Write => "write",
        }
    }

    /// Whether a call that did not answer may have changed the storage.
    pub(crate) fn writes(self) -> bool {
        use Operation::{
            Abort, Append, Commit, Copy, Delete, DeleteMany, DeleteTree, OpenUpload, Put, Rename, Write,
        };
        matches!(
            self,
            Put | OpenUpload
                | Append
                | Commit
                | Abort
                | Copy
                | Rename
                | Delete
                | DeleteMany
                | DeleteTree
                | Write
        )
    }
}

/// What a decorator adds to every call of the driver inside.
pub(crate) trait Around: Send + Sync + 'static {
    /// The driver inside.
    fn inner(&self) -> &Arc<dyn Driver>;

    /// Makes one call; `run` is handed the context that the driver is to see. It can be run again, but for
    /// a call with a body, which is used up. `path` is what the call is about, for logs; empty without one.
    fn around<T, F>(
        &self,
        operation: Operation,
        path: &str,
        call: &CallContext,
        run: impl FnMut(CallContext) -> F + Send,
    ) -> impl Future<Output = Result<T>> + Send
    where
        T: Send,
        F: Future<Output = Result<T>> + Send;

    /// Opens an object; what is added may reach into its stream.
    fn around_read(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        range: ReadRange,
    ) -> impl Future<Output = Result<Reading>> + Send {
        let run = move |call| async move { self.inner().read(&call, path, range).await };
        self.around(Operation::Read, path.as_str(), call, run)
    }

    /// Whether anything is added to a `put` with this condition.
    fn concerns_put(&self, _condition: &Condition) -> bool {
        true
    }

    /// Writes a small object.
    fn around_put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> impl Future<Output = Result<Option<ETag>>> + Send {
        async move {
            if !self.concerns_put(condition) {
                return self.inner().put(call, path, content, condition).await;
            }
            let run = |call: CallContext| {
                let content = content.clone();
                async move { self.inner().put(&call, path, content, condition).await }
            };
            self.around(Operation::Put, path.as_str(), call, run).await
        }
    }

    /// Makes a call that takes a body; what is added may reach into its stream.
    fn around_body<T, F>(
        &self,
        operation: Operation,
        path: &str,
        call: &CallContext,
        body: ByteStream,
        mut run: impl FnMut(CallContext, ByteStream) -> F + Send,
    ) -> impl Future<Output = Result<T>> + Send
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        let mut body = Some(body);
        self.around(operation, path, call, move |call| {
            let answer = body.take().map(|body| run(call, body));
            async move {
                let used_up = || Error::new(ErrorKind::Internal, "the body of an upload can be sent once");
                answer.ok_or_else(used_up)?.await
            }
        })
    }
}

/// A driver around another one.
pub(crate) struct Decorated<D>(pub(crate) D);

/// Forwards one method through [`Around::around`].
macro_rules! forward {
    ($self:ident, $operation:ident, $path:expr, $call:ident, $method:ident($($argument:ident),*)) => {{
        let inner = $self.0.inner();
        let run = |call: CallContext| async move { inner.$method(&call, $($argument),*).await };
        $self.0.around(Operation::$operation, $path, $call, run).await
    }};
}

#[async_trait]
impl<D: Around> Driver for Decorated<D> {
    fn describe() -> Description {
        // A decorator is made around an open driver and is never configured.
        Description { summary: String::new(), licence: String::new(), keys: Vec::new() }
    }

    async fn open(_: Settings, _: HostServices) -> Result<Self> {
        Err(Error::unsupported("open"))
    }

    fn capabilities(&self) -> Capabilities {
        self.0.inner().capabilities()
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        forward!(self, Get, path.as_str(), call, get(path, max_size))
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.0.around_put(call, path, content, condition).await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        forward!(self, Head, path.as_str(), call, head(path))
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        forward!(self, Stat, path.as_str(), call, stat(path))
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        self.0.around_read(call, path, range).await
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        forward!(self, List, request.prefix.as_str(), call, list(request))
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        forward!(
            self,
            OpenUpload,
            hint.final_path.as_ref().map_or("", ObjectPath::as_str),
            call,
            open_upload(hint)
        )
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        let run =
            |call, body| async move { self.0.inner().append(&call, state, expected_offset, body).await };
        self.0.around_body(Operation::Append, "", call, body, run).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        forward!(self, Commit, final_path.as_str(), call, commit(state, final_path, condition))
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        forward!(self, Abort, "", call, abort(state))
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let run = |call, body| async move { self.0.inner().write(&call, path, size, body, condition).await };
        self.0.around_body(Operation::Write, path.as_str(), call, body, run).await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: std::time::SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        forward!(self, ListUploads, "", call, list_uploads(older_than, after, limit))
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        forward!(self, Copy, from.as_str(), call, copy(from, to))
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        forward!(self, Rename, from.as_str(), call, rename(from, to))
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        forward!(self, Delete, path.as_str(), call, delete(path))
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        forward!(self, DeleteMany, paths.first().map_or("", ObjectPath::as_str), call, delete_many(paths))
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        forward!(self, DeleteTree, prefix.as_str(), call, delete_tree(prefix))
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        forward!(self, RedirectUrl, request.path.as_str(), call, redirect_url(request))
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        forward!(self, Health, "", call, health())
    }

    async fn close(&self, grace: std::time::Duration) {
        self.0.inner().close(grace).await;
    }
}
