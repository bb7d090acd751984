//! Whether the store says how it is, when it works and when it cannot.

use std::{panic::Location, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::{
    CallContext, Condition, Error, ErrorKind, ListRequest, Prefix, SharedDriver,
};

use crate::{
    case::group,
    checks::{holds, ok},
    failure::{broken, shown, skip},
    promise::{self, Promise},
    store::{Store, call},
    tasks,
};

group! {
    "health":
    a_live_store_is_healthy =>
        "A store that works says so, before and after writes.";
    a_busy_store_is_healthy =>
        "It says so as well while it is asked by many and written to.";
    looking_leaves_nothing =>
        "Asking for health makes no object and no folder.";
    a_dead_store_says_so =>
        "On a storage that cannot work, open or health fails in time, with a kind that says why and no secret.";
}

async fn a_live_store_is_healthy(store: Store) {
    ok(store.driver.health(&call()).await, "health of a live store", promise::HEALTH);
    store.put("a", "content").await;
    ok(store.driver.health(&call()).await, "health of a live store after a write", promise::HEALTH);
}

async fn a_busy_store_is_healthy(store: Store) {
    let callers = (0..16).map(|number| {
        let store = store.clone();
        tasks::spawn(async move {
            for _ in 0..5 {
                store.put(&format!("busy/{number}"), "content").await;
                ok(store.driver.health(&call()).await, "health of a busy store", promise::HEALTH);
            }
        })
    });
    tasks::all(callers).await;
}

async fn looking_leaves_nothing(store: Store) {
    let look = || async {
        let request = ListRequest::children(Prefix::root());
        let page = ok(store.driver.list(&call(), &request).await, "list of the root", promise::LIST);
        page.entries.into_iter().map(|entry| entry.path).collect::<Vec<_>>()
    };
    let before = look().await;
    for _ in 0..3 {
        ok(store.driver.health(&call()).await, "health of a live store", promise::HEALTH);
    }
    let mut new = look().await;
    // Other runs of the suite may have begun.
    new.retain(|path| !before.contains(path) && !path.starts_with("conformance-"));
    holds(
        new.is_empty(),
        "health leaves nothing that a listing shows",
        format_args!("{new:?}"),
        promise::HEALTH,
    );
}

/// How long a driver may take to find out; it only guards against calls that never return.
const FOUND_OUT: Duration = Duration::from_secs(60);
/// What the calls are told.
const DEADLINE: Duration = Duration::from_secs(15);

async fn a_dead_store_says_so(store: Store) {
    let opening = tokio::time::timeout(FOUND_OUT, store.dead()).await;
    let Ok(opened) = opening else { hangs("open", promise::OPEN) };
    match opened {
        None => skip("no settings were given with which the storage cannot work"),
        Some(Err(error)) => expect_reason(&store, "open", &error, promise::OPEN),
        Some(Ok(driver)) => {
            expect_failing(&store, &driver).await;
            driver.close(Duration::from_secs(5)).await;
        }
    }
}

async fn expect_failing(store: &Store, driver: &SharedDriver) {
    let context = CallContext::with_timeout(DEADLINE);
    match tokio::time::timeout(FOUND_OUT, driver.health(&context)).await {
        Err(_) => hangs("health", promise::HEALTH),
        Ok(Ok(())) => {
            broken("health of a dead storage fails", "success", promise::HEALTH, Location::caller())
        }
        Ok(Err(error)) => expect_reason(store, "health", &error, promise::HEALTH),
    }
    let context = CallContext::with_timeout(DEADLINE);
    let path = store.path("a");
    let put = driver.put(&context, &path, Bytes::from_static(b"content"), &Condition::Always);
    match tokio::time::timeout(FOUND_OUT, put).await {
        Err(_) => hangs("put", promise::DEADLINE),
        Ok(Ok(_)) => broken(
            "put fails where health says that the storage cannot be written",
            "success",
            promise::HEALTH,
            Location::caller(),
        ),
        Ok(Err(error)) => expect_reason(store, "put", &error, promise::HEALTH),
    }
}

fn hangs(what: &str, promise: Promise) -> ! {
    broken(
        format_args!("{what} of a dead storage fails within {} seconds", FOUND_OUT.as_secs()),
        "it hangs",
        promise,
        Location::caller(),
    )
}

/// Expects a kind that tells an operator or the server something, and a text that tells no secret.
fn expect_reason(store: &Store, what: &str, error: &Error, promise: Promise) {
    let kinds = [
        ErrorKind::NotFound,
        ErrorKind::InvalidConfiguration,
        ErrorKind::Unauthenticated,
        ErrorKind::PermissionDenied,
        ErrorKind::Throttled,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::StorageFull,
    ];
    holds(
        kinds.contains(&error.kind),
        format_args!("{what} of a dead storage fails with one of {kinds:?}"),
        shown(error),
        promise,
    );
    holds(
        !error.message.trim().is_empty(),
        format_args!("{what} of a dead storage says what is wrong"),
        "an error without a message",
        promise::SAFE_MESSAGE,
    );
    let text = format!("{error:?}");
    for secret in store.secrets().iter().filter(|secret| !secret.is_empty()) {
        // The finding is printed, and must not show it either.
        let is_safe = !text.contains(secret.as_str());
        holds(is_safe, "an error without secrets", "a secret setting in its text", promise::SAFE_SOURCE);
    }
}
