//! What errors say beside their kind.

use std::time::Duration;

use docker_registry_driver_api::{
    CallContext, Condition, Error, ErrorKind, ListRequest, ReadRange, Result, UploadHint,
};

use crate::{
    bodies::failing,
    case::group,
    checks::{fails, holds, ok},
    failure::shown,
    promise::{self, Promise},
    store::{Store, body, call},
};

group! {
    "errors":
    they_name_the_call_and_its_path =>
        "Where an error names a method and a path, they are those of the call; its message is one line.";
    a_known_outcome_is_not_called_unknown =>
        "Calls that were refused, or found nothing, do not say that something may have been written.";
    a_passed_deadline_is_a_timeout =>
        "A call whose deadline has passed fails with Timeout, or does what it was asked for all the same.";
}

/// The error of a call that must fail, checked for what it says.
///
/// The method and the path are filled in where the driver is called across the boundary of its library. A
/// driver that is linked in may leave them empty, but not name others.
fn said<T>(
    result: Result<T>,
    kinds: &[ErrorKind],
    operation: &str,
    paths: &[&str],
    promise: Promise,
) -> Error {
    let error = fails(result, kinds, operation, promise);
    holds(
        error.operation.is_empty() || error.operation == operation,
        format_args!("an error of {operation} names no other method"),
        format_args!("{:?}", error.operation),
        promise::FILLED_IN,
    );
    holds(
        error.path.as_ref().is_none_or(|path| paths.contains(&path.as_str())),
        format_args!("an error of {operation} names the path of the call, {paths:?}, if any"),
        format_args!("{:?}", error.path),
        promise::FILLED_IN,
    );
    holds(
        !error.message.trim().is_empty() && !error.message.contains('\n'),
        format_args!("an error of {operation} has a message of one line"),
        format_args!("{:?}", error.message),
        promise::SAFE_MESSAGE,
    );
    holds(
        !error.outcome_unknown,
        format_args!(
            "an error of {operation} with the kind {:?} leaves no doubt about the outcome",
            error.kind
        ),
        shown(&error),
        promise::UNKNOWN,
    );
    error
}

async fn they_name_the_call_and_its_path(store: Store) {
    store.put("there", "content").await;
    store.head("there").await;
    let (absent, other) = (store.path("absent"), store.path("there"));
    let paths = [absent.as_str()];
    let both = [absent.as_str(), other.as_str()];
    let not_found = [ErrorKind::NotFound];
    let driver = &store.driver;
    let context = call();
    said(driver.get(&context, &absent, 9).await, &not_found, "get", &paths, promise::NOT_FOUND);
    said(driver.head(&context, &absent).await, &not_found, "head", &paths, promise::NOT_FOUND);
    let folder = absent.clone().into();
    said(driver.stat(&context, &folder).await, &not_found, "stat", &paths, promise::NOT_FOUND);
    let read = driver.read(&context, &absent, ReadRange::Full).await;
    said(read, &not_found, "read", &paths, promise::NOT_FOUND);
    said(driver.copy(&context, &absent, &other).await, &not_found, "copy", &both, promise::NOT_FOUND);
    said(driver.rename(&context, &absent, &other).await, &not_found, "rename", &both, promise::NOT_FOUND);
    if let Err(error) = driver.delete(&context, &absent).await {
        said::<()>(Err(error), &not_found, "delete", &paths, promise::NOT_FOUND);
    }
    store.expect("there", "content", promise::NOT_FOUND).await;
}

async fn a_known_outcome_is_not_called_unknown(store: Store) {
    store.put("there", "content").await;
    store.head("there").await;
    let path = store.path("there");
    let paths = [path.as_str()];
    let driver = &store.driver;
    let context = call();
    let conflict = [ErrorKind::Conflict];
    said(driver.get(&context, &path, 6).await, &[ErrorKind::TooLarge], "get", &paths, promise::GET_LIMIT);
    let read = driver.read(&context, &path, ReadRange::From { offset: 7 }).await;
    said(read, &[ErrorKind::InvalidRange], "read", &paths, promise::READ_RANGE);
    let refused = [ErrorKind::ConditionFailed, ErrorKind::Unsupported];
    let put = driver.put(&context, &path, "x".into(), &Condition::IfAbsent).await;
    said(put, &refused, "put", &paths, promise::IF_ABSENT);
    let first = store.open_upload().await;
    let second = store.append(&first, 0, "content").await;
    let appended = driver.append(&context, &first, 7, body("x")).await;
    said(appended, &conflict, "append", &[], promise::APPEND_CONFLICT);
    let appended = driver.append(&context, &second, 6, body("x")).await;
    said(appended, &conflict, "append", &[], promise::APPEND_CONFLICT);
    let appended = driver.append(&context, &second, 7, failing(vec!["x".into()])).await;
    said(appended, &[ErrorKind::BodyFailed], "append", &[], promise::BODY_FAILED_KIND);
    let committed = driver.commit(&context, &first, &path, &Condition::Always).await;
    said(committed, &conflict, "commit", &paths, promise::COMMIT_CONFLICT);
    let committed = driver.commit(&context, &second, &path, &Condition::IfAbsent).await;
    said(committed, &refused, "commit", &paths, promise::COMMIT_CONDITION);
    ok(driver.abort(&context, &second).await, "abort", promise::ABORT);
    let gone = [ErrorKind::NotFound];
    let appended = driver.append(&context, &second, 7, body("x")).await;
    said(appended, &gone, "append", &[], promise::APPEND_GONE);
    let committed = driver.commit(&context, &second, &path, &Condition::Always).await;
    said(committed, &gone, "commit", &paths, promise::COMMIT_GONE);
    store.expect("there", "content", promise::CONFLICT).await;
}

/// Success, or the one way to fail for a deadline, which is returned.
fn timely<T>(result: Result<T>, what: &str) -> Option<Error> {
    let error = result.err()?;
    Some(fails::<()>(
        Err(error),
        &[ErrorKind::Timeout],
        format!("{what} after its deadline"),
        promise::TIMEOUT,
    ))
}

async fn a_passed_deadline_is_a_timeout(store: Store) {
    store.put("a", "before").await;
    store.head("a").await;
    let late = CallContext::with_timeout(Duration::ZERO);
    let (driver, path) = (&store.driver, store.path("a"));
    timely(driver.get(&late, &path, 100).await, "get");
    timely(driver.head(&late, &path).await, "head");
    timely(driver.stat(&late, &store.folder("a")).await, "stat");
    timely(driver.read(&late, &path, ReadRange::Full).await, "read");
    timely(driver.list(&late, &ListRequest::below(store.folder(""))).await, "list");
    timely(driver.health(&late).await, "health");
    let put = driver.put(&late, &path, "after!".into(), &Condition::Always).await;
    let content = match timely(put, "put") {
        // Not even begun, or so the driver says.
        Some(error) if !error.outcome_unknown => "before",
        Some(_) => {
            store.put("a", "after!").await;
            "after!"
        }
        None => "after!",
    };
    store.expect("a", content, promise::UNKNOWN).await;
    if let Ok(state) = driver.open_upload(&late, &UploadHint::default()).await {
        store.uploads().pending.push(state.clone());
        let appended = driver.append(&late, &state, 0, body("late")).await;
        timely(appended, "append");
    }
    // The next call has time again.
    store.put("b", "works").await;
    store.expect("b", "works", promise::TIMEOUT).await;
}
