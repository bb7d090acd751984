//! The metrics recorder of the process and the text that `/metrics` answers.

use std::{
    fs,
    sync::{OnceLock, PoisonError, RwLock},
};

use metrics::Unit;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};

use super::names::{self, Kind};

/// Upper bounds of the histogram buckets, in seconds: from an answer out of memory to a slow pull.
const SECONDS: [f64; 14] =
    [0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0];

/// Where metrics are read.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

static INSTALLED: OnceLock<Metrics> = OnceLock::new();
/// Two threads that install at the same time must not both do it.
static INSTALLING: RwLock<()> = RwLock::new(());

/// Installs the recorder of the process. Later calls return the first one. Must come before anything
/// that counts, since counters that were made earlier stay silent.
///
/// # Errors
/// When another recorder has been installed by somebody else.
pub fn install() -> Result<Metrics, InstallError> {
    let _one_at_a_time = INSTALLING.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(installed) = INSTALLED.get() {
        return Ok(installed.clone());
    }
    let recorder = PrometheusBuilder::new().set_buckets(&SECONDS)?.build_recorder();
    let metrics = Metrics { handle: recorder.handle() };
    metrics::set_global_recorder(recorder).map_err(|_| InstallError::Taken)?;
    for (name, kind, help) in names::ALL {
        match kind {
            Kind::Counter => metrics::describe_counter!(name, help),
            Kind::Gauge => metrics::describe_gauge!(name, help),
            Kind::Histogram => metrics::describe_histogram!(name, Unit::Seconds, help),
        }
    }
    Ok(INSTALLED.get_or_init(|| metrics).clone())
}

/// Counts the open descriptors. Looking takes one itself, which is not counted; when none is left to look
/// with, all are taken.
fn record_open_files() {
    let most = getrlimit(Resource::Nofile).current;
    let open = match fs::read_dir("/proc/self/fd") {
        Ok(entries) => Some(entries.count().saturating_sub(1) as f64),
        Err(error) if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => {
            most.map(|most| most as f64)
        }
        Err(_) => None,
    };
    if let Some(open) = open {
        metrics::gauge!(names::OPEN_FILES).set(open);
    }
    if let Some(most) = most {
        metrics::gauge!(names::MOST_OPEN_FILES).set(most as f64);
    }
}

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Another recorder is in place.
    #[error("another metrics recorder is already installed in this process")]
    Taken,
    /// The recorder refused its settings.
    #[error("the metrics recorder cannot be built")]
    Build(#[from] BuildError),
}

impl Metrics {
    /// All metrics in the Prometheus text format.
    pub fn render(&self) -> String {
        record_open_files();
        self.handle.render()
    }

    /// Folds what has been recorded into the histograms. To be called every few seconds, since recorded
    /// values are kept one by one until then.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }

    /// Publishes what runs.
    pub fn set_info(&self, driver: &str, driver_version: &str) {
        metrics::gauge!(
            names::INFO,
            "version" => env!("CARGO_PKG_VERSION"),
            "driver" => driver.to_owned(),
            "driver_version" => driver_version.to_owned(),
        )
        .set(1.0);
    }
}
