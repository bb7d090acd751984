//! The names in small folders, remembered so that listing them again waits for nothing.
//!
//! A catalog looks into each repository it names, and most of them hold three folders and never another one. The
//! kernel changes a folder's time of change with every name that comes or goes, so that names which were read under
//! the same time are still all there is. Its clock for such times ticks some hundred times a second: names that were
//! read within a moment of a change may lack the next one made in the same tick, and are not kept. That holds for the
//! file systems of this machine, which [`Warm`](crate::warm::Warm) looks at; no other is remembered.

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{Entry, ListPage, ListRequest};
use rustix::fs::{CWD, OFlags};

use crate::{Store, reading::info};

/// Most names in a folder that is remembered: each costs a look at the kernel's tables on a thread that must not
/// be held up.
const MOST_NAMES: usize = 16;
/// Most bytes of all names in such a folder, so that long names are no way to the memory of the server.
const MOST_BYTES: usize = 512;
/// Most folders that are remembered. When there are more, remembering starts again.
const MOST_FOLDERS: usize = 8 * 1024;
/// How long before its names are read a folder has to have been unchanged: far more than a tick of any kernel.
const AT_REST: Duration = Duration::from_secs(2);

/// For each folder what it held when it was last read.
#[derive(Debug, Default)]
pub(crate) struct SmallFolders(Mutex<HashMap<PathBuf, Arc<Names>>>);

/// What a folder holds.
#[derive(Debug)]
pub(crate) struct Names {
    stamp: Stamp,
    /// Each name, with whether it is a folder.
    names: Vec<(String, bool)>,
}

/// Which folder it is, and when a name in it last came or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(folder: &Metadata) -> Self {
        Self {
            device: folder.dev(),
            inode: folder.ino(),
            seconds: folder.mtime(),
            nanoseconds: folder.mtime_nsec(),
        }
    }

    /// The stamp of a folder that has been at rest long enough for its names to be kept.
    pub(crate) fn at_rest(folder: &Path) -> Option<Self> {
        let folder = fs::metadata(folder).ok()?;
        let unchanged = SystemTime::now().duration_since(folder.modified().ok()?).ok()?;
        (unchanged >= AT_REST).then(|| Self::of(&folder))
    }
}

impl Names {
    /// None yet, of a folder that had this stamp before it was read.
    pub(crate) fn new(stamp: Stamp) -> Self {
        Self { stamp, names: Vec::new() }
    }

    /// One more, unless the folder is then none to remember: it has too many names or too long ones, or one that is a
    /// link, whose kind may change without the folder.
    pub(crate) fn with(mut self, name: &str, is_folder: bool, is_linked: bool) -> Option<Self> {
        self.names.push((name.to_owned(), is_folder));
        let bytes: usize = self.names.iter().map(|(name, _)| name.len()).sum();
        (self.names.len() <= MOST_NAMES && bytes <= MOST_BYTES && !is_linked).then_some(self)
    }
}

impl SmallFolders {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<Names>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the names of a folder. If it changed while they were read, its stamp is another one by now, and they
    /// are never used.
    pub(crate) fn remember(&self, folder: &Path, mut known: Names) {
        known.names.sort_unstable();
        let mut folders = self.lock();
        if folders.len() >= MOST_FOLDERS {
            folders.clear();
        }
        folders.insert(folder.to_owned(), Arc::new(known));
    }
}

impl Store {
    /// A page of direct children, if nothing has to be waited for. Everything else is left to
    /// [`listing`](crate::listing), on a thread that may block: the answers are the same.
    pub(crate) fn list_warm(&self, request: &ListRequest) -> Option<ListPage> {
        if request.recursive {
            return None;
        }
        let folder = self.root.prefix(&request.prefix).ok()?;
        let known = self.small_folders.lock().get(&folder).cloned()?;
        let (open, metadata) = self.warm.look(CWD, &folder, OFlags::PATH | OFlags::DIRECTORY)?;
        if Stamp::of(&metadata) != known.stamp {
            return None;
        }
        let (start, limit) = (request.prefix.start(), request.limit.max(1) as usize);
        let after = request.after.as_deref().unwrap_or_default();
        let mut entries: Vec<Entry> = Vec::new();
        for (name, is_folder) in &known.names {
            let path = format!("{start}{name}");
            if path.as_str() <= after {
                continue;
            }
            // Everything below is looked up from here, not from the root again.
            let object = if *is_folder {
                let way = self.witnesses.remembered(&folder.join(name))?;
                if !self.warm.is_file_in(&open, &Path::new(name).join(way)) {
                    return None;
                }
                None
            } else {
                let (_, metadata) = self.warm.look(&open, Path::new(name), OFlags::PATH)?;
                metadata.is_file().then_some(())?;
                Some(info(&metadata))
            };
            if entries.len() == limit {
                let next = entries.last().map(|last| last.path.clone());
                return Some(ListPage { entries, next });
            }
            entries.push(Entry { path, object });
        }
        Some(ListPage { entries, next: None })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use docker_registry_driver_api::Prefix;

    use super::*;
    use crate::{listing, settings::LocalSettings};

    struct Place {
        root: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        /// A store with the object `a/b/c` and the file `a/d`, on a file system that is looked at without waiting.
        fn new() -> Option<Self> {
            let root = tempfile::tempdir().unwrap();
            let settings =
                LocalSettings { storage_path: root.path().to_owned(), file_mode: None, directory_mode: None };
            let store = Store::open(settings).unwrap();
            let place = Self { root, store };
            place.write("a/b/c");
            place.write("a/d");
            place.store.warm.is_usable().then_some(place)
        }

        fn write(&self, path: &str) {
            let place = self.root.path().join(path);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::write(place, "content").unwrap();
        }

        /// As if the last change of the folder had been a while ago.
        fn rest(&self, folder: &str) {
            let folder = File::open(self.root.path().join(folder)).unwrap();
            folder.set_modified(SystemTime::now() - 2 * AT_REST).unwrap();
        }

        fn cold(&self, request: &ListRequest) -> ListPage {
            listing::page(&self.store, request).unwrap()
        }

        fn warm(&self, request: &ListRequest) -> Option<ListPage> {
            self.store.list_warm(request)
        }
    }

    fn of_a() -> ListRequest {
        ListRequest::children(Prefix::new("a").unwrap())
    }

    #[test]
    fn a_folder_at_rest_is_read_once_and_every_page_of_it_is_the_same() {
        let Some(place) = Place::new() else { return };
        place.rest("a");
        assert_eq!(place.warm(&of_a()), None, "nothing is known of it");
        place.cold(&of_a());
        for (after, limit) in [(None, 10), (None, 2), (None, 1), (Some("a/b"), 1), (Some("a/d"), 1)] {
            let request = ListRequest { after: after.map(str::to_owned), limit, ..of_a() };
            assert_eq!(place.warm(&request), Some(place.cold(&request)), "{request:?}");
        }
        let request = ListRequest { recursive: true, ..of_a() };
        assert_eq!(place.warm(&request), None);
    }

    #[test]
    fn a_name_that_comes_or_goes_is_seen() {
        let Some(place) = Place::new() else { return };
        place.rest("a");
        place.cold(&of_a());
        assert!(place.warm(&of_a()).is_some());
        place.write("a/e");
        assert_eq!(place.warm(&of_a()), None);
        assert_eq!(place.cold(&of_a()).entries.len(), 3);
        assert_eq!(place.warm(&of_a()), None, "it has just changed");
        place.rest("a");
        place.cold(&of_a());
        assert_eq!(place.warm(&of_a()).unwrap().entries.len(), 3);
    }

    #[test]
    fn a_folder_that_lost_its_object_is_looked_at_anew() {
        let Some(place) = Place::new() else { return };
        place.rest("a");
        place.cold(&of_a());
        fs::remove_file(place.root.path().join("a/b/c")).unwrap();
        assert_eq!(place.warm(&of_a()), None, "the folder `a` is unchanged");
        assert_eq!(place.cold(&of_a()).entries.len(), 1);
    }

    #[test]
    fn another_folder_of_the_same_name_is_another_one() {
        let Some(place) = Place::new() else { return };
        place.rest("a");
        place.cold(&of_a());
        let time = fs::metadata(place.root.path().join("a")).unwrap().modified().unwrap();
        fs::rename(place.root.path().join("a"), place.root.path().join("b")).unwrap();
        place.write("a/x");
        File::open(place.root.path().join("a")).unwrap().set_modified(time).unwrap();
        assert_eq!(place.warm(&of_a()), None);
    }

    #[test]
    fn large_folders_and_links_are_not_remembered() {
        let Some(place) = Place::new() else { return };
        std::os::unix::fs::symlink("d", place.root.path().join("a/linked")).unwrap();
        place.rest("a");
        place.cold(&of_a());
        assert_eq!(place.warm(&of_a()), None);
        fs::remove_file(place.root.path().join("a/linked")).unwrap();
        (0..MOST_NAMES).for_each(|number| place.write(&format!("a/{number}")));
        place.rest("a");
        assert_eq!(place.cold(&of_a()).entries.len(), MOST_NAMES + 2);
        assert_eq!(place.warm(&of_a()), None);
        let of_b = ListRequest::children(Prefix::new("b").unwrap());
        (0..3)
            .for_each(|number| place.write(&format!("b/{}", number.to_string().repeat(MOST_BYTES / 3 + 1))));
        place.rest("b");
        assert_eq!(place.cold(&of_b).entries.len(), 3);
        assert_eq!(place.warm(&of_b), None);
    }
}
