//! Every effective value with its origin, secrets masked: what `config show` prints.

use crate::driver::{self, UnknownKey};
use crate::environment::Environment;
use crate::flavor::Flavor;
use crate::keys::{DriverKey, Key};
use crate::resolve::{self, Origin};
use crate::server_keys::server_keys;
use serde_json::Value;
use std::fmt;

/// What is printed in place of a secret.
pub(crate) const MASK: &str = "********";

/// One line of `config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownValue {
    /// The key with its path.
    pub key: String,
    /// The value as JSON, masked where it is or may be secret; `null` when there is none.
    pub value: String,
    /// Where the value comes from.
    pub origin: Origin,
    /// The origin in words: `config.yml:12`, `environment STORAGE_PATH (config.yml:12)`, `default`.
    pub place: String,
    /// The sentence about the key; empty for an unknown key.
    pub doc: String,
}

impl fmt::Display for ShownValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} = {}    # {}", self.key, self.value, self.place)
    }
}

/// The server's keys, the driver's, and those nobody knows. A key that both know is the driver's.
pub(crate) fn show(keys: &[DriverKey], flavor: &Flavor, environment: &Environment) -> Vec<ShownValue> {
    let mut all: Vec<&Key> = server_keys().collect();
    all.retain(|key| keys.iter().all(|other| other.name != key.name));
    all.extend(keys);
    let mut shown: Vec<_> = all.into_iter().map(|key| known(key, flavor, environment)).collect();
    shown.extend(driver::unknown(keys, flavor, environment).into_iter().map(|key| unknown(key, flavor)));
    shown
}

fn known(key: &Key, flavor: &Flavor, environment: &Environment) -> ShownValue {
    let resolved = resolve::resolve(key, flavor, environment);
    let value = match resolved.value {
        None => "null".to_owned(),
        Some(_) if key.secret => MASK.to_owned(),
        Some(value) => without_passwords(value).to_string(),
    };
    ShownValue {
        key: key.name.to_string(),
        value,
        place: place(&resolved.origin, flavor),
        origin: resolved.origin,
        doc: key.doc.to_string(),
    }
}

/// An unknown key may be a misspelt secret, so its value is never shown.
fn unknown(key: UnknownKey, flavor: &Flavor) -> ShownValue {
    let origin = Origin::File { line: key.line };
    ShownValue {
        key: key.name,
        value: MASK.to_owned(),
        place: format!("{} (unknown key)", place(&origin, flavor)),
        origin,
        doc: String::new(),
    }
}

fn place(origin: &Origin, flavor: &Flavor) -> String {
    let at = |line: Option<usize>| line.map(|line| format!("{}:{line}", flavor.file));
    match origin {
        Origin::File { line } => at(*line).unwrap_or_else(|| flavor.file.clone()),
        Origin::Environment { variable, line } => match at(*line) {
            Some(at) => format!("environment {variable} ({at})"),
            None => format!("environment {variable}"),
        },
        Origin::Default => "default".to_owned(),
    }
}

/// Masks the password in every URL such as `mysql://user:password@host/name`.
fn without_passwords(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(mask_url(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(without_passwords).collect()),
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(name, value)| (name, without_passwords(value))).collect())
        }
        other => other,
    }
}

/// A text with the password masked if it is a URL that holds one.
pub(crate) fn mask_url(text: &str) -> String {
    let masked = text.split_once("://").and_then(|(scheme, rest)| {
        // The last `@` ends the user's part even when the password holds a slash or another `@`.
        let (user, host) = rest.rsplit_once('@')?;
        let (user, _) = user.split_once(':')?;
        Some(format!("{scheme}://{user}:{MASK}@{host}"))
    });
    masked.unwrap_or_else(|| text.to_owned())
}
