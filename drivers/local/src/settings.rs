//! The driver's configuration keys.

use std::path::PathBuf;

use docker_registry_driver_api::{ConfigurationKey, Error, ErrorKind, Result, Settings};

const STORAGE_PATH: &str = "storage_path";
const DEFAULT_STORAGE_PATH: &str = "/tmp/registry";
const FILE_MODE: &str = "file_mode";
const DIRECTORY_MODE: &str = "directory_mode";

/// The values that the driver works with.
#[derive(Debug, Clone)]
pub(crate) struct LocalSettings {
    /// The storage root, as the operator wrote it.
    pub(crate) storage_path: PathBuf,
    /// Permission bits of new objects; `None` leaves them to the umask.
    pub(crate) file_mode: Option<u32>,
    /// Permission bits of new folders; `None` leaves them to the umask.
    pub(crate) directory_mode: Option<u32>,
}

impl LocalSettings {
    /// The keys, for `describe`.
    pub(crate) fn keys() -> Vec<ConfigurationKey> {
        vec![
            ConfigurationKey::text(
                STORAGE_PATH,
                "Folder that holds everything. It is made when it does not exist.",
            )
            .default(DEFAULT_STORAGE_PATH)
            .environment("STORAGE_PATH"),
            ConfigurationKey::text(
                FILE_MODE,
                "Permissions of new objects in octal, for example 0640. By default the umask decides.",
            ),
            ConfigurationKey::text(
                DIRECTORY_MODE,
                "Permissions of new folders in octal, for example 0750 or 2770. By default the umask decides.",
            ),
        ]
    }

    /// Reads and checks the values.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub(crate) fn read(settings: &Settings) -> Result<Self> {
        let storage_path = settings.text(STORAGE_PATH)?.unwrap_or(DEFAULT_STORAGE_PATH);
        if storage_path.is_empty() {
            return Err(invalid("storage_path cannot be empty"));
        }
        Ok(Self {
            storage_path: PathBuf::from(storage_path),
            file_mode: mode(settings, FILE_MODE)?,
            directory_mode: mode(settings, DIRECTORY_MODE)?,
        })
    }
}

fn mode(settings: &Settings, key: &str) -> Result<Option<u32>> {
    let Some(text) = settings.text(key)? else { return Ok(None) };
    // Text that begins with a sign would pass `from_str_radix`.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8) {
        Ok(mode) if mode <= 0o7777 && (digits || text.starts_with("0o")) => Ok(Some(mode)),
        _ => Err(invalid(&format!("{key} must be permission bits in octal, for example 0640"))),
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidConfiguration, message)
}
