//! A flavor for a driver, ready to be put into a configuration file, made from the driver's own description.

use std::fmt::Write;

use docker_registry_driver_api::ConfigurationKey;

/// The keys without which the driver cannot be opened.
pub(super) fn required(keys: &[ConfigurationKey]) -> Vec<&ConfigurationKey> {
    keys.iter().filter(|key| key.required && key.default.is_none()).collect()
}

/// The environment variable of a key: the driver's own, else one made of the names of driver and key.
pub(super) fn variable(driver: &str, key: &ConfigurationKey) -> String {
    key.environment.clone().unwrap_or_else(|| {
        let text =
            if key.name.starts_with(driver) { key.name.clone() } else { format!("{driver}_{}", key.name) };
        text.to_ascii_uppercase().replace(|character: char| !character.is_ascii_alphanumeric(), "_")
    })
}

/// The section. It stands on the anchor `&common` of the sample configuration.
pub(super) fn section(driver: &str, keys: &[ConfigurationKey]) -> String {
    let mut text = format!("{driver}:\n    <<: *common\n    storage: {driver}\n");
    let named: Vec<(Vec<&str>, &ConfigurationKey)> =
        keys.iter().map(|key| (key.name.split('.').collect(), key)).collect();
    let all: Vec<&(Vec<&str>, &ConfigurationKey)> = named.iter().collect();
    write_level(&mut text, driver, &all, 0);
    text
}

/// Writes the keys of one mapping; a dotted name is a key of a nested one.
fn write_level(text: &mut String, driver: &str, keys: &[&(Vec<&str>, &ConfigurationKey)], depth: usize) {
    let indent = "    ".repeat(depth + 1);
    let mut groups: Vec<&str> = Vec::new();
    for (names, key) in keys {
        let Some(name) = names.get(depth) else { continue };
        if names.len() > depth + 1 {
            if !groups.contains(name) {
                groups.push(name);
                // Writing to a String cannot fail.
                let _ = writeln!(text, "{indent}{name}:");
                let inner: Vec<_> =
                    keys.iter().filter(|(other, _)| other.get(depth) == Some(name)).copied().collect();
                write_level(text, driver, &inner, depth + 1);
            }
            continue;
        }
        let mut value = format!("_env:{}", variable(driver, key));
        if let Some(default) = &key.default {
            value = format!("{value}:{default}");
        }
        let required = if key.required && key.default.is_none() { " Required." } else { "" };
        let doc = key.doc.split_whitespace().collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "{indent}# {doc}{required}\n{indent}{name}: {}", scalar(&value));
    }
}

/// A value as YAML takes it.
fn scalar(value: &str) -> String {
    let risky = value.contains(": ")
        || value.contains(" #")
        || value.ends_with([':', ' '])
        || value.chars().any(char::is_control);
    if !risky {
        return value.to_owned();
    }
    if value.chars().any(char::is_control) {
        // JSON's quoting is YAML's as well.
        return serde_json::Value::from(value).to_string();
    }
    format!("'{}'", value.replace('\'', "''"))
}

/// The line that allows this file and no other.
pub(super) fn pin(driver: &str, digest: &str) -> String {
    format!("    driver_sha256: {{{driver}: '{digest}'}}")
}

#[cfg(test)]
mod tests {
    use docker_registry_config::{Environment, Key, KeyKind, Loader, SAMPLE};
    use docker_registry_driver_api::ValueKind;

    use super::*;

    #[test]
    fn the_section_is_loaded_together_with_the_sample() {
        let keys = [
            ConfigurationKey::text("tape_device", "Where the tape is.").required().environment("TAPE"),
            ConfigurationKey::of(ValueKind::Integer, "speed", "In m/s:\n # a comment?").default("4"),
            ConfigurationKey::text("motto", "What it says.").default("it's: so # odd"),
            ConfigurationKey::text("robot.password", "For the robot.").secret().required(),
            ConfigurationKey::of(ValueKind::List, "robot.arms", "Its arms.").default("[left, right]"),
        ];
        assert_eq!(required(&keys).len(), 2);
        let section = section("tape", &keys);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yml");
        let digest = "ab".repeat(32);
        std::fs::write(&file, format!("{SAMPLE}\n{section}{}\n", pin("tape", &digest))).unwrap();
        let environment: Environment =
            [("SETTINGS_FLAVOR", "tape"), ("TAPE", "/dev/st0"), ("TAPE_ROBOT_PASSWORD", "0123")]
                .into_iter()
                .collect();
        let loaded = Loader::new(environment)
            .file(Some(file))
            .load()
            .unwrap_or_else(|error| panic!("{error}\n{section}"));
        let mut described: Vec<Key> = keys
            .iter()
            .map(|key| {
                let kind = match key.kind {
                    ValueKind::Integer => KeyKind::Integer,
                    ValueKind::List => KeyKind::List,
                    _ => KeyKind::Text,
                };
                Key::new(key.name.clone(), kind)
            })
            .collect();
        for (key, described) in keys.iter().zip(&mut described) {
            described.required = key.required;
        }
        let problems = loaded.check(Some(&described));
        assert!(problems.0.is_empty(), "{problems}\n{section}");
        assert_eq!(loaded.settings.storage, "tape");
        assert_eq!(loaded.settings.driver_sha256["tape"], digest);
        let (settings, _) = loaded.driver_settings(&described);
        assert_eq!(
            settings.into_json(),
            serde_json::json!({
                "tape_device": "/dev/st0", "speed": 4, "motto": "it's: so # odd",
                "robot": {"password": "0123", "arms": ["left", "right"]},
            })
        );
    }
}
