//! A storage that is flaky, flooded or dead, and what the decorators make of it.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Condition, ErrorKind};
use tokio::task::{JoinHandle, yield_now};

use super::{
    Storage, decorate,
    tests::{DEADLINE, HOUR, Scripted, path, state},
};

fn storage(driver: &Arc<Scripted>, calls: usize) -> Storage {
    decorate(Arc::clone(driver) as _, "scripted", calls, DEADLINE)
}

fn calls(driver: &Scripted) -> usize {
    driver.calls.lock().unwrap().len()
}

/// Starts a call and lets it come as far as it can without the test's help.
async fn start(storage: &Storage, at: &str, write: bool) -> JoinHandle<Result<(), ErrorKind>> {
    let (storage, path) = (Arc::clone(storage), path(at));
    let call = tokio::spawn(async move {
        let call = CallContext::default();
        let result = match write {
            true => storage.put(&call, &path, Bytes::new(), &Condition::Always).await.map(drop),
            false => storage.get(&call, &path, 1).await.map(drop),
        };
        result.map_err(|error| error.kind)
    });
    for _ in 0..20 {
        yield_now().await;
    }
    call
}

#[tokio::test(start_paused = true)]
async fn a_read_is_made_three_times_and_no_more() {
    let driver = Scripted::new();
    let storage = storage(&driver, 4);
    for (failures, succeeds, made) in [(2, true, 3), (3, false, 3), (0, true, 1)] {
        driver.failures.store(failures, SeqCst);
        driver.calls.lock().unwrap().clear();
        let got = storage.get(&CallContext::default(), &path("flaky"), 1).await;
        assert_eq!((got.is_ok(), calls(&driver)), (succeeds, made), "{failures} failures");
        driver.failures.store(0, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_is_made_again_only_when_nothing_happened_and_twice_does_no_harm() {
    let driver = Scripted::new();
    let storage = storage(&driver, 4);
    let call = CallContext::default();
    for (at, condition, succeeds) in [
        ("flaky", Condition::Always, true),
        ("flaky", Condition::IfAbsent, false),
        ("flaky/unknown", Condition::Always, false),
        ("flaky/for good", Condition::Always, false),
    ] {
        driver.failures.store(1, SeqCst);
        let put = storage.put(&call, &path(at), Bytes::new(), &condition).await;
        assert_eq!(put.is_ok(), succeeds, "{at} {condition:?}");
    }
    driver.failures.store(1, SeqCst);
    storage.commit(&call, &state("take"), &path("flaky"), &Condition::Always).await.unwrap_err();
    driver.failures.store(1, SeqCst);
    storage.get(&call, &path("flaky/unknown"), 1).await.expect("a read has no outcome");
}

#[tokio::test(start_paused = true)]
async fn nobody_is_kept_waiting_for_a_retry_that_comes_too_late() {
    let driver = Scripted::new();
    let storage = storage(&driver, 4);
    driver.failures.store(2, SeqCst);
    let begun = tokio::time::Instant::now();
    let short = CallContext::with_timeout(Duration::from_millis(20));
    let error = storage.get(&short, &path("flaky"), 1).await.unwrap_err();
    assert_eq!((error.kind, calls(&driver)), (ErrorKind::Unavailable, 1));
    let error = storage.get(&CallContext::default(), &path("flaky/later"), 1).await.unwrap_err();
    assert_eq!((error.retry_after, calls(&driver)), (Some(HOUR), 2));
    assert_eq!(begun.elapsed(), Duration::ZERO, "the clock of the test stands still unless somebody waits");
}

#[tokio::test(start_paused = true)]
async fn a_storage_that_fails_everything_is_not_hit_much_harder() {
    let driver = Scripted::new();
    let storage = storage(&driver, 4);
    driver.failures.store(usize::MAX, SeqCst);
    for _ in 0..1000 {
        storage.get(&CallContext::default(), &path("flaky"), 1).await.unwrap_err();
    }
    let made = calls(&driver);
    assert!((1100..=1110).contains(&made), "{made} calls for a thousand");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_kind_leaves_turns_for_the_other() {
    for flood_writes in [false, true] {
        let driver = Scripted::new();
        let storage = storage(&driver, 4);
        let mut flood = Vec::new();
        for _ in 0..50 {
            flood.push(start(&storage, "wait", flood_writes).await);
        }
        assert_eq!(driver.running.load(SeqCst), 3);
        let other = start(&storage, "absent", !flood_writes).await;
        assert!(other.is_finished(), "the flood writes: {flood_writes}");
        driver.go.add_permits(50);
        for call in flood {
            call.await.unwrap().unwrap();
        }
        assert_eq!(driver.most.load(SeqCst), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn turns_come_in_the_order_of_the_calls() {
    for calls in [1, 2] {
        let driver = Scripted::new();
        let storage = storage(&driver, calls);
        let mut started = Vec::new();
        for number in 0..5 {
            started.push(start(&storage, &format!("wait/{number}"), false).await);
        }
        driver.go.add_permits(5);
        for call in started {
            call.await.unwrap().unwrap();
        }
        let order = driver.calls.lock().unwrap().clone();
        assert_eq!(order, ["wait/0", "wait/1", "wait/2", "wait/3", "wait/4"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gets_no_turn_in_time_was_never_made_and_a_stuck_one_is_counted() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let driver = Scripted::new();
    let storage = decorate(Arc::clone(&driver) as _, "scripted", 1, DEADLINE);
    let holder = {
        let storage = Arc::clone(&storage);
        tokio::spawn(async move {
            storage.commit(&CallContext::default(), &state("take"), &path("hang"), &Condition::Always).await
        })
    };
    yield_now().await;
    let error = storage.get(&CallContext::default(), &path("behind"), 1).await.unwrap_err();
    assert_eq!((error.kind, error.path.as_deref()), (ErrorKind::Unavailable, Some("behind")));
    assert!(error.retry_after.is_some() && !error.outcome_unknown);
    assert_eq!(*driver.calls.lock().unwrap(), ["hang"]);
    assert_eq!(holder.await.unwrap().unwrap_err().kind, ErrorKind::Timeout);
    let text = recorder.handle().render();
    let value = |name: &str, label: &str| {
        let line = text.lines().find(|line| line.starts_with(name) && line.contains(label));
        line.and_then(|line| line.rsplit(' ').next()).unwrap_or("none").to_owned()
    };
    assert_eq!(value("registry_storage_stuck_calls_total", "action=\"commit\""), "1", "{text}");
    assert_eq!(value("registry_storage_stuck_calls_total", "action=\"get\""), "0", "{text}");
    assert_eq!(value("registry_storage_no_turn_total", "kind=\"read\""), "1", "{text}");
}
