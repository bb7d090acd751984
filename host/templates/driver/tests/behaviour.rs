//! The behaviour that the server relies on: the conformance suite, in this process.
//!
//! `docker-registry driver check` runs the same cases on the finished library, each in a process of its own,
//! and the long ones as well.

use std::sync::Arc;

use docker_registry_driver___NAME__::Store;

use docker_registry_driver_api::{Driver, HostServices, Result, Settings, SharedDriver, async_trait};
use docker_registry_driver_conformance::{Opener, Outcome, cases};

/// Opens the driver for one case.
struct ForTests;

#[async_trait]
impl Opener for ForTests {
    /// What to put here: settings that lead to a storage for tests. As soon as the driver claims
    /// `ResumableUploads`, each call must open the same storage.
    async fn open(&self) -> Result<SharedDriver> {
        Ok(Arc::new(Store::open(Settings::default(), HostServices::default()).await?))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_driver_keeps_every_promise() {
    let mut failures = Vec::new();
    for case in cases().filter(|case| !case.is_long()) {
        match case.run(Arc::new(ForTests)).await {
            Outcome::Passed => println!("passed   {}", case.name()),
            Outcome::Skipped(reason) => println!("skipped  {}: {reason}", case.name()),
            Outcome::Failed(why) => failures.push(format!("{}: {why}", case.name())),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
