//! Small objects written whole, copies and moves.

use std::{
    fs::{self, File, Metadata},
    io::{ErrorKind as Io, Write},
    os::unix::fs::MetadataExt,
    path::Path,
};

use docker_registry_driver_api::{Condition, ETag, Error, ObjectPath, Result};

use crate::{
    Store,
    durable::{self, Lasts},
    publishing, reading,
    stop::Stop,
};

impl Store {
    /// See `Driver::put`.
    pub(crate) fn put(
        &self,
        path: &ObjectPath,
        content: &[u8],
        condition: &Condition,
        lasts: Lasts,
    ) -> Result<Option<ETag>> {
        self.root.object(path)?;
        // Decided again at the rename. Here it saves a write that would be in vain.
        self.check_condition(path, condition)?;
        let mut file = self.staging.temporary_file()?;
        file.write_all(content)
            .and_then(|()| publishing::stamp(file.as_file()))
            .map_err(|error| Error::from(error).at(path))?;
        // Where the kernel reports a failed write only when it is synced, as over a network, it is synced.
        let lasts = match lasts {
            Lasts::WhileTheMachineRuns if self.warm.is_of_this_machine(&file.as_file().metadata()?) => lasts,
            _ => Lasts::Always,
        };
        if lasts == Lasts::Always {
            file.as_file().sync_all().map_err(|error| Error::from(error).at(path))?;
        }
        let info = self.publish(file.path(), file.as_file(), path, condition, lasts)?;
        Ok(info.etag)
    }

    /// See `Driver::copy`.
    pub(crate) fn copy(&self, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let (source, info) = self.open_object(from)?;
        self.root.object(to)?;
        if from == to {
            return Ok(());
        }
        let mut file = self.staging.temporary_file()?;
        publishing::copy_content(&source, info.size, file.as_file_mut(), &Stop::default())
            .map_err(|error| error.at(from))?;
        publishing::stamp(file.as_file())
            .and_then(|()| file.as_file().sync_all())
            .map_err(|error| Error::from(error).at(to))?;
        self.publish(file.path(), file.as_file(), to, &Condition::Always, Lasts::Always)?;
        Ok(())
    }

    /// See `Driver::rename`. One step within a file system. Between two of them, and for symbolic
    /// links, it is a copy that is complete and on disk before the source goes. How long that it is gone has to last
    /// is said by `source_lasts`.
    pub(crate) fn rename(&self, from: &ObjectPath, to: &ObjectPath, source_lasts: Lasts) -> Result<()> {
        let source = self.root.object(from)?;
        self.root.object(to)?;
        let (file, _) = self.open_object(from)?;
        if from == to {
            return Ok(());
        }
        let metadata = fs::symlink_metadata(&source).map_err(|error| reading::absent(error).at(from))?;
        if metadata.is_symlink() {
            // A relative link would point elsewhere from another folder.
            self.copy(from, to)?;
            return self.delete(from, source_lasts);
        }
        {
            // A write that depends on the source's tag must not fall between.
            let _lock = self.staging.lock(from, false)?;
            // It may have been put by a call that was transient.
            if let Err(error) = file.sync_all() {
                // The kernel tells of a failed write once, and the next sync would succeed. So nobody finds work in
                // progress again; what was to last is left for its owner to look at.
                if source_lasts == Lasts::WhileTheMachineRuns {
                    remove_if_same(&source, &file).map_err(|error| error.at(from))?;
                }
                return Err(Error::from(error).at(from));
            }
            self.publish(&source, &file, to, &Condition::Always, Lasts::Always).map_err(|error| {
                if error.outcome_unknown || source.exists() { error } else { Error::not_found(from) }
            })?;
            self.sync_if_other(to, &file).map_err(|error| error.outcome_unknown().at(to))?;
            remove_if_same(&source, &file).map_err(|error| error.at(from))?;
        }
        let stays = durable::prune(source.parent().unwrap_or(self.root.folder()), self.root.folder());
        match source_lasts {
            Lasts::Always => self.sync_names(&stays).map_err(|error| error.at(from)),
            Lasts::WhileTheMachineRuns => Ok(()),
        }
    }

    /// Waits until the content of what was moved is on disk, when that is not the file which was seen before: it may
    /// have been replaced between the look and the move.
    fn sync_if_other(&self, path: &ObjectPath, seen: &File) -> Result<()> {
        match self.open_object(path) {
            Ok((moved, _)) if !is_same(&moved.metadata()?, &seen.metadata()?) => Ok(moved.sync_all()?),
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }
}

/// Removes `path` if it still names the file that was moved. That happens when the move was a copy,
/// and when source and target were two names of one file, which rename(2) leaves as they are.
fn remove_if_same(path: &Path, moved: &File) -> Result<()> {
    let moved = moved.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(found) if is_same(&found, &moved) => Ok(fs::remove_file(path)?),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether both are of one file, whatever its name.
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}
