//! Storage driver `local`: objects are files below one folder.
//!
//! # On disk
//! The object `a/b` is the file `STORAGE_PATH/a/b`. What the driver itself needs lies in
//! `STORAGE_PATH/.docker-registry/`: temporary files, pending uploads, lock files. Names that begin
//! with `.docker-registry` cannot be addressed and never show in a listing.
//!
//! # Guarantees
//! - A write becomes visible by one `rename(2)` and is on disk, name and content, before it returns. Only what the
//!   caller calls transient is left to the kernel: it survives this process, and perhaps not a power cut.
//! - Conditional writes hold between processes: `renameat2(2)` for absence, `flock(2)` for tags.
//! - Uploads survive the process and go on in another one that sees the same folder.
//! - No call waits for a disk on the polling thread: a look at what the kernel has in memory is answered there
//!   ([`warm`]), everything else makes one hop to a thread that may block.
//!
//! # Symbolic links
//! Links that an operator made are followed when objects are read and listed, folders included and
//! also to places outside of the root. A write or a deletion replaces or removes a link to a file, and
//! leaves the file. A link to a folder goes with `delete_tree` only, and what is behind it stays. A
//! link back to a folder above makes listings repeat.
//!
//! # Files changed by others
//! A file that another program replaces by a rename is fine. One that it changes in place is not: the
//! server may be sending it.

mod appending;
mod batches;
mod deleting;
mod durable;
mod folders;
mod known_folders;
mod listing;
mod objects;
mod publishing;
mod reading;
mod record;
mod root;
mod settings;
mod staging;
mod stop;
mod uploads;
mod warm;
mod witness;
mod writing;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Capabilities, Capability, Condition, Description, Driver, ETag, Error,
    ErrorKind, HostServices, ListPage, ListRequest, Object, ObjectInfo, ObjectPath, Prefix, ReadRange,
    Reading, RedirectRequest, Result, Settings, Stat, UploadHint, UploadPage, UploadProgress, UploadState,
    async_trait,
};

use crate::{
    durable::Lasts, folders::SyncedFolders, known_folders::KnownFolders, root::Root, settings::LocalSettings,
    staging::Staging, stop::Stop, warm::Warm, witness::Witnesses,
};

docker_registry_driver_api::export_driver! {
    name: "local",
    driver: LocalDriver,
    // What may wait works on a blocking thread.
    nonblocking: true,
}

/// The driver: one folder of the local file system.
pub struct LocalDriver {
    store: Arc<Store>,
}

/// Everything that calls share. Its methods block; they are spread over the modules by subject.
pub(crate) struct Store {
    settings: LocalSettings,
    root: Root,
    staging: Staging,
    synced: SyncedFolders,
    witnesses: Witnesses,
    known_folders: KnownFolders,
    warm: Warm,
}

impl Store {
    fn open(settings: LocalSettings) -> Result<Self> {
        let root = Root::open(&settings)?;
        Ok(Self {
            staging: Staging::open(root.folder(), &settings)?,
            synced: SyncedFolders::default(),
            witnesses: Witnesses::default(),
            known_folders: KnownFolders::default(),
            warm: Warm::new(&root),
            settings,
            root,
        })
    }
}

impl LocalDriver {
    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Store>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let store = Arc::clone(&self.store);
        blocking(move || work(&store)).await
    }
}

/// Runs `work` on a thread that may block. The work goes on when the caller is dropped; a write is
/// then done or not, but never by half.
///
/// # Errors
/// Those of the work. After a panic nobody knows how far it came, so that the outcome is unknown.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|failure| {
        let message = "the file operation was not finished";
        Err(Error::new(ErrorKind::Internal, message).caused_by(&failure).outcome_unknown())
    })
}

#[async_trait]
impl Driver for LocalDriver {
    fn describe() -> Description {
        Description {
            summary: "a folder of the local file system".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: LocalSettings::keys(),
        }
    }

    async fn open(settings: Settings, _host: HostServices) -> Result<Self> {
        blocking(move || {
            let store = Store::open(LocalSettings::read(&settings)?)?;
            store.remove_broken_uploads();
            Ok(Self { store: Arc::new(store) })
        })
        .await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::from_iter([
            Capability::PutIfAbsent,
            Capability::PutIfMatch,
            Capability::FileRegions,
            Capability::StrongConsistency,
            Capability::CheapRename,
            Capability::ResumableUploads,
            Capability::ListUploads,
        ])
    }

    async fn get(&self, _call: &CallContext, path: &ObjectPath, max_size: u64) -> Result<Object> {
        if let Some(found) = self.store.get_warm(path, max_size) {
            return Ok(found);
        }
        let path = path.clone();
        self.blocking(move |store| store.get(&path, max_size)).await
    }

    async fn put(
        &self,
        call: &CallContext,
        path: &ObjectPath,
        content: Bytes,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let (path, condition, lasts) = (path.clone(), condition.clone(), Lasts::of(call));
        self.blocking(move |store| store.put(&path, &content, &condition, lasts)).await
    }

    async fn head(&self, _call: &CallContext, path: &ObjectPath) -> Result<ObjectInfo> {
        if let Some(found) = self.store.head_warm(path) {
            return Ok(found);
        }
        let path = path.clone();
        self.blocking(move |store| store.head(&path)).await
    }

    async fn stat(&self, _call: &CallContext, path: &Prefix) -> Result<Stat> {
        let path = path.clone();
        self.blocking(move |store| store.stat(&path)).await
    }

    async fn read(&self, _call: &CallContext, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        if let Some(found) = self.store.read_warm(path, range) {
            return Ok(found);
        }
        let path = path.clone();
        self.blocking(move |store| store.read(&path, range)).await
    }

    /// A folder that a crash left empty is not shown.
    async fn list(&self, _call: &CallContext, request: &ListRequest) -> Result<ListPage> {
        if let Some(found) = self.store.list_warm(request) {
            return Ok(found);
        }
        let request = request.clone();
        self.blocking(move |store| listing::page(store, &request)).await
    }

    async fn open_upload(&self, _call: &CallContext, _hint: &UploadHint) -> Result<UploadState> {
        self.blocking(|store| store.open_upload()).await
    }

    async fn append(
        &self,
        _call: &CallContext,
        state: &UploadState,
        expected_offset: u64,
        body: ByteStream,
    ) -> Result<UploadProgress> {
        appending::append(Arc::clone(&self.store), state.clone(), expected_offset, body).await
    }

    async fn commit(
        &self,
        _call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let (state, path, condition) = (state.clone(), final_path.clone(), condition.clone());
        self.blocking(move |store| store.commit(&state, &path, &condition)).await
    }

    async fn abort(&self, _call: &CallContext, state: &UploadState) -> Result<()> {
        let state = state.clone();
        self.blocking(move |store| store.abort(&state)).await
    }

    async fn write(
        &self,
        _call: &CallContext,
        path: &ObjectPath,
        _size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        writing::write(Arc::clone(&self.store), path.clone(), body, condition.clone()).await
    }

    async fn list_uploads(
        &self,
        _call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        let after = after.map(str::to_owned);
        self.blocking(move |store| store.list_uploads(older_than, after.as_deref(), limit as usize)).await
    }

    async fn copy(&self, _call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let (from, to) = (from.clone(), to.clone());
        self.blocking(move |store| store.copy(&from, &to)).await
    }

    async fn rename(&self, call: &CallContext, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let (from, to, source_lasts) = (from.clone(), to.clone(), Lasts::of(call));
        self.blocking(move |store| store.rename(&from, &to, source_lasts)).await
    }

    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        let (path, lasts) = (path.clone(), Lasts::of(call));
        self.blocking(move |store| store.delete(&path, lasts)).await
    }

    async fn delete_many(
        &self,
        call: &CallContext,
        paths: &[ObjectPath],
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let (paths, lasts) = (paths.to_vec(), Lasts::of(call));
        self.blocking(move |store| store.delete_many(paths, lasts)).await
    }

    async fn delete_tree(&self, _call: &CallContext, prefix: &Prefix) -> Result<u64> {
        let (prefix, stop) = (prefix.clone(), Stop::default());
        let _guard = stop.when_dropped();
        self.blocking(move |store| store.delete_tree(&prefix, &stop)).await
    }

    async fn redirect_url(&self, _call: &CallContext, _request: &RedirectRequest) -> Result<Option<String>> {
        Ok(None)
    }

    async fn health(&self, _call: &CallContext) -> Result<()> {
        self.blocking(|store| store.staging.probe()).await
    }

    async fn close(&self, _grace: Duration) {
        let store = Arc::clone(&self.store);
        // A failure leaves an empty folder, which the next start removes.
        let _ = blocking(move || {
            store.staging.close();
            Ok(())
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_panic_the_outcome_is_unknown() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(blocking::<()>(|| panic!("half way"))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Internal);
        assert!(error.outcome_unknown);
    }
}
