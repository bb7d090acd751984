//! Looking at objects without leaving the thread, when the kernel has all of it in memory.
//!
//! Handing a call to a thread that may block costs several times what the call itself takes once names and pages
//! are cached, and most reads of a registry find them there. So each look is first tried here, with calls that the
//! kernel refuses instead of waiting for a disk: `openat2` with `RESOLVE_CACHED`, and `preadv2` with `RWF_NOWAIT`. What
//! it refuses, and every error, is `None` here and left to [`reading`](crate::reading), on a thread that may block: the
//! answers are the same.
//!
//! Network file systems may wait in an open all the same. So this is for the file systems of disks and of memory, as
//! long as nothing of another one is found below the root.

use std::{
    fs::{File, Metadata},
    io::IoSliceMut,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use docker_registry_driver_api::{
    FileRegion, Object, ObjectInfo, ObjectPath, ReadRange, Reading, ReadingBody,
};
use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2, statfs},
    io::{Errno, ReadWriteFlags, preadv2},
};

use crate::{Store, reading::info, root::Root};

/// The largest object that is read here, in bytes: copying more would hold up the thread.
const SMALL: u64 = 64 * 1024;

/// Numbers of file systems whose opens do not wait for anybody else (`linux/magic.h`): ext2 to ext4, XFS, Btrfs, F2FS,
/// tmpfs, and overlayfs, which containers have.
const OF_THIS_MACHINE: [u64; 6] = [0xEF53, 0x5846_5342, 0x9123_683E, 0xF2F5_2010, 0x0102_1994, 0x794C_7630];

/// Whether it is tried at all.
pub(crate) struct Warm {
    usable: AtomicBool,
    /// The device of the root.
    device: u64,
}

impl Warm {
    /// Looks at the file system of the root.
    pub(crate) fn new(root: &Root) -> Self {
        let folder = root.folder();
        let device = std::fs::metadata(folder).map(|metadata| metadata.dev());
        let known = statfs(folder).is_ok_and(|system| OF_THIS_MACHINE.contains(&(system.f_type as u64)));
        Self { usable: AtomicBool::new(known && device.is_ok()), device: device.unwrap_or_default() }
    }

    /// Whether it is tried at all.
    fn is_usable(&self) -> bool {
        self.usable.load(Relaxed)
    }

    /// Whether it is tried for what this describes.
    pub(crate) fn is_of_this_machine(&self, metadata: &Metadata) -> bool {
        self.is_usable() && metadata.dev() == self.device
    }

    /// Opens a file whose names are all in the kernel's cache.
    fn open(&self, place: &Path, flags: OFlags) -> Option<(File, Metadata)> {
        self.look(CWD, place, flags).filter(|(_, metadata)| metadata.is_file())
    }

    /// The same for whatever is there. A relative path begins at the open folder.
    pub(crate) fn look(&self, folder: impl AsFd, place: &Path, flags: OFlags) -> Option<(File, Metadata)> {
        if !self.is_usable() {
            return None;
        }
        let flags = flags | OFlags::CLOEXEC;
        let file = File::from(openat2(folder, place, flags, Mode::empty(), ResolveFlags::CACHED).ok()?);
        let metadata = file.metadata().ok()?;
        if metadata.dev() != self.device {
            // Somebody has linked or mounted another file system here, which may be one of a network.
            self.usable.store(false, Relaxed);
            return None;
        }
        Some((file, metadata))
    }

    /// Whether a file is known to be there, or in place of a folder on the way. One call instead of three: the kernel
    /// is asked for a folder, and says that what it found is none.
    pub(crate) fn is_file_in(&self, folder: impl AsFd, way: &Path) -> bool {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::CACHED | ResolveFlags::NO_XDEV;
        self.is_usable() && openat2(folder, way, flags, Mode::empty(), resolve).err() == Some(Errno::NOTDIR)
    }
}

impl Store {
    /// [`Store::get`], if nothing has to be waited for.
    pub(crate) fn get_warm(&self, path: &ObjectPath, max_size: u64) -> Option<Object> {
        let (file, info) = self.open_warm(path)?;
        if info.size > max_size.min(SMALL) {
            return None;
        }
        let mut content = vec![0; info.size as usize];
        let mut read = 0;
        while read < content.len() {
            let rest = &mut [IoSliceMut::new(&mut content[read..])];
            match preadv2(&file, rest, read as u64, ReadWriteFlags::NOWAIT) {
                Ok(0) | Err(_) => return None,
                Ok(count) => read += count,
            }
        }
        Some(Object { content: content.into(), info })
    }

    /// [`Store::head`], if nothing has to be waited for.
    pub(crate) fn head_warm(&self, path: &ObjectPath) -> Option<ObjectInfo> {
        let place = self.root.object(path).ok()?;
        let (_, metadata) = self.warm.open(&place, OFlags::PATH)?;
        Some(info(&metadata))
    }

    /// [`Store::read`], if nothing has to be waited for until the content is read.
    pub(crate) fn read_warm(&self, path: &ObjectPath, range: ReadRange) -> Option<Reading> {
        let (file, info) = self.open_warm(path)?;
        let (offset, length) = range.resolve(info.size).ok()?;
        let body = ReadingBody::File(FileRegion { file, offset, length });
        Some(Reading { total_size: info.size, offset, length, etag: info.etag, body })
    }

    fn open_warm(&self, path: &ObjectPath) -> Option<(File, ObjectInfo)> {
        let place = self.root.object(path).ok()?;
        // NONBLOCK: as in `Store::open_object`.
        let (file, metadata) = self.warm.open(&place, OFlags::RDONLY | OFlags::NONBLOCK)?;
        Some((file, info(&metadata)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::settings::LocalSettings;

    fn store(folder: &Path) -> Store {
        let settings =
            LocalSettings { storage_path: folder.to_owned(), file_mode: None, directory_mode: None };
        Store::open(settings).unwrap()
    }

    fn path(text: &str) -> ObjectPath {
        ObjectPath::new(text).unwrap()
    }

    #[test]
    fn what_was_just_written_is_found_and_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "content").unwrap();
        let object = path("a/b");
        if !store.warm.is_usable() {
            assert!(store.head_warm(&object).is_none(), "a file system that may wait is not asked");
            return;
        }
        assert_eq!(store.head_warm(&object).unwrap(), store.head(&object).unwrap());
        // Not every file system reads without waiting.
        if let Some(found) = store.get_warm(&object, 100) {
            let cold = store.get(&object, 100).unwrap();
            assert_eq!((found.content, found.info), (cold.content, cold.info));
        }
        let range = ReadRange::From { offset: 3 };
        let (warm, cold) = (store.read_warm(&object, range).unwrap(), store.read(&object, range).unwrap());
        assert_eq!((warm.offset, warm.length, warm.etag), (cold.offset, cold.length, cold.etag));
    }

    #[test]
    fn what_is_an_error_or_large_is_left_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("large"), vec![1; SMALL as usize + 1]).unwrap();
        assert!(store.head_warm(&path("absent")).is_none());
        assert!(store.get_warm(&path("a"), 100).is_none());
        assert!(store.head_warm(&path("a")).is_none());
        assert!(store.get_warm(&path("large"), u64::MAX).is_none());
        assert!(store.get_warm(&path(".docker-registry/staging"), 100).is_none());
        let beyond = ReadRange::From { offset: SMALL + 2 };
        assert!(store.read_warm(&path("large"), beyond).is_none());
    }

    #[test]
    fn another_file_system_below_the_root_ends_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let elsewhere = Warm { usable: AtomicBool::new(true), device: store.warm.device.wrapping_add(1) };
        fs::write(folder.path().join("a"), "content").unwrap();
        let _ = elsewhere.open(&folder.path().join("a"), OFlags::PATH);
        assert!(!elsewhere.is_usable());
    }
}
