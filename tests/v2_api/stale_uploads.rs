//! Files of uploads that nobody finishes do not stay for ever.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry::{http::v2::Limits, registry::v2};
use docker_registry_driver_api::{
    CallContext, Driver, Error, ErrorKind, HostServices, Settings, futures::FutureExt,
};
use docker_registry_driver_local::LocalDriver;
use docker_registry_driver_memory::MemoryDriver;
use serde_json::json;

use crate::{
    registry::{REPOSITORIES, Registry, ask},
    revision_race::Interposed,
};

const HOUR: Duration = Duration::from_secs(3600);

async fn purge(registry: &Registry, age: Duration) -> u64 {
    let repositories = v2::Registry::new(registry.storage.clone());
    repositories.purge_stale_uploads(&CallContext::default(), age).await.unwrap()
}

/// The path of an upload's folder in the storage.
fn folder_of(location: &str) -> String {
    let (name, id) = location.strip_prefix("/v2/").unwrap().split_once("/blobs/uploads/").unwrap();
    // The rest of the segment tells one state of the upload from the next.
    let id = id.split('.').next().unwrap();
    format!("{REPOSITORIES}/{name}/_uploads/{id}")
}

/// "Older than" is strict, so that the clock must have moved on.
async fn let_time_pass() {
    tokio::time::sleep(Duration::from_millis(20)).await;
}

fn age_file(path: &Path, age: Duration) {
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn age_folder(path: &Path, age: Duration) {
    for file in fs::read_dir(path).unwrap() {
        age_file(&file.unwrap().path(), age);
    }
}

#[tokio::test]
async fn an_upload_goes_when_nothing_was_written_to_it_for_the_age() {
    let root = tempfile::tempdir().unwrap();
    let settings = json!({ "storage_path": root.path() }).as_object().unwrap().clone();
    let driver = LocalDriver::open(Settings::new(settings), HostServices::default()).await.unwrap();
    let registry = Registry::on(Arc::new(driver), Limits::default());
    registry.push_image("app", "v1", b"layer").await;
    let stale = registry.begin_upload("app").await;
    // Begun long ago, but a chunk has come since.
    let slow = registry.begin_upload("app").await;
    let fresh = registry.begin_upload("app").await;
    age_folder(&root.path().join(folder_of(&stale)), 3 * HOUR);
    age_folder(&root.path().join(folder_of(&slow)), 3 * HOUR);
    registry.ask(ask("PATCH", &slow).body(b"chunk")).await.expect(202);
    assert!(registry.objects().await.contains(&format!("{}/upload.json", folder_of(&slow))));

    assert_eq!(purge(&registry, 4 * HOUR).await, 0);
    assert_eq!(purge(&registry, 2 * HOUR).await, 1);
    registry.get(&stale).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
    let objects = registry.objects().await;
    assert!(!objects.iter().any(|path| path.starts_with(&folder_of(&stale))), "{objects:?}");
    assert_eq!(registry.get(&slow).await.expect(204).header("range"), "0-5");
    registry.get(&fresh).await.expect(204);
    assert_eq!(purge(&registry, 2 * HOUR).await, 0);
}

#[tokio::test]
async fn uploads_are_found_in_every_repository_and_nothing_else_goes() {
    for page_size in [1, 2, 1000] {
        let settings = json!({ "page_size": page_size }).as_object().unwrap().clone();
        let driver = MemoryDriver::open(Settings::new(settings), HostServices::default()).await.unwrap();
        let registry = Registry::on(Arc::new(driver), Limits::default());
        registry.push_image("app", "v1", b"layer").await;
        registry.push_image("app/tools", "v1", b"layer").await;
        // Not an upload's name, and not an upload's file.
        registry.write(&format!("{REPOSITORIES}/app/_uploads/notes/data"), "x").await;
        registry.write(&format!("{REPOSITORIES}/app/_uploads/notes.txt"), "x").await;
        let kept = registry.objects().await;
        let mut locations = Vec::new();
        // A repository that has nothing yet but a broken first push is the usual case.
        for name in ["app", "app", "app/tools", "new", "new/a-b/c", "zz"] {
            locations.push(registry.begin_upload(name).await);
        }
        // As distribution leaves them.
        let foreign = format!("{REPOSITORIES}/app/_uploads/6a7d5f4e-3c5b-4f0a-9f57-111111111111");
        registry.write(&format!("{foreign}/data"), "half").await;
        registry.write(&format!("{foreign}/hashstates/sha256/4"), "state").await;
        assert_eq!(purge(&registry, HOUR).await, 0);
        let_time_pass().await;
        assert_eq!(purge(&registry, Duration::ZERO).await, 7, "driver pages of {page_size}");
        assert_eq!(registry.objects().await, kept);
        for location in locations {
            registry.get(&location).await.expect_error(404, "BLOB_UPLOAD_UNKNOWN");
        }
    }
}

#[tokio::test]
async fn an_upload_that_cannot_be_deleted_does_not_keep_the_others() {
    let driver = Interposed::over(Registry::on_memory().await.storage);
    let registry = Registry::on(driver.clone(), Limits::default());
    let mut locations = Vec::new();
    for name in ["a", "a", "b"] {
        locations.push(registry.begin_upload(name).await);
    }
    let_time_pass().await;
    let refused = async { Err(Error::new(ErrorKind::PermissionDenied, "the test forbids it")) };
    driver.before_deleting(&folder_of(&locations[0]), refused.boxed());
    assert_eq!(purge(&registry, Duration::ZERO).await, 2);
    registry.get(&locations[0]).await.expect(204);
    assert_eq!(purge(&registry, Duration::ZERO).await, 1);
    registry.assert_empty().await;
}
