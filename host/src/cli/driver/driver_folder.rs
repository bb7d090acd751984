//! A folder with drivers, and how files in it change.
//!
//! Guarantees, at any moment and after a crash at any moment: under a driver's name lies the old library or the
//! new one, whole, or, after `remove`, none; a file that a running server has mapped is never written to, because
//! libraries come and go by rename only; what else lies there (the previous version, temporary files) has a name
//! that [`Search`] takes for no driver. One command at a time works in a folder.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, CWD, FlockOperation, RenameFlags, access, flock, renameat_with},
    io::Errno,
};
use tempfile::{NamedTempFile, TempPath};

use crate::{
    cli::Failure,
    plugin::{LibraryFile, Search, file_names},
};

/// How temporary files begin.
const TEMPORARY: &str = ".docker-registry-driver-";

/// A driver folder that no other driver command works in.
pub(super) struct DriverFolder {
    path: PathBuf,
    /// Holds the lock, and is what is synced after a change.
    descriptor: File,
}

/// The folder that a driver is installed into: the named one, else the first of the search order that is there
/// and can be written to.
///
/// # Errors
/// Which one to create, when there is none.
pub(super) fn choose(named: Option<&Path>, search: &Search) -> Result<PathBuf, Failure> {
    if let Some(folder) = named {
        let folder = std::path::absolute(folder)?;
        if !folder.is_dir() {
            return Err(Failure::Failed(format!(
                "{0} is not a folder; create it with `mkdir -p {0}`",
                folder.display()
            )));
        }
        return Ok(folder);
    }
    let usable =
        |folder: &&PathBuf| folder.is_dir() && access(*folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    search.folders().iter().find(usable).cloned().ok_or_else(|| {
        let folders: Vec<_> = search.folders().iter().map(|folder| folder.display().to_string()).collect();
        let system = search.folders().iter().find(|folder| folder.starts_with("/usr/local"));
        let advice = system.or(search.folders().first()).map_or_else(String::new, |folder| {
            format!("; create one, for example with `mkdir -p {}`, or give --folder", folder.display())
        });
        Failure::Failed(format!(
            "no driver folder can be written to: looked at {}{advice}",
            folders.join(", ")
        ))
    })
}

/// The folders, in search order, that hold the driver or its previous version; with `--folder` only that one.
pub(super) fn holding(name: &str, named: Option<&Path>, search: &Search) -> Result<Vec<PathBuf>, Failure> {
    let folders = match named {
        Some(folder) => vec![std::path::absolute(folder)?],
        None => search.folders().to_vec(),
    };
    let holds = |folder: &PathBuf| {
        Search::file_in(folder, name).is_some()
            || file_names(name).iter().any(|file| exists(&previous(&folder.join(file))))
    };
    Ok(folders.into_iter().filter(holds).collect())
}

/// Says that there is no such driver, and where it was looked for.
pub(super) fn not_there(name: &str, named: Option<&Path>, search: &Search) -> Failure {
    match (named, search.find(name)) {
        (None, Err(error)) => error.into(),
        (folder, _) => {
            let place = folder.map_or("any driver folder".to_owned(), |folder| folder.display().to_string());
            Failure::Failed(format!("there is no driver named `{name}` in {place}"))
        }
    }
}

/// Where the previous version of a library is kept: a name that does not end in `.so`.
pub(super) fn previous(library: &Path) -> PathBuf {
    let mut name = OsString::from(library.file_name().unwrap_or_else(|| OsStr::new("library")));
    name.push(".previous");
    library.with_file_name(name)
}

/// Whether there is anything under this name, a link that leads nowhere included.
pub(super) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

impl DriverFolder {
    /// Takes the folder for this process, and deletes what a killed command left in it.
    ///
    /// # Errors
    /// When another command works in it, or it cannot be read.
    pub(super) fn lock(path: &Path) -> Result<Self, Failure> {
        let failed = |reason: io::Error| Failure::Failed(format!("{}: {reason}", path.display()));
        let descriptor = File::open(path).map_err(failed)?;
        match flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => sweep(path).map_err(failed)?,
            Err(Errno::WOULDBLOCK) => {
                return Err(Failure::Failed(format!(
                    "another driver command is at work in {}; try again when it has ended",
                    path.display()
                )));
            }
            // A file system without locks for folders: then nothing is deleted that may be somebody's.
            Err(_) => {}
        }
        Ok(Self { path: path.to_owned(), descriptor })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a driver, or the one that it would have.
    pub(super) fn library(&self, name: &str) -> PathBuf {
        Search::file_in(&self.path, name).unwrap_or_else(|| {
            let [usual, other] = file_names(name).map(|file| self.path.join(file));
            if exists(&previous(&other)) { other } else { usual }
        })
    }

    /// A new file that everyone may read, deleted when it is dropped.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn temporary(&self) -> io::Result<NamedTempFile> {
        let file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.path)?;
        // Whatever the umask is: a server that runs as another user must be able to read it.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        Ok(file)
    }

    /// Puts a new library in the place of `library`. The one that was there becomes the previous version, unless
    /// it could not be loaded anyway.
    ///
    /// # Errors
    /// The system's; then the old library is still there.
    pub(super) fn publish(&self, staged: NamedTempFile, library: &Path) -> io::Result<()> {
        staged.as_file().sync_all()?;
        if LibraryFile::open(library).is_ok() {
            self.keep(library)?;
        }
        staged.persist(library).map_err(|error| error.error)?;
        self.sync()
    }

    /// Gives the present library a second name as the previous version.
    fn keep(&self, library: &Path) -> io::Result<()> {
        let second = self.second_name(library)?;
        let name = second.to_path_buf();
        second.persist(previous(library)).map_err(|error| error.error)?;
        // rename(2) does nothing when both names are of one file already, as after a crash right here.
        match fs::remove_file(name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => self.sync(),
        }
    }

    /// A temporary name of the present library, which stays where it is: a hard link, or a copy where the file
    /// system has none.
    fn second_name(&self, library: &Path) -> io::Result<TempPath> {
        let free = self.temporary()?.into_temp_path();
        fs::remove_file(&free)?;
        if fs::hard_link(library, &free).is_err() {
            let mut copy = File::create_new(&free)?;
            io::copy(&mut File::open(library)?, &mut copy)?;
            copy.set_permissions(Permissions::from_mode(0o644))?;
            copy.sync_all()?;
        }
        Ok(free)
    }

    /// Puts the previous version in the place of the library, and the library in its place. When there is no
    /// library, the previous version takes its name.
    ///
    /// # Errors
    /// The system's; then both are where they were, or, without renameat2(2), the previous version may be in both
    /// places.
    pub(super) fn exchange(&self, library: &Path) -> io::Result<()> {
        let previous = previous(library);
        if !exists(library) {
            fs::rename(&previous, library)?;
            return self.sync();
        }
        match renameat_with(CWD, library, CWD, &previous, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let second = self.second_name(library)?;
                fs::rename(&previous, library)?;
                second.persist(&previous).map_err(|error| error.error)?;
            }
            Err(error) => return Err(error.into()),
        }
        self.sync()
    }

    /// Deletes a driver and its previous version, under both names that a driver can have.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn delete(&self, name: &str) -> io::Result<Vec<PathBuf>> {
        let libraries = file_names(name).map(|file| self.path.join(file));
        let mut deleted = Vec::new();
        // Libraries first: after a crash there is nothing, or a previous version that no search finds.
        for path in libraries.iter().cloned().chain(libraries.iter().map(|library| previous(library))) {
            match fs::remove_file(&path) {
                Ok(()) => deleted.push(path),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.sync()?;
        Ok(deleted)
    }

    fn sync(&self) -> io::Result<()> {
        self.descriptor.sync_all()
    }
}

/// Deletes temporary files. Only under the lock: then nobody is using them.
fn sweep(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) && entry.file_type()?.is_file() {
            // In a folder of somebody else's it may stay.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}
