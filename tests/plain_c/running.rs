//! What a driver in plain C gets, and how its functions run: beside each other, to their end, with their settings.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use docker_registry::plugin::Execution;
use docker_registry_driver_api::{
    Bytes, CallContext, Error, ErrorKind, ReadRange, ReadingBody, RedirectRequest, Settings, SharedDriver,
    Traceparent, UploadHint, UploadState, byte_stream, collect,
    futures::{StreamExt, future::join_all, stream},
};
use serde_json::{Value, json};

use crate::building::{call, faulty, load, open_faulty, path};

/// Guards against hanging for ever; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);

async fn text(driver: &SharedDriver, name: &str) -> String {
    let object = driver.get(&call(), &path(name), 4096).await.expect(name);
    String::from_utf8(object.content.to_vec()).expect("UTF-8")
}

/// Waits until `numbers` of the driver has these words.
pub(crate) async fn wait_for_number(driver: &SharedDriver, words: &str) {
    let waiting = async {
        while !text(driver, "numbers").await.split(' ').any(|word| word == words) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("{words} did not come: {}", text(driver, "numbers").await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_arrive_in_the_types_of_their_keys() {
    let settings = json!({
        "text": "caf\u{e9}", "integer": -7, "ratio": 0.25, "on": true, "list": ["one", "two"], "unknown": "x",
    });
    let driver = open_faulty(settings).await;
    assert_eq!(text(&driver, "settings").await, "text=café integer=-7 ratio=0.250 on=yes list=2,one,two ");
    let driver = open_faulty(json!({"on": false, "text": null, "list": []})).await;
    assert_eq!(text(&driver, "settings").await, "on=no list=0 ");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_do_not_fit_are_refused_with_their_key() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&faulty(folder.path(), &[])).unwrap();
    for (settings, sentence) in [
        (json!({"text": "refuse"}), "text must not be refuse"),
        (json!({"text": "a\0b"}), "text must not contain a zero byte"),
        (json!({"integer": "seven"}), "integer must be a whole number"),
    ] {
        let Value::Object(values) = settings else { panic!("an object") };
        let Err(error) = loaded.open(Settings::new(values), Execution::Declared).await else {
            panic!("it was opened")
        };
        assert!(error.to_string().contains(sentence), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_of_the_call_arrive() {
    let driver = open_faulty(json!({})).await;
    let traceparent = Some(Traceparent { trace_id: [9; 16], span_id: [1; 8], flags: 1 });
    let context = CallContext { background: true, traceparent, transient: true, ..CallContext::default() };
    let object = driver.get(&context, &path("call"), 4096).await.unwrap();
    assert_eq!(object.content, "background=1 trace=1 transient=1 first=9 deadline=0");
    assert_eq!(text(&driver, "call").await, "background=0 trace=0 transient=0 first=0 deadline=1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_the_driver_reaches_the_log() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let writer = Lines(Arc::clone(&lines));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // For the whole process, since the line comes from a thread of the driver.
    tracing::subscriber::set_global_default(subscriber).expect("no other test of this program listens");
    let driver = open_faulty(json!({})).await;
    assert_eq!(text(&driver, "log").await, "");
    let log = String::from_utf8(lines.lock().unwrap().clone()).expect("UTF-8");
    let line = log.lines().find(|line| line.contains("a line from C")).expect("the line");
    assert!(line.contains("WARN") && line.contains("with \u{fffd} in it"), "{line}");
    assert!(line.contains("driver=\"faulty\""), "{line}");
}

/// A log in memory.
#[derive(Clone)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_that_block_hold_up_nobody_and_learn_that_nobody_waits() {
    let driver = open_faulty(json!({})).await;
    let blocked: Vec<_> = (0..40)
        .map(|_| {
            let driver = driver.clone();
            tokio::spawn(async move { driver.get(&call(), &path("block"), 10).await.map(drop) })
        })
        .collect();
    wait_for_number(&driver, "blocked=40").await;
    // Others are served all the while.
    join_all((0..100).map(|_| text(&driver, "settings"))).await;
    assert!(text(&driver, "numbers").await.contains("released=0"));
    for task in &blocked {
        task.abort();
    }
    wait_for_number(&driver, "released=40").await;
    // A deadline is such an end, too.
    let hurried = CallContext::with_timeout(Duration::from_millis(20));
    let error = driver.get(&hurried, &path("block"), 10).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Timeout);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_slow_clients_than_threads_leave_the_other_calls_alone() {
    let driver = open_faulty(json!({})).await;
    let state = driver.open_upload(&call(), &UploadHint::default()).await.unwrap();
    let slow: Vec<_> = (0..300)
        .map(|_| {
            let (driver, state) = (driver.clone(), state.clone());
            let silent = stream::iter([Ok(Bytes::from("x"))]).chain(stream::pending()).boxed();
            tokio::spawn(async move { driver.append(&call(), &state, 0, silent).await.map(drop) })
        })
        .collect();
    let others = async {
        wait_for_number(&driver, "appending=256").await;
        for _ in 0..20 {
            text(&driver, "settings").await;
        }
    };
    tokio::time::timeout(PATIENCE, others).await.expect("the other calls are served");
    for task in slow {
        task.abort();
    }
    // Their places are free again.
    let progress = driver.append(&call(), &state, 5, byte_stream([Bytes::from("hello")])).await.unwrap();
    assert_eq!(progress.offset, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_while_every_place_is_taken() {
    let driver = open_faulty(json!({})).await;
    let blocked: Vec<_> = (0..300)
        .map(|_| {
            let driver = driver.clone();
            tokio::spawn(async move { driver.get(&call(), &path("block"), 10).await.map(drop) })
        })
        .collect();
    let asking = async {
        loop {
            match driver.health(&call()).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => break error,
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, asking).await.expect("the question waits for no other call");
    assert_eq!(error.message, "256 calls are blocked");
    for task in blocked {
        task.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_arrives_whole_in_small_pieces_and_its_failure_does_too() {
    let driver = open_faulty(json!({})).await;
    let state = UploadState::new("s").unwrap();
    let chunks = (0..1000).map(|size| Bytes::from(vec![1_u8; size % 50]));
    let size: u64 = (0..1000).map(|size| size % 50).sum();
    let progress = driver.append(&call(), &state, 3, byte_stream(chunks.collect::<Vec<_>>())).await.unwrap();
    assert_eq!((progress.offset, progress.state.as_bytes()), (size + 3, &b"s"[..]));
    let broken = stream::iter([Ok(Bytes::from("abc")), Err(Error::new(ErrorKind::Unavailable, "gone"))]);
    let error = driver.append(&call(), &state, 0, broken.boxed()).await.unwrap_err();
    assert_eq!((error.kind, error.source_text.as_deref()), (ErrorKind::BodyFailed, Some("gone")));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_read_piece_by_piece_and_handles_are_closed_in_any_case() {
    let driver = open_faulty(json!({})).await;
    let range = ReadRange::Window { offset: 3, length: 500_000 };
    let reading = driver.read(&call(), &path("stream"), range).await.unwrap();
    assert_eq!((reading.total_size, reading.offset, reading.length), (600_000, 3, 500_000));
    let ReadingBody::Stream(body) = reading.body else { panic!("not a file") };
    let content = collect(body, 1 << 20).await.unwrap();
    let expected: Vec<u8> = (0..500_000_u32).map(|index| (index + 3).to_le_bytes()[0]).collect();
    assert_eq!(content, expected);
    // One that is given up half-way, and one that nobody began.
    let reading = driver.read(&call(), &path("stream"), ReadRange::Full).await.unwrap();
    let ReadingBody::Stream(mut body) = reading.body else { panic!("not a file") };
    assert!(!body.next().await.unwrap().unwrap().is_empty());
    let untouched = driver.read(&call(), &path("stream"), ReadRange::Full).await.unwrap();
    assert!(text(&driver, "numbers").await.contains("handles=2"));
    drop((body, untouched));
    wait_for_number(&driver, "handles=0").await;
    let Err(error) = driver.read(&call(), &path("stream"), ReadRange::From { offset: 600_000 }).await else {
        panic!("there is no such byte")
    };
    assert_eq!(error.kind, ErrorKind::InvalidRange);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_leaves_out_is_done_for_it_or_unsupported() {
    let driver = open_faulty(json!({})).await;
    let error = driver.list_uploads(&call(), SystemTime::now(), None, 10).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    let request = RedirectRequest {
        path: path("x"),
        method: "GET".to_owned(),
        expires: Duration::from_secs(1),
        response_headers: Vec::new(),
    };
    assert_eq!(driver.redirect_url(&call(), &request).await.unwrap(), None);
    let failures = driver.delete_many(&call(), &[path("absent"), path("fails")]).await.unwrap();
    let failures: Vec<_> = failures.iter().map(|(path, error)| (path.as_str(), error.kind)).collect();
    assert_eq!(failures, [("fails", ErrorKind::PermissionDenied)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_is_closed_once_and_after_its_last_call() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&faulty(folder.path(), &[])).unwrap();
    let open = || loaded.open(Settings::default(), Execution::Declared);
    let (first, watcher) = (open().await.unwrap(), open().await.unwrap());
    let blocked = {
        let first = first.clone();
        tokio::spawn(async move { first.get(&call(), &path("block"), 10).await.map(drop) })
    };
    wait_for_number(&watcher, "blocked=1").await;
    blocked.abort();
    // Returns when the instance is closed, which is after the function that still runs has seen its end.
    first.close(PATIENCE).await;
    assert!(text(&watcher, "numbers").await.ends_with("released=1 handles=0 closed=1"));
    let error = first.get(&call(), &path("settings"), 10).await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::Unavailable, "the driver is closed"));
    first.close(PATIENCE).await;
    drop(first);
    // One that is dropped without a word is closed as well.
    drop(open().await.unwrap());
    wait_for_number(&watcher, "closed=2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_opened_with_a_wrong_answer_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&faulty(folder.path(), &[])).unwrap();
    let watcher = loaded.open(Settings::default(), Execution::Declared).await.unwrap();
    let Value::Object(values) = json!({"text": "answer"}) else { panic!("an object") };
    let Err(error) = loaded.open(Settings::new(values), Execution::Declared).await else {
        panic!("it was opened")
    };
    assert!(error.to_string().contains("docker_registry_put_bytes, which is no answer to open"), "{error}");
    wait_for_number(&watcher, "closed=1").await;
}

/// The driver counts it as wrong when it is closed on another thread.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_reading_closes_the_driver_on_a_thread_that_may_block() {
    let folder = tempfile::tempdir().unwrap();
    let loaded = load(&faulty(folder.path(), &["READ_CLOSE=NULL"])).unwrap();
    let open = || loaded.open(Settings::default(), Execution::Declared);
    let (driver, watcher) = (open().await.unwrap(), open().await.unwrap());
    let reading = driver.read(&call(), &path("stream"), ReadRange::Full).await.unwrap();
    drop(driver);
    drop(reading);
    wait_for_number(&watcher, "closed=1").await;
}
