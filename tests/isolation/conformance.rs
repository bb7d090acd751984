//! Every case of the conformance suite against drivers in processes of their own, opened by the host library.

use std::{fs, path::PathBuf, sync::Arc};

use docker_registry::{isolation, plugin::PluginError};
use docker_registry_driver_api::{Error, ErrorKind, Result, Settings, SharedDriver, async_trait};
use docker_registry_driver_conformance::{Opener, Outcome, cases};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::opened::launch;

/// Opens a driver in a process of its own, a new one each time.
struct Isolated {
    driver: &'static str,
    folder: PathBuf,
}

impl Isolated {
    async fn open_with(&self, settings: Value) -> Result<SharedDriver> {
        let settings = Settings::new(settings.as_object().cloned().unwrap_or_default());
        isolation::open(launch(self.driver), settings).await.map_err(|error| match error {
            PluginError::Driver { error, .. } => *error,
            other => Error::new(ErrorKind::Internal, other.to_string()),
        })
    }
}

#[async_trait]
impl Opener for Isolated {
    async fn open(&self) -> Result<SharedDriver> {
        self.open_with(json!({ "storage_path": self.folder.join("root") })).await
    }

    /// A file where the folder would be, or no room for a byte.
    async fn open_dead(&self) -> Option<Result<SharedDriver>> {
        let file = self.folder.join("file");
        fs::write(&file, "not a folder").expect("the temporary folder can be written");
        Some(self.open_with(json!({ "storage_path": file, "memory_limit": 0 })).await)
    }
}

/// Runs all cases that do not take long, and the others with the feature `long`.
fn run_all(driver: &'static str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut failures = Vec::new();
    let mut passed = 0;
    for case in cases().filter(|case| cfg!(feature = "long") || !case.is_long()) {
        let opener = Arc::new(Isolated { driver, folder: folder.path().to_owned() });
        // One for each case: nothing of one can disturb the next.
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        println!("{}", case.name());
        match runtime.block_on(case.run(opener)) {
            Outcome::Passed => passed += 1,
            Outcome::Skipped(_) => {}
            Outcome::Failed(finding) => failures.push(format!("{}: {finding}", case.name())),
        }
    }
    assert!(failures.is_empty(), "{driver} fails {}:\n{}", failures.len(), failures.join("\n\n"));
    assert!(passed > 0, "no case was run");
}

#[test]
fn local_passes_every_case() {
    run_all("local");
}

#[test]
fn memory_passes_every_case() {
    run_all("memory");
}
