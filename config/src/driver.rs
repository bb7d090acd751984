//! The part of a flavor that belongs to the driver.

use crate::environment::Environment;
use crate::flavor::{Flavor, is_below};
use crate::keys::{DriverKey, Key};
use crate::problem::Problem;
use crate::resolve::{self, Resolved};
use crate::server_keys::server_keys;
use crate::typed::Written;
use crate::yaml::Node;
use serde_json::{Map, Value};
use std::fmt;

/// The configuration of a driver, typed by the driver's own description.
///
/// Keys without a value are left out. A dotted name is a nested object. `Debug` masks secrets.
#[derive(Clone, PartialEq)]
pub struct DriverSettings {
    values: Map<String, Value>,
    secrets: Vec<String>,
}

impl DriverSettings {
    /// The values, secrets in clear: for the driver, not for a log.
    pub fn values(&self) -> &Map<String, Value> {
        &self.values
    }

    /// The values as a JSON object, secrets in clear: for the driver, not for a log.
    pub fn into_json(self) -> Value {
        Value::Object(self.values)
    }
}

impl fmt::Debug for DriverSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut values = self.values.clone();
        for secret in &self.secrets {
            set(&mut values, secret, Value::String(crate::show::MASK.to_owned()));
        }
        formatter.debug_tuple("DriverSettings").field(&values).finish()
    }
}

/// Resolves the keys of a driver.
pub(crate) fn settings(
    keys: &[DriverKey],
    flavor: &Flavor,
    environment: &Environment,
) -> (DriverSettings, Vec<Problem>) {
    let mut settings = DriverSettings { values: Map::new(), secrets: Vec::new() };
    let mut problems = flavor.check_groups(keys.iter(), environment);
    for key in keys {
        let Resolved { value, problems: wrong, .. } = resolve::resolve(key, flavor, environment);
        problems.extend(wrong);
        let Some(value) = value else { continue };
        if key.secret {
            settings.secrets.push(key.name.to_string());
        }
        set(&mut settings.values, &key.name, value);
    }
    (settings, problems)
}

/// Sets a dotted name in nested objects.
fn set(values: &mut Map<String, Value>, name: &str, value: Value) {
    let Some((group, rest)) = name.split_once('.') else {
        values.insert(name.to_owned(), value);
        return;
    };
    let inner = values.entry(group).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        set(inner, rest, value);
    }
}

/// A key in the flavor that nobody knows.
pub(crate) struct UnknownKey {
    pub(crate) name: String,
    pub(crate) line: Option<usize>,
    /// The nearest known name, if one is near.
    pub(crate) nearest: Option<String>,
}

impl UnknownKey {
    pub(crate) fn problem(self, flavor: &Flavor) -> Problem {
        let problem = Problem::warning(&flavor.file, self.name, "unknown key").at(self.line);
        match self.nearest {
            Some(nearest) => problem.hint(format!("did you mean {nearest}?")),
            None => problem,
        }
    }
}

/// The keys of the flavor which neither the server nor `keys` know, nested ones by their path.
pub(crate) fn unknown(keys: &[DriverKey], flavor: &Flavor, environment: &Environment) -> Vec<UnknownKey> {
    let mut known: Vec<&Key> = server_keys().collect();
    known.extend(keys);
    let mut unknown = Vec::new();
    let node = Node::Map(flavor.entries.clone());
    collect_unknown(&node, "", &known, environment, &mut unknown);
    unknown
}

fn collect_unknown(
    node: &Node,
    path: &str,
    known: &[&Key],
    environment: &Environment,
    unknown: &mut Vec<UnknownKey>,
) {
    let Node::Map(entries) = node else { return };
    for entry in entries {
        let name = if path.is_empty() { entry.name.clone() } else { format!("{path}.{}", entry.name) };
        if known.iter().any(|key| is_below(&key.name, &name)) {
            // What is no mapping here is another problem, reported elsewhere.
            if let Ok(inner) = Written::entry(entry, environment).node {
                collect_unknown(&inner, &name, known, environment, unknown);
            }
        } else if !known.iter().any(|key| key.name == name) {
            let nearest = nearest(&name, known);
            unknown.push(UnknownKey { name, line: entry.line, nearest });
        }
    }
}

/// The known name that differs least, unless it differs much.
fn nearest(name: &str, known: &[&Key]) -> Option<String> {
    // More than two slips is another word: `s3_secret_key` is not `secret_key` misspelt.
    let limit = (name.len() / 4).clamp(1, 2);
    known
        .iter()
        .map(|key| (strsim::damerau_levenshtein(name, &key.name), &key.name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, known)| known.to_string())
}
