//! Uploads.

use std::{sync::Arc, time::SystemTime};

use docker_registry_driver_api::{
    ByteStream, CallContext, Condition, Error, ObjectInfo, ObjectPath, Result, UploadHint, UploadPage,
    UploadProgress, UploadState,
};

use crate::engine::Engine;

impl Engine {
    /// See [`Driver::open_upload`](docker_registry_driver_api::Driver::open_upload).
    pub async fn open_upload(self: &Arc<Self>, _: &CallContext, _: &UploadHint) -> Result<UploadState> {
        Err(Error::unsupported("open_upload"))
    }

    /// See [`Driver::append`](docker_registry_driver_api::Driver::append).
    pub async fn append(
        self: &Arc<Self>,
        _: &CallContext,
        _: &UploadState,
        _: u64,
        _: ByteStream,
    ) -> Result<UploadProgress> {
        Err(Error::unsupported("append"))
    }

    /// See [`Driver::commit`](docker_registry_driver_api::Driver::commit).
    pub async fn commit(
        self: &Arc<Self>,
        _: &CallContext,
        _: &UploadState,
        _: &ObjectPath,
        _: &Condition,
    ) -> Result<ObjectInfo> {
        Err(Error::unsupported("commit"))
    }

    /// See [`Driver::abort`](docker_registry_driver_api::Driver::abort).
    pub async fn abort(self: &Arc<Self>, _: &CallContext, _: &UploadState) -> Result<()> {
        Err(Error::unsupported("abort"))
    }

    /// See [`Driver::write`](docker_registry_driver_api::Driver::write).
    pub async fn write(
        self: &Arc<Self>,
        _: &CallContext,
        _: &ObjectPath,
        _: Option<u64>,
        _: ByteStream,
        _: &Condition,
    ) -> Result<ObjectInfo> {
        Err(Error::unsupported("write"))
    }

    /// See [`Driver::list_uploads`](docker_registry_driver_api::Driver::list_uploads).
    pub async fn list_uploads(
        self: &Arc<Self>,
        _: &CallContext,
        _: SystemTime,
        _: Option<&str>,
        _: u32,
    ) -> Result<UploadPage> {
        Err(Error::unsupported("list_uploads"))
    }
}
