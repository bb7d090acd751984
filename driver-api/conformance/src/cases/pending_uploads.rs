//! Finding the uploads that nobody finished.
//!
//! Others may have uploads in the same store. Those of a case are told by their sizes, which are drawn
//! anew for each run.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{Capability, ErrorKind, PendingUpload, UploadState};

use crate::{
    bodies::failing,
    case::group,
    checks::{fails, holds, ok, same},
    failure::skip,
    promise::{self, Promise},
    remains::pending,
    store::{Store, body, call},
};

group! {
    "pending_uploads":
    every_pending_upload_is_found [ListUploads] =>
        "Uploads are listed with their sizes until they are committed or aborted.";
    what_is_listed_can_be_aborted [ListUploads] =>
        "The states of a listing end the uploads, without any other state of them.";
    pages_hold_each_upload_once [ListUploads] =>
        "In pages of one, two and five each upload comes once.";
    only_older_ones_are_wanted [ListUploads] =>
        "Uploads that were touched after the given time are not listed; an append touches its upload.";
    a_failed_body_is_no_progress [ListUploads] =>
        "A body that failed does not show in the size of the upload.";
    they_are_found_from_elsewhere [ListUploads, ResumableUploads] =>
        "A process that did not open the uploads finds and ends them.";
    without_the_capability_it_is_unsupported =>
        "A driver that does not offer list-uploads says so when it is asked.";
}

/// Clocks of the storage may differ by this much from the one here.
const CLOCKS: Duration = Duration::from_secs(24 * 60 * 60);

/// Opens uploads of sizes that hardly any other upload has, and returns states and sizes.
async fn open_some(store: &Store, count: usize) -> Vec<(UploadState, u64)> {
    let mut sizes = BTreeSet::new();
    while sizes.len() < count {
        sizes.insert(fastrand::u64(20_000..200_000));
    }
    let mut opened = Vec::new();
    for size in sizes {
        let state = store.open_upload().await;
        opened.push((store.append(&state, 0, vec![b'x'; size as usize]).await, size));
    }
    opened
}

/// The listed uploads of these sizes.
async fn found(store: &Store, opened: &[(UploadState, u64)]) -> Vec<PendingUpload> {
    let mut uploads = pending(store).await;
    uploads.retain(|upload| opened.iter().any(|(_, size)| *size == upload.size));
    uploads
}

/// Expects that of the opened uploads exactly these are listed.
async fn expect_listed(
    store: &Store,
    opened: &[(UploadState, u64)],
    expected: &[(UploadState, u64)],
    promise: Promise,
) {
    let sizes = |uploads: Vec<PendingUpload>| {
        let mut sizes: Vec<u64> = uploads.iter().map(|upload| upload.size).collect();
        sizes.sort_unstable();
        sizes
    };
    let expected: Vec<u64> = expected.iter().map(|(_, size)| *size).collect();
    let listed =
        store.eventually(|| async { sizes(found(store, opened).await) }, |listed| *listed == expected).await;
    same(listed, expected, "the sizes of the listed uploads", promise);
}

async fn every_pending_upload_is_found(store: Store) {
    let opened = open_some(&store, 5).await;
    expect_listed(&store, &opened, &opened, promise::LIST_UPLOADS_ALL).await;
    store.commit(&opened[0].0, "a").await;
    expect_listed(&store, &opened, &opened[1..], promise::PENDING).await;
    ok(store.driver.abort(&call(), &opened[1].0).await, "abort", promise::ABORT);
    expect_listed(&store, &opened, &opened[2..], promise::PENDING).await;
    for (state, _) in &opened[2..] {
        ok(store.driver.abort(&call(), state).await, "abort", promise::ABORT);
    }
    expect_listed(&store, &opened, &[], promise::PENDING).await;
    store.expect_below("", &["a"], promise::PENDING).await;
}

async fn what_is_listed_can_be_aborted(store: Store) {
    let opened = open_some(&store, 3).await;
    expect_listed(&store, &opened, &opened, promise::LIST_UPLOADS_ALL).await;
    for upload in found(&store, &opened).await {
        ok(
            store.driver.abort(&call(), &upload.state).await,
            "abort of a listed upload",
            promise::PENDING_STATE,
        );
    }
    expect_listed(&store, &opened, &[], promise::PENDING_STATE).await;
    for (state, size) in &opened {
        let appended = store.try_append(state, *size, body("x")).await;
        fails(
            appended,
            &[ErrorKind::NotFound],
            "append after abort of the listed state",
            promise::APPEND_GONE,
        );
    }
}

async fn pages_hold_each_upload_once(store: Store) {
    let opened = open_some(&store, 7).await;
    expect_listed(&store, &opened, &opened, promise::LIST_UPLOADS_ALL).await;
    let later = SystemTime::now() + CLOCKS;
    for limit in [1, 2, 5] {
        let mut listed = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = store.driver.list_uploads(&call(), later, after.as_deref(), limit).await;
            let page = ok(page, format!("list_uploads in pages of {limit}"), promise::LIST_UPLOADS);
            holds(
                page.uploads.len() <= limit as usize,
                format_args!("a page of at most {limit} uploads"),
                format_args!("{} uploads", page.uploads.len()),
                promise::LIST_UPLOADS,
            );
            let ours = page.uploads.iter().filter(|upload| opened.iter().any(|own| own.1 == upload.size));
            listed.extend(ours.map(|upload| upload.size));
            if page.next.is_none() {
                break;
            }
            holds(
                page.next != after,
                "the cursor of list_uploads leads on",
                format_args!("{:?} twice", page.next),
                promise::LIST_UPLOADS,
            );
            after = page.next;
        }
        listed.sort_unstable();
        let expected: Vec<u64> = opened.iter().map(|(_, size)| *size).collect();
        let what = format!("the sizes of the uploads in pages of {limit}");
        same(listed, expected, what, promise::LIST_UPLOADS_ALL);
    }
}

async fn only_older_ones_are_wanted(store: Store) {
    let before = SystemTime::now();
    let opened = open_some(&store, 2).await;
    expect_listed(&store, &opened, &opened, promise::LIST_UPLOADS_ALL).await;
    let page = store.driver.list_uploads(&call(), before - CLOCKS, None, 1000).await;
    let page = ok(page, "list_uploads of old uploads", promise::LIST_UPLOADS);
    let ours = page.uploads.iter().filter(|upload| opened.iter().any(|own| own.1 == upload.size)).count();
    same(ours, 0, "the number of new uploads among those touched a day ago", promise::LIST_UPLOADS);
    let touched = |uploads: &[PendingUpload]| uploads.iter().map(|upload| upload.touched).max();
    let uploads = found(&store, &opened).await;
    for upload in &uploads {
        holds(
            upload.touched > before - CLOCKS && upload.touched < SystemTime::now() + CLOCKS,
            "an upload was touched when it was opened and appended to",
            format_args!("{:?}", upload.touched),
            promise::PENDING_TOUCHED,
        );
        // Exactly at its time an upload is not older.
        let page = store.driver.list_uploads(&call(), upload.touched, None, 1000).await;
        let page = ok(page, "list_uploads", promise::LIST_UPLOADS);
        let is_listed = page.uploads.iter().any(|listed| listed.size == upload.size);
        same(is_listed, false, "whether an upload is older than its own time", promise::LIST_UPLOADS);
    }
    let (state, size) = &opened[0];
    let longer = store.append(state, *size, "and more").await;
    let opened = [(longer, size + 8)];
    expect_listed(&store, &opened, &opened, promise::PENDING_SIZE).await;
    let later = touched(&found(&store, &opened).await);
    let earlier = uploads.iter().find(|upload| upload.size == *size).map(|upload| upload.touched);
    holds(
        later >= earlier,
        format_args!("an append after {earlier:?} touches the upload"),
        format_args!("{later:?}"),
        promise::PENDING_TOUCHED,
    );
}

async fn a_failed_body_is_no_progress(store: Store) {
    let opened = open_some(&store, 1).await;
    let (state, size) = &opened[0];
    let broken = failing(vec![vec![b'!'; 3_000_000].into()]);
    let appended = store.try_append(state, *size, broken).await;
    fails(appended, &[ErrorKind::BodyFailed], "append of a body that fails", promise::BODY_FAILED_KIND);
    expect_listed(&store, &opened, &opened, promise::PENDING_SIZE).await;
}

async fn they_are_found_from_elsewhere(store: Store) {
    let second = store.second().await;
    let opened = open_some(&store, 3).await;
    expect_listed(&second, &opened, &opened, promise::LIST_UPLOADS_ALL).await;
    for upload in found(&second, &opened).await {
        ok(second.driver.abort(&call(), &upload.state).await, "abort elsewhere", promise::PENDING_STATE);
    }
    expect_listed(&store, &opened, &[], promise::PENDING_STATE).await;
}

async fn without_the_capability_it_is_unsupported(store: Store) {
    if store.has(Capability::ListUploads) {
        skip("the driver offers list-uploads");
    }
    let listed = store.driver.list_uploads(&call(), SystemTime::now(), None, 1000).await;
    fails(listed, &[ErrorKind::Unsupported], "list_uploads", promise::LIST_UPLOADS_UNSUPPORTED);
}
