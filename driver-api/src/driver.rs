//! The trait that a storage driver implements.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    ByteStream, CallContext, Capabilities, Condition, Description, ETag, HostServices, ListPage, ListRequest,
    Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading, RedirectRequest, Result, Settings, Stat,
    UploadHint, UploadPage, UploadProgress, UploadState,
};

/// A store of objects by path.
///
/// # Rules for every method
/// - **Concurrency**: any number of calls run at once, from any thread.
/// - **Cancellation**: a call whose future is dropped stops as soon as it can. A write that was
///   dropped may or may not have happened, but never by half.
/// - **Durability**: when a write returns `Ok`, it survives a crash of the process and, as far as the
///   storage can promise it, of the machine; for a [`transient`](CallContext::transient) `put` or delete
///   the first is enough.
/// - **Atomicity**: a reader sees an object as it was before a write or after it, never between.
/// - **Names**: paths that differ in a single byte are different objects, and a listing returns each
///   path byte for byte as it was written: nothing is folded, normalised, trimmed or decoded. A write to
///   a path that the storage cannot keep fails with [`InvalidPath`](crate::ErrorKind::InvalidPath) and
///   changes nothing. Segments of up to 200 ASCII letters, digits, `.`, `_`, `-`, `%` and `+` can always
///   be kept, save those that begin with `.docker-registry`: they may be the driver's own.
/// - **Errors**: an absent object is [`NotFound`](crate::ErrorKind::NotFound) everywhere, and a folder is
///   no object. A write whose fate is not known sets
///   [`outcome_unknown`](crate::Error::outcome_unknown). `operation` and `path` of the error are filled in
///   for the author.
/// - **Blocking**: a driver that may block the thread it is polled on (file I/O without
///   `spawn_blocking`, long computation) must not declare `nonblocking` in `export_driver!`; it is
///   then spawned on its own runtime.
/// - Tokio's timers, sockets and `spawn_blocking` work in every method: the driver's own runtime is
///   entered on each poll. Never call `block_on`.
#[async_trait]
pub trait Driver: Send + Sync + 'static {
    /// What the driver is and which keys it reads. Called without opening it.
    fn describe() -> Description
    where
        Self: Sized;

    /// Connects to the storage. Reaches out far enough to find wrong settings now, not on the first
    /// request, and probes what decides [`Driver::capabilities`].
    ///
    /// # Errors
    /// [`InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration) with the key in the message;
    /// anything that keeps the storage from being used.
    async fn open(settings: Settings, host: HostServices) -> Result<Self>
    where
        Self: Sized;

    /// What this open driver can do beyond the minimum. Constant for its life.
    fn capabilities(&self) -> Capabilities;

    /// Reads a small object whole, in one round trip where the storage allows it.
    ///
    /// # Errors
    /// `NotFound`; [`TooLarge`](crate::ErrorKind::TooLarge) when it has more than `max_size` bytes,
    /// found before they are read into memory.
    async fn get(&self, call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object>;

    /// Writes a small object whole and atomically, making the folders it needs. Returns its new tag
    /// if the storage has tags.
    ///
    /// # Errors
    /// [`ConditionFailed`](crate::ErrorKind::ConditionFailed) when `condition` does not hold;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) when the driver lacks the capability for it;
    /// [`Conflict`](crate::ErrorKind::Conflict) when a folder is at the path or an object is where one
    /// of its folders would be, in stores that have folders.
    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>>;

    /// Facts of exactly one object, in one round trip. A folder is `NotFound` here.
    ///
    /// # Errors
    /// `NotFound`.
    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo>;

    /// What lies at a path, folders included. The root is always a folder.
    ///
    /// # Errors
    /// `NotFound`.
    async fn stat(&self, call: &CallContext, path: &Prefix) -> Result<Stat>;

    /// Opens an object for reading. An open reading is not disturbed by a replacement or deletion of
    /// the object: it yields the old content, or an error, but never a mixture.
    ///
    /// # Errors
    /// `NotFound`; [`InvalidRange`](crate::ErrorKind::InvalidRange) by the rules of
    /// [`ReadRange::resolve`].
    async fn read(&self, call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading>;

    /// One page of a listing in byte order of the full paths. A folder that does not exist is an
    /// empty page.
    ///
    /// In a listing of direct children a folder `a` sorts as `a`, and `after` is compared with entry
    /// paths as they are returned.
    ///
    /// # Errors
    /// None of its own.
    async fn list(&self, call: &CallContext, request: &ListRequest) -> Result<ListPage>;

    /// Begins an upload; see [`crate::UploadState`] for the rules.
    ///
    /// # Errors
    /// None of its own.
    async fn open_upload(&self, call: &CallContext, hint: &UploadHint) -> Result<UploadState>;

    /// Adds the stream's bytes at `expected_offset`, which must be where the upload stands. When it
    /// returns, everything up to the new offset is durable.
    ///
    /// When the stream yields an error, the upload stays as it was before the call and `state` stays
    /// valid. The same holds when the call is dropped before the stream has ended. A caller that wants to
    /// keep what arrived ends the stream instead.
    ///
    /// # Errors
    /// [`Conflict`](crate::ErrorKind::Conflict) for a stale state or another offset;
    /// [`BodyFailed`](crate::ErrorKind::BodyFailed) when the stream failed; `NotFound` when the upload
    /// was aborted or committed.
    async fn append(
        &self,
        call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress>;

    /// Makes the upload an object at `final_path`, atomically, and ends it.
    ///
    /// # Errors
    /// `Conflict` for a stale state; `ConditionFailed` when `condition` does not hold (the upload then
    /// stays open); `NotFound` when the upload is gone. `Unsupported` and `Conflict` for the condition and
    /// the path are as in [`Driver::put`], and leave the upload open as well.
    async fn commit(
        &self,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo>;

    /// Discards the upload. Works with any state of it, stale ones included; one that is gone already
    /// is `Ok`.
    ///
    /// # Errors
    /// None of its own.
    async fn abort(&self, call: &CallContext, state: &UploadState) -> Result<()>;

    /// Writes content of any size whole and atomically: an upload in one call, for callers that know the path
    /// before they have the bytes. `size` is how many will probably come; it promises nothing. A store that has
    /// large writes of its own spares the steps of an upload; by default these steps are what is done. Since API
    /// 1.1.
    ///
    /// When the stream yields an error, nothing is visible at the path but what was there, and nothing is left
    /// of what arrived. A call that is dropped before the stream has ended changes nothing at the path either;
    /// what arrived may then be left, as after a crash, where [`Driver::list_uploads`] finds it.
    ///
    /// # Errors
    /// [`BodyFailed`](crate::ErrorKind::BodyFailed) when the stream failed; those of [`Driver::put`].
    async fn write(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        write_in_steps(self, call, path, size, body, condition).await
    }

    /// Uploads that were last touched before `older_than`, at most `limit` of them.
    ///
    /// # Errors
    /// `Unsupported` without [`Capability::ListUploads`](crate::Capability::ListUploads).
    async fn list_uploads(
        &self,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage>;

    /// Copies one object, replacing what is at `to`. A copy onto itself changes nothing.
    ///
    /// # Errors
    /// `NotFound` for the source; what is at `to` is then unchanged. `Conflict` as in [`Driver::put`].
    async fn copy(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()>;

    /// Moves one object, replacing what is at `to`. The source goes only after the copy is known to be
    /// complete and of equal size. A move onto itself changes nothing.
    ///
    /// What is at `to` survives a power cut, also when the source was put by a transient call. A
    /// [`transient`](CallContext::transient) move says no more than that the source may be back after one.
    ///
    /// # Errors
    /// `NotFound` for the source; what is at `to` is then unchanged. `Conflict` as in [`Driver::put`]; the
    /// source is then still there.
    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()>;

    /// Deletes one object. What lies in a folder of the same name stays.
    ///
    /// # Errors
    /// `NotFound`, where the storage tells; one that does not tell returns `Ok`.
    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()>;

    /// Deletes exactly these objects, however many they are; absent ones are no error. Returns the ones
    /// that could not be deleted, each with its error.
    ///
    /// # Errors
    /// Those that concern the whole call.
    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, crate::Error)>>;

    /// Deletes everything below the folder and the object of the same name, and nothing else: `a` takes
    /// `a` and `a/b`, never `ab`. Not atomic. Returns how many objects went. The root empties the store,
    /// pending uploads not counted.
    ///
    /// # Errors
    /// None of its own: nothing there is `Ok(0)`.
    async fn delete_tree(&self, call: &CallContext, prefix: &Prefix) -> Result<u64>;

    /// An address where a client can fetch the object from the storage itself, or `None`.
    ///
    /// # Errors
    /// None of its own.
    async fn redirect_url(&self, call: &CallContext, request: &RedirectRequest) -> Result<Option<String>>;

    /// Whether the storage answers and can be written, as cheaply as that can be known.
    ///
    /// # Errors
    /// The reason why it does not.
    async fn health(&self, call: &CallContext) -> Result<()>;

    /// Ends the driver's work: called once, when no other call is under way or will come. At most
    /// `grace` is waited for.
    async fn close(&self, grace: Duration) {
        let _ = grace;
    }
}

/// [`Driver::write`] by an upload of the same driver.
pub(crate) async fn write_in_steps<D: Driver + ?Sized>(
    driver: &D,
    call: &CallContext,
    path: &ObjectPath,
    size: Option<u64>,
    body: ByteStream,
    condition: &Condition,
) -> Result<ObjectInfo> {
    let hint = UploadHint { final_path: Some(path.clone()), size };
    let state = driver.open_upload(call, &hint).await?;
    let written = match driver.append(call, &state, 0, body).await {
        Ok(progress) => driver.commit(call, &progress.state, path, condition).await,
        Err(error) => Err(error),
    };
    if written.as_ref().is_err_and(|error| !error.outcome_unknown) {
        // What is left is found by `list_uploads`.
        let _ = driver.abort(call, &state).await;
    }
    written
}
