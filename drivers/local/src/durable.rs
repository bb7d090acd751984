//! What makes changes survive a power cut, and the folders around objects.
//!
//! A file's own `fsync(2)` keeps its content. Its name is kept by an fsync of the folder that holds
//! it, and a new folder's name by an fsync of the folder above. Which folders a change of an object needs
//! is decided in the `folders` module.

use std::{
    fs::{self, DirBuilder, File, Permissions},
    io::{self, ErrorKind as Io},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
};

use docker_registry_driver_api::CallContext;

/// What a change has to survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasts {
    /// The end of this process; the kernel has it then.
    WhileTheMachineRuns,
    /// A power cut as well.
    Always,
}

impl Lasts {
    /// What the caller asks for.
    pub(crate) fn of(call: &CallContext) -> Self {
        if call.transient { Self::WhileTheMachineRuns } else { Self::Always }
    }
}

/// How often a folder is made again that others remove at the same time.
const ATTEMPTS: usize = 100;

/// Most syncs under way for one call.
const SYNCS: usize = 8;
/// Stack of a thread that does nothing but one sync.
const SYNC_STACK: usize = 64 * 1024;

/// Waits until the names in `folder` are on disk.
///
/// A folder that is gone has nothing to keep; see [`crate::folders`] for its removal. Some file systems have no fsync
/// for folders and say so; they keep what they can.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced {
        Err(error) if matches!(error.kind(), Io::NotFound | Io::InvalidInput | Io::Unsupported) => Ok(()),
        other => other,
    }
}

/// Waits until the content of a file and the names in several folders are on disk.
///
/// All at the same time: a journalling file system then commits once and the disk flushes its cache
/// once, where one sync after the other would wait for a flush each. More than [`SYNCS`] folders wait
/// for their turn.
pub(crate) fn sync_together(data: Option<&File>, folders: &[impl AsRef<Path> + Sync]) -> io::Result<()> {
    let (folders, later) = folders.split_at(folders.len().min(SYNCS));
    let sync_data = || data.map_or(Ok(()), File::sync_data);
    let (alone, beside) = match (data, folders.split_last()) {
        (None, Some((last, others))) => (Some(last), others),
        _ => (None, folders),
    };
    thread::scope(|scope| {
        let mut running = Vec::with_capacity(beside.len());
        let mut synced = Ok(());
        for folder in beside {
            let sync = || sync_folder(folder.as_ref());
            match thread::Builder::new().stack_size(SYNC_STACK).spawn_scoped(scope, sync) {
                Ok(thread) => running.push(thread),
                // No thread to be had: one after the other is as safe.
                Err(_) => synced = synced.and(sync()),
            }
        }
        synced = synced.and(alone.map_or_else(sync_data, |folder| sync_folder(folder.as_ref())));
        for thread in running {
            let result = thread.join().unwrap_or_else(|_| Err(io::Error::other("a sync did not finish")));
            synced = synced.and(result);
        }
        synced
    })?;
    later.iter().try_for_each(|folder| sync_folder(folder.as_ref()))
}

/// Makes one folder with the configured permissions.
pub(crate) fn make_folder(folder: &Path, mode: Option<u32>) -> io::Result<()> {
    DirBuilder::new().mode(0o777).create(folder)?;
    // Set explicitly, because the umask would take bits away.
    mode.map_or(Ok(()), |mode| fs::set_permissions(folder, Permissions::from_mode(mode)))
}

/// Makes `folder` and what is missing above it, and adds to `unsynced` each folder that got a new
/// name. Outside of the object tree the caller syncs them; see [`sync_together`].
pub(crate) fn make_folders(folder: &Path, mode: Option<u32>, unsynced: &mut Vec<PathBuf>) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        match make_folder(folder, mode) {
            Ok(()) => {
                unsynced.extend(folder.parent().map(Path::to_owned));
                return Ok(());
            }
            Err(error) if error.kind() == Io::AlreadyExists => return Ok(()),
            // The folder above is missing, or was removed between its making and now.
            Err(error) if error.kind() == Io::NotFound => match folder.parent() {
                Some(above) => make_folders(above, mode, unsynced)?,
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
    }
    Err(Io::ResourceBusy.into())
}

/// Removes `folder` and the folders above it up to `root` as long as they are empty. Returns the
/// lowest one that stays. The caller has the removal synced from there; see [`crate::folders`].
pub(crate) fn prune(folder: &Path, root: &Path) -> PathBuf {
    let mut lowest = folder;
    while lowest != root {
        match fs::remove_dir(lowest) {
            Ok(()) => {}
            Err(error) if error.kind() == Io::NotFound => {}
            // Not empty is the usual case. A mount point or a link stays as well.
            Err(_) => break,
        }
        match lowest.parent() {
            Some(above) => lowest = above,
            None => break,
        }
    }
    lowest.to_owned()
}

/// Removes a folder that holds nothing but folders. Returns whether it is gone.
pub(crate) fn remove_hollow(folder: &Path) -> bool {
    if let Ok(children) = fs::read_dir(folder) {
        for child in children.flatten() {
            if !child.file_type().is_ok_and(|kind| kind.is_dir()) || !remove_hollow(&child.path()) {
                return false;
            }
        }
    }
    match fs::remove_dir(folder) {
        Ok(()) => true,
        Err(error) => error.kind() == Io::NotFound,
    }
}
