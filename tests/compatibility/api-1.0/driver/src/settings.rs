//! The driver's configuration keys: what they are, and how they are read.
//!
//! The keys are described once. The server checks the configuration file against the description,
//! fills in defaults, and prints the documentation from it.

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, MAX_PAGE, Result, Settings, ValueKind};

/// The values that the driver works with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MemorySettings {
    /// Most bytes of content in memory, pending uploads included; `None` for no limit.
    pub(crate) memory_limit: Option<u64>,
    /// Most entries of one page, 1 to [`MAX_PAGE`].
    pub(crate) page_size: u32,
}

impl MemorySettings {
    /// The keys, for [`describe`](docker_registry_driver_api::Driver::describe). A password would be
    /// marked `.secret()` here, and a key that nobody can guess `.required()`.
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        vec![
            ConfigurationKey::of(
                ValueKind::Integer,
                "memory_limit",
                "Most bytes of content to keep, pending uploads included. Without it there is no limit.",
            ),
            ConfigurationKey::of(
                ValueKind::Integer,
                "page_size",
                "Most entries in one page of a listing, 1 to 1000. Small values make tests page often.",
            )
            .default("1000"),
        ]
    }

    /// Reads the values. The types were checked by the server; what a number may be is known only
    /// here. The defaults are repeated because tests open the driver with empty settings.
    ///
    /// # Errors
    /// `InvalidConfiguration`, with the key in the message so that the operator knows where to look.
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let memory_limit = settings
            .integer("memory_limit")?
            .map(|limit| u64::try_from(limit).map_err(|_| invalid("memory_limit cannot be negative")))
            .transpose()?;
        let page_size = settings.integer("page_size")?.unwrap_or(MAX_PAGE.into());
        let page_size = u32::try_from(page_size)
            .ok()
            .filter(|size| (1..=MAX_PAGE).contains(size))
            .ok_or_else(|| invalid("page_size must be 1 to 1000"))?;
        Ok(Self { memory_limit, page_size })
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}
