//! Uploads that nobody finishes do not stay for ever.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry::{registry::abandoned::purge, storage::Storage};
use docker_registry_driver_api::{
    Bytes, CallContext, Condition, Driver, ErrorKind, HostServices, ListRequest, ObjectPath, Prefix,
    Settings, UploadHint, byte_stream,
};
use docker_registry_driver_memory::MemoryDriver;

use crate::interrupted::Interrupted;

async fn memory() -> Storage {
    Arc::new(MemoryDriver::open(Settings::default(), HostServices::default()).await.unwrap())
}

async fn pending(storage: &Storage) -> usize {
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    storage.list_uploads(&CallContext::default(), tomorrow, None, 1000).await.unwrap().uploads.len()
}

#[tokio::test]
async fn only_uploads_older_than_the_age_are_discarded_and_objects_stay() {
    let storage = memory().await;
    let call = CallContext::default();
    let kept = ObjectPath::new("kept").unwrap();
    storage.put(&call, &kept, Bytes::from("x"), &Condition::Always).await.unwrap();
    for _ in 0..3 {
        let state = storage.open_upload(&call, &UploadHint::default()).await.unwrap();
        storage.append(&call, &state, 0, byte_stream([Bytes::from("abc")])).await.unwrap();
    }
    assert_eq!(purge(&storage, Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(pending(&storage).await, 3);
    // "Older than" is strict, so that the clock must have moved on.
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(purge(&storage, Duration::ZERO).await.unwrap(), 3);
    assert_eq!(pending(&storage).await, 0);
    let page = storage.list(&call, &ListRequest::below(Prefix::root())).await.unwrap();
    assert_eq!(page.entries.len(), 1);
}

#[tokio::test]
async fn an_upload_that_cannot_be_discarded_keeps_no_other_from_it() {
    let inner = memory().await;
    for _ in 0..3 {
        inner.open_upload(&CallContext::default(), &UploadHint::default()).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let storage: Storage = Arc::new(Interrupted::once_at("abort", inner));
    assert_eq!(purge(&storage, Duration::ZERO).await.unwrap_err().kind, ErrorKind::StorageFull);
    assert_eq!(pending(&storage).await, 1);
    assert_eq!(purge(&storage, Duration::ZERO).await.unwrap(), 1);
}
