//! Which folders are on disk, so that an acknowledged name can be found from the root after a power cut.
//!
//! A file's name is kept only if the names of all folders above it are kept. A folder that is there
//! may have been made a moment ago by another writer, of this process or another one, who has not
//! synced its name yet. So the names up to the root are synced, unless this process has done that for
//! the same folder before.
//!
//! "The same folder" means its path, its number and its time of birth: a folder that was removed and
//! made again is another one, whoever did it. File systems that do not tell the time of birth get
//! the syncs with each write.

use std::{
    collections::HashMap,
    fs,
    io::{self, ErrorKind as Io},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::durable;

/// Most folders that are remembered. When there are more, remembering starts again.
const REMEMBERED: usize = 16 * 1024;
/// A younger folder is not remembered. One that replaces it could have the same number and, as the
/// clocks of file systems are coarse, the same time of birth.
const SETTLED: Duration = Duration::from_secs(2);
/// How often syncing starts again because others remove folders at the same time.
const ATTEMPTS: usize = 100;

/// Tells a folder from a later one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    number: u64,
    born: Option<SystemTime>,
}

impl Identity {
    /// `None` when there is no such folder.
    fn of(folder: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => Ok(Some(Self {
                device: metadata.dev(),
                number: metadata.ino(),
                born: metadata.created().ok(),
            })),
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The folders whose names this process has synced, with those of all folders above them.
#[derive(Debug, Default)]
pub(crate) struct SyncedFolders(Mutex<HashMap<PathBuf, Identity>>);

/// What lies between a changed folder and the nearest one that is known to be on disk.
#[derive(Debug, Default)]
struct Way {
    /// Folders in which names may not be on disk.
    unsynced: Vec<PathBuf>,
    /// Folders that are there, as they were found.
    found: Vec<(PathBuf, Identity)>,
}

impl SyncedFolders {
    /// Waits until the change of a name in `folder` is on disk, and the way there from `root`.
    ///
    /// A folder that others have removed since has lost its names as well; then it is the removal that
    /// is synced, in the folder above.
    pub(crate) fn sync(&self, folder: &Path, root: &Path) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            let now = SystemTime::now();
            let way = self.way(folder, root)?;
            durable::sync_together(None, &way.unsynced)?;
            // A folder that went before its turn came was not synced, and its removal neither.
            let mut stayed = true;
            for (folder, identity) in &way.found {
                stayed &= Identity::of(folder)? == Some(*identity);
            }
            if stayed {
                self.remember(way.found, now);
                return Ok(());
            }
        }
        Err(Io::ResourceBusy.into())
    }

    fn way(&self, folder: &Path, root: &Path) -> io::Result<Way> {
        let mut way = Way::default();
        let mut unsynced = true;
        for folder in folder.ancestors() {
            if let Some(identity) = Identity::of(folder)? {
                if unsynced {
                    way.unsynced.push(folder.to_owned());
                }
                way.found.push((folder.to_owned(), identity));
                unsynced = !self.knows(folder, identity);
            } else {
                unsynced = true;
            }
            if !unsynced || folder == root {
                break;
            }
        }
        Ok(way)
    }

    fn knows(&self, folder: &Path, identity: Identity) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(folder) == Some(&identity)
    }

    /// `now` is a time before the folders were looked at.
    fn remember(&self, found: Vec<(PathBuf, Identity)>, now: SystemTime) {
        let mut synced = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (folder, identity) in found {
            let age = identity.born.and_then(|born| now.duration_since(born).ok());
            if age.is_none_or(|age| age < SETTLED) {
                continue;
            }
            if synced.len() >= REMEMBERED {
                synced.clear();
            }
            synced.insert(folder, identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with folders that somebody else made, and nobody synced.
    fn root() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b/c");
        fs::create_dir_all(&folder).unwrap();
        (root, folder)
    }

    fn names(way: &Way, root: &Path) -> Vec<String> {
        way.unsynced.iter().map(|folder| folder.strip_prefix(root).unwrap().display().to_string()).collect()
    }

    fn settled() -> SystemTime {
        SystemTime::now() + 2 * SETTLED
    }

    #[test]
    fn folders_that_another_writer_made_are_synced_up_to_the_root() {
        let (root, folder) = root();
        let synced = SyncedFolders::default();
        let way = synced.way(&folder, root.path()).unwrap();
        assert_eq!(names(&way, root.path()), ["a/b/c", "a/b", "a", ""]);
        synced.remember(way.found, settled());
        // Known now: the folder's own names are all that can be new.
        let way = synced.way(&folder, root.path()).unwrap();
        assert_eq!(names(&way, root.path()), ["a/b/c"]);
    }

    #[test]
    fn a_folder_that_was_made_again_is_synced_again() {
        let (root, folder) = root();
        let synced = SyncedFolders::default();
        synced.remember(synced.way(&folder, root.path()).unwrap().found, settled());
        // Two folders at the same time have two numbers.
        fs::create_dir(root.path().join("new")).unwrap();
        fs::remove_dir(&folder).unwrap();
        fs::rename(root.path().join("new"), &folder).unwrap();
        let way = synced.way(&folder, root.path()).unwrap();
        assert_eq!(names(&way, root.path()), ["a/b/c", "a/b"]);
    }

    #[test]
    fn the_removal_of_a_folder_is_synced_in_the_one_above() {
        let (root, folder) = root();
        let synced = SyncedFolders::default();
        synced.remember(synced.way(&folder, root.path()).unwrap().found, settled());
        fs::remove_dir(&folder).unwrap();
        fs::remove_dir(folder.parent().unwrap()).unwrap();
        let way = synced.way(&folder, root.path()).unwrap();
        assert_eq!(names(&way, root.path()), ["a"]);
        synced.sync(&folder, root.path()).unwrap();
    }

    #[test]
    fn a_young_folder_is_not_remembered() {
        let (root, folder) = root();
        let synced = SyncedFolders::default();
        synced.remember(synced.way(&folder, root.path()).unwrap().found, SystemTime::now());
        let way = synced.way(&folder, root.path()).unwrap();
        assert_eq!(names(&way, root.path()), ["a/b/c", "a/b", "a", ""]);
    }

    #[test]
    fn no_more_folders_are_remembered_than_the_bound() {
        let (root, folder) = root();
        let synced = SyncedFolders::default();
        let identity = Identity::of(&folder).unwrap().unwrap();
        let many = (0..=REMEMBERED).map(|number| (root.path().join(number.to_string()), identity));
        synced.remember(many.collect(), settled());
        assert_eq!(synced.0.lock().unwrap().len(), 1);
    }
}
