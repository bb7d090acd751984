//! What the host does for a loaded driver: its log, its counters, other drivers.

use std::sync::Arc;

use docker_registry_driver_api::{
    Error, ErrorKind, Result, Settings, SharedDriver, abi::host::Host, async_trait,
};
use tracing::{Level, level_filters::LevelFilter};

use super::{Execution, LoadedDriver, Search, alternate, load};

/// Name of the counters that drivers count with, by `driver` and `event`.
pub(crate) const DRIVER_EVENTS: &str = "registry_driver_events_total";

/// The most detailed level that is logged: 1 error to 5 trace, 0 nothing.
pub(crate) fn log_level() -> u32 {
    match LevelFilter::current().into_level() {
        None => 0,
        Some(Level::ERROR) => 1,
        Some(Level::WARN) => 2,
        Some(Level::INFO) => 3,
        Some(Level::DEBUG) => 4,
        Some(Level::TRACE) => 5,
    }
}

/// Logs an event of a driver.
pub(crate) fn log_event(driver: &str, level: u32, module: &str, line: &str) {
    // Levels are part of a call site, so each needs its own.
    match level {
        1 => tracing::error!(target: "driver", driver, module, "{line}"),
        2 => tracing::warn!(target: "driver", driver, module, "{line}"),
        3 => tracing::info!(target: "driver", driver, module, "{line}"),
        4 => tracing::debug!(target: "driver", driver, module, "{line}"),
        _ => tracing::trace!(target: "driver", driver, module, "{line}"),
    }
}

/// Adds to a counter of a driver.
pub(crate) fn count_event(driver: &str, counter: &str, amount: u64) {
    metrics::counter!(DRIVER_EVENTS, "driver" => driver.to_owned(), "event" => counter.to_owned())
        .increment(amount);
}

/// The services of one driver.
pub(super) struct DriverHost {
    /// The driver that is served, after the drivers that opened it.
    pub(super) chain: Vec<String>,
    pub(super) search: Arc<Search>,
    /// Where its code runs, and that of drivers that it opens.
    pub(super) execution: Execution,
}

impl DriverHost {
    fn name(&self) -> &str {
        self.chain.last().map_or("?", String::as_str)
    }

    /// Loads another driver, unless it is one of those that wait for it.
    async fn load(&self, name: &str) -> Result<LoadedDriver> {
        let name = super::canonical_name(name);
        let refused = |message: String| Error::new(ErrorKind::InvalidConfiguration, message);
        if self.chain.contains(&name) {
            let chain = self.chain.join(" -> ");
            return Err(refused(format!("driver `{name}` would open itself: {chain} -> {name}")));
        }
        let search = Arc::clone(&self.search);
        tokio::task::spawn_blocking(move || load(&search, &name))
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "loading was interrupted").caused_by(&error))?
            .map_err(|error| refused(error.to_string()))
    }
}

#[async_trait]
impl Host for DriverHost {
    fn log_level(&self) -> u32 {
        log_level()
    }

    fn log(&self, level: u32, target: &str, line: &str) {
        log_event(self.name(), level, target, line);
    }

    fn count(&self, counter: &str, amount: u64) {
        count_event(self.name(), counter, amount);
    }

    async fn open_driver(&self, name: &str, settings: Settings) -> Result<SharedDriver> {
        let loaded = self.load(name).await?;
        loaded.open_for(self.chain.clone(), settings, self.execution).await
    }

    async fn open_alternate(&self, name: &str, settings: Settings) -> Result<SharedDriver> {
        let loaded = self.load(name).await?;
        let settings = alternate::settings_of(&loaded.note().name, loaded.description(), &settings)?;
        loaded.open_for(self.chain.clone(), settings, self.execution).await
    }
}
