//! The driver that the configured one stands on: its keys lie in the same flavor.
//!
//! A driver that stands on another one describes the key `storage_alternate`, and is handed the values of the other
//! one's keys with its own. It opens the other one with them by the host's service.

use docker_registry_config::{Key, Loaded};
use docker_registry_driver_api::Description;

use crate::plugin::{canonical_name, configuration_keys};

/// The key that names it.
pub(super) const KEY: &str = "storage_alternate";

/// The name of the driver that one with these keys stands on: what is configured, else its default. `None` for a driver
/// that stands on no other.
pub(super) fn name(loaded: &Loaded, keys: &[Key]) -> Option<String> {
    let key = keys.iter().find(|key| key.name == KEY)?;
    let (settings, _) = loaded.driver_settings(std::slice::from_ref(key));
    settings.values().get(KEY)?.as_str().filter(|name| !name.is_empty()).map(canonical_name)
}

/// Adds the keys of the driver that is stood on. Keys that both have are those of the one that stands on it.
pub(super) fn add_keys(keys: &mut Vec<Key>, description: &Description) {
    for key in configuration_keys(description) {
        if keys.iter().all(|known| known.name != key.name) {
            keys.push(key);
        }
    }
}

/// The sentence for a driver that is named as its own alternate.
pub(super) fn stands_on_itself(name: &str) -> String {
    format!("driver `{name}` cannot stand on itself: name another one, `local` for a folder of this machine")
}

#[cfg(test)]
mod tests {
    use docker_registry_config::{Environment, KeyKind, Loader};

    use super::*;

    fn loaded(overrides: &[(&str, &str)]) -> Loaded {
        let overrides = overrides.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        Loader::new(Environment::default()).no_file().overrides(overrides).load().unwrap()
    }

    #[test]
    fn only_a_driver_that_describes_the_key_has_an_alternate() {
        let path = Key::new("storage_path", KeyKind::Text);
        let mut key = Key::new(KEY, KeyKind::Text);
        let configured = loaded(&[(KEY, "file")]);
        assert_eq!(name(&configured, std::slice::from_ref(&path)), None);
        assert_eq!(name(&configured, &[path.clone(), key.clone()]).as_deref(), Some("local"));
        assert_eq!(name(&loaded(&[]), std::slice::from_ref(&key)), None);
        key.default = Some("local".into());
        assert_eq!(name(&loaded(&[]), &[key.clone()]).as_deref(), Some("local"));
        assert_eq!(name(&loaded(&[(KEY, "my-own")]), &[key]).as_deref(), Some("my_own"));
    }
}
