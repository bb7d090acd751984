//! The driver that a command is about: which file it is, what it says about itself, and the configuration
//! that it is to be opened with.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use docker_registry_config::{Environment, Key, Loaded, Loader};
use docker_registry_driver_api::{self as driver_api, Capability, Description, SharedDriver};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::runtime::Runtime;

use super::{
    super::{Failure, alternate, configured_driver::secret_variables},
    child,
};
use crate::{
    isolation::{self, Launch, WhichDriver},
    plugin::{
        Execution, LibraryFile, LoadedDriver, PluginError, Search, canonical_name, configuration_keys,
        load_file,
    },
    telemetry::logs,
};

/// How long a library may take to be loaded, to describe itself and to be opened.
pub(super) const DESCRIBE_LIMIT: Duration = Duration::from_secs(60);

/// A library that has been looked at and not been run.
pub(super) struct Subject {
    pub(super) file: LibraryFile,
    search: Search,
}

/// Everything that a child process needs to open the driver. It holds secrets and goes through a pipe.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Opening {
    library: PathBuf,
    folders: Vec<PathBuf>,
    /// `None`: the library is to be described only.
    pub(super) settings: Option<Map<String, Value>>,
    /// Where the driver's code is to run.
    execution: Isolation,
    /// Environment variables with secrets, which a process of the driver's own does not inherit.
    hidden_variables: Vec<String>,
    /// Keys whose values are secret.
    secret_keys: Vec<String>,
}

/// Where the driver's code runs, in words of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
pub(super) enum Isolation {
    /// As the driver says itself.
    #[default]
    Declared,
    /// On the threads that make the calls.
    InPlace,
    /// On the driver's own threads.
    Spawned,
    /// In a process of the driver's own.
    Process,
}

/// A driver that a child process can open any number of times.
pub(super) enum Openable {
    /// The library is mapped.
    Here(LoadedDriver, Execution),
    /// A process for each opening is.
    Apart(Launch),
}

/// What a library says about itself when it runs.
#[derive(Serialize, Deserialize)]
pub(super) struct Described {
    pub(super) digest: String,
    pub(super) description: Description,
    /// Names of the capabilities, or why they are not known; `None` when the driver was not to be opened.
    pub(super) capabilities: Option<Result<Vec<String>, String>>,
}

impl Subject {
    /// Finds a driver by its name in the driver folders, or by a path, which holds a `/` or ends in `.so`.
    ///
    /// # Errors
    /// Why there is no such driver, or what is wrong with the file.
    pub(super) fn find(name_or_path: &str, search: &Search) -> Result<Self, PluginError> {
        let path = if name_or_path.contains('/') || name_or_path.ends_with(".so") {
            std::path::absolute(name_or_path)
                .map_err(|reason| PluginError::Unreadable { path: name_or_path.into(), reason })?
        } else {
            search.find(&canonical_name(name_or_path))?
        };
        Ok(Self { file: LibraryFile::open(&path)?, search: search.clone() })
    }

    /// The driver's name.
    pub(super) fn name(&self) -> &str {
        &self.file.note().name
    }

    /// The order to open the driver with these settings.
    pub(super) fn opening(&self, settings: Option<Map<String, Value>>, execution: Isolation) -> Opening {
        Opening {
            library: self.file.path().to_owned(),
            folders: self.search.folders().to_vec(),
            settings,
            execution,
            hidden_variables: Vec::new(),
            secret_keys: Vec::new(),
        }
    }

    /// Asks the library in a child process.
    ///
    /// # Errors
    /// One sentence about how the child ended, or what the library reported.
    pub(super) fn describe(&self, settings: Option<Map<String, Value>>) -> Result<Described, Failure> {
        let opening = self.opening(settings, Isolation::Declared);
        let ended = child::run::<_, Result<Described, String>>(
            &["driver", "describe-in-child"],
            &opening,
            DESCRIBE_LIMIT,
        )?;
        match ended.answer {
            Ok(answer) => answer.map_err(Failure::Failed),
            Err(reason) => {
                let mut text = format!("{} did not say what it is: {reason}", self.file.path().display());
                for line in ended.log {
                    text.push_str("\n  its log: ");
                    text.push_str(&line);
                }
                Err(Failure::Failed(text))
            }
        }
    }

    /// The driver's keys, and those of the driver that it stands on in this configuration.
    ///
    /// # Errors
    /// Why that one cannot be used.
    pub(super) fn keys(
        &self,
        description: &Description,
        configuration: &Configuration,
    ) -> Result<Vec<Key>, Failure> {
        let mut keys = configuration_keys(description);
        if let Some(name) = alternate::name(&configuration.loaded, &keys) {
            if name == self.name() {
                return Err(Failure::Configuration(alternate::stands_on_itself(&name)));
            }
            let file = LibraryFile::open(&self.search.find(&name)?)?;
            let other = Self { file, search: self.search.clone() };
            alternate::add_keys(&mut keys, &other.describe(None)?.description);
        }
        Ok(keys)
    }

    /// The configuration for the driver: the selected flavor when that names this driver, and what is set
    /// on the command line in any case.
    ///
    /// # Errors
    /// When there is no usable configuration at all.
    pub(super) fn configuration(
        &self,
        file: Option<PathBuf>,
        overrides: &[(String, String)],
    ) -> Result<Configuration, Failure> {
        let loader = || Loader::new(Environment::process()).overrides(overrides.to_vec());
        let is_named = file.is_some();
        let loaded = match loader().file(file).load() {
            Ok(loaded) => Some(loaded),
            Err(problems) if is_named => return Err(problems.into()),
            // Without a configuration a driver can still be tried.
            Err(_) => None,
        };
        if let Some(loaded) = loaded.filter(|loaded| canonical_name(&loaded.settings.storage) == self.name())
        {
            return Ok(Configuration { loaded, is_flavor: true });
        }
        let loaded = loader().no_file().load()?;
        Ok(Configuration { loaded, is_flavor: false })
    }
}

/// Where the driver's values come from.
pub(super) struct Configuration {
    pub(super) loaded: Loaded,
    /// Whether the selected flavor names the driver.
    pub(super) is_flavor: bool,
}

impl Configuration {
    /// The values for a driver with these keys.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn values(&self, keys: &[Key]) -> Result<Map<String, Value>, Failure> {
        let (settings, problems) = self.loaded.driver_settings(keys);
        let problems: Vec<String> = problems
            .iter()
            .filter(|problem| problem.severity == docker_registry_config::Severity::Error)
            .map(ToString::to_string)
            .collect();
        if problems.is_empty() {
            Ok(settings.values().clone())
        } else {
            Err(Failure::Configuration(problems.join("\n")))
        }
    }
}

impl Opening {
    /// The child's side: maps the library.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub(super) fn load(&self) -> Result<LoadedDriver, PluginError> {
        // A driver may log while it opens; the parent shows it when something goes wrong.
        logs::install();
        load_file(&Arc::new(Search::new(&self.folders, None, None)), &self.library)
    }

    /// Says which of `keys` are secret, and keeps the variables that they were read from away from a process
    /// of the driver's own.
    pub(super) fn hiding(self, loaded: &Loaded, keys: &[Key]) -> Self {
        let secret = keys.iter().filter(|key| key.secret);
        let secret_keys = secret.map(|key| key.name.to_string()).collect();
        Self { hidden_variables: secret_variables(loaded, keys), secret_keys, ..self }
    }

    /// The secrets in settings for the driver.
    pub(super) fn secrets(&self, settings: &Map<String, Value>) -> Vec<String> {
        let found = self.secret_keys.iter().filter_map(|key| {
            // `robot.password` is a key in a group.
            let mut parts = key.split('.');
            let first = settings.get(parts.next()?)?;
            match parts.try_fold(first, |group, part| group.get(part))? {
                Value::String(text) => Some(text.clone()),
                Value::Number(number) => Some(number.to_string()),
                _ => None,
            }
        });
        found.collect()
    }

    /// The child's side: what is to be opened, where its code is to run.
    ///
    /// # Errors
    /// Why it cannot be loaded.
    pub(super) fn openable(&self) -> Result<Openable, PluginError> {
        let execution = match self.execution {
            Isolation::Declared => Execution::Declared,
            Isolation::InPlace => Execution::InPlace,
            Isolation::Spawned => Execution::Spawned,
            Isolation::Process => {
                logs::install();
                let search = Search::new(&self.folders, None, None);
                let which = WhichDriver::File(self.library.clone());
                let launch = Launch::of_this_program(which, &search, &BTreeMap::new());
                let hidden_variables = self.hidden_variables.clone();
                return Ok(Openable::Apart(Launch { hidden_variables, ..launch }));
            }
        };
        Ok(Openable::Here(self.load()?, execution))
    }
}

impl Openable {
    /// Opens the driver. Must be called inside the runtime that it is used in.
    ///
    /// # Errors
    /// What the driver reported, or what became of its process.
    pub(super) async fn open(&self, settings: Map<String, Value>) -> Result<SharedDriver, PluginError> {
        let settings = driver_api::Settings::new(settings);
        match self {
            Self::Here(driver, execution) => driver.open(settings, *execution).await,
            Self::Apart(launch) => isolation::open(launch.clone(), settings).await,
        }
    }
}

/// The child's side of [`Subject::describe`].
pub(super) fn describe_in_child() -> Result<(), Failure> {
    let opening: Opening = child::order()?;
    child::answer(&describe(opening).map_err(|error| error.to_string()))?;
    Ok(())
}

fn describe(opening: Opening) -> Result<Described, PluginError> {
    let driver = opening.load()?;
    let mut described = Described {
        digest: driver.digest().to_owned(),
        description: driver.description().clone(),
        capabilities: None,
    };
    if let Some(settings) = opening.settings {
        described.capabilities = Some(capabilities(&driver, settings));
    }
    Ok(described)
}

fn capabilities(driver: &LoadedDriver, settings: Map<String, Value>) -> Result<Vec<String>, String> {
    let runtime = Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let settings = driver_api::Settings::new(settings);
        let opened = driver.open(settings, Execution::Declared).await.map_err(|error| error.to_string())?;
        let names = opened.capabilities().iter().map(Capability::name).map(str::to_owned).collect();
        opened.close(Duration::from_secs(5)).await;
        Ok(names)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_found_in_groups_as_well() {
        let secret_keys = ["key", "robot.password", "robot.pin", "absent.key"].map(str::to_owned).to_vec();
        let opening = Opening {
            library: PathBuf::new(),
            folders: Vec::new(),
            settings: None,
            execution: Isolation::default(),
            hidden_variables: Vec::new(),
            secret_keys,
        };
        let settings = json!({"key": "one", "robot": {"name": "shown", "password": "two", "pin": 333}});
        assert_eq!(opening.secrets(settings.as_object().unwrap()), ["one", "two", "333"]);
    }
}
