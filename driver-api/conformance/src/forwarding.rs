//! A driver in front of another one, for tests that change one thing and leave the rest.
//!
//! A type implements [`Forward`], names the driver behind it, and overrides the methods that it is
//! about. [`Forwarding`] makes a driver of it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Condition, Description, Driver, ETag, Error, HostServices,
    ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading, RedirectRequest,
    Result, Settings, SharedDriver, Stat, UploadHint, UploadPage, UploadProgress, UploadState,
};

/// The methods of an open driver; each one goes to another driver unless it is overridden.
#[async_trait]
pub trait Forward: Send + Sync + 'static {
    /// The driver behind this one.
    fn inner(&self) -> &SharedDriver;

    /// Forwards [`Driver::capabilities`].
    fn capabilities(&self) -> Capabilities {
        self.inner().capabilities()
    }

    /// Forwards [`Driver::get`].
    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        self.inner().get(call, path, max_size).await
    }

    /// Forwards [`Driver::put`].
    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.inner().put(call, path, content, condition).await
    }

    /// Forwards [`Driver::head`].
    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.inner().head(call, path).await
    }

    /// Forwards [`Driver::stat`].
    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.inner().stat(call, path).await
    }

    /// Forwards [`Driver::read`].
    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        self.inner().read(call, path, range).await
    }

    /// Forwards [`Driver::list`].
    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.inner().list(call, request).await
    }

    /// Forwards [`Driver::open_upload`].
    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        self.inner().open_upload(call, hint).await
    }

    /// Forwards [`Driver::append`].
    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.inner().append(call, state, expected_offset, body).await
    }

    /// Forwards [`Driver::commit`].
    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.inner().commit(call, state, final_path, condition).await
    }

    /// Forwards [`Driver::abort`].
    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.inner().abort(call, state).await
    }

    /// Forwards [`Driver::write`].
    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.inner().write(call, path, size, body, condition).await
    }

    /// Forwards [`Driver::list_uploads`].
    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.inner().list_uploads(call, older_than, after, limit).await
    }

    /// Forwards [`Driver::copy`].
    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.inner().copy(call, from, to).await
    }

    /// Forwards [`Driver::rename`].
    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.inner().rename(call, from, to).await
    }

    /// Forwards [`Driver::delete`].
    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.inner().delete(call, path).await
    }

    /// Forwards [`Driver::delete_many`].
    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        self.inner().delete_many(call, paths).await
    }

    /// Forwards [`Driver::delete_tree`].
    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.inner().delete_tree(call, prefix).await
    }

    /// Forwards [`Driver::redirect_url`].
    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        self.inner().redirect_url(call, request).await
    }

    /// Forwards [`Driver::health`].
    async fn health(&self, call: &CallContext) -> Result<()> {
        self.inner().health(call).await
    }

    /// Forwards [`Driver::close`].
    async fn close(&self, grace: Duration) {
        self.inner().close(grace).await
    }
}

/// A driver made of a [`Forward`].
pub struct Forwarding<F>(pub F);

impl<F: Forward> Forwarding<F> {
    /// The driver, ready to be shared.
    pub fn shared(forward: F) -> SharedDriver {
        Arc::new(Self(forward))
    }
}

#[async_trait]
impl<F: Forward> Driver for Forwarding<F> {
    fn describe() -> Description {
        Description {
            summary: "stands in front of another driver in tests".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: Vec::new(),
        }
    }

    /// A driver like this is made around one that is open.
    async fn open(_: Settings, _: HostServices) -> Result<Self> {
        Err(Error::unsupported("open"))
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        self.0.get(call, path, max_size).await
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        self.0.put(call, path, content, condition).await
    }

    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        self.0.head(call, path).await
    }

    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.0.stat(call, path).await
    }

    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        self.0.read(call, path, range).await
    }

    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        self.0.list(call, request).await
    }

    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState> {
        self.0.open_upload(call, hint).await
    }

    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        self.0.append(call, state, expected_offset, body).await
    }

    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.0.commit(call, state, final_path, condition).await
    }

    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()> {
        self.0.abort(call, state).await
    }

    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.0.write(call, path, size, body, condition).await
    }

    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.0.list_uploads(call, older_than, after, limit).await
    }

    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.0.copy(call, from, to).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.0.rename(call, from, to).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.0.delete(call, path).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        self.0.delete_many(call, paths).await
    }

    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64> {
        self.0.delete_tree(call, prefix).await
    }

    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>> {
        self.0.redirect_url(call, request).await
    }

    async fn health(&self, call: &CallContext) -> Result<()> {
        self.0.health(call).await
    }

    async fn close(&self, grace: Duration) {
        self.0.close(grace).await
    }
}
