//! The storage root: which file belongs to which path, and which names are the driver's own.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use docker_registry_driver_api::{Error, ErrorKind, ObjectPath, Prefix, Result};

use crate::{durable, settings::LocalSettings};

/// What the names of the driver's own files and folders begin with, at any depth.
pub(crate) const RESERVED: &str = ".docker-registry";

/// The folder that all objects lie below.
pub(crate) struct Root {
    folder: PathBuf,
}

impl Root {
    /// Makes the folder if it is absent.
    ///
    /// # Errors
    /// The reason why it cannot be used, with the key of the setting.
    pub(crate) fn open(settings: &LocalSettings) -> Result<Self> {
        let wanted = &settings.storage_path;
        let unusable = |error: io::Error| {
            let message = format!("storage_path {} cannot be used as a folder", wanted.display());
            Error::new(ErrorKind::InvalidConfiguration, message).caused_by(&error)
        };
        // Absolute, so that the place does not change with the working folder of the process.
        let folder = std::path::absolute(wanted).map_err(unusable)?;
        let mut unsynced = Vec::new();
        if let Some(above) = folder.parent() {
            durable::make_folders(above, None, &mut unsynced).map_err(unusable)?;
        }
        durable::make_folders(&folder, settings.directory_mode, &mut unsynced).map_err(unusable)?;
        durable::sync_together(None, &unsynced).map_err(unusable)?;
        if !fs::metadata(&folder).map_err(unusable)?.is_dir() {
            return Err(unusable(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { folder })
    }

    /// The root itself.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of an object.
    ///
    /// # Errors
    /// `InvalidPath` when a segment is one of the driver's own names.
    pub(crate) fn object(&self, path: &ObjectPath) -> Result<PathBuf> {
        self.place(path.as_str())
    }

    /// The folder of a prefix.
    ///
    /// # Errors
    /// As [`Root::object`].
    pub(crate) fn prefix(&self, prefix: &Prefix) -> Result<PathBuf> {
        if prefix.is_root() { Ok(self.folder.clone()) } else { self.place(prefix.as_str()) }
    }

    fn place(&self, path: &str) -> Result<PathBuf> {
        // No segment is `..` or absolute: the types of the driver API see to that.
        if path.split('/').any(is_reserved) {
            let message = "names that begin with .docker-registry belong to the driver";
            return Err(Error::new(ErrorKind::InvalidPath, message).at(path));
        }
        Ok(self.folder.join(path))
    }
}

/// Whether the path is a symbolic link to a folder. To readers it is that folder, so that a write or a
/// deletion of an object must leave it alone.
pub(crate) fn is_linked_folder(place: &Path) -> bool {
    fs::symlink_metadata(place).is_ok_and(|metadata| metadata.is_symlink())
        && fs::metadata(place).is_ok_and(|metadata| metadata.is_dir())
}

/// Whether a segment is one of the driver's own names.
pub(crate) fn is_reserved(segment: &str) -> bool {
    segment.starts_with(RESERVED)
}
