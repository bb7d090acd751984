//! The names in folders, remembered so that listing them again reads none of them, and small ones wait for nothing.
//!
//! A catalog looks into each repository it names, and most of them hold three folders and never another one; the tags
//! of a repository are one large folder, of which each page needs a few. The kernel sets the time of change (ctime) of a
//! folder with every name that comes or goes, and nobody else can set it, so that names which were read under the same
//! time are still all there is. Its clock for such times ticks some hundred times a second: names that were read within a
//! moment of a change may lack the next one made in the same tick, and are not kept. That holds for the file systems of
//! this machine, which [`Warm`](crate::warm::Warm) looks at; folders of others are not remembered.

use std::{
    cmp::Ordering,
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

/// Most names in a folder that is listed without leaving the thread: each costs a look at the kernel's tables, and the
/// thread must not be held up.
const FEW_NAMES: usize = 16;
/// Most bytes that the names of one folder may take: some two hundred thousand tags.
const MOST_OF_ONE: usize = 4 << 20;
/// Most bytes that all folders with few names may take together, and all with many. When there are more of a kind,
/// remembering that kind starts again.
const MOST_OF_FEW: usize = 4 << 20;
const MOST_OF_MANY: usize = 12 << 20;
/// What a folder takes beside its names, in bytes, about.
const BESIDE_NAMES: usize = 256;
/// How long before its names are read a folder has to have been unchanged: far more than a tick of any kernel.
const AT_REST: Duration = Duration::from_secs(2);

/// For each folder what it held when it was last read.
#[derive(Debug)]
pub(crate) struct KnownFolders {
    known: Mutex<Known>,
    at_rest: Duration,
}

/// Those with few names are for themselves, so that none of them goes for a large one.
#[derive(Debug)]
struct Known {
    few: Shelf,
    many: Shelf,
}

#[derive(Debug)]
struct Shelf {
    folders: HashMap<PathBuf, Arc<Names>>,
    bytes: usize,
    most: usize,
}

impl Default for Known {
    fn default() -> Self {
        let shelf = |most| Shelf { folders: HashMap::new(), bytes: 0, most };
        Self { few: shelf(MOST_OF_FEW), many: shelf(MOST_OF_MANY) }
    }
}

impl Shelf {
    fn take(&mut self, folder: &Path) -> Option<Arc<Names>> {
        let names = self.folders.remove(folder)?;
        self.bytes -= names.bytes();
        Some(names)
    }

    /// Returns what had to go, to be dropped where nobody waits.
    fn put(&mut self, folder: &Path, names: Names) -> HashMap<PathBuf, Arc<Names>> {
        let mut forgotten = HashMap::new();
        if self.bytes + names.bytes() > self.most {
            forgotten = std::mem::take(&mut self.folders);
            self.bytes = 0;
        }
        self.bytes += names.bytes();
        self.folders.insert(folder.to_owned(), Arc::new(names));
        forgotten
    }
}

impl Default for KnownFolders {
    fn default() -> Self {
        Self { known: Mutex::default(), at_rest: AT_REST }
    }
}

/// What a folder holds, in byte order.
#[derive(Debug)]
pub(crate) struct Names {
    stamp: Stamp,
    /// All names, one behind the other.
    text: String,
    /// Where each name ends in the text.
    ends: Vec<u32>,
    /// Whether each is that of a folder.
    folders: Vec<bool>,
}

/// The names of a folder while it is read.
pub(crate) struct NamesRead {
    stamp: Stamp,
    names: Vec<(String, bool)>,
    bytes: usize,
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

impl NamesRead {
    /// None yet, of a folder that had this stamp before it was read.
    pub(crate) fn new(stamp: Stamp) -> Self {
        Self { stamp, names: Vec::new(), bytes: BESIDE_NAMES }
    }

    /// One more, unless the folder is then too large to be remembered.
    pub(crate) fn with(mut self, name: &str, is_folder: bool) -> Option<Self> {
        self.bytes += Names::bytes_of(name);
        if self.bytes > MOST_OF_ONE {
            return None;
        }
        self.names.push((name.to_owned(), is_folder));
        Some(self)
    }
}

impl Names {
    fn of(mut read: NamesRead) -> Self {
        read.names.sort_unstable();
        let mut text = String::with_capacity(read.names.iter().map(|(name, _)| name.len()).sum());
        let end_of = |(name, _): &(String, bool)| {
            text.push_str(name);
            text.len() as u32
        };
        let ends = read.names.iter().map(end_of).collect();
        let folders = read.names.iter().map(|(_, is_folder)| *is_folder).collect();
        Self { stamp: read.stamp, text, ends, folders }
    }

    /// What a name takes here.
    fn bytes_of(name: &str) -> usize {
        name.len() + size_of::<u32>() + size_of::<bool>()
    }

    fn bytes(&self) -> usize {
        BESIDE_NAMES + self.text.len() + self.len() * Self::bytes_of("")
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn name(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[index] as usize]
    }

    /// The names whose paths come after the cursor, each with whether it is that of a folder. The paths begin with
    /// `start`.
    pub(crate) fn after<'a>(&'a self, start: &str, cursor: &str) -> impl Iterator<Item = (&'a str, bool)> {
        let first = match cursor.strip_prefix(start) {
            Some(cursor) => self.first_after(cursor),
            // All paths or none: the difference is in what they begin with.
            None if start.cmp(cursor) == Ordering::Greater => 0,
            None => self.len(),
        };
        (first..self.len()).map(|index| (self.name(index), self.folders[index]))
    }

    fn first_after(&self, cursor: &str) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.name(middle) > cursor { high = middle } else { low = middle + 1 }
        }
        low
    }
}

impl KnownFolders {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was last read of a folder, up to date or not.
    fn of(&self, folder: &Path) -> Option<Arc<Names>> {
        let known = self.lock();
        known.few.folders.get(folder).or_else(|| known.many.folders.get(folder)).cloned()
    }

    fn keep(&self, folder: &Path, names: Names) {
        let mut known = self.lock();
        let before = [known.few.take(folder), known.many.take(folder)];
        let shelf = if names.len() <= FEW_NAMES { &mut known.few } else { &mut known.many };
        let forgotten = shelf.put(folder, names);
        drop(known);
        drop((forgotten, before));
    }
}

impl Store {
    /// The stamp of a folder whose names may be kept: it is on this machine, and has been at rest for a while. File
    /// systems that count whole seconds only are too coarse.
    pub(crate) fn stamp(&self, folder: &Path) -> Option<Stamp> {
        let metadata = fs::metadata(folder).ok().filter(|metadata| self.warm.is_of_this_machine(metadata))?;
        let stamp = Stamp::of(&metadata);
        let unchanged = SystemTime::now().duration_since(stamp.changed()?).ok()?;
        (stamp.nanoseconds != 0 && unchanged >= self.known_folders.at_rest).then_some(stamp)
    }

    /// The names of a folder that has had this stamp since they were read.
    pub(crate) fn known_names(&self, folder: &Path, stamp: Stamp) -> Option<Arc<Names>> {
        self.known_folders.of(folder).filter(|names| names.stamp == stamp)
    }

    /// Keeps the names of a folder that was read after its stamp was taken. If it changed meanwhile, its stamp is
    /// another one by now.
    pub(crate) fn remember(&self, folder: &Path, read: NamesRead) {
        if fs::metadata(folder).map(|metadata| Stamp::of(&metadata)).ok() == Some(read.stamp) {
            self.known_folders.keep(folder, Names::of(read));
        }
    }

    /// A page of direct children, if nothing has to be waited for. Everything else is left to
    /// [`listing`](crate::listing), on a thread that may block: the answers are the same.
    pub(crate) fn list_warm(&self, request: &ListRequest) -> Option<ListPage> {
        if request.recursive {
            return None;
        }
        let folder = self.root.prefix(&request.prefix).ok()?;
        let known = self.known_folders.lock().few.folders.get(&folder).cloned()?;
        let (open, metadata) = self.warm.look(CWD, &folder, OFlags::PATH | OFlags::DIRECTORY)?;
        if Stamp::of(&metadata) != known.stamp {
            return None;
        }
        let (start, limit) = (request.prefix.start(), request.limit.max(1) as usize);
        let after = request.after.as_deref().unwrap_or_default();
        let mut entries: Vec<Entry> = Vec::new();
        for (name, is_folder) in known.after(&start, after) {
            let path = format!("{start}{name}");
            // Everything below is looked up from here, not from the root again.
            let object = if is_folder {
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
            store.known_folders.at_rest = REST / 2;
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
    fn the_pages_of_a_large_folder_are_the_same_from_memory() {
        let Some(place) = Place::new() else { return };
        (0..3 * FEW_NAMES).for_each(|number| place.write(&format!("a/{number}/c")));
        let pages = |place: &Place| -> Vec<_> {
            let afters =
                [None, Some("a"), Some("a/"), Some("a/2"), Some("a/20"), Some("a/zz"), Some("b"), Some("A")];
            let request =
                |after: &Option<&str>| ListRequest { after: after.map(str::to_owned), limit: 7, ..of_a() };
            afters.iter().map(|after| listing::page(&place.store, &request(after)).unwrap()).collect()
        };
        let read = pages(&place);
        place.cold(&of_a());
        assert!(place.store.known_folders.of(&place.at("a")).is_some());
        assert_eq!(pages(&place), read);
        assert_eq!(place.warm(&of_a()), None, "that many looks would hold up the thread");
        // One that is gone is not shown, and one that is empty neither.
        fs::remove_dir_all(place.at("a/10")).unwrap();
        fs::remove_file(place.at("a/11/c")).unwrap();
        let page = listing::page(&place.store, &ListRequest { limit: 4, ..of_a() }).unwrap();
        assert_eq!(names(&page), ["a/0", "a/1", "a/12", "a/13"]);
    }

    #[test]
    fn what_is_remembered_has_a_bound_for_each_kind() {
        let Some(place) = Place::new() else { return };
        let stamp = Stamp { device: 1, inode: 2, seconds: 3, nanoseconds: 4 };
        let fill = |count: usize, bytes: usize| {
            let name = "x".repeat(bytes / count);
            let with = |read: NamesRead, number| read.with(&format!("{name}{number}"), true);
            (0..count).try_fold(NamesRead::new(stamp), with)
        };
        assert!(fill(8, MOST_OF_ONE).is_none(), "one folder");
        let known = &place.store.known_folders;
        for number in 0..20 {
            // The same again, and what was small and is large now, takes the place of the one before.
            for (count, kind) in
                [(7, "few"), (FEW_NAMES + 1, "many"), (FEW_NAMES + 1, "many"), (7, "turns"), (20, "turns")]
            {
                let names = Names::of(fill(count, MOST_OF_ONE / 2).unwrap());
                known.keep(Path::new(&format!("{kind}{number}")), names);
            }
            let known = known.lock();
            for (shelf, most) in [(&known.few, MOST_OF_FEW), (&known.many, MOST_OF_MANY)] {
                let bytes: usize = shelf.folders.values().map(|names| names.bytes()).sum();
                assert_eq!(shelf.bytes, bytes);
                assert!(bytes <= most);
            }
            assert!(
                known.many.folders.contains_key(Path::new(&format!("turns{number}"))),
                "the last one is kept"
            );
        }
    }
}
