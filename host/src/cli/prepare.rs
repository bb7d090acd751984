//! What all commands need first: the configuration and the driver that it names.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use docker_registry_config::{
    Environment, Key, KeyKind, Loaded, Loader, Problem, Problems, Settings, Severity,
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{alternate, configured_driver::ConfiguredDriver};
use crate::http::listener::{FileProblem, Tls};
use crate::plugin::{PluginError, Search, configuration_keys};

/// A configuration with its driver.
pub(super) struct Prepared {
    pub(super) loaded: Loaded,
    /// The driver, not opened, or why it cannot be used.
    pub(super) driver: Result<ConfiguredDriver, PluginError>,
    /// The driver's keys, and those of the driver that it stands on; empty without a driver.
    pub(super) keys: Vec<Key>,
    /// Why the driver that it stands on cannot be used.
    alternate_problem: Option<String>,
}

impl Prepared {
    /// Loads the driver that the configuration names. Reaches for no storage.
    pub(super) fn new(loaded: Loaded) -> Self {
        let search = Search::from_process(&loaded.settings.drivers);
        let search = Arc::new(search.with_pins(&loaded.settings.driver_sha256));
        let load = |name: &str| ConfiguredDriver::load(name, &loaded, &search);
        let driver = load(&loaded.settings.storage);
        let mut keys =
            driver.as_ref().map(|driver| configuration_keys(driver.description())).unwrap_or_default();
        let mut alternate_problem = None;
        if let (Ok(driver), Some(name)) = (&driver, alternate::name(&loaded, &keys)) {
            if name == driver.name() {
                alternate_problem = Some(alternate::stands_on_itself(&name));
            } else {
                match load(&name) {
                    Ok(other) => alternate::add_keys(&mut keys, other.description()),
                    Err(error) => alternate_problem = Some(error.to_string()),
                }
            }
        }
        Self { loaded, driver, keys, alternate_problem }
    }

    /// Every problem of the configuration, checked against the driver's own description where there
    /// is a driver.
    pub(super) fn problems(&self) -> Problems {
        let mut problems = self.loaded.check(self.driver.is_ok().then_some(&self.keys[..]));
        problems.0.extend(tls_problems(&self.loaded.settings));
        problems.0.extend(self.alternate_problem.as_ref().map(|sentence| Problem {
            severity: Severity::Error,
            file: Some(self.loaded.settings.source.to_string()),
            line: None,
            key: alternate::KEY.to_owned(),
            message: sentence.clone(),
            hint: None,
        }));
        problems
    }
}

/// What is wrong with the files of TLS.
fn tls_problems(settings: &Settings) -> Vec<Problem> {
    let Some(tls) = &settings.tls else { return Vec::new() };
    let problem = |severity, FileProblem { key, sentence }: FileProblem| Problem {
        severity,
        file: Some(settings.source.to_string()),
        line: None,
        key: key.to_owned(),
        message: sentence,
        hint: None,
    };
    match Tls::load(tls) {
        Ok((_, doubts)) => doubts.into_iter().map(|doubt| problem(Severity::Warning, doubt)).collect(),
        Err(error) => vec![problem(Severity::Error, error)],
    }
}

/// What to say about a configuration that used to mean "ask an index" by what it does not say.
pub(super) fn open_registry(settings: &Settings) -> Option<&'static str> {
    let is_open = settings.standalone.is_none() && !settings.disable_token_auth && settings.auth.is_none();
    is_open.then_some(
        "standalone is not written: docker-registry 0.7 to 0.9.1 asked an index then, this server serves \
         everyone; write `standalone: true` if that is meant",
    )
}

/// A text that tells one storage from another: a digest of the driver's name and of the keys that say where the
/// storage is. See [`identity`].
pub(super) fn identity_of_storage(loaded: &Loaded, keys: &[Key]) -> String {
    let (values, _) = loaded.driver_settings(keys);
    identity(&loaded.settings.storage, keys, values.values())
}

/// A driver does not say which of its keys locate the storage: buckets, containers, hosts, regions and folders are
/// texts, so all texts count. How the storage is used does not: secrets, permissions (`..._mode`), and what is no text
/// (sizes, times, switches). Slashes at the end lead to no other place.
fn identity(driver: &str, keys: &[Key], values: &Map<String, Value>) -> String {
    let locates = |key: &Key| key.kind == KeyKind::Text && !key.secret && !key.name.ends_with("mode");
    let mut hash = Sha256::new();
    hash.update(driver.as_bytes());
    for (name, value) in values {
        if let Some(text) = value.as_str()
            && keys.iter().any(|key| key.name == name.as_str() && locates(key))
        {
            let text = Value::from(text.trim_end_matches('/'));
            hash.update(format!("\n{name}={text}"));
        }
    }
    // A relative folder is another one elsewhere.
    let is_relative = |value: &Value| value.as_str().is_some_and(|path| Path::new(path).is_relative());
    if values.get("storage_path").is_some_and(is_relative)
        && let Ok(folder) = std::env::current_dir()
    {
        hash.update(folder.as_os_str().as_encoded_bytes());
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Reads the configuration of this process.
///
/// # Errors
/// What makes it unusable as a whole.
pub(super) fn load_configuration(file: Option<PathBuf>) -> Result<Loaded, Problems> {
    Loader::new(Environment::process()).file(file).load()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_where_a_storage_is_tells_it_from_another() {
        let text = |name| Key::new(name, KeyKind::Text);
        let secret = Key { secret: true, ..text("secret_key") };
        let keys = [
            text("storage_path"),
            text("bucket"),
            text("file_mode"),
            secret,
            Key::new("chunk_size", KeyKind::Size),
        ];
        let identity = |driver: &str, values: Value| {
            identity(driver, &keys, values.as_object().expect("values are an object"))
        };
        let plain = identity("local", json!({"storage_path": "/data", "bucket": "b"}));
        let same = json!({"storage_path": "/data/", "bucket": "b", "file_mode": "0640", "secret_key": "x",
                          "chunk_size": 5, "unknown": "y"});
        assert_eq!(identity("local", same), plain);
        for (driver, other) in [
            ("s3", json!({"storage_path": "/data", "bucket": "b"})),
            ("local", json!({"storage_path": "/data2", "bucket": "b"})),
            ("local", json!({"storage_path": "/data", "bucket": "c"})),
        ] {
            assert_ne!(identity(driver, other.clone()), plain, "{driver} {other}");
        }
    }
}
