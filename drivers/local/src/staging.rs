//! The driver's private folder: temporary files, pending uploads, locks.
//!
//! ```text
//! STORAGE_PATH/.docker-registry/
//!     tmp/INSTANCE/    files that are being written; `lock` is held as long as the instance lives
//!     uploads/ID/      pending uploads
//!     locks/00 … ff    locks of objects, chosen by a checksum of the path
//! ```
//!
//! Temporary files of an instance that died are removed by a later one. "Died" means that its lock is
//! free; on top of that nothing is removed that changed lately, for file systems whose locks do not
//! reach from one machine to the next.

use std::{
    fs::{self, File, Permissions},
    io::{self, ErrorKind as Io, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{Error, ErrorKind, ObjectPath, Result};
use tempfile::{Builder, NamedTempFile, TempDir};

use crate::{durable, root::RESERVED, settings::LocalSettings};

/// Leftovers that changed more recently than this stay.
const LEFTOVER_AGE: Duration = Duration::from_secs(6 * 60 * 60);

/// What the names of temporary files begin with that lie beside objects. It begins with [`RESERVED`].
const BESIDE: &str = ".docker-registry-";

/// The private folder, opened by one instance of the driver.
pub(crate) struct Staging {
    temporary: PathBuf,
    uploads: PathBuf,
    locks: PathBuf,
    file_mode: Option<u32>,
    /// Held for life: tells other instances that the temporary files are in use.
    _alive: File,
}

impl Staging {
    /// Makes the folders, takes the instance's lock and removes what dead instances left.
    ///
    /// # Errors
    /// The reason why the folder cannot be written or the file system cannot lock.
    pub(crate) fn open(root: &Path, settings: &LocalSettings) -> Result<Self> {
        let folder = root.join(RESERVED);
        let unusable = |error: io::Error| {
            let mut unusable = Error::from(error);
            unusable.message = format!("storage_path: {} cannot be used", folder.display());
            unusable
        };
        // Nobody but the server has business here, unless the operator shares folders on purpose.
        let mode = Some(settings.directory_mode.unwrap_or(0o700));
        let [temporary, uploads, locks] = ["tmp", "uploads", "locks"].map(|name| folder.join(name));
        let mut unsynced = Vec::new();
        for folder in [&temporary, &uploads, &locks] {
            durable::make_folders(folder, mode, &mut unsynced).map_err(unusable)?;
        }
        unsynced.dedup();
        durable::sync_together(None, &unsynced).map_err(unusable)?;
        remove_leftovers(&temporary);
        let own = TempDir::with_prefix_in("", &temporary).map_err(unusable)?;
        let alive = File::create_new(own.path().join("lock")).map_err(unusable)?;
        alive.lock().map_err(unusable)?;
        let file_mode = settings.file_mode;
        Ok(Self { temporary: own.keep(), uploads, locks, file_mode, _alive: alive })
    }

    /// The folder of pending uploads.
    pub(crate) fn uploads(&self) -> &Path {
        &self.uploads
    }

    /// A new empty file with the permissions of an object. Its name is removed when it is dropped; after
    /// a rename there is nothing under that name any more.
    pub(crate) fn temporary_file(&self) -> Result<NamedTempFile> {
        self.file_in(&self.temporary, "").map_err(staging_failed)
    }

    /// The same in another folder, under a name that no object can have. After a crash the file stays
    /// until a later write to the folder finds it old; see [`remove_leftovers_beside`].
    pub(crate) fn temporary_file_beside(&self, folder: &Path) -> io::Result<NamedTempFile> {
        self.file_in(folder, BESIDE)
    }

    fn file_in(&self, folder: &Path, prefix: &str) -> io::Result<NamedTempFile> {
        let file = Builder::new()
            .prefix(prefix)
            .rand_bytes(16)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)?;
        self.set_file_mode(file.as_file())?;
        Ok(file)
    }

    /// Gives a file the configured permissions.
    pub(crate) fn set_file_mode(&self, file: &File) -> io::Result<()> {
        self.file_mode.map_or(Ok(()), |mode| file.set_permissions(Permissions::from_mode(mode)))
    }

    /// Locks an object against changes that depend on its tag (`exclusive`), or its tag against
    /// changes (not `exclusive`). Held until the file is dropped; between processes, too.
    ///
    /// Different objects may share a lock. Nobody waits for a second lock while holding an exclusive
    /// one, so that no circle can form.
    pub(crate) fn lock(&self, path: &ObjectPath, exclusive: bool) -> Result<File> {
        let name = format!("{:02x}", crc32fast::hash(path.as_str().as_bytes()) & 0xff);
        let open = || File::options().create(true).truncate(false).write(true).open(self.locks.join(name));
        let lock = open().map_err(staging_failed)?;
        if exclusive { lock.lock() } else { lock.lock_shared() }.map_err(staging_failed)?;
        Ok(lock)
    }

    /// Writes a file to disk and removes it again.
    ///
    /// # Errors
    /// Why the storage cannot be written.
    pub(crate) fn probe(&self) -> Result<()> {
        let mut probe = self.temporary_file()?;
        probe.write_all(b"probe").and_then(|()| probe.as_file().sync_all()).map_err(staging_failed)
    }

    /// Removes the instance's own folder of temporary files. No file is left when no call is under way.
    pub(crate) fn close(&self) {
        if let Err(error) = fs::remove_dir_all(&self.temporary) {
            tracing::debug!(%error, "the folder of temporary files was not removed");
        }
    }
}

/// An error about the driver's own files. What is missing there is not the caller's object.
pub(crate) fn staging_failed(error: io::Error) -> Error {
    let mut failure = Error::from(error);
    if failure.kind == ErrorKind::NotFound {
        failure.kind = ErrorKind::Unavailable;
        failure.message = "the driver's folder .docker-registry in the storage was removed".to_owned();
    }
    failure
}

/// Whether something has not changed for so long that nobody can be working on it.
pub(crate) fn is_leftover(path: &Path) -> bool {
    let changed = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    changed
        .is_ok_and(|changed| SystemTime::now().duration_since(changed).is_ok_and(|age| age >= LEFTOVER_AGE))
}

/// Removes what crashes left in a folder of objects; see [`Staging::temporary_file_beside`].
pub(crate) fn remove_leftovers_beside(folder: &Path) {
    let Ok(files) = fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let place = file.path();
        if !file.file_name().to_string_lossy().starts_with(BESIDE) || !is_leftover(&place) {
            continue;
        }
        match fs::remove_file(&place) {
            Ok(()) => tracing::info!(path = %place.display(), "removed a file of a write that crashed"),
            // Another writer was faster.
            Err(error) if error.kind() == Io::NotFound => {}
            Err(error) => tracing::warn!(path = %place.display(), %error, "a leftover file stays"),
        }
    }
}

fn remove_leftovers(temporary: &Path) {
    let Ok(instances) = fs::read_dir(temporary) else { return };
    for instance in instances.flatten().map(|entry| entry.path()) {
        // Without a lock file the instance died before it made one.
        let alive = match File::open(instance.join("lock")) {
            Ok(lock) => lock.try_lock().is_err(),
            Err(error) => error.kind() != Io::NotFound,
        };
        if alive || !is_leftover(&instance) {
            continue;
        }
        match fs::remove_dir_all(&instance) {
            Ok(()) => tracing::info!(folder = %instance.display(), "removed files of a write that crashed"),
            Err(error) => tracing::warn!(folder = %instance.display(), %error, "leftover files stay"),
        }
    }
}
