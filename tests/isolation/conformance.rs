//! Every case of the conformance suite against drivers in processes of their own, opened by the host library.

use std::{path::PathBuf, sync::Arc};

use docker_registry::{isolation, plugin::PluginError};
use docker_registry_driver_api::{Error, ErrorKind, Result, SharedDriver, async_trait};
use docker_registry_driver_conformance::{Opener, Outcome, cases};
use tokio::runtime::Builder;

use crate::opened::{launch, settings};

/// Opens a driver in a process of its own, a new one each time.
struct Isolated {
    driver: &'static str,
    folder: PathBuf,
}

#[async_trait]
impl Opener for Isolated {
    async fn open(&self) -> Result<SharedDriver> {
        let values = settings(&[("storage_path", self.folder.to_str().expect("a path"))]);
        isolation::open(launch(self.driver), values).await.map_err(|error| match error {
            PluginError::Driver { error, .. } => *error,
            other => Error::new(ErrorKind::Internal, other.to_string()),
        })
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
