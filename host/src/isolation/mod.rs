//! `isolation: process`: a driver in a process of its own.
//!
//! The server never maps the library. It starts its own executable again, which finds, checks, loads and
//! opens the driver, and [`open`] gives a [`SharedDriver`] whose methods talk to that process. A fault of the
//! driver that no language can contain (a segmentation fault, `abort`, a corrupted heap) then costs the
//! calls under way and nothing else.
//!
//! - `channel` carries frames over one control socket, `messages` and `facts` say what is in them;
//! - `body` is the socket of one body; files go as open files, so that `sendfile(2)` still works;
//! - `child`, `child_calls` and `child_reports` are the driver's process, `connection`, `process`,
//!   `supervisor` and `remote` the server's side of it.
//!
//! Guarantees:
//! - settings go over the control socket and in no argument; the process does not inherit the variables that
//!   secrets were read from;
//! - the death of the process ends every call under way at once. A call that changes nothing is made once
//!   more in the next process, never twice; any other fails with [`ErrorKind::Unavailable`], says when to come
//!   again and that its outcome is unknown;
//! - a body that was cut off never looks like a short one;
//! - a new process is started after a pause that grows while it keeps dying. Calls that come meanwhile, or
//!   that had not reached the old one, wait when the first new one comes soon, and else fail at once;
//! - the process ends when the server does, even when that is killed.
//!
//! [`ErrorKind::Unavailable`]: docker_registry_driver_api::ErrorKind::Unavailable

mod body;
mod channel;
mod child;
mod child_calls;
mod child_reports;
mod connection;
mod facts;
mod messages;
mod process;
mod reading;
mod remote;
mod supervisor;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use docker_registry_driver_api::{Settings, SharedDriver};
use tokio::runtime::Builder;

pub use self::{
    child::run as run_child,
    messages::{Loaded, WhichDriver},
};
use self::{process::DriverProcess, remote::Remote, supervisor::Supervisor};
use crate::plugin::{PluginError, Search, canonical_name};

/// How long a process may take to load or to open a driver, unless the caller says otherwise.
pub const START_LIMIT: Duration = Duration::from_secs(60);

/// What is needed to start a driver's process.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program: this one, or another build of the same.
    pub program: PathBuf,
    /// The driver.
    pub driver: WhichDriver,
    /// The folders that are searched for it and for drivers that it opens itself.
    pub folders: Vec<PathBuf>,
    /// The SHA-256 that a driver's file must have, in hex, by the driver's name.
    pub pins: BTreeMap<String, String>,
    /// Environment variables that the process does not inherit: those that secrets were read from.
    pub hidden_variables: Vec<String>,
    /// How long it may take to load the driver, and to open it.
    pub start_limit: Duration,
}

impl Launch {
    /// A launch of this very program, found and searched as this process does it.
    pub fn of_this_program(driver: WhichDriver, search: &Search, pins: &BTreeMap<String, String>) -> Self {
        Self {
            // Not its path: the file may have been replaced by another version since.
            program: PathBuf::from("/proc/self/exe"),
            driver,
            folders: search.folders().to_vec(),
            pins: pins.clone(),
            hidden_variables: Vec::new(),
            start_limit: START_LIMIT,
        }
    }

    /// What to call the driver before it is known.
    fn driver_name(&self) -> String {
        match &self.driver {
            WhichDriver::Named(name) => canonical_name(name),
            WhichDriver::File(path) => path.display().to_string(),
        }
    }
}

/// Loads a driver in a process of its own and says what it is. The process is gone afterwards: a library
/// that crashes or hangs when it is loaded costs a sentence.
///
/// # Errors
/// What is wrong with the driver, or what became of the process.
pub async fn describe(launch: &Launch) -> Result<Loaded, PluginError> {
    let (mut process, loaded) = DriverProcess::start(launch).await?;
    process.kill().await;
    Ok(loaded)
}

/// [`describe`] for callers outside a runtime; blocks for [`Launch::start_limit`] at most.
///
/// # Errors
/// As [`describe`], and when the system refuses a thread.
pub fn describe_blocking(launch: &Launch) -> Result<Loaded, PluginError> {
    let failed = |error: &dyn std::fmt::Display| PluginError::Process {
        name: launch.driver_name(),
        what: format!("cannot be started ({error})"),
    };
    // A thread of its own, because the caller's may be inside a runtime after all.
    std::thread::scope(|scope| {
        let describing = scope.spawn(|| {
            let runtime =
                Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
            runtime.block_on(describe(launch))
        });
        describing.join().unwrap_or_else(|_| Err(failed(&"its start panicked")))
    })
}

/// Opens a driver in a process of its own, which is watched and started again until the driver is closed or
/// dropped. Must be called inside the runtime that the driver is used in.
///
/// # Errors
/// What is wrong with the driver or its settings, or what became of the process.
pub async fn open(launch: Launch, settings: Settings) -> Result<SharedDriver, PluginError> {
    let (supervisor, capabilities) = Supervisor::start(launch, settings.values().clone()).await?;
    Ok(std::sync::Arc::new(Remote::new(supervisor, capabilities)))
}
