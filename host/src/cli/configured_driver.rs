//! The driver that the configuration names: loaded into this process, or described by one of its own.

use std::{path::Path, sync::Arc};

use docker_registry_config::{Isolation, Key, Loaded, Origin, server_keys};
use docker_registry_driver_api::{self as driver_api, Description, SharedDriver};

use crate::{
    isolation::{self, Launch, WhichDriver},
    plugin::{Execution, LoadedDriver, PluginError, Search, load},
};

/// A driver that is not open yet.
pub(super) enum ConfiguredDriver {
    /// Mapped into this process.
    Here(Box<LoadedDriver>, Execution),
    /// To be run in a process of its own; this one never maps it.
    Apart(Box<(isolation::Loaded, Launch)>),
}

impl ConfiguredDriver {
    /// Loads the driver with this name, where the configuration wants its code to be.
    ///
    /// # Errors
    /// What is wrong with the driver.
    pub(super) fn load(name: &str, loaded: &Loaded, search: &Arc<Search>) -> Result<Self, PluginError> {
        let settings = &loaded.settings;
        let execution = match settings.isolation {
            Isolation::Declared => Execution::Declared,
            Isolation::InPlace => Execution::InPlace,
            Isolation::Spawned => Execution::Spawned,
            Isolation::Process => {
                let which = WhichDriver::Named(name.to_owned());
                let launch = Launch::of_this_program(which, search, &settings.driver_sha256);
                // Nobody knows yet which of them are secrets.
                let hidden_variables = loaded.variables(|_| true).into_iter().collect();
                let described = isolation::describe_blocking(&Launch { hidden_variables, ..launch.clone() })?;
                return Ok(Self::Apart(Box::new((described, launch))));
            }
        };
        Ok(Self::Here(Box::new(load(search, name)?), execution))
    }

    /// What it says about itself.
    pub(super) fn description(&self) -> &Description {
        match self {
            Self::Here(driver, _) => driver.description(),
            Self::Apart(apart) => &apart.0.description,
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Here(driver, _) => &driver.note().name,
            Self::Apart(apart) => &apart.0.name,
        }
    }

    /// Its version.
    pub(super) fn version(&self) -> &str {
        match self {
            Self::Here(driver, _) => &driver.note().version,
            Self::Apart(apart) => &apart.0.version,
        }
    }

    /// Its file.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Here(driver, _) => driver.path(),
            Self::Apart(apart) => &apart.0.path,
        }
    }

    /// SHA-256 of its file in hex.
    pub(super) fn digest(&self) -> &str {
        match self {
            Self::Here(driver, _) => driver.digest(),
            Self::Apart(apart) => &apart.0.digest,
        }
    }

    /// Opens it with the configuration's values of `keys`. Must be called inside the server's runtime.
    ///
    /// # Errors
    /// What the driver reported, or what became of its process.
    pub(super) async fn open(&self, loaded: &Loaded, keys: &[Key]) -> Result<SharedDriver, PluginError> {
        let (values, _) = loaded.driver_settings(keys);
        let values = driver_api::Settings::new(values.values().clone());
        match self {
            Self::Here(driver, execution) => driver.open(values, *execution).await,
            Self::Apart(apart) => {
                let launch = Launch { hidden_variables: secret_variables(loaded, keys), ..apart.1.clone() };
                isolation::open(launch, values).await
            }
        }
    }
}

/// The environment variables that secrets were read from, the driver's and the server's. The driver gets the
/// values of its own with its settings, and needs no copy that its own child processes inherit.
pub(super) fn secret_variables(loaded: &Loaded, keys: &[Key]) -> Vec<String> {
    let is_part = |path: &str, key: &Key| {
        let rest = path.strip_prefix(&*key.name);
        key.secret && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let secret =
        |path: &str| server_keys().any(|key| is_part(path, key)) || keys.iter().any(|key| is_part(path, key));
    let mut variables = loaded.variables(secret);
    // Those that keys name themselves, and those whose text has more in it than the secret.
    let shown = loaded.show(keys).into_iter().filter(|value| secret(&value.key));
    variables.extend(shown.filter_map(|value| match value.origin {
        Origin::Environment { variable, .. } => Some(variable),
        _ => None,
    }));
    variables.into_iter().collect()
}
