//! A driver that was built when API 1.0 was released.

use std::{fs, process::Command};

use docker_registry::plugin::load;
use docker_registry_driver_api::ValueKind;
use docker_registry_tests::artifacts;

use crate::{Sources, build_and_load, calls, search};

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_of_the_released_api_works_in_this_server() {
    let loaded = build_and_load(&Sources::recorded(), "recorded").expect("it loads");
    assert_eq!(loaded.note().api, (1, 0));
    assert!(loaded.note().nonblocking);
    let key = &loaded.description().keys[0];
    assert_eq!((key.name.as_str(), key.kind), ("memory_limit", ValueKind::Integer));
    calls::every_method(&loaded).await;
}

/// The same for C: the header and the example driver of that day, which no compiler here has seen before.
#[tokio::test(flavor = "multi_thread")]
async fn a_c_driver_of_the_released_header_works_in_this_server() {
    let recording = artifacts::workspace().join("tests/compatibility/plain-c-1.0");
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("docker-registry-driver-recorded-c.so");
    let sources = fs::read_dir(recording.join("driver")).expect("the recorded driver");
    let mut sources: Vec<_> = sources.map(|entry| entry.expect("an entry").path()).collect();
    sources.retain(|path| path.extension().is_some_and(|extension| extension == "c"));
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-std=gnu11", "-I"])
        .arg(&recording)
        .arg("-o")
        .arg(&library)
        .args(&sources)
        .output()
        .expect("a C compiler");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));

    let loaded = load(&search(folder.path()), "recorded_c").expect("it loads");
    assert!(loaded.note().plain_c);
    assert_eq!(loaded.note().api, (1, 0));
    calls::every_method_with(&loaded, serde_json::json!({"root": folder.path().join("root")})).await;
}
