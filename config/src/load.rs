//! From the operator's file and environment to what the host asks for.

use crate::distribution_variables;
use crate::driver::{self, DriverSettings};
use crate::env_value::Reference;
use crate::environment::Environment;
use crate::flavor::{self, Flavor};
use crate::keys::DriverKey;
use crate::locate::{self, Located, Source};
use crate::problem::{Problem, Problems};
use crate::resolve::{self, Origin};
use crate::server_keys::{self, server_keys};
use crate::settings::{self, ResolvedKeys, Settings};
use crate::show::{self, ShownValue};
use crate::yaml::{Entry, Node};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// Variables of the original's process manager and of its agents that have no effect here, and what to do instead.
const WITHOUT_EFFECT: [(&str, &str); 11] = [
    ("GUNICORN_WORKERS", "one process uses all processors, so there are no workers to count"),
    (
        "GUNICORN_SILENT_TIMEOUT",
        "no worker is ended for its silence; limits.body_timeout ends clients that stall",
    ),
    (
        "GUNICORN_USER",
        "let the init system start the server as that user (User= of systemd, setuid of upstart)",
    ),
    (
        "GUNICORN_GROUP",
        "let the init system start the server in that group (Group= of systemd, setgid of upstart)",
    ),
    ("GUNICORN_OPTS", "`docker-registry serve --help` lists the options that there are"),
    ("GUNICORN_MAX_REQUESTS", "the server is never restarted for the number of its requests"),
    ("NEW_RELIC_CONFIG_FILE", NO_AGENT),
    ("NEW_RELIC_LICENSE_KEY", NO_AGENT),
    ("NEW_RELIC_ENVIRONMENT", NO_AGENT),
    ("NEW_RELIC_INI", NO_AGENT),
    ("NEW_RELIC_STAGE", NO_AGENT),
];

/// What stands in for the agent of New Relic.
const NO_AGENT: &str =
    "there is no New Relic agent in this server; /metrics of the admin listener has the figures";

/// Finds, reads and checks a configuration.
#[derive(Clone, Debug)]
pub struct Loader {
    environment: Environment,
    file: Option<PathBuf>,
    candidates: Vec<PathBuf>,
    overrides: Vec<(String, String)>,
    reads_file: bool,
}

/// A configuration whose file could be read and whose flavor exists. There may still be errors in it: see
/// [`Loaded::check`]. `Debug` shows no values.
#[derive(Clone)]
pub struct Loaded {
    /// The server's settings.
    pub settings: Settings,
    /// Sentences the server logs at start: what was read from where, what has no effect.
    pub notices: Vec<String>,
    problems: Vec<Problem>,
    flavor: Flavor,
    environment: Environment,
}

impl Loader {
    /// A loader that reads variables from `environment` and looks for a file in the usual places.
    pub fn new(environment: Environment) -> Loader {
        let candidates = locate::CANDIDATES.iter().map(PathBuf::from).collect();
        Loader { environment, file: None, candidates, overrides: Vec::new(), reads_file: true }
    }

    /// Reads no file at all: overrides, variables and defaults are the configuration.
    pub fn no_file(self) -> Loader {
        Loader { reads_file: false, ..self }
    }

    /// Keys with texts that count before what the file says, as `--set KEY=VALUE` gives them. A text is
    /// read like that of a variable.
    pub fn overrides(self, overrides: Vec<(String, String)>) -> Loader {
        Loader { overrides, ..self }
    }

    /// Reads this file and looks nowhere else; `None` changes nothing.
    pub fn file(self, file: Option<PathBuf>) -> Loader {
        Loader { file, ..self }
    }

    /// Looks for these files, in this order, when nothing names one.
    pub fn candidates(self, candidates: Vec<PathBuf>) -> Loader {
        Loader { candidates, ..self }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// When there is nothing to go on: the named file is missing or unreadable, it is not YAML, it belongs
    /// to another program, or the flavor is missing. All other problems are in the [`Loaded`].
    pub fn load(self) -> Result<Loaded, Problems> {
        let Loader { mut environment, file, candidates, overrides, reads_file } = self;
        let mut notices = Vec::new();
        let (source, mut flavor) = if reads_file {
            let Located { source, text } =
                locate::locate(file.as_deref(), &environment, &candidates, &mut notices)?;
            let file = source.to_string();
            let name = environment
                .get("SETTINGS_FLAVOR")
                .map_err(|error| Problem::error(&file, "", error.to_string()))?;
            let flavor = flavor::select(&text, &file, settings::flavor_name(name), &mut notices)?;
            (source, flavor)
        } else {
            (Source::CommandLine, Flavor::empty())
        };
        for (name, text) in overrides {
            flavor.override_key(&name, text, &mut environment);
        }

        let mut problems = flavor.check_groups(server_keys(), &environment);
        let mut keys = ResolvedKeys::new();
        for row in server_keys::rows() {
            let mut resolved = resolve::resolve(&row.key, &flavor, &environment);
            problems.append(&mut resolved.problems);
            let is_on = !matches!(resolved.value, None | Some(Value::Bool(false)));
            // What the sample switches on by itself is no wish of the operator.
            let is_wish = source != Source::BuiltInSample || !matches!(resolved.origin, Origin::File { .. });
            if let Some(what) = row.later.filter(|_| is_on && is_wish) {
                notices.push(format!("{} has no effect: this release does not {what}", row.key.name));
            }
            keys.insert(&row.key.name, resolved);
        }
        let settings = settings::build(&keys, &flavor, source, &mut problems);
        for (name, instead) in WITHOUT_EFFECT {
            if !matches!(environment.get(name), Ok(None) | Ok(Some(""))) {
                notices.push(format!("{name} has no effect: {instead}"));
            }
        }
        let mut loaded = Loaded { settings, notices, problems, flavor, environment };
        // Without a file nothing is served.
        if reads_file {
            let read = loaded.variables(|_| true);
            let Loaded { settings, notices, problems, environment, .. } = &mut loaded;
            distribution_variables::look(environment, &read, settings, notices, problems);
        }
        Ok(loaded)
    }
}

impl Loaded {
    /// Every problem: the server's, those of the driver's keys, and keys nobody knows (warnings).
    ///
    /// `keys` is what the driver described, together with the alternate driver's keys where there is one.
    /// `None` when the driver could not be opened: then only what the server knows is checked, because
    /// any other key may be the driver's.
    pub fn check(&self, keys: Option<&[DriverKey]>) -> Problems {
        let mut problems = self.problems.clone();
        if let Some(keys) = keys {
            problems.extend(self.driver_settings(keys).1);
            let unknown = driver::unknown(keys, &self.flavor, &self.environment);
            problems.extend(unknown.into_iter().map(|key| key.problem(&self.flavor)));
        }
        Problems(problems).sorted()
    }

    /// The configuration for a driver, and what is wrong with it (types, required keys).
    pub fn driver_settings(&self, keys: &[DriverKey]) -> (DriverSettings, Vec<Problem>) {
        driver::settings(keys, &self.flavor, &self.environment)
    }

    /// The environment variables that values of the flavor name with `_env:`, also inside of a variable, for
    /// those values whose dotted path is `wanted`. The path of a value below a key that nobody knows is given
    /// too.
    pub fn variables(&self, wanted: impl Fn(&str) -> bool) -> BTreeSet<String> {
        let mut variables = Vec::new();
        name_variables(&self.flavor.entries, "", &[], &self.environment, &mut variables);
        let wanted = variables.into_iter().filter(|(path, _)| wanted(path));
        wanted.map(|(_, variable)| variable).collect()
    }

    /// Every effective value with its origin, secrets masked.
    ///
    /// Without the driver's keys, the values of keys the server does not know are masked too.
    pub fn show(&self, keys: &[DriverKey]) -> Vec<ShownValue> {
        show::show(keys, &self.flavor, &self.environment)
    }
}

/// Adds a path and a variable for each `_env:`. `within` are the variables whose text this is.
fn name_variables(
    entries: &[Entry],
    above: &str,
    within: &[&str],
    environment: &Environment,
    variables: &mut Vec<(String, String)>,
) {
    for Entry { name, node, .. } in entries {
        let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
        if let Node::Map(entries) = node {
            name_variables(entries, &path, within, environment, variables);
        } else if let Some(reference) = Reference::read(node) {
            variables.push((path.clone(), reference.variable.to_owned()));
            // One that leads back to itself is not followed.
            if !within.contains(&reference.variable)
                && let Ok(through) = reference.follow(environment)
                && let Ok(Node::Map(entries)) = through.parse()
            {
                let within = [within, &[reference.variable]].concat();
                name_variables(&entries, &path, &within, environment, variables);
            }
        }
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Loaded")
            .field("settings", &self.settings)
            .field("notices", &self.notices)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}
