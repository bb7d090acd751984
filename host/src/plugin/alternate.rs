//! The settings of a driver that another driver opens: its part of that one's.
//!
//! Guarantees: the driver gets what it describes and nothing else, no secret of another key; a value of a type that
//! it does not take, and one that it cannot do without and that is not there, are told by their keys.

use docker_registry_config::{Environment, Loader, Severity};
use docker_registry_driver_api::{
    ConfigurationKey, Description, Error, ErrorKind, Result, Settings, ValueKind,
};
use serde_json::{Map, Value};

use super::configuration_keys;

/// Those of `values` that driver `name` describes, with its defaults for the absent ones.
///
/// # Errors
/// `InvalidConfiguration` for the first key whose value does not fit.
pub(super) fn settings_of(name: &str, description: &Description, values: &Settings) -> Result<Settings> {
    let mut own = defaults(name, description)?;
    for key in &description.keys {
        match at(values.values(), &key.name).filter(|value| !value.is_null()) {
            Some(value) if fits(key.kind, value) => set(&mut own, &key.name, value.clone()),
            Some(_) => {
                let wanted = described(key);
                return Err(invalid(format!("{} must be {wanted} for driver `{name}`", key.name)));
            }
            None if key.required && at(&own, &key.name).is_none() => {
                return Err(invalid(format!("{} is missing, and driver `{name}` needs it", key.name)));
            }
            None => {}
        }
    }
    Ok(Settings::new(own))
}

/// The defaults of all keys. Variables do not count here: they have been read for the values already, as far as the
/// flavor lets them.
fn defaults(name: &str, description: &Description) -> Result<Map<String, Value>> {
    let mut keys = configuration_keys(description);
    for key in &mut keys {
        key.environment = None;
        key.required = false;
    }
    let unreadable =
        |reason: String| invalid(format!("the defaults of driver `{name}` cannot be read: {reason}"));
    let nothing = Loader::new(Environment::default()).no_file().load();
    let nothing = nothing.map_err(|problems| unreadable(problems.to_string()))?;
    let (settings, problems) = nothing.driver_settings(&keys);
    match problems.into_iter().find(|problem| problem.severity == Severity::Error) {
        Some(problem) => Err(unreadable(problem.to_string())),
        None => Ok(settings.values().clone()),
    }
}

fn fits(kind: ValueKind, value: &Value) -> bool {
    match kind {
        ValueKind::Text => value.is_string(),
        ValueKind::Integer => value.as_i64().is_some(),
        ValueKind::Float => value.is_number(),
        ValueKind::Boolean => value.is_boolean(),
        ValueKind::List => value.is_array(),
        // A kind of a newer API is handed over as it is.
        _ => true,
    }
}

fn described(key: &ConfigurationKey) -> &'static str {
    match key.kind {
        ValueKind::Integer => "a whole number",
        ValueKind::Float => "a number",
        ValueKind::Boolean => "true or false",
        ValueKind::List => "a list",
        _ => "a text",
    }
}

/// The value at a dotted name.
fn at<'a>(values: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    match name.split_once('.') {
        None => values.get(name),
        Some((group, rest)) => at(values.get(group)?.as_object()?, rest),
    }
}

/// Sets the value at a dotted name.
fn set(values: &mut Map<String, Value>, name: &str, value: Value) {
    let Some((group, rest)) = name.split_once('.') else {
        values.insert(name.to_owned(), value);
        return;
    };
    if let Value::Object(inner) = values.entry(group).or_insert_with(|| Value::Object(Map::new())) {
        set(inner, rest, value);
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn description() -> Description {
        Description {
            summary: "a tape".to_owned(),
            licence: "Apache-2.0".to_owned(),
            keys: vec![
                ConfigurationKey::text("device", "").required(),
                ConfigurationKey::of(ValueKind::Integer, "speed", "").default("4"),
                ConfigurationKey::of(ValueKind::Boolean, "robot.careful", "").default("yes"),
                ConfigurationKey::text("robot.password", "").secret(),
                ConfigurationKey::of(ValueKind::List, "arms", "").default("[left, right]"),
                ConfigurationKey::text("motto", "").environment("HOME"),
            ],
        }
    }

    fn read(values: Value) -> Result<Value> {
        let values = Settings::new(values.as_object().unwrap().clone());
        let settings = settings_of("tape", &description(), &values)?;
        Ok(Value::Object(settings.values().clone()))
    }

    #[test]
    fn a_driver_gets_what_it_describes_with_its_defaults_and_nothing_else() {
        let given = json!({"device": "/dev/st0", "robot": {"password": "0123", "of_another": 1}, "secret": "x",
                           "speed": null});
        assert_eq!(
            read(given).unwrap(),
            json!({"device": "/dev/st0", "speed": 4, "robot": {"careful": true, "password": "0123"},
                   "arms": ["left", "right"]})
        );
        let given = json!({"device": "", "speed": 7, "arms": []});
        assert_eq!(
            read(given).unwrap(),
            json!({"device": "", "speed": 7, "robot": {"careful": true}, "arms": []})
        );
    }

    #[test]
    fn a_value_that_does_not_fit_is_told_by_its_key_and_never_shown() {
        let error = read(json!({"speed": 5})).unwrap_err();
        assert_eq!(error.message, "device is missing, and driver `tape` needs it");
        let error = read(json!({"device": "d", "robot": {"password": 90210}})).unwrap_err();
        assert_eq!(error.message, "robot.password must be a text for driver `tape`");
        assert!(
            read(json!({"device": "d", "speed": "fast"})).unwrap_err().message.contains("a whole number")
        );
    }
}
