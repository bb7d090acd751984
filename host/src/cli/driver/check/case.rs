//! The child's side of `driver check`: opens the library and runs one case.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Result as DriverResult, SharedDriver, async_trait};
use docker_registry_driver_conformance::{Opener, Outcome, cases};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use super::super::{
    super::Failure,
    child,
    subject::{Openable, Opening},
};
use crate::plugin::PluginError;

/// What the child is to do.
#[derive(Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) case: String,
    /// How long it may take at least, whatever its own limit is.
    pub(super) least: Duration,
    pub(super) opening: Opening,
    /// Settings with which the storage cannot work.
    pub(super) dead: Option<Map<String, Value>>,
}

/// What the case found.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Runs the case that standard input names.
pub(in super::super) fn run_in_child() -> Result<(), Failure> {
    let order: Order = child::order()?;
    let runtime = Runtime::new()?;
    let verdict = runtime.block_on(run(order));
    child::answer(&verdict)?;
    Ok(())
}

async fn run(order: Order) -> Verdict {
    let Some(case) = cases().find(|case| case.name() == order.case) else {
        return Verdict::Failed(format!("there is no case {}", order.case));
    };
    let driver = match order.opening.openable() {
        Ok(driver) => driver,
        Err(error) => return Verdict::Failed(error.to_string()),
    };
    let opener = Library { driver, opening: order.opening, dead: order.dead };
    match case.run_for(Arc::new(opener), order.least).await {
        Outcome::Passed => Verdict::Passed,
        Outcome::Skipped(reason) => Verdict::Skipped(reason),
        Outcome::Failed(reason) => Verdict::Failed(reason),
    }
}

/// Opens a library, as often as a case asks for it.
struct Library {
    driver: Openable,
    opening: Opening,
    dead: Option<Map<String, Value>>,
}

impl Library {
    async fn open_with(&self, settings: &Map<String, Value>) -> DriverResult<SharedDriver> {
        self.driver.open(settings.clone()).await.map_err(|error| match error {
            PluginError::Driver { error, .. } => *error,
            other => docker_registry_driver_api::Error::new(
                docker_registry_driver_api::ErrorKind::Internal,
                other.to_string(),
            ),
        })
    }
}

#[async_trait]
impl Opener for Library {
    async fn open(&self) -> DriverResult<SharedDriver> {
        self.open_with(self.opening.settings.as_ref().unwrap_or(&Map::new())).await
    }

    async fn open_dead(&self) -> Option<DriverResult<SharedDriver>> {
        Some(self.open_with(self.dead.as_ref()?).await)
    }

    fn secrets(&self) -> Vec<String> {
        let settings = [self.opening.settings.as_ref(), self.dead.as_ref()];
        settings.into_iter().flatten().flat_map(|settings| self.opening.secrets(settings)).collect()
    }
}
