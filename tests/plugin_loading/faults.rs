//! Faults of a driver stay that call's error, and what a driver asks of the host arrives.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use docker_registry::plugin::{Execution, load};
use docker_registry_driver_api::{
    Bytes, CallContext, Condition, ErrorKind, ListRequest, ObjectPath, Prefix, ReadRange, ReadingBody,
    Settings, SharedDriver, futures::StreamExt,
};
use serde_json::json;

use crate::{built_libraries, search};

fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::new(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect())
}

async fn misbehaving(execution: Execution) -> SharedDriver {
    let loaded = load(&search(built_libraries()), "misbehaving").unwrap();
    loaded.open(Settings::default(), execution).await.unwrap()
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn panics_become_errors_and_the_driver_goes_on() {
    for execution in [Execution::InPlace, Execution::Spawned] {
        let driver = misbehaving(execution).await;
        let call = CallContext::default();
        driver.put(&call, &path("x"), Bytes::from("1"), &Condition::Always).await.unwrap();

        let error = driver.get(&call, &path("fault.get.panic"), 10).await.unwrap_err();
        assert_eq!((error.kind, error.operation.as_str()), (ErrorKind::Internal, "get"));
        assert_eq!(error.source_text.as_deref(), Some("a panic on purpose"));

        let error = driver.head(&call, &path("fault.head.panic_in_drop")).await.unwrap_err();
        assert_eq!(error.source_text.as_deref(), Some("a panic in drop"));

        let object = driver.get(&call, &path("fault.get.panic_in_bytes"), 100).await.unwrap();
        assert_eq!(object.content, "bytes with an owner");
        drop(object);

        let streamed = path("fault.read_stream.panic");
        driver.put(&call, &streamed, Bytes::from("first second"), &Condition::Always).await.unwrap();
        let reading = driver.read(&call, &streamed, ReadRange::Full).await.unwrap();
        let ReadingBody::Stream(body) = reading.body else { panic!("this one is a stream") };
        let items: Vec<_> = body.collect().await;
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].as_ref().unwrap(), "first ");
        let error = items[1].as_ref().unwrap_err();
        assert_eq!(error.source_text.as_deref(), Some("a panic on purpose"));

        assert_eq!(driver.get(&call, &path("x"), 10).await.unwrap().content, "1");
    }
}

#[tokio::test]
async fn a_fault_in_open_is_an_error_with_the_drivers_name() {
    let loaded = load(&search(built_libraries()), "misbehaving").unwrap();
    let open = async |fault: &str| {
        let settings = settings(&[("fault", fault), ("fault_in", "open")]);
        match loaded.open(settings, Execution::Declared).await {
            Ok(_) => panic!("the driver opened in spite of `{fault}`"),
            Err(error) => error.to_string(),
        }
    };
    assert_eq!(open("error").await, "driver `misbehaving`: open: an error on purpose");
    assert!(open("panic").await.contains("the driver panicked (a panic on purpose)"));
}

#[tokio::test]
async fn an_open_that_never_ends_is_given_up() {
    let loaded = load(&search(built_libraries()), "misbehaving").unwrap();
    let settings = settings(&[("fault", "hang"), ("fault_in", "open")]);
    // Nothing else waits here, so that the clock jumps to the limit.
    tokio::time::pause();
    let Err(error) = loaded.open(settings, Execution::InPlace).await else { panic!("it hangs") };
    assert_eq!(error.to_string(), "driver `misbehaving`: it was not open after 60s");
}

#[tokio::test]
async fn a_driver_cannot_open_itself_and_a_missing_one_is_named() {
    let loaded = load(&search(built_libraries()), "misbehaving").unwrap();
    let open = async |below: &str| match loaded.open(settings(&[("below", below)]), Execution::Declared).await
    {
        Ok(_) => panic!("the driver opened on `{below}`"),
        Err(error) => error.to_string(),
    };
    assert!(open("misbehaving").await.contains("would open itself: misbehaving -> misbehaving"));
    assert!(open("nowhere").await.contains("no driver named `nowhere`"));
}

#[tokio::test]
async fn an_alternate_gets_the_keys_that_it_describes_with_its_defaults_and_is_refused_what_it_does_not_take()
{
    let loaded = load(&search(built_libraries()), "misbehaving").unwrap();
    let open = async |values: serde_json::Value| {
        let settings = Settings::new(values.as_object().unwrap().clone());
        loaded.open(settings, Execution::Declared).await
    };
    let refused = async |values: serde_json::Value| match open(values).await {
        Ok(_) => panic!("the driver opened"),
        Err(error) => error.to_string(),
    };
    let driver = open(json!({"storage_alternate": "memory", "page_size": 2, "token": "x"})).await.unwrap();
    for name in ["a", "b", "c"] {
        let content = Bytes::from("1");
        driver.put(&CallContext::default(), &path(name), content, &Condition::Always).await.unwrap();
    }
    let request = ListRequest::below(Prefix::root());
    let page = driver.list(&CallContext::default(), &request).await.unwrap();
    assert_eq!(page.entries.len(), 2, "page_size arrived");

    let sentence = refused(json!({"storage_alternate": "memory", "page_size": "many"})).await;
    assert!(sentence.contains("page_size must be a whole number for driver `memory`"), "{sentence}");
    let sentence = refused(json!({"storage_alternate": "misbehaving"})).await;
    assert!(sentence.contains("would open itself: misbehaving -> misbehaving"), "{sentence}");
    let sentence = refused(json!({"storage_alternate": "tape"})).await;
    assert!(sentence.contains("no driver named `tape`"), "{sentence}");
}

#[tokio::test]
async fn retry_advice_and_unknown_outcome_survive_the_crossing() {
    let driver = misbehaving(Execution::Declared).await;
    let error = driver.get(&CallContext::default(), &path("fault.get.throttle"), 10).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Throttled);
    assert!(error.retryable && error.outcome_unknown);
    assert_eq!(error.retry_after, Some(Duration::from_millis(1500)));
}

#[tokio::test]
async fn a_call_that_hangs_ends_when_it_is_dropped() {
    let driver = misbehaving(Execution::InPlace).await;
    let call = CallContext::default();
    let path = path("fault.get.hang");
    let hanging = tokio::time::timeout(Duration::from_millis(50), driver.get(&call, &path, 1));
    assert!(hanging.await.is_err());
}

/// A current-thread runtime has one thread to block, so the timer below shows who was blocked.
#[tokio::test]
async fn a_driver_that_blocks_holds_up_nobody_when_its_calls_are_spawned() {
    let driver = misbehaving(Execution::Spawned).await;
    let call = CallContext::default();
    let path = path("fault.get.block");
    let mut blocked = Box::pin(driver.get(&call, &path, 1));
    // In place the first poll would block for two seconds and then be ready: no time-out at all.
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut blocked).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_blocked_calls_than_threads_hold_up_no_other_call() {
    let driver = misbehaving(Execution::Spawned).await;
    let blocked: Vec<_> = (0..8)
        .map(|_| {
            let driver = Arc::clone(&driver);
            tokio::spawn(
                async move { driver.get(&CallContext::default(), &path("fault.get.block"), 1).await },
            )
        })
        .collect();
    // Long enough for all of them to have begun, short beside the two seconds that each blocks.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let error = driver.get(&CallContext::default(), &path("nothing"), 1).await.unwrap_err();
    assert!(error.is_not_found());
    assert!(blocked.iter().all(|call| !call.is_finished()), "the quick call waited for the blocked ones");
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn events_of_a_driver_reach_the_log_of_the_server() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_max_level(tracing::Level::INFO)
        .finish();
    // For this thread only, and everything below polls on this thread.
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let driver = misbehaving(Execution::InPlace).await;
            let _ = driver.get(&CallContext::default(), &path("fault.get.log"), 1).await;
        });
    });
    let log = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains("a driver's event")).expect("the event is in the log");
    assert!(line.contains("WARN") && line.contains("answer=42"), "{line}");
    assert!(line.contains("driver=\"misbehaving\"") && line.contains("module="), "{line}");
    assert!(!log.contains("never seen"));
}
