//! Configuration keys that every driver for an object store has, and their checked values.
//!
//! A driver lists its own keys only; [`keys`] is added to them by
//! [`object_store_driver!`](crate::object_store_driver). Wrong values fail with `InvalidConfiguration` and
//! name the key.

use std::{path::PathBuf, time::Duration};

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};

use crate::http::{HttpOptions, ProxyOptions};

const PART_SIZE: &str = "part_size";
const PARTS_AT_ONCE: &str = "parts_at_once";
const UPLOAD_MEMORY: &str = "upload_memory";
const ATTEMPT_TIMEOUT: &str = "attempt_timeout";
const CONNECT_TIMEOUT: &str = "connect_timeout";
const MOST_ATTEMPTS: &str = "most_attempts";
const MOST_CONNECTIONS: &str = "most_connections";
const CA_BUNDLE: &str = "ca_bundle";
const PROXY: &str = "proxy";

const MIB: u64 = 1 << 20;

/// Values of the shared keys.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Size of the parts that large content is sent in, in bytes. They grow when an object would have too
    /// many.
    pub part_size: u64,
    /// Most parts of one upload that are on their way at once.
    pub parts_at_once: usize,
    /// Most memory that the parts of all uploads hold together, in bytes.
    pub upload_memory: u64,
    /// How long one attempt of a small call may take; the content of large ones has time of its own.
    pub attempt_timeout: Duration,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// Most attempts of one call, the first one included.
    pub most_attempts: u32,
    /// Longest pause before the second attempt, which doubles for each further one. No key: it suits every
    /// store.
    pub first_pause: Duration,
    /// Most connections that are kept open without work.
    pub most_connections: usize,
    /// PEM file with certificates of authorities that are trusted beside those of the system.
    pub ca_bundle: Option<PathBuf>,
    /// Address of an HTTP proxy.
    pub proxy: Option<String>,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            part_size: 8 * MIB,
            parts_at_once: 4,
            upload_memory: 96 * MIB,
            attempt_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            most_attempts: 10,
            first_pause: Duration::from_millis(100),
            most_connections: 64,
            ca_bundle: None,
            proxy: None,
        }
    }
}

/// The keys, for `describe`.
pub fn keys() -> Vec<ConfigurationKey> {
    let usual = StoreSettings::default();
    let number = |name, default: u64, doc| {
        ConfigurationKey::of(ValueKind::Integer, name, doc).default(&default.to_string())
    };
    let seconds = |name, default: Duration, doc| {
        ConfigurationKey::of(ValueKind::Float, name, doc).default(&default.as_secs().to_string())
    };
    vec![
        number(
            PART_SIZE,
            usual.part_size,
            "Bytes of one part of a large upload. Smaller content is written in one request.",
        ),
        number(
            PARTS_AT_ONCE,
            usual.parts_at_once as u64,
            "Most parts of one upload that are sent at the same time.",
        ),
        number(
            UPLOAD_MEMORY,
            usual.upload_memory,
            "Bytes of memory that the parts of all uploads may hold together.",
        ),
        seconds(
            ATTEMPT_TIMEOUT,
            usual.attempt_timeout,
            "Seconds after which one attempt of a request is given up and made again. Large content gets more.",
        ),
        seconds(CONNECT_TIMEOUT, usual.connect_timeout, "Seconds that making a connection may take."),
        number(
            MOST_ATTEMPTS,
            usual.most_attempts.into(),
            "Most attempts of one request, the first one included.",
        ),
        number(
            MOST_CONNECTIONS,
            usual.most_connections as u64,
            "Most connections to the store that stay open between requests.",
        ),
        ConfigurationKey::text(
            CA_BUNDLE,
            "PEM file with certificates of authorities to trust beside those of the system.",
        ),
        ConfigurationKey::text(
            PROXY,
            "Address of an HTTP proxy for the way to the store. Without it none is used, whatever the environment says.",
        )
        // It may hold a password.
        .secret(),
    ]
}

impl StoreSettings {
    /// Reads and checks the values.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub fn read(settings: &Settings) -> Result<Self> {
        let usual = Self::default();
        let read = Self {
            part_size: number(settings, PART_SIZE, usual.part_size, MIB, 1024 * MIB)?,
            parts_at_once: number(settings, PARTS_AT_ONCE, usual.parts_at_once as u64, 1, 64)? as usize,
            upload_memory: number(settings, UPLOAD_MEMORY, usual.upload_memory, MIB, 1 << 40)?,
            attempt_timeout: seconds(settings, ATTEMPT_TIMEOUT, usual.attempt_timeout)?,
            connect_timeout: seconds(settings, CONNECT_TIMEOUT, usual.connect_timeout)?,
            most_attempts: number(settings, MOST_ATTEMPTS, usual.most_attempts.into(), 1, 100)? as u32,
            first_pause: usual.first_pause,
            most_connections: number(settings, MOST_CONNECTIONS, usual.most_connections as u64, 1, 4096)?
                as usize,
            ca_bundle: filled(settings, CA_BUNDLE)?.map(PathBuf::from),
            proxy: filled(settings, PROXY)?.map(str::to_owned),
        };
        if read.upload_memory < read.part_size {
            return Err(invalid(format!("{UPLOAD_MEMORY} must be at least {PART_SIZE}")));
        }
        Ok(read)
    }

    /// How connections are made. A driver with keys of its own for that changes what they say.
    pub fn http_options(&self) -> HttpOptions {
        let proxy =
            |url: &String| ProxyOptions { url: url.clone(), user: None, password: None, except: None };
        HttpOptions {
            connect_timeout: self.connect_timeout,
            idle_timeout: self.attempt_timeout,
            pool_idle_per_host: self.most_connections,
            ca_bundle: self.ca_bundle.clone(),
            proxy: self.proxy.as_ref().map(proxy),
            ..HttpOptions::default()
        }
    }
}

/// The prefix of every key that a `storage_path` stands for: without `/` at either end, empty for the
/// whole bucket.
///
/// # Errors
/// `InvalidConfiguration` when it has a segment that no object path may have.
pub fn root(storage_path: &str) -> Result<String> {
    let root = storage_path.trim_matches('/');
    if root.is_empty() {
        return Ok(String::new());
    }
    let wrong = |segment: &str| {
        matches!(segment, "" | "." | "..")
            || segment.starts_with(".docker-registry")
            || segment.chars().any(char::is_control)
    };
    // Room for the names below it: stores keep keys of at most 1024 bytes.
    if root.len() > 512 || root.split('/').any(wrong) {
        return Err(invalid(
            "storage_path must be a path of at most 512 bytes without empty segments, `.`, `..` and control \
             characters, and none of its segments may begin with .docker-registry",
        ));
    }
    Ok(root.to_owned())
}

fn number(settings: &Settings, key: &str, usual: u64, least: u64, most: u64) -> Result<u64> {
    let Some(value) = settings.integer(key)? else { return Ok(usual) };
    u64::try_from(value)
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| invalid(format!("{key} must be {least} to {most}")))
}

fn seconds(settings: &Settings, key: &str, usual: Duration) -> Result<Duration> {
    // Whole numbers are numbers as well.
    let Some(value) = settings.float(key)? else { return Ok(usual) };
    match (0.1..=3600.0).contains(&value) {
        true => Ok(Duration::from_secs_f64(value)),
        false => Err(invalid(format!("{key} must be 0.1 to 3600 seconds"))),
    }
}

fn filled<'a>(settings: &'a Settings, key: &str) -> Result<Option<&'a str>> {
    Ok(settings.text(key)?.filter(|text| !text.is_empty()))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(values: Value) -> Result<StoreSettings> {
        StoreSettings::read(&Settings::new(values.as_object().cloned().unwrap_or_default()))
    }

    #[test]
    fn without_settings_everything_has_its_default_and_the_description_says_which() {
        let read = read(json!({})).unwrap();
        for key in keys() {
            let Some(default) = &key.default else { continue };
            let found = match key.name.as_str() {
                PART_SIZE => read.part_size,
                PARTS_AT_ONCE => read.parts_at_once as u64,
                UPLOAD_MEMORY => read.upload_memory,
                ATTEMPT_TIMEOUT => read.attempt_timeout.as_secs(),
                CONNECT_TIMEOUT => read.connect_timeout.as_secs(),
                MOST_ATTEMPTS => read.most_attempts.into(),
                MOST_CONNECTIONS => read.most_connections as u64,
                other => panic!("{other} has a default and no value"),
            };
            assert_eq!(default.parse::<u64>().unwrap(), found, "{}", key.name);
        }
    }

    #[test]
    fn a_wrong_value_is_refused_by_the_name_of_its_key() {
        for (values, key) in [
            (json!({ "part_size": 5 }), "part_size"),
            (json!({ "part_size": -1 }), "part_size"),
            (json!({ "parts_at_once": 0 }), "parts_at_once"),
            (json!({ "upload_memory": 2_097_152, "part_size": 4_194_304 }), "upload_memory"),
            (json!({ "attempt_timeout": 0 }), "attempt_timeout"),
            (json!({ "connect_timeout": "soon" }), "connect_timeout"),
            (json!({ "most_attempts": 1000 }), "most_attempts"),
            (json!({ "ca_bundle": 1 }), "ca_bundle"),
        ] {
            let error = read(values).unwrap_err();
            assert_eq!(error.kind, ErrorKind::InvalidConfiguration);
            assert!(error.message.starts_with(key), "{}", error.message);
        }
    }

    #[test]
    fn a_storage_path_loses_the_slashes_around_it_and_nothing_else() {
        for (path, expected) in [("", ""), ("/", ""), ("/a/b c/", "a/b c"), ("a", "a"), ("//a", "a")] {
            assert_eq!(root(path).unwrap(), expected);
        }
        for path in ["a//b", ".", "a/../b", "a/./b", "a\nb", ".docker-registry/x", &"x".repeat(600)] {
            assert_eq!(root(path).unwrap_err().kind, ErrorKind::InvalidConfiguration, "{path}");
        }
    }
}
