//! The names in small folders, remembered so that listing them again waits for nothing.
//!
//! A catalog looks into each repository it names, and most of them hold three folders and never another one. The
//! kernel sets the time of change (ctime) of a folder with every name that comes or goes, and nobody else can set it, so
//! that names which were read under the same time are still all there is. Its clock for such times ticks some hundred
//! times a second: names that were read within a moment of a change may lack the next one made in the same tick, and are
//! not kept. That holds for the file systems of this machine, which [`Warm`](crate::warm::Warm) looks at; folders of others
//! are not remembered.

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

use crate::{Store, reading::info, witness};

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
#[derive(Debug)]
pub(crate) struct SmallFolders {
    known: Mutex<HashMap<PathBuf, Arc<Names>>>,
    at_rest: Duration,
}

impl Default for SmallFolders {
    fn default() -> Self {
        Self { known: Mutex::default(), at_rest: AT_REST }
    }
}

/// What a folder holds.
#[derive(Debug)]
pub(crate) struct Names {
    stamp: Stamp,
    /// Each name, with whether it is a folder.
    names: Vec<(String, bool)>,
}

/// Which folder it is, and when it was last changed.
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
            seconds: folder.ctime(),
            nanoseconds: folder.ctime_nsec(),
        }
    }

    fn changed(self) -> Option<SystemTime> {
        let seconds = Duration::from_secs(self.seconds.try_into().ok()?);
        let nanoseconds = Duration::from_nanos(self.nanoseconds.try_into().ok()?);
        SystemTime::UNIX_EPOCH.checked_add(seconds + nanoseconds)
    }
}

impl Names {
    /// None yet, of a folder that had this stamp before it was read.
    pub(crate) fn new(stamp: Stamp) -> Self {
        Self { stamp, names: Vec::new() }
    }

    /// One more, unless the folder is then none to remember: it has too many names or too long ones.
    pub(crate) fn with(mut self, name: &str, is_folder: bool) -> Option<Self> {
        self.names.push((name.to_owned(), is_folder));
        let bytes: usize = self.names.iter().map(|(name, _)| name.len()).sum();
        (self.names.len() <= MOST_NAMES && bytes <= MOST_BYTES).then_some(self)
    }
}

impl SmallFolders {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<Names>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// The stamp of a folder whose names may be kept: it is on this machine, and has been at rest for a while. File
    /// systems that count whole seconds only are too coarse.
    pub(crate) fn stamp(&self, folder: &Path) -> Option<Stamp> {
        let metadata = fs::metadata(folder).ok().filter(|metadata| self.warm.is_of_this_machine(metadata))?;
        let stamp = Stamp::of(&metadata);
        let unchanged = SystemTime::now().duration_since(stamp.changed()?).ok()?;
        (stamp.nanoseconds != 0 && unchanged >= self.small_folders.at_rest).then_some(stamp)
    }

    /// Keeps the names of a folder that was read after its stamp was taken. If it changed meanwhile, its stamp is
    /// another one by now.
    pub(crate) fn remember(&self, folder: &Path, mut known: Names) {
        if fs::metadata(folder).map(|metadata| Stamp::of(&metadata)).ok() != Some(known.stamp) {
            return;
        }
        known.names.sort_unstable();
        let forgotten =
            witness::remember(&mut self.small_folders.lock(), folder, Arc::new(known), MOST_FOLDERS);
        // Nobody waits for this.
        drop(forgotten);
    }

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

    /// Longer than a tick of the kernel's clock.
    const REST: Duration = Duration::from_millis(100);

    struct Place {
        root: tempfile::TempDir,
        store: Store,
    }

    impl Place {
        /// A store with the object `a/b/c` and the file `a/d`, where that can be looked at without waiting. A folder is at
        /// rest soon here.
        fn new() -> Option<Self> {
            let root = tempfile::tempdir().unwrap();
            let settings =
                LocalSettings { storage_path: root.path().to_owned(), file_mode: None, directory_mode: None };
            let mut store = Store::open(settings).unwrap();
            store.small_folders.at_rest = REST / 2;
            let place = Self { root, store };
            place.write("a/b/c");
            place.write("a/d");
            let folder = place.root.path().join("a");
            place.store.warm.look(CWD, &folder, OFlags::PATH | OFlags::DIRECTORY).map(|_| place)
        }

        fn at(&self, path: &str) -> PathBuf {
            self.root.path().join(path)
        }

        fn write(&self, path: &str) {
            fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
            fs::write(self.at(path), "content").unwrap();
        }

        /// The blocking answer, of a folder that has been at rest for a while.
        fn cold(&self, request: &ListRequest) -> ListPage {
            std::thread::sleep(REST);
            listing::page(&self.store, request).unwrap()
        }

        fn warm(&self, request: &ListRequest) -> Option<ListPage> {
            self.store.list_warm(request)
        }
    }

    fn names(page: &ListPage) -> Vec<&str> {
        page.entries.iter().map(|entry| entry.path.as_str()).collect()
    }

    fn of_a() -> ListRequest {
        ListRequest::children(Prefix::new("a").unwrap())
    }

    #[test]
    fn a_folder_at_rest_is_read_once_and_every_page_of_it_is_the_same() {
        let Some(place) = Place::new() else { return };
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
    fn a_name_that_comes_or_goes_is_seen_whatever_time_others_give_the_folder() {
        let Some(place) = Place::new() else { return };
        place.cold(&of_a());
        assert!(place.warm(&of_a()).is_some());
        let time = fs::metadata(place.at("a")).unwrap().modified().unwrap();
        place.write("a/e");
        // As programs do that copy trees.
        File::open(place.at("a")).unwrap().set_modified(time).unwrap();
        assert_eq!(place.warm(&of_a()), None);
        assert_eq!(listing::page(&place.store, &of_a()).unwrap().entries.len(), 3);
        assert_eq!(place.warm(&of_a()), None, "it has just changed");
        place.cold(&of_a());
        assert_eq!(names(&place.warm(&of_a()).unwrap()), ["a/b", "a/d", "a/e"]);
        fs::remove_file(place.at("a/d")).unwrap();
        assert_eq!(place.warm(&of_a()), None);
    }

    #[test]
    fn a_folder_that_lost_its_object_is_looked_at_anew() {
        let Some(place) = Place::new() else { return };
        place.cold(&of_a());
        fs::remove_file(place.at("a/b/c")).unwrap();
        assert_eq!(place.warm(&of_a()), None, "the folder `a` is unchanged");
        assert_eq!(names(&place.cold(&of_a())), ["a/d"]);
    }

    #[test]
    fn another_folder_of_the_same_name_is_another_one() {
        let Some(place) = Place::new() else { return };
        place.cold(&of_a());
        for path in ["new/b/c", "new/d", "new/x"] {
            place.write(path);
        }
        fs::rename(place.at("a"), place.at("old")).unwrap();
        fs::rename(place.at("new"), place.at("a")).unwrap();
        assert_eq!(place.warm(&of_a()), None);
        assert_eq!(place.cold(&of_a()).entries.len(), 3);
    }

    #[test]
    fn a_folder_with_a_link_is_not_remembered_wherever_it_leads() {
        let Some(place) = Place::new() else { return };
        for (link, entries) in [("d", 3), ("later", 2)] {
            let linked = place.at("a/linked");
            std::os::unix::fs::symlink(link, &linked).unwrap();
            assert_eq!(place.cold(&of_a()).entries.len(), entries);
            assert_eq!(place.warm(&of_a()), None, "{link}");
            fs::remove_file(linked).unwrap();
        }
    }

    #[test]
    fn large_folders_are_not_remembered() {
        let Some(place) = Place::new() else { return };
        (0..MOST_NAMES).for_each(|number| place.write(&format!("a/{number}")));
        assert_eq!(place.cold(&of_a()).entries.len(), MOST_NAMES + 2);
        assert_eq!(place.warm(&of_a()), None);
        let of_b = ListRequest::children(Prefix::new("b").unwrap());
        (0..3)
            .for_each(|number| place.write(&format!("b/{}", number.to_string().repeat(MOST_BYTES / 3 + 1))));
        assert_eq!(place.cold(&of_b).entries.len(), 3);
        assert_eq!(place.warm(&of_b), None);
    }
}
