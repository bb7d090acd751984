//! Deleting objects, and the folders that they leave empty.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind as Io},
    path::{Path, PathBuf},
};

use docker_registry_driver_api::{Error, ObjectPath, Prefix, Result};

use crate::{
    Store,
    durable::{self, Lasts},
    root::{is_linked_folder, is_reserved},
    stop::Stop,
};

/// How often a folder is emptied again into which others write at the same time.
const ATTEMPTS: usize = 3;

impl Store {
    /// See `Driver::delete`.
    pub(crate) fn delete(&self, path: &ObjectPath, lasts: Lasts) -> Result<()> {
        match self.unlink(path)? {
            None => Err(Error::not_found(path)),
            Some(_) if lasts == Lasts::WhileTheMachineRuns => Ok(()),
            Some(folder) => self.sync_names(&folder).map_err(|error| error.at(path)),
        }
    }

    /// See `Driver::delete_many`. Each folder is synced once, after the last of its objects went.
    pub(crate) fn delete_many(
        &self,
        paths: Vec<ObjectPath>,
        lasts: Lasts,
    ) -> Result<Vec<(ObjectPath, Error)>> {
        let mut failed = Vec::new();
        let mut changed = BTreeSet::new();
        for path in paths {
            match self.unlink(&path) {
                Ok(folder) => changed.extend(folder),
                Err(error) => failed.push((path, error)),
            }
        }
        if lasts == Lasts::Always {
            changed.iter().try_for_each(|folder| self.sync_names(folder))?;
        }
        Ok(failed)
    }

    /// See `Driver::delete_tree`. Symbolic links are removed, not followed.
    pub(crate) fn delete_tree(&self, prefix: &Prefix, stop: &Stop) -> Result<u64> {
        let place = self.root.prefix(prefix)?;
        let removed = match fs::symlink_metadata(&place) {
            Ok(metadata) if metadata.is_dir() => self.empty_folder(&place, prefix.as_str(), stop)?,
            Ok(_) => {
                let object = ObjectPath::new(prefix.as_str())?;
                let _lock = self.staging.lock(&object, false)?;
                u64::from(remove(&place, prefix.as_str())?)
            }
            Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory) => return Ok(0),
            Err(error) => return Err(Error::from(error).at(prefix)),
        };
        if !prefix.is_root() {
            durable::prune(&place, self.root.folder());
        }
        self.sync_names(&place)?;
        Ok(removed)
    }

    /// Removes an object and the folders that are empty without it. Returns the folder to sync, or
    /// `None` when there was no object.
    fn unlink(&self, path: &ObjectPath) -> Result<Option<PathBuf>> {
        let place = self.root.object(path)?;
        {
            let _lock = self.staging.lock(path, false)?;
            if is_linked_folder(&place) {
                return Ok(None);
            }
            match fs::remove_file(&place) {
                Ok(()) => {}
                Err(error) if is_absent(&error) => return Ok(None),
                Err(error) => return Err(Error::from(error).at(path)),
            }
        }
        let folder = place.parent().unwrap_or(self.root.folder());
        Ok(Some(durable::prune(folder, self.root.folder())))
    }

    /// Removes what is below a folder and returns the number of objects. The folder itself stays.
    ///
    /// `path` is the folder as text, without a `/` at the end. Names that no object can have go as
    /// well, save for the driver's own folder.
    fn empty_folder(&self, folder: &Path, path: &str, stop: &Stop) -> Result<u64> {
        let children = match fs::read_dir(folder) {
            Err(error) if is_absent(&error) => return Ok(0),
            other => other.map_err(|error| Error::from(error).at(path))?,
        };
        let mut removed = 0;
        for child in children {
            stop.check()?;
            let child = child.map_err(|error| Error::from(error).at(path))?;
            let name = child.file_name();
            let place = child.path();
            let text = name.to_str();
            let own = text.is_some_and(is_reserved);
            if own && path.is_empty() {
                continue;
            }
            let kind = match child.file_type() {
                Err(error) if is_absent(&error) => continue,
                other => other.map_err(|error| Error::from(error).at(path))?,
            };
            let lossy = name.to_string_lossy();
            let child_path = if path.is_empty() { lossy.into_owned() } else { format!("{path}/{lossy}") };
            if kind.is_dir() {
                removed += self.remove_folder(&place, &child_path, stop)?;
            } else if let (true, Ok(object)) = (text.is_some() && !own, ObjectPath::new(&*child_path)) {
                let _lock = self.staging.lock(&object, false)?;
                removed += u64::from(remove(&place, &child_path)?);
            } else {
                remove(&place, &child_path)?;
            }
        }
        Ok(removed)
    }

    /// Removes a folder with all that is in it. It stays when others keep writing into it.
    fn remove_folder(&self, folder: &Path, path: &str, stop: &Stop) -> Result<u64> {
        let mut removed = 0;
        for _ in 0..ATTEMPTS {
            removed += self.empty_folder(folder, path, stop)?;
            match fs::remove_dir(folder) {
                Err(error) if error.kind() == Io::DirectoryNotEmpty => {}
                Ok(()) => return Ok(removed),
                Err(error) if is_absent(&error) => return Ok(removed),
                // A mount point is emptied and stays.
                Err(error) if error.kind() == Io::ResourceBusy => break,
                Err(error) => return Err(Error::from(error).at(path)),
            }
        }
        durable::sync_folder(folder).map_err(|error| Error::from(error).at(path))?;
        Ok(removed)
    }

    /// Waits until changes of names in `folder` are on disk, be it that others have removed it since.
    ///
    /// # Errors
    /// All with `outcome_unknown`: the change is there and may not survive a power cut.
    pub(crate) fn sync_names(&self, folder: &Path) -> Result<()> {
        self.synced.sync(folder, self.root.folder()).map_err(|error| Error::from(error).outcome_unknown())
    }
}

/// Removes a name; `false` when it was gone.
fn remove(place: &Path, path: &str) -> Result<bool> {
    match fs::remove_file(place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == Io::NotFound => Ok(false),
        Err(error) => Err(Error::from(error).at(path)),
    }
}

/// Whether the error says that no object is there. A folder is none.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), Io::NotFound | Io::NotADirectory | Io::IsADirectory | Io::InvalidFilename)
}
