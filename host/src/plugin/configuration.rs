//! A driver's own description as configuration keys, so that the configuration is checked against what
//! the driver says it reads.

use docker_registry_config::{Key, KeyKind};
use docker_registry_driver_api::{ConfigurationKey, Description, ValueKind};

/// The configuration keys of a driver.
pub fn configuration_keys(description: &Description) -> Vec<Key> {
    description.keys.iter().map(configuration_key).collect()
}

fn configuration_key(described: &ConfigurationKey) -> Key {
    let kind = match described.kind {
        ValueKind::Integer => KeyKind::Integer,
        ValueKind::Float => KeyKind::Float,
        ValueKind::Boolean => KeyKind::Boolean,
        ValueKind::List => KeyKind::List,
        // A kind of a newer API is handed over as it was written.
        _ => KeyKind::Text,
    };
    let mut key = Key::new(described.name.clone(), kind);
    key.default = described.default.clone().map(Into::into);
    key.environment = described.environment.clone().map(Into::into);
    key.required = described.required;
    key.secret = described.secret;
    key.doc = described.doc.clone().into();
    key
}
