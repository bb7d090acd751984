//! Drivers under test, and short ways to call them.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Condition, Driver, ErrorKind, HostServices, ListRequest, ObjectPath,
    Prefix, Reading, ReadingBody, Settings, UploadHint, UploadState, byte_stream, collect,
};
use docker_registry_driver_local::LocalDriver;
use docker_registry_driver_memory::MemoryDriver;
use serde_json::json;
use tempfile::TempDir;

pub(crate) type Store = Arc<dyn Driver>;

/// An open driver and what belongs to it.
pub(crate) struct Subject {
    pub(crate) driver: Store,
    folder: Option<TempDir>,
}

impl Subject {
    pub(crate) async fn memory() -> Self {
        let driver = MemoryDriver::open(Settings::default(), HostServices::default()).await.unwrap();
        Self { driver: Arc::new(driver), folder: None }
    }

    pub(crate) async fn local() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = open_local(json!({ "storage_path": folder.path() })).await.unwrap();
        Self { driver, folder: Some(folder) }
    }

    /// The storage root of a local driver.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.as_ref().expect("a local driver").path().to_owned()
    }

    /// A second driver over the same root, as another process would open it.
    pub(crate) async fn second(&self) -> Store {
        open_local(json!({ "storage_path": self.root() })).await.unwrap()
    }

    /// Empties the store and looks for remains. Uploads must have been ended by the case.
    pub(crate) async fn assert_nothing_is_left(&self) {
        let call = CallContext::default();
        self.driver.delete_tree(&call, &Prefix::root()).await.unwrap();
        assert_eq!(all_children(&self.driver, "", 1000).await, Vec::<String>::new());
        let uploads = self.driver.list_uploads(&call, SystemTime::now(), None, 1000).await.unwrap();
        assert_eq!(uploads.uploads.len(), 0, "pending uploads are left");
        if let Some(folder) = &self.folder {
            let mut files = Vec::new();
            files_below(folder.path(), &mut files);
            // The lock that tells that the instance lives, and the locks of objects.
            files.retain(|file| !file.ends_with("lock") && !file.parent().unwrap().ends_with("locks"));
            assert_eq!(files, Vec::<PathBuf>::new());
        }
    }
}

pub(crate) async fn open_local(settings: serde_json::Value) -> docker_registry_driver_api::Result<Store> {
    let settings = Settings::new(settings.as_object().unwrap().clone());
    Ok(Arc::new(LocalDriver::open(settings, HostServices::default()).await?))
}

fn files_below(folder: &std::path::Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            files_below(&entry.path(), files);
        } else {
            files.push(entry.path());
        }
    }
}

pub(crate) fn call() -> CallContext {
    CallContext::default()
}

pub(crate) fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).unwrap()
}

pub(crate) fn prefix(text: &str) -> Prefix {
    Prefix::new(text).unwrap()
}

pub(crate) async fn put(store: &Store, at: &str, content: impl Into<Bytes>) {
    store.put(&call(), &path(at), content.into(), &Condition::Always).await.unwrap();
}

pub(crate) async fn get(store: &Store, at: &str) -> Bytes {
    store.get(&call(), &path(at), u64::MAX).await.unwrap().content
}

/// Whether `head` says that nothing is there; any other error fails the test.
pub(crate) async fn missing(store: &Store, at: &str) -> bool {
    match store.head(&call(), &path(at)).await {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::NotFound, "{error}");
            true
        }
    }
}

/// The bytes of a reading, which must be as many as announced.
pub(crate) async fn content_of(reading: Reading) -> Bytes {
    use std::os::unix::fs::FileExt;
    let content = match reading.body {
        ReadingBody::Stream(stream) => collect(stream, usize::MAX).await.unwrap(),
        ReadingBody::File(region) => {
            assert_eq!((region.offset, region.length), (reading.offset, reading.length));
            let mut content = vec![0; region.length as usize];
            region.file.read_exact_at(&mut content, region.offset).unwrap();
            content.into()
        }
    };
    assert_eq!(content.len() as u64, reading.length);
    content
}

/// All pages of a listing; checks the rules for pages on the way.
pub(crate) async fn pages(store: &Store, mut request: ListRequest) -> Vec<String> {
    let mut paths: Vec<String> = Vec::new();
    loop {
        let page = store.list(&call(), &request).await.unwrap();
        assert!(page.entries.len() <= request.limit as usize);
        paths.extend(page.entries.into_iter().map(|entry| entry.path));
        assert!(paths.is_sorted_by(|a, b| a.as_bytes() < b.as_bytes()), "not in order or not unique");
        match page.next {
            None => return paths,
            next => request.after = next,
        }
    }
}

pub(crate) async fn all_below(store: &Store, folder: &str, limit: u32) -> Vec<String> {
    pages(store, ListRequest { limit, ..ListRequest::below(prefix(folder)) }).await
}

pub(crate) async fn all_children(store: &Store, folder: &str, limit: u32) -> Vec<String> {
    pages(store, ListRequest { limit, ..ListRequest::children(prefix(folder)) }).await
}

pub(crate) async fn open_upload(store: &Store) -> UploadState {
    store.open_upload(&call(), &UploadHint::default()).await.unwrap()
}

pub(crate) fn body(content: impl Into<Bytes>) -> ByteStream {
    byte_stream([content.into()])
}

/// An append that must succeed; returns the new state.
pub(crate) async fn append(store: &Store, state: &UploadState, offset: u64, content: &str) -> UploadState {
    let progress = store.append(&call(), state, offset, body(content.to_owned())).await.unwrap();
    assert_eq!(progress.offset, offset + content.len() as u64);
    progress.state
}

pub(crate) async fn commit(store: &Store, state: &UploadState, at: &str) {
    store.commit(&call(), state, &path(at), &Condition::Always).await.unwrap();
}

/// Asserts that a result is an error of one kind.
#[track_caller]
pub(crate) fn fails<T>(result: docker_registry_driver_api::Result<T>, kind: ErrorKind) {
    match result {
        Ok(_) => panic!("succeeded where {kind:?} was expected"),
        Err(error) => assert_eq!(error.kind, kind, "{error}"),
    }
}
