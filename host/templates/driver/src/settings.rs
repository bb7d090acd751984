//! The configuration keys of the driver.
//!
//! What to put here: one entry in `keys` and one field for each thing that an operator decides. The
//! server checks the configuration file against `keys`, fills in the defaults, and prints them in
//! `docker-registry driver inspect`. Mark passwords with `.secret()` and keys that nobody can guess
//! with `.required()`.

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings, ValueKind};

/// Bytes that are kept when no key says otherwise: 8 GiB.
const DEFAULT_CAPACITY: u64 = 8 << 30;

/// The values that the driver works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoreSettings {
    /// Most bytes to keep, pending uploads included.
    pub(crate) capacity: u64,
    /// Bytes that must be free for the storage to be called healthy.
    pub(crate) spare: u64,
}

impl StoreSettings {
    /// The keys, for operators.
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        vec![
            ConfigurationKey::of(
                ValueKind::Integer,
                "capacity",
                "Most bytes to keep, pending uploads included.",
            )
            .default(&DEFAULT_CAPACITY.to_string()),
            ConfigurationKey::of(
                ValueKind::Integer,
                "spare",
                "Bytes that must be free for the storage to be called healthy.",
            )
            .default("1"),
        ]
    }

    /// Reads the values. The server has checked their types; what a number may be is known only
    /// here. Defaults are repeated for tests that open the driver with empty settings.
    ///
    /// # Errors
    /// `InvalidConfiguration` with the key in the message.
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        Ok(Self {
            capacity: bytes(settings, "capacity", DEFAULT_CAPACITY)?,
            spare: bytes(settings, "spare", 1)?,
        })
    }
}

fn bytes(settings: &Settings, key: &str, default: u64) -> Result<u64> {
    let Some(value) = settings.integer(key)? else {
        return Ok(default);
    };
    u64::try_from(value)
        .map_err(|_| Error::new(ErrorKind::InvalidConfiguration, format!("{key} cannot be negative")))
}
