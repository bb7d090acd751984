//! Answers that cannot be: each costs the one call, which fails with a sentence that names the mistake.

use docker_registry_driver_api::{
    Capabilities, Error, ErrorKind, ListRequest, Prefix, ReadRange, Reading, ReadingBody, Result,
    SharedDriver, UploadHint, collect,
};
use serde_json::json;

use crate::building::{call, faulty, load, open_faulty, path};

async fn driver() -> SharedDriver {
    open_faulty(json!({})).await
}

async fn get_error(driver: &SharedDriver, name: &str) -> Error {
    driver.get(&call(), &path(name), 1 << 20).await.expect_err(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_arrive_as_they_were_described() {
    let driver = driver().await;
    let error = get_error(&driver, "nothing").await;
    assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::NotFound, "get"));
    assert_eq!(error.path.as_deref(), Some("nothing"));
    assert_eq!(error.message, "there is nothing at this path");
    assert!(!error.retryable);

    let error = get_error(&driver, "throttled").await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Throttled, true));
    assert_eq!(error.retry_after.map(|after| after.as_millis()), Some(1500));
    assert_eq!((error.message.as_str(), error.source_text.as_deref()), ("slower, please", Some("503")));

    let error = get_error(&driver, "not-retryable").await;
    assert_eq!((error.kind, error.retryable, error.outcome_unknown), (ErrorKind::Unavailable, false, true));

    let error = get_error(&driver, "errno").await;
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::StorageFull, "the storage is full"));
    let system =
        error.source_text.as_deref().and_then(|text| text.strip_prefix("write: ")).map(str::to_owned);
    assert!(system.as_ref().is_some_and(|text| !text.is_empty()), "{error}");
    // Without a word of the driver the system's own is still there.
    let error = get_error(&driver, "errno-alone").await;
    assert_eq!((error.kind, error.source_text), (ErrorKind::StorageFull, system));
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_and_texts_that_cannot_be_are_made_harmless() {
    let driver = driver().await;
    let error = get_error(&driver, "unknown-code").await;
    assert_eq!(error.kind, ErrorKind::Internal);
    assert_eq!(error.message, "the driver returned 4711, which is no number of a failure: something odd");
    let error = get_error(&driver, "unknown-code-in-silence").await;
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(error.message.contains("4711"), "{error}");
    let error = get_error(&driver, "failed-in-silence").await;
    assert_eq!(
        (error.kind, error.message.as_str()),
        (ErrorKind::Internal, "the driver failed without saying why")
    );

    let error = get_error(&driver, "not-utf8").await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.message, "the disk said \u{fffd}\u{fffd} twice");

    let error = get_error(&driver, "long-message").await;
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(error.message, "x".repeat(4096) + "…");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_of_get_are_named() {
    let driver = driver().await;
    for (name, kind, sentence) in [
        ("no-bytes-with-a-length", ErrorKind::Internal, "5 bytes at no place"),
        ("endless-bytes", ErrorKind::Internal, "bytes at no place that can hold them"),
        ("too-many-bytes", ErrorKind::TooLarge, "more than 1048576 bytes"),
        ("no-info", ErrorKind::Internal, "without docker_registry_put_info"),
        ("null-info", ErrorKind::Internal, "got a null pointer"),
        ("other-size", ErrorKind::Internal, "another size of the object"),
        ("long-tag", ErrorKind::Internal, "a tag of 2000 bytes; 1024 are allowed"),
        ("body", ErrorKind::Internal, "is for append only"),
    ] {
        let error = get_error(&driver, name).await;
        assert_eq!(error.kind, kind, "{name}: {error}");
        assert!(error.message.contains(sentence), "{name}: {error}");
    }
    for name in ["put_folder", "put_entry", "put_next", "put_upload", "put_failure"] {
        let error = get_error(&driver, name).await;
        let sentence = format!("the driver called docker_registry_{name}, which is no answer to get");
        assert_eq!((error.kind, error.message), (ErrorKind::Internal, sentence));
    }
    // And the driver goes on.
    assert!(driver.get(&call(), &path("numbers"), 1000).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_of_list_and_of_uploads_are_named() {
    let driver = driver().await;
    for (prefix, sentence) in [
        ("unsorted", "not in byte order"),
        ("too-many", "more than 1000 entries"),
        ("no-path", "a path that cannot be"),
        ("not-utf8", "a path that is not UTF-8"),
        ("long-path", "a path of 2999 bytes"),
        ("put_upload", "docker_registry_put_upload, which is no answer to list"),
        ("put_bytes", "docker_registry_put_bytes, which is no answer to list"),
    ] {
        let request = ListRequest::children(Prefix::new(prefix).unwrap());
        let error = driver.list(&call(), &request).await.expect_err(prefix);
        assert!(error.message.contains(sentence), "{prefix}: {error}");
        assert_eq!((error.operation.as_str(), error.path.as_deref().is_some()), ("list", true));
    }
    for (name, sentence) in [("no-state", "without a state"), ("long-state", "more than 16384 bytes")] {
        let hint = UploadHint { final_path: Some(path(name)), size: None };
        let error = driver.open_upload(&call(), &hint).await.expect_err(name);
        assert!(error.message.contains(sentence), "{name}: {error}");
    }
}

async fn content(reading: Reading) -> Result<docker_registry_driver_api::Bytes> {
    let ReadingBody::Stream(stream) = reading.body else { panic!("this driver has no files") };
    collect(stream, 1 << 20).await
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_readings_are_named_and_ended() {
    let driver = driver().await;
    for (name, sentence) in [
        ("closed-file", "a descriptor that is not open"),
        ("folder", "a file that does not hold the bytes"),
        ("short-file", "a file that does not hold the bytes"),
        ("other-range", "other bytes than it was asked for"),
        ("long-tag", "a tag of 2000 bytes"),
    ] {
        let error = match driver.read(&call(), &path(name), ReadRange::Full).await {
            Ok(_) => panic!("{name} was opened"),
            Err(error) => error,
        };
        assert!(error.message.contains(sentence), "{name}: {error}");
    }
    let reading = driver.read(&call(), &path("short"), ReadRange::Full).await.unwrap();
    let error = content(reading).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert_eq!(error.message, "the driver's reading ended 599000 bytes early");
    let reading = driver.read(&call(), &path("overfull"), ReadRange::Full).await.unwrap();
    let error = content(reading).await.unwrap_err();
    assert!(error.message.contains("more bytes than the buffer holds"), "{error}");
    crate::running::wait_for_number(&driver, "handles=0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_nobody_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&faulty(folder.path(), &["READ_NEXT=NULL"])).unwrap();
    let settings = docker_registry_driver_api::Settings::default();
    let driver = loaded.open(settings, docker_registry::plugin::Execution::Declared).await.unwrap();
    assert_eq!(driver.capabilities(), Capabilities::NONE);
    let Err(error) = driver.read(&call(), &path("x"), ReadRange::Full).await else { panic!("it was opened") };
    assert!(error.message.contains("its function `read_next` is null"), "{error}");
    crate::running::wait_for_number(&driver, "handles=0").await;
}
