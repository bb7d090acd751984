//! Isolated drivers of the host library, without a server around them: file regions, starts that take too
//! long, drivers that do not close.

use std::{
    io::{Read, Seek, SeekFrom},
    time::Duration,
};

use docker_registry::{
    isolation::{self, Launch, WhichDriver},
    plugin::{PluginError, Search},
};
use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, Condition, ErrorKind, ObjectPath, ReadRange, ReadingBody, Settings,
    SharedDriver, UploadHint, byte_stream,
    futures::{StreamExt, stream},
};
use docker_registry_tests::artifacts;

use crate::registry::Files;

/// How a driver of this build is started by a server of this build.
pub(crate) fn launch(driver: &str) -> Launch {
    let folder = artifacts::folder();
    let search = Search::new(&[folder.to_owned()], None, None);
    let pins = std::collections::BTreeMap::new();
    let launch = Launch::of_this_program(WhichDriver::Named(driver.to_owned()), &search, &pins);
    Launch { program: folder.join("docker-registry"), ..launch }
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect())
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a valid path")
}

async fn upload(driver: &SharedDriver, to: &ObjectPath, body: ByteStream) {
    let call = CallContext::default();
    let state = driver.open_upload(&call, &UploadHint::default()).await.expect("it begins");
    let progress = driver.append(&call, &state, 0, body).await.expect("it takes the body");
    driver.commit(&call, &progress.state, to, &Condition::Always).await.expect("it is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_of_local_is_the_open_file_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().to_str().expect("a path");
    let driver =
        isolation::open(launch("local"), settings(&[("storage_path", root)])).await.expect("it opens");
    let content: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    upload(&driver, &path("large"), byte_stream([Bytes::from(content.clone())])).await;
    let range = ReadRange::Window { offset: 1_000_003, length: 7_999_998 };
    let reading = driver.read(&CallContext::default(), &path("large"), range).await.expect("it is there");
    let ReadingBody::File(region) = reading.body else { panic!("local hands out files") };
    // With the path gone and the process too, the file still reads.
    driver.delete(&CallContext::default(), &path("large")).await.expect("it is deleted");
    driver.close(Duration::from_secs(10)).await;
    drop(driver);
    let (mut file, mut bytes) = (region.file, Vec::new());
    file.seek(SeekFrom::Start(region.offset)).expect("a file has places");
    file.take(region.length).read_to_end(&mut bytes).expect("it reads");
    assert_eq!(bytes, content[1_000_003..9_000_001]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_takes_too_long_is_given_up_with_a_sentence() {
    let files = Files::new();
    files.throw("open hang\n");
    let short = Launch { start_limit: Duration::from_secs(1), ..launch("misbehaving") };
    let switch = files.switch_file();
    let opening = isolation::open(short, settings(&[("switch", switch.to_str().expect("a path"))]));
    let Err(error) = opening.await else { panic!("it opened") };
    assert!(matches!(error, PluginError::Process { .. }), "{error:?}");
    let text = error.to_string();
    assert!(
        text.contains("misbehaving") && text.contains("opened the driver after 1s and was killed"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_does_not_close_is_ended_and_answers_no_more() {
    for fault in ["close hang", "close block", "drop block"] {
        let files = Files::new();
        let (switch, record) = (files.switch_file(), files.record_file());
        let values =
            [("switch", switch.to_str().expect("a path")), ("record", record.to_str().expect("a path"))];
        let driver = isolation::open(launch("misbehaving"), settings(&values)).await.expect("it opens");
        files.throw(&format!("{fault}\n"));
        // Returns, and leaves the process neither running nor unreaped: the line stays thrown.
        driver.close(Duration::from_millis(300)).await;
        assert_eq!(files.recorded("close ", ""), 1, "{fault}");
        let error = driver.health(&CallContext::default()).await.expect_err("it is closed");
        assert_eq!((error.kind, error.retryable), (ErrorKind::Unavailable, false), "{fault}");
        assert_eq!(error.operation, "health");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_call_says_whether_it_may_have_happened() {
    let files = Files::new();
    let switch = files.switch_file();
    let values = settings(&[("switch", switch.to_str().expect("a path"))]);
    let driver = isolation::open(launch("misbehaving"), values).await.expect("it opens");
    let call = CallContext::default();

    files.throw("put abort\n");
    let put = driver.put(&call, &path("x"), Bytes::from("1"), &Condition::Always).await;
    let error = put.expect_err("the process ends");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.outcome_unknown && !error.retryable && error.retry_after.is_some(), "{error:?}");
    assert_eq!((error.operation.as_str(), error.path.as_deref()), ("put", Some("x")));

    files.throw("get abort\n");
    let error = driver.get(&call, &path("x"), 10).await.expect_err("the process ends twice");
    assert!(!error.outcome_unknown && !error.retryable && error.retry_after.is_some(), "{error:?}");

    files.throw("append_stream abort\n");
    let state = driver.open_upload(&call, &UploadHint::default()).await.expect("a new process is there");
    // A body that has no end: the death of the process must end the call.
    let endless = stream::repeat_with(|| Ok(Bytes::from(vec![0; 100_000]))).boxed();
    let error = driver.append(&call, &state, 0, endless).await.expect_err("the process ends");
    assert!(error.kind == ErrorKind::Unavailable && error.outcome_unknown, "{error:?}");
    files.throw("");
    driver.health(&call).await.expect("a new process is there");
}
