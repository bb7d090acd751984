//! The value of one key in a flavor, with its origin and what is wrong with it.

use crate::env_value::Through;
use crate::environment::Environment;
use crate::flavor::Flavor;
use crate::keys::{Key, KeyKind};
use crate::problem::{Problem, Severity};
use crate::typed::{self, Written};
use crate::yaml::{self, Entry, Node};
use serde_json::Value;
use std::fmt;

/// Where an effective value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Written in the file, also as the default part of an `_env:`.
    File {
        /// The line of the key, counted from 1.
        line: Option<usize>,
    },
    /// The environment.
    Environment {
        /// The name of the variable.
        variable: String,
        /// The line of the `_env:` that names it; `None` when the file does not write the key.
        line: Option<usize>,
    },
    /// The default of the server or the driver.
    Default,
}

impl Origin {
    pub(crate) fn line(&self) -> Option<usize> {
        match self {
            Origin::File { line } | Origin::Environment { line, .. } => *line,
            Origin::Default => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { line: Some(line) } => write!(formatter, "line {line}"),
            Origin::File { line: None } => formatter.write_str("file"),
            Origin::Environment { variable, .. } => write!(formatter, "environment {variable}"),
            Origin::Default => formatter.write_str("default"),
        }
    }
}

/// The effective value of a key.
#[derive(Clone)]
pub(crate) struct Resolved {
    pub(crate) value: Option<Value>,
    pub(crate) origin: Origin,
    pub(crate) problems: Vec<Problem>,
}

/// A value found at a path of the flavor.
struct Found {
    line: Option<usize>,
    written: Written,
    /// The variable on the way to the value, also when a whole mapping came from it.
    variable: Option<String>,
}

/// Finds a dotted path; mappings on the way may themselves be `_env:` values.
fn find(entries: &[Entry], path: &str, environment: &Environment) -> Option<Found> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let entry = yaml::entry(entries, name)?;
    let written = Written::entry(entry, environment);
    let variable = written.through.as_ref().filter(|through| through.is_set).map(|t| t.variable.clone());
    match (rest, &written.node) {
        (None, _) => Some(Found { line: entry.line, written, variable }),
        (Some(rest), Ok(Node::Map(children))) => {
            let inner = find(children, rest, environment)?;
            Some(Found { variable: inner.variable.clone().or(variable), ..inner })
        }
        (Some(_), _) => None,
    }
}

/// Works out the effective value of a key.
pub(crate) fn resolve(key: &Key, flavor: &Flavor, environment: &Environment) -> Resolved {
    let mut resolved = Resolved { value: None, origin: Origin::Default, problems: Vec::new() };
    let found = match find(&flavor.entries, &key.name, environment) {
        Some(found) => Some(found),
        None => own_variable(key, flavor, environment, &mut resolved),
    };
    if let Some(found) = &found {
        take(key, found, flavor, environment, &mut resolved);
    }
    if resolved.value.is_none() {
        default(key, flavor, environment, &mut resolved);
    }
    let is_reported = resolved.problems.iter().any(|problem| problem.severity == Severity::Error);
    if key.required && resolved.value.is_none() && !is_reported {
        resolved.problems.push(missing(key, found.as_ref(), flavor));
    }
    resolved
}

/// The key's own variable; it counts only where the file does not write the key.
fn own_variable(
    key: &Key,
    flavor: &Flavor,
    environment: &Environment,
    resolved: &mut Resolved,
) -> Option<Found> {
    match Through::own(key.environment.as_deref()?, environment) {
        Ok(through) => through.map(|through| Found {
            line: None,
            variable: Some(through.variable.clone()),
            written: Written::through(through, None),
        }),
        Err(error) => {
            resolved.problems.push(Problem::error(&flavor.file, key.name.clone(), error.to_string()));
            None
        }
    }
}

fn take(key: &Key, found: &Found, flavor: &Flavor, environment: &Environment, resolved: &mut Resolved) {
    let through = found.written.through.as_ref().filter(|through| through.is_set);
    if let Some(through) = through.filter(|through| is_injected(key, &through.text)) {
        let message =
            format!("{} is ignored: an orchestrator wrote the address of a service there", through.variable);
        resolved.problems.push(Problem::warning(&flavor.file, key.name.clone(), message).at(found.line));
        let written = Written::through(through.unset(), found.line);
        let without = Found { line: found.line, written, variable: None };
        return take(key, &without, flavor, environment, resolved);
    }
    match typed::convert(key, &found.written, environment) {
        Ok(value) => resolved.value = value,
        Err(mut message) => {
            if let Some(variable) = &found.variable {
                message.push_str(&format!(" (from {})", described(variable)));
            }
            resolved.problems.push(Problem::error(&flavor.file, key.name.clone(), message).at(found.line));
            return;
        }
    }
    if resolved.value.is_none() {
        return;
    }
    resolved.origin = match &found.variable {
        Some(variable) => Origin::Environment { variable: variable.clone(), line: found.line },
        None => Origin::File { line: found.line },
    };
    if let Some(through) = through.filter(|through| key.kind == KeyKind::Text && through.loses_a_comment()) {
        let message =
            format!("what follows ` #` in the variable {} is taken for a comment", through.variable);
        let problem = Problem::warning(&flavor.file, key.name.clone(), message).at(found.line);
        resolved.problems.push(problem.hint("put quotes around the value to keep it whole"));
    }
}

/// Docker links and Kubernetes set `NAME_PORT=tcp://…` for a service called NAME.
fn is_injected(key: &Key, text: &str) -> bool {
    key.kind == KeyKind::Integer && ["tcp://", "udp://"].iter().any(|scheme| text.starts_with(scheme))
}

fn default(key: &Key, flavor: &Flavor, environment: &Environment, resolved: &mut Resolved) {
    let Some(text) = key.default.as_deref() else { return };
    match typed::convert(key, &Written::through(Through::described_default(text), None), environment) {
        Ok(value) => resolved.value = value,
        Err(message) => {
            let message = format!("the default in the key's description is wrong: {message}");
            resolved.problems.push(Problem::error(&flavor.file, key.name.clone(), message));
        }
    }
}

/// A variable in a message. What was typed as `--set KEY=VALUE` is no variable of the process.
fn described(variable: &str) -> String {
    if variable.starts_with("--") {
        variable.to_owned()
    } else {
        format!("the environment variable {variable}")
    }
}

fn missing(key: &Key, found: Option<&Found>, flavor: &Flavor) -> Problem {
    let problem = Problem::error(&flavor.file, key.name.clone(), "required, but there is no value");
    let problem = problem.at(found.and_then(|found| found.line).or(flavor.line));
    match found.and_then(|found| found.written.through.as_ref()) {
        Some(through) if through.is_set => problem.hint(format!("{} is empty", described(&through.variable))),
        Some(through) => problem.hint(format!("set the environment variable {}", through.variable)),
        None if flavor.is_command_line() => problem.hint(format!("give it with --set {}=VALUE", key.name)),
        None => match &key.environment {
            Some(variable) if found.is_none() => problem.hint(format!(
                "write it in flavor {} or set the environment variable {variable}",
                flavor.name
            )),
            _ => problem.hint(format!("write it in flavor {}", flavor.name)),
        },
    }
}
