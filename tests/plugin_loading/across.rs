//! What a driver does, it does through the ABI as well.

use std::time::{Duration, SystemTime};

use docker_registry::plugin::{Execution, load};
use docker_registry_driver_api::{
    Bytes, CallContext, Capability, Condition, ErrorKind, ListRequest, ObjectPath, Prefix, ReadRange,
    ReadingBody, Settings, SharedDriver, Stat, UploadHint, byte_stream, collect,
    futures::{StreamExt, stream},
};

use crate::{built_libraries, search};

async fn memory(execution: Execution) -> SharedDriver {
    let loaded = load(&search(built_libraries()), "memory").unwrap();
    assert_eq!(loaded.note().api, (1, 2));
    assert!(loaded.note().nonblocking);
    assert_eq!(loaded.digest().len(), 64);
    loaded.open(Settings::default(), execution).await.unwrap()
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).unwrap()
}

fn call() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(30))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_crosses_in_place_and_spawned() {
    for execution in [Execution::InPlace, Execution::Spawned] {
        let driver = memory(execution).await;
        assert!(driver.capabilities().has(Capability::PutIfAbsent));
        driver.health(&call()).await.unwrap();

        // Small objects with conditions and tags.
        let a = path("folder/a");
        let etag = driver.put(&call(), &a, Bytes::from("one"), &Condition::IfAbsent).await.unwrap().unwrap();
        let again = driver.put(&call(), &a, Bytes::from("two"), &Condition::IfAbsent).await.unwrap_err();
        assert_eq!(again.kind, ErrorKind::ConditionFailed);
        assert_eq!((again.operation.as_str(), again.path.as_deref()), ("put", Some("folder/a")));
        driver.put(&call(), &a, Bytes::from("two"), &Condition::IfMatch(etag)).await.unwrap();
        let object = driver.get(&call(), &a, 10).await.unwrap();
        assert_eq!((&object.content[..], object.info.size), (&b"two"[..], 3));
        assert_eq!(driver.get(&call(), &a, 2).await.unwrap_err().kind, ErrorKind::TooLarge);
        assert_eq!(driver.head(&call(), &a).await.unwrap().size, 3);
        assert_eq!(driver.stat(&call(), &Prefix::new("folder").unwrap()).await.unwrap(), Stat::Folder);

        // An upload in two steps, continued from its state.
        let state = driver.open_upload(&call(), &UploadHint::default()).await.unwrap();
        let first = driver.append(&call(), &state, 0, byte_stream([Bytes::from("hello ")])).await.unwrap();
        let stale = driver.append(&call(), &state, 0, byte_stream([Bytes::from("x")])).await.unwrap_err();
        assert_eq!(stale.kind, ErrorKind::Conflict);
        let chunks = stream::iter(["wor", "ld"]).map(|text| Ok(Bytes::from(text))).boxed();
        let second = driver.append(&call(), &first.state, 6, chunks).await.unwrap();
        assert_eq!(second.offset, 11);
        let pending = SystemTime::now() + Duration::from_secs(60);
        assert_eq!(driver.list_uploads(&call(), pending, None, 10).await.unwrap().uploads.len(), 1);
        let b = path("folder/b");
        driver.commit(&call(), &second.state, &b, &Condition::Always).await.unwrap();
        let reading = driver.read(&call(), &b, ReadRange::Window { offset: 6, length: 100 }).await.unwrap();
        assert_eq!((reading.total_size, reading.offset, reading.length), (11, 6, 5));
        let ReadingBody::Stream(body) = reading.body else { panic!("memory has no files") };
        assert_eq!(collect(body, 100).await.unwrap(), "world");

        // Listing, copying, deleting.
        driver.copy(&call(), &b, &path("c")).await.unwrap();
        driver.rename(&call(), &path("c"), &path("d")).await.unwrap();
        let page = driver.list(&call(), &ListRequest::below(Prefix::root())).await.unwrap();
        let paths: Vec<_> = page.entries.iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["d", "folder/a", "folder/b"]);
        assert!(driver.delete_many(&call(), &[path("d"), path("gone")]).await.unwrap().is_empty());
        assert_eq!(driver.delete_tree(&call(), &Prefix::new("folder").unwrap()).await.unwrap(), 2);
        assert!(driver.get(&call(), &a, 10).await.unwrap_err().is_not_found());
        driver.close(Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_body_that_fails_leaves_the_upload_as_it_was() {
    use docker_registry_driver_api::Error;
    let driver = memory(Execution::Declared).await;
    let state = driver.open_upload(&call(), &UploadHint::default()).await.unwrap();
    let broken =
        stream::iter([Ok(Bytes::from("abc")), Err(Error::new(ErrorKind::BodyFailed, "gone"))]).boxed();
    let error = driver.append(&call(), &state, 0, broken).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::BodyFailed);
    let progress = driver.append(&call(), &state, 0, byte_stream([Bytes::from("d")])).await.unwrap();
    assert_eq!(progress.offset, 1);
    driver.abort(&call(), &progress.state).await.unwrap();
}

#[tokio::test]
async fn bytes_cross_without_a_copy() {
    let driver = memory(Execution::InPlace).await;
    let content = Bytes::from(vec![1_u8; 300_000]);
    driver.put(&call(), &path("x"), content, &Condition::Always).await.unwrap();
    // The driver hands out clones of one buffer, so a copy on the way would show as another address.
    let first = driver.get(&call(), &path("x"), 1 << 20).await.unwrap().content;
    let second = driver.get(&call(), &path("x"), 1 << 20).await.unwrap().content;
    assert_eq!(first.as_ptr(), second.as_ptr());
}

#[tokio::test]
async fn two_drivers_live_in_one_process_and_share_nothing() {
    let (one, two) = (memory(Execution::Declared).await, memory(Execution::Declared).await);
    one.put(&call(), &path("x"), Bytes::from("1"), &Condition::Always).await.unwrap();
    assert!(two.head(&call(), &path("x")).await.unwrap_err().is_not_found());
}
