//! A storage driver that keeps everything in memory: the tutorial for driver authors.
//!
//! It is complete. Every method of [`Driver`] is here, each with a note on why it is done this way,
//! and every guarantee of the trait holds, save that a restart loses everything. Read it in this
//! order:
//!
//! 1. this file: what the driver says about itself, and the methods, each a line or two long;
//! 2. `settings.rs`: how configuration arrives;
//! 3. `objects.rs`: the store proper and the conditions of writes;
//! 4. `uploads.rs`: the life of an upload and the fence against stale callers;
//! 5. `listing.rs`: byte order, cursors and folders;
//! 6. `content.rs`: bytes that are counted against a limit and given back when dropped.
//!
//! # How a driver of your own begins
//! A crate of crate-type `cdylib` named `docker-registry-driver-NAME`, with one dependency,
//! `docker-registry-driver-api`, and one `export_driver!` line. No `unsafe`, no ABI types, no runtime
//! to set up: inside every method tokio's timers, sockets and `spawn_blocking` work.

mod content;
mod listing;
mod objects;
mod settings;
mod uploads;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Capability, Condition, Description, Driver, ETag, Error,
    ErrorKind, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
    Reading, ReadingBody, RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress,
    UploadState, async_trait, futures::TryStreamExt,
};

use crate::{
    content::{Budget, Content},
    objects::Objects,
    settings::MemorySettings,
    uploads::Uploads,
};

// Makes the library a driver. `nonblocking` is a promise: no method below blocks the thread it is
// polled on. The locks are held for map look-ups only. With `false` the server runs every call on a
// thread pool of the driver's own, which is the right choice for code that does block.
docker_registry_driver_api::export_driver! {
    name: "recorded",
    driver: MemoryDriver,
    nonblocking: true,
}

/// The driver. One value serves all calls, from any thread, for the life of the server.
pub struct MemoryDriver {
    settings: MemorySettings,
    budget: Arc<Budget>,
    state: Mutex<State>,
}

/// What the calls share. A commit touches both halves, so one lock covers both.
struct State {
    objects: Objects,
    uploads: Uploads,
}

impl MemoryDriver {
    /// The shared state. The lock is held for map look-ups only and never across an `.await`, so a
    /// plain mutex is the right one.
    ///
    /// A poisoned lock is taken all the same: each change below is made of steps that cannot panic
    /// half way, and a storage that refuses all work after one panic helps nobody.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for MemoryDriver {
    /// Called before `open`, for `driver inspect` and for checking the configuration file. It must
    /// not reach out to anything.
    fn describe() -> Description {
        Description {
            summary: "keeps objects in memory until the server stops; for tests and as an example".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: MemorySettings::keys(),
        }
    }

    /// A driver for a remote storage would make one cheap authenticated call here, so that a wrong
    /// password shows at the start. Memory is always there.
    async fn open(settings: Settings, _host: HostServices) -> Result<Self> {
        let settings = MemorySettings::read(&settings)?;
        let budget = Arc::new(Budget::new(settings.memory_limit));
        let state = Mutex::new(State { objects: Objects::default(), uploads: Uploads::new() });
        Ok(Self { settings, budget, state })
    }

    /// Claim only what holds. `ResumableUploads` is missing because another process cannot see this
    /// memory, `FileRegions` because there are no files, `Redirects` because nothing else serves the
    /// bytes.
    fn capabilities(&self) -> Capabilities {
        Capabilities::from_iter([
            Capability::PutIfAbsent,
            Capability::PutIfMatch,
            Capability::StrongConsistency,
            Capability::CheapRename,
            Capability::ListUploads,
        ])
    }

    /// The limit is checked against the recorded size, before the pieces are joined.
    async fn get(&self, _call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        let stored = self.state().objects.find(path)?;
        if stored.content.size() > max_size {
            let message = format!("the object has {} bytes, {max_size} are allowed", stored.content.size());
            return Err(Error::new(ErrorKind::TooLarge, message).at(path));
        }
        Ok(Object { content: stored.content.whole(), info: stored.info() })
    }

    /// The content is copied. `Bytes` from the server may be a slice of a larger buffer, and keeping
    /// the slice would keep that buffer alive, uncounted.
    async fn put(
        &self,
        _call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let mut copy = Content::empty(&self.budget);
        copy.push(&content)?;
        // From here on everything is one step under the lock. That makes the conditions atomic.
        let info = self.state().objects.write(path, condition, || copy)?;
        Ok(info.etag)
    }

    async fn head(&self, _call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        Ok(self.state().objects.find(path)?.info())
    }

    async fn stat(&self, _call: &CallContext, path: &Prefix) -> Result<Stat> {
        self.state().objects.stat(path)
    }

    /// The stream holds its own reference to the content. A replacement or a deletion of the object
    /// drops the store's reference only, so that an open reading goes on undisturbed.
    async fn read(&self, _call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        let stored = self.state().objects.find(path)?;
        let total_size = stored.content.size();
        // `resolve` knows the rules for ranges. No driver has to work them out again.
        let (offset, length) = range.resolve(total_size).map_err(|error| error.at(path))?;
        Ok(Reading {
            total_size,
            offset,
            length,
            etag: stored.info().etag,
            body: ReadingBody::Stream(content::stream(stored.content, offset, length)),
        })
    }

    async fn list(&self, _call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        // The server asks for a page of at most `limit`. A driver may always give less.
        let limit = request.limit.min(self.settings.page_size) as usize;
        Ok(listing::page(&self.state().objects, request, limit))
    }

    /// The hint helps stores that must choose a place now. Here the place does not matter.
    async fn open_upload(&self, _call: &CallContext, _hint: &UploadHint) -> Result<UploadState> {
        let empty = Content::empty(&self.budget);
        self.state().uploads.open(empty)
    }

    /// Takes the bytes in beside the upload and joins them to it in one step at the end. So a failed
    /// body and a dropped call leave the upload as it was without any cleaning up: what was taken in
    /// is a local variable.
    async fn append(
        &self,
        _call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        mut body: ByteStream,
    ) -> Result<UploadProgress> {
        // A stale caller is told before it sends a gigabyte...
        self.state().uploads.check(state, expected_offset)?;
        let mut received = Content::empty(&self.budget);
        while let Some(chunk) = body.try_next().await.map_err(body_failed)? {
            received.push(&chunk)?;
        }
        // ... and again here, because another caller may have gone on from the same state meanwhile.
        // This second check decides who wins.
        self.state().uploads.append(state, expected_offset, received)
    }

    /// One lock over both halves: nobody sees the object and the upload at once, or neither.
    async fn commit(
        &self,
        _call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let mut shared = self.state();
        // Split the borrow, so that the content moves from one half to the other.
        let State { objects, uploads } = &mut *shared;
        let id = uploads.current(state)?;
        // `write` asks for the content only when nothing speaks against the write any more. When it
        // fails, the upload is still there and the caller may try another path.
        objects.write(final_path, condition, || uploads.take(id, &self.budget))
    }

    async fn abort(&self, _call: &CallContext, state: &UploadState) -> Result<()> {
        self.state().uploads.abort(state);
        Ok(())
    }

    async fn list_uploads(
        &self,
        _call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        self.state().uploads.page(older_than, after, limit.min(self.settings.page_size) as usize)
    }

    async fn copy(&self, _call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.state().objects.copy(from, to)
    }

    async fn rename(&self, _call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.state().objects.rename(from, to)
    }

    async fn delete(&self, _call: &CallContext, path: &ObjectPath) -> Result<()> {
        if self.state().objects.remove(path) { Ok(()) } else { Err(Error::not_found(path)) }
    }

    /// The list that is returned holds failures only. Absent objects are none, and nothing else can
    /// go wrong here.
    async fn delete_many(
        &self,
        _call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let mut state = self.state();
        for path in paths {
            state.objects.remove(path);
        }
        Ok(Vec::new())
    }

    async fn delete_tree(&self, _call: &CallContext, prefix: &Prefix) -> Result<u64> {
        Ok(self.state().objects.remove_tree(prefix))
    }

    /// `None` means that the server sends the bytes itself. It is not an error.
    async fn redirect_url(&self, _call: &CallContext, _request: &RedirectRequest) -> Result<Option<String>> {
        Ok(None)
    }

    /// Health is about writing too: a store without room is not well.
    async fn health(&self, _call: &CallContext) -> Result<()> {
        self.budget.has_room()
    }

    // `close` keeps its default. There is nothing to end: no connection, no task, no file.
}

/// The server's own stream failed, for example because its client went away. The kind tells the
/// server that the fault is not the storage's.
fn body_failed(error: Error) -> Error {
    Error::new(ErrorKind::BodyFailed, "the content ended with an error").caused_by(&error)
}
