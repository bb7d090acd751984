//! The storage driver `__NAME__`.
//!
//! It works as it stands: it keeps objects in memory and every guarantee of the `Driver` trait
//! holds, save that a restart loses everything. Make it yours file by file, and run
//! `cargo test` after each:
//!
//! 1. `settings.rs`: the keys that an operator sets;
//! 2. `contents.rs`: what stands for your storage: replace it by a connection or a folder;
//! 3. `objects.rs`: whole objects and the conditions of writes;
//! 4. `listing.rs`: pages in byte order;
//! 5. `uploads.rs`: content that arrives in steps.
//!
//! This file only says what the driver is and hands each call on.

mod contents;
mod listing;
mod objects;
mod settings;
mod uploads;

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Capability, Condition, Description, Driver, ETag, Error,
    HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading,
    RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress, UploadState,
    async_trait,
};

use crate::{contents::Contents, settings::StoreSettings};

// What to put here: `nonblocking: true` promises that no method blocks the thread it runs on. Say
// `false` when you call blocking code (file I/O, a synchronous client); the server then runs every
// call on threads of the driver's own.
docker_registry_driver_api::export_driver! {
    name: "__NAME__",
    driver: Store,
    nonblocking: true,
}

/// The driver. One value serves all calls, from any thread, for the life of the server.
pub struct Store {
    settings: StoreSettings,
    contents: Mutex<Contents>,
}

impl Store {
    /// The contents, locked. Never hold the guard across an `.await`.
    ///
    /// The lock of a thread that panicked is taken all the same: every change is made in steps
    /// that cannot panic half way.
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for Store {
    /// What to put here: one line for operators. It is read without opening the driver, so reach
    /// out to nothing.
    fn describe() -> Description {
        Description {
            summary: "keeps objects in memory until the server stops".to_owned(),
            licence: env!("CARGO_PKG_LICENSE").to_owned(),
            keys: StoreSettings::keys(),
        }
    }

    /// What to put here: connect, and make one cheap call with the operator's credentials, so that
    /// a wrong setting is found at the start and not by the first client.
    async fn open(settings: Settings, _host: HostServices) -> Result<Self> {
        let settings = StoreSettings::read(&settings)?;
        let contents = Mutex::new(Contents::new(settings.capacity));
        Ok(Self { settings, contents })
    }

    /// What to put here: what your storage can do. Claim only what holds; the server never asks
    /// for the rest.
    fn capabilities(&self) -> Capabilities {
        Capabilities::from_iter([
            Capability::PutIfAbsent,
            Capability::PutIfMatch,
            Capability::StrongConsistency,
            Capability::CheapRename,
            Capability::ListUploads,
        ])
    }

    async fn get(&self, _call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        self.contents().get(path, max_size)
    }

    async fn put(
        &self,
        _call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        Ok(self.contents().put(path, &content, condition)?.etag)
    }

    async fn head(&self, _call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        Ok(self.contents().find(path)?.info())
    }

    async fn stat(&self, _call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.contents().stat(path)
    }

    async fn read(&self, _call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        self.contents().read(path, range)
    }

    async fn list(&self, _call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        Ok(self.contents().page(request))
    }

    async fn open_upload(&self, _call: &CallContext, _hint: &UploadHint) -> Result<UploadState> {
        self.contents().open_upload()
    }

    async fn append(
        &self,
        _call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        // A stale caller is told before it sends a gigabyte.
        let room = self.contents().check_append(state, expected_offset)?;
        let received = uploads::receive(body, room).await?;
        // And checked again: somebody else may have gone on from the same state meanwhile.
        self.contents().append(state, expected_offset, received)
    }

    async fn commit(
        &self,
        _call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.contents().commit(state, final_path, condition)
    }

    async fn abort(&self, _call: &CallContext, state: &UploadState) -> Result<()> {
        self.contents().abort(state);
        Ok(())
    }

    async fn list_uploads(
        &self,
        _call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.contents().pending(older_than, after, limit)
    }

    async fn copy(&self, _call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.contents().copy(from, to)
    }

    async fn rename(&self, _call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.contents().rename(from, to)
    }

    async fn delete(&self, _call: &CallContext, path: &ObjectPath) -> Result<()> {
        self.contents().remove(path).ok_or_else(|| Error::not_found(path))
    }

    /// What to put here: the storage's own bulk call, if it has one.
    async fn delete_many(
        &self,
        _call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let mut contents = self.contents();
        for path in paths {
            // An absent object is no failure here.
            let _ = contents.remove(path);
        }
        Ok(Vec::new())
    }

    async fn delete_tree(&self, _call: &CallContext, prefix: &Prefix) -> Result<u64> {
        Ok(self.contents().remove_tree(prefix))
    }

    /// What to put here: a signed address, when clients can fetch from the storage themselves; then
    /// add `Capability::Redirects`. `None` means that the server sends the bytes.
    async fn redirect_url(&self, _call: &CallContext, _request: &RedirectRequest) -> Result<Option<String>> {
        Ok(None)
    }

    /// What to put here: the cheapest call that shows that the storage answers and takes writes.
    async fn health(&self, _call: &CallContext) -> Result<()> {
        self.contents().check_room(self.settings.spare)
    }

    /// What to put here: end connections and tasks. No other call is under way.
    async fn close(&self, _grace: Duration) {}
}
