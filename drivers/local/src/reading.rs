//! Looking at objects: one open or one stat per call, nothing in between that could change.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
};

use docker_registry_driver_api::{
    ETag, Error, ErrorKind, FileRegion, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading,
    ReadingBody, Result, Stat,
};
use rustix::fs::OFlags;

use crate::Store;

impl Store {
    /// See `Driver::get`.
    pub(crate) fn get(&self, path: &ObjectPath, max_size: u64) -> Result<Object> {
        let (file, info) = self.open_object(path)?;
        if info.size > max_size {
            let message = format!("the object has {} bytes, {max_size} are allowed", info.size);
            return Err(Error::new(ErrorKind::TooLarge, message).at(path));
        }
        let mut content = Vec::with_capacity(usize::try_from(info.size).unwrap_or(0));
        file.take(info.size).read_to_end(&mut content).map_err(|error| Error::from(error).at(path))?;
        if content.len() as u64 != info.size {
            return Err(Error::new(ErrorKind::Corrupt, "the file was cut short while it was read").at(path));
        }
        Ok(Object { content: content.into(), info })
    }

    /// See `Driver::head`.
    pub(crate) fn head(&self, path: &ObjectPath) -> Result<ObjectInfo> {
        let metadata = fs::metadata(self.root.object(path)?).map_err(|error| absent(error).at(path))?;
        if metadata.is_file() { Ok(info(&metadata)) } else { Err(Error::not_found(path)) }
    }

    /// See `Driver::stat`.
    pub(crate) fn stat(&self, path: &Prefix) -> Result<Stat> {
        let place = self.root.prefix(path)?;
        if path.is_root() {
            return Ok(Stat::Folder);
        }
        let metadata = fs::metadata(&place).map_err(|error| absent(error).at(path))?;
        if metadata.is_file() {
            Ok(Stat::Object(info(&metadata)))
        } else if metadata.is_dir() && self.witnesses.holds_objects(&place) {
            Ok(Stat::Folder)
        } else {
            Err(Error::not_found(path))
        }
    }

    /// See `Driver::read`. The content of an open file does not change, because objects are replaced
    /// by renames only.
    pub(crate) fn read(&self, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        let (file, info) = self.open_object(path)?;
        let (offset, length) = range.resolve(info.size).map_err(|error| error.at(path))?;
        Ok(Reading {
            total_size: info.size,
            offset,
            length,
            etag: info.etag,
            body: ReadingBody::File(FileRegion { file, offset, length }),
        })
    }

    /// Opens an object. What is known of it is read from the open file, not from its name.
    ///
    /// # Errors
    /// `NotFound`, also when something other than a file is there.
    pub(crate) fn open_object(&self, path: &ObjectPath) -> Result<(File, ObjectInfo)> {
        let place = self.root.object(path)?;
        let open = || {
            // NONBLOCK: a named pipe that strayed here must not hang the thread. Files ignore it.
            let flags = OFlags::NONBLOCK.bits() as i32;
            let file = File::options().read(true).custom_flags(flags).open(place)?;
            let metadata = file.metadata()?;
            Ok((file, metadata))
        };
        let (file, metadata) = open().map_err(|error| absent(error).at(path))?;
        if metadata.is_file() { Ok((file, info(&metadata))) } else { Err(Error::not_found(path)) }
    }
}

/// What the driver says about a file.
///
/// The tag is made of inode, size and time of change. Each write makes a new file and sets its time
/// from the clock in nanoseconds (the file system's own stamps are too coarse), so that even a reused
/// inode number gives another tag.
pub(crate) fn info(metadata: &Metadata) -> ObjectInfo {
    let tag = format!(
        "{:x}-{:x}-{:x}.{:x}",
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec()
    );
    ObjectInfo { size: metadata.size(), modified: metadata.modified().ok(), etag: Some(ETag(tag)) }
}

/// An error of looking at a path. An object where a folder would have to be means absence.
pub(crate) fn absent(error: io::Error) -> Error {
    let mut failure = Error::from(error);
    if failure.kind == ErrorKind::Conflict || failure.kind == ErrorKind::InvalidPath {
        failure.kind = ErrorKind::NotFound;
        failure.message = "there is nothing at this path".to_owned();
    }
    failure
}
