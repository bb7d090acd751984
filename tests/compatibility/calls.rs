//! What every driver is asked here, whatever version of the API it was built against.

use std::{
    os::unix::fs::FileExt,
    time::{Duration, SystemTime},
};

use docker_registry::plugin::{Execution, LoadedDriver};
use docker_registry_driver_api::{
    Bytes, CallContext, Capability, Condition, Error, ErrorKind, ListRequest, MAX_PAGE, ObjectPath, Prefix,
    ReadRange, ReadingBody, RedirectRequest, Settings, SharedDriver, Stat, Traceparent, UploadHint,
    byte_stream, collect,
    futures::{StreamExt, stream},
};
use serde_json::{Value, json};

pub(crate) fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a path")
}

/// A context with every field in use.
pub(crate) fn call() -> CallContext {
    let traceparent = Some(Traceparent { trace_id: [1; 16], span_id: [2; 8], flags: 1 });
    CallContext { traceparent, background: true, ..CallContext::with_timeout(Duration::from_secs(60)) }
}

/// Opens a memory driver both ways and calls every method of the trait.
pub(crate) async fn every_method(loaded: &LoadedDriver) {
    every_method_with(loaded, json!({"page_size": 2})).await;
}

/// Opens a driver both ways with these settings, on a storage that is empty and stays so, and calls every method of
/// the trait.
pub(crate) async fn every_method_with(loaded: &LoadedDriver, values: Value) {
    for execution in [Execution::InPlace, Execution::Spawned] {
        let settings = Settings::new(values.as_object().expect("an object").clone());
        let driver = loaded.open(settings, execution).await.expect("the driver opens");
        assert!(driver.capabilities().has(Capability::PutIfAbsent));
        driver.health(&call()).await.expect("the driver is well");
        objects(&driver).await;
        upload(&driver).await;
        write(&driver).await;
        listing_and_deleting(&driver).await;
        driver.close(Duration::from_secs(10)).await;
    }
}

async fn objects(driver: &SharedDriver) {
    let a = path("folder/a");
    let etag = driver.put(&call(), &a, Bytes::from("one"), &Condition::IfAbsent).await.unwrap().unwrap();
    let error = driver.put(&call(), &a, Bytes::from("two"), &Condition::IfAbsent).await.unwrap_err();
    assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::ConditionFailed, "put"));
    assert_eq!(error.path.as_deref(), Some("folder/a"));
    let condition = match driver.capabilities().has(Capability::PutIfMatch) {
        true => Condition::IfMatch(etag),
        false => Condition::Always,
    };
    driver.put(&call(), &a, Bytes::from("two"), &condition).await.unwrap();
    let object = driver.get(&call(), &a, 10).await.unwrap();
    assert_eq!((&object.content[..], object.info.size), (&b"two"[..], 3));
    let info = driver.head(&call(), &a).await.unwrap();
    assert_eq!(info, object.info);
    assert!(info.modified.is_some());
    assert_eq!(driver.get(&call(), &a, 2).await.unwrap_err().kind, ErrorKind::TooLarge);
    assert_eq!(driver.stat(&call(), &a.clone().into()).await.unwrap(), Stat::Object(info));
    assert_eq!(driver.stat(&call(), &Prefix::new("folder").unwrap()).await.unwrap(), Stat::Folder);
    let request = RedirectRequest {
        path: a,
        method: "GET".to_owned(),
        expires: Duration::from_secs(1),
        response_headers: vec![("content-type".to_owned(), "x/y".to_owned())],
    };
    assert_eq!(driver.redirect_url(&call(), &request).await.unwrap(), None);
}

async fn upload(driver: &SharedDriver) {
    let b = path("folder/b");
    let hint = UploadHint { final_path: Some(b.clone()), size: Some(11) };
    let state = driver.open_upload(&call(), &hint).await.unwrap();
    let first = driver.append(&call(), &state, 0, byte_stream([Bytes::from("hello ")])).await.unwrap();
    let stale = driver.append(&call(), &state, 0, byte_stream([Bytes::from("x")])).await.unwrap_err();
    assert_eq!(stale.kind, ErrorKind::Conflict);
    let second = driver.append(&call(), &first.state, 6, byte_stream([Bytes::from("world")])).await.unwrap();
    assert_eq!(second.offset, 11);
    let later = SystemTime::now() + Duration::from_secs(60);
    let pending = driver.list_uploads(&call(), later, None, 10).await.unwrap();
    assert_eq!((pending.uploads.len(), pending.uploads[0].size), (1, 11));
    driver.commit(&call(), &second.state, &b, &Condition::Always).await.unwrap();
    for (range, expected) in [
        (ReadRange::Full, "hello world"),
        (ReadRange::From { offset: 6 }, "world"),
        (ReadRange::Window { offset: 4, length: 3 }, "o w"),
        (ReadRange::Last { length: 2 }, "ld"),
    ] {
        let reading = driver.read(&call(), &b, range).await.unwrap();
        assert_eq!(reading.total_size, 11);
        let content = match reading.body {
            ReadingBody::Stream(body) => collect(body, 100).await.unwrap().to_vec(),
            ReadingBody::File(region) => {
                assert!(driver.capabilities().has(Capability::FileRegions));
                let mut content = vec![0; usize::try_from(region.length).unwrap()];
                region.file.read_exact_at(&mut content, region.offset).unwrap();
                content
            }
        };
        assert_eq!(content, expected.as_bytes());
    }
    let other = driver.open_upload(&call(), &UploadHint::default()).await.unwrap();
    driver.abort(&call(), &other).await.unwrap();
    assert!(driver.append(&call(), &other, 0, byte_stream([])).await.unwrap_err().is_not_found());
}

/// A driver of 1.0 has no such method: the server makes an upload of it.
async fn write(driver: &SharedDriver) {
    let e = path("folder/e");
    let content = || byte_stream([Bytes::from("in "), Bytes::from("one call")]);
    let info = driver.write(&call(), &e, Some(11), content(), &Condition::IfAbsent).await.unwrap();
    assert_eq!(info.size, 11);
    assert_eq!(driver.get(&call(), &e, 100).await.unwrap().content, "in one call");
    let again = driver.write(&call(), &e, None, content(), &Condition::IfAbsent).await.unwrap_err();
    assert_eq!((again.kind, again.path.as_deref()), (ErrorKind::ConditionFailed, Some("folder/e")));
    let failing = stream::iter([Ok(Bytes::from("x")), Err(Error::new(ErrorKind::Internal, "gone"))]);
    let failed = driver.write(&call(), &e, None, failing.boxed(), &Condition::Always).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::BodyFailed);
    let later = SystemTime::now() + Duration::from_secs(60);
    assert!(driver.list_uploads(&call(), later, None, 10).await.unwrap().uploads.is_empty());
    driver.delete(&call(), &e).await.unwrap();
}

async fn listing_and_deleting(driver: &SharedDriver) {
    driver.copy(&call(), &path("folder/b"), &path("c")).await.unwrap();
    driver.rename(&call(), &path("c"), &path("d")).await.unwrap();
    // A page of a memory driver holds two entries because that was set, and of any other because that is asked.
    let limit = if driver.capabilities().has(Capability::FileRegions) { 2 } else { MAX_PAGE };
    let mut request = ListRequest { limit, ..ListRequest::below(Prefix::root()) };
    let mut paths = Vec::new();
    loop {
        let page = driver.list(&call(), &request).await.unwrap();
        assert!(page.entries.len() <= 2, "page_size arrived");
        paths.extend(page.entries.into_iter().map(|entry| entry.path));
        let Some(next) = page.next else { break };
        request.after = Some(next);
    }
    assert_eq!(paths, ["d", "folder/a", "folder/b"]);
    driver.delete(&call(), &path("d")).await.unwrap();
    assert!(driver.delete(&call(), &path("d")).await.unwrap_err().is_not_found());
    let failures = driver.delete_many(&call(), &[path("folder/a"), path("gone")]).await.unwrap();
    assert!(failures.is_empty());
    assert_eq!(driver.delete_tree(&call(), &Prefix::new("folder").unwrap()).await.unwrap(), 1);
}
