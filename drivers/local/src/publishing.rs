//! The moment at which a finished file becomes an object.
//!
//! Everything that writes ends here. A file gets its place by one rename, under the condition that the caller set. Its
//! content is on disk before and the names around it are after it, save for what the caller calls transient.

use std::{
    fs::{self, File},
    io::{self, ErrorKind as Io},
    path::{Path, PathBuf},
    time::SystemTime,
};

use docker_registry_driver_api::{Condition, Error, ErrorKind, ObjectInfo, ObjectPath, Result};
use rustix::{
    fs::{CWD, RenameFlags},
    io::Errno,
};
use tempfile::NamedTempFile;

use crate::{
    Store,
    durable::{self, Lasts},
    reading,
    root::is_linked_folder,
    staging,
    staging::staging_failed,
    stop::Stop,
};

/// How often a write starts again whose folder others remove at the same time.
const ATTEMPTS: usize = 100;
/// A long copy looks after this many bytes whether it is still wanted.
const COPY_BYTES: u64 = 16 * 1024 * 1024;

/// Where a publication goes.
struct Place<'a> {
    target: &'a Path,
    folder: &'a Path,
    /// Folders in which this publication made another one.
    grown: Vec<PathBuf>,
}

impl Store {
    /// Makes the file at `source` the object at `path`, to last as long as `lasts` says. On `Ok` nothing is at
    /// `source` any more, unless the object lies on another file system: then it is a copy, and the source is the
    /// caller's to remove.
    ///
    /// `file` is the same file, open; it must have been stamped, and its content must be on disk if it is to last
    /// always.
    ///
    /// # Errors
    /// `ConditionFailed`; `Conflict` when a folder is at the path or an object above it. The source is
    /// untouched then. `outcome_unknown` when the object is there and may not survive a power cut.
    pub(crate) fn publish(
        &self,
        source: &Path,
        file: &File,
        path: &ObjectPath,
        condition: &Condition,
        lasts: Lasts,
    ) -> Result<ObjectInfo> {
        let target = self.root.object(path)?;
        let folder = target.parent().unwrap_or(self.root.folder());
        let mut place = Place { target: &target, folder, grown: Vec::new() };
        let published = self.publish_at(&mut place, source, file, path, condition);
        if published.is_err() && !place.grown.is_empty() {
            // Folders were made for nothing.
            durable::prune(folder, self.root.folder());
        }
        let info = published.map_err(|error| error.at(path))?;
        if lasts == Lasts::Always {
            self.sync_names(folder).map_err(|error| error.at(path))?;
        }
        Ok(info)
    }

    fn publish_at(
        &self,
        place: &mut Place<'_>,
        source: &Path,
        file: &File,
        path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        // Set when the target lies on another file system than the source: a copy on the right one.
        let mut beside: Option<NamedTempFile> = None;
        for _ in 0..ATTEMPTS {
            let (source, file) = match &beside {
                Some(copy) => (copy.path(), copy.as_file()),
                None => (source, file),
            };
            let info = reading::info(&file.metadata()?);
            let Err(error) = self.rename_if(source, place.target, path, condition)? else {
                return Ok(info);
            };
            match error.kind() {
                Io::NotFound if !source.exists() => return Err(staging_failed(error)),
                Io::NotFound => {
                    durable::make_folders(place.folder, self.settings.directory_mode, &mut place.grown)?;
                }
                Io::CrossesDevices if beside.is_none() => beside = self.copy_beside(place, file)?,
                // Both say that the name is taken.
                Io::AlreadyExists | Io::IsADirectory | Io::DirectoryNotEmpty => {
                    resolve_taken(place.target)?;
                }
                _ => return Err(error.into()),
            }
        }
        let message = "folders of the path are removed as fast as they are made";
        Err(Error::new(ErrorKind::Unavailable, message))
    }

    /// One rename, with the condition checked in the same step. The outer result is the condition's.
    fn rename_if(
        &self,
        source: &Path,
        target: &Path,
        path: &ObjectPath,
        condition: &Condition,
    ) -> Result<io::Result<()>> {
        let exclusive = matches!(condition, Condition::IfMatch(_));
        let _lock = self.staging.lock(path, exclusive)?;
        if exclusive {
            self.check_condition(path, condition)?;
        }
        Ok(if is_linked_folder(target) {
            Err(Io::IsADirectory.into())
        } else if *condition == Condition::IfAbsent {
            return rename_to_free_name(source, target);
        } else {
            fs::rename(source, target)
        })
    }

    /// Whether the condition holds now. Only a caller that holds the object's lock can rely on it;
    /// others save themselves work that would be in vain.
    ///
    /// # Errors
    /// `ConditionFailed`.
    pub(crate) fn check_condition(&self, path: &ObjectPath, condition: &Condition) -> Result<()> {
        if *condition == Condition::Always {
            return Ok(());
        }
        let present = match self.head(path) {
            Ok(info) => info.etag,
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => present.is_none(),
            Condition::IfMatch(etag) => present.as_ref() == Some(etag),
        };
        if holds { Ok(()) } else { Err(condition_failed().at(path)) }
    }

    /// Copies the file into the target's folder, on disk. `None` when the folder is not there. What
    /// crashes left of earlier copies goes first.
    fn copy_beside(&self, place: &Place<'_>, file: &File) -> Result<Option<NamedTempFile>> {
        staging::remove_leftovers_beside(place.folder);
        let mut copy = match self.staging.temporary_file_beside(place.folder) {
            Err(error) if error.kind() == Io::NotFound => return Ok(None),
            other => other?,
        };
        let size = file.metadata()?.len();
        copy_content(file, size, copy.as_file_mut(), &Stop::default())?;
        copy.as_file().sync_all()?;
        stamp(copy.as_file())?;
        Ok(Some(copy))
    }
}

/// Copies the first `size` bytes from one file to the end of another. The standard library does it in
/// the kernel (`copy_file_range(2)`) where the file system can.
///
/// # Errors
/// `Corrupt` when the source is shorter; `Timeout` when `stop` says so.
pub(crate) fn copy_content(source: &File, size: u64, target: &mut File, stop: &Stop) -> Result<()> {
    use io::{Read, Seek};
    let mut from = source;
    from.rewind()?;
    let mut copied = 0;
    while copied < size {
        stop.check()?;
        let piece = io::copy(&mut from.take(COPY_BYTES.min(size - copied)), target)?;
        if piece == 0 {
            break;
        }
        copied += piece;
    }
    if copied == size {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Corrupt, format!("the file has {copied} of {size} bytes")))
}

/// The error of a condition that does not hold.
fn condition_failed() -> Error {
    Error::new(ErrorKind::ConditionFailed, "the object is not in the expected version")
}

/// Gives the file a time of change that no other write has; see [`reading::info`].
pub(crate) fn stamp(file: &File) -> io::Result<()> {
    file.set_modified(SystemTime::now())
}

/// Decides what a taken name means. `Ok` when it is free now.
fn resolve_taken(target: &Path) -> Result<()> {
    match fs::symlink_metadata(target) {
        // Folders that a crash left empty are not in the way of an object.
        Ok(metadata) if metadata.is_dir() && durable::remove_hollow(target) => Ok(()),
        Ok(metadata) if metadata.is_dir() || is_linked_folder(target) => {
            Err(Error::new(ErrorKind::Conflict, "a folder is at this path"))
        }
        Ok(_) => Err(condition_failed()),
        Err(error) if error.kind() == Io::NotFound => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Renames unless something has the target's name. The outer error is one after which the target may
/// have its name all the same.
fn rename_to_free_name(source: &Path, target: &Path) -> Result<io::Result<()>> {
    Ok(match rustix::fs::renameat_with(CWD, source, CWD, target, RenameFlags::NOREPLACE) {
        // NFS and some others have no such rename. A link is as atomic; if the process dies before
        // the other name is gone, the file has two, which `uploads` looks out for.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            let linked = fs::hard_link(source, target);
            if linked.is_ok() {
                // Readers see the object already.
                fs::remove_file(source).map_err(|error| Error::from(error).outcome_unknown())?;
            }
            linked
        }
        other => other.map_err(io::Error::from),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_ends_when_nobody_waits_for_it() {
        let mut source = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut source, b"content").unwrap();
        let mut target = tempfile::tempfile().unwrap();
        let stop = Stop::default();
        copy_content(&source, 7, &mut target, &stop).unwrap();
        drop(stop.when_dropped());
        let error = copy_content(&source, 7, &mut target, &stop).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Timeout);
    }
}
