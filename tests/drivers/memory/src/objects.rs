//! The objects: a sorted map from path to content.
//!
//! Everything here is called with the driver's lock held and is over in an instant, so that each
//! method is one atomic step for all other callers.
//!
//! The store has folders in the sense of the driver API: a path is either an object or a folder,
//! never both. Memory could hold `a` and `a/b` at once, and so can most object stores. A file system
//! cannot, and a server that is tested on this driver should meet the stricter rule.

use std::{
    collections::BTreeMap,
    ops::Bound::{self, Included, Unbounded},
    sync::Arc,
    time::SystemTime,
};

use docker_registry_driver_api::{
    Condition, ETag, Error, ErrorKind, ObjectInfo, ObjectPath, Prefix, Result, Stat,
};

use crate::content::Content;

/// One object. Cloning it is cheap and shares the content.
#[derive(Clone)]
pub(crate) struct Stored {
    /// The bytes; readings hold references of their own.
    pub(crate) content: Arc<Content>,
    modified: SystemTime,
    version: u64,
}

impl Stored {
    /// What is known of the object.
    pub(crate) fn info(&self) -> ObjectInfo {
        ObjectInfo { size: self.content.size(), modified: Some(self.modified), etag: Some(self.etag()) }
    }

    /// The tag is a number that is never used twice. A hash of the content would do as well and cost
    /// more; a time would not do, because two writes may fall into one tick of the clock.
    fn etag(&self) -> ETag {
        ETag(format!("v{}", self.version))
    }
}

/// All objects.
#[derive(Default)]
pub(crate) struct Objects {
    by_path: BTreeMap<String, Stored>,
    last_version: u64,
}

impl Objects {
    /// The object at `path`.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn find(&self, path: &ObjectPath) -> Result<Stored> {
        self.by_path.get(path.as_str()).cloned().ok_or_else(|| Error::not_found(path))
    }

    /// What lies at `path`.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn stat(&self, path: &Prefix) -> Result<Stat> {
        if let Some(stored) = self.by_path.get(path.as_str()) {
            return Ok(Stat::Object(stored.info()));
        }
        if path.is_root() || self.is_folder(path.as_str()) {
            return Ok(Stat::Folder);
        }
        Err(Error::not_found(path))
    }

    /// Makes `content` the object at `path` if the condition holds. `content` is called only then.
    ///
    /// # Errors
    /// `ConditionFailed`; `Conflict` when a folder is at the path or an object above it.
    pub(crate) fn write(
        &mut self,
        path: &ObjectPath,
        condition: &Condition,
        content: impl FnOnce() -> Content,
    ) -> Result<ObjectInfo> {
        self.check_condition(path, condition)?;
        self.check_place(path)?;
        Ok(self.insert(path, Arc::new(content())))
    }

    /// Copies an object. The copy shares the bytes, which never change.
    ///
    /// # Errors
    /// `NotFound` for the source; `Conflict` as in [`Objects::write`].
    pub(crate) fn copy(&mut self, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let stored = self.find(from)?;
        self.check_place(to)?;
        // Onto itself it stays the same version.
        if from != to {
            self.insert(to, stored.content);
        }
        Ok(())
    }

    /// Moves an object.
    ///
    /// # Errors
    /// As [`Objects::copy`].
    pub(crate) fn rename(&mut self, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.copy(from, to)?;
        // A move of an object onto itself must not delete it.
        if from != to {
            self.remove(from);
        }
        Ok(())
    }

    /// Removes an object; `false` when there was none.
    pub(crate) fn remove(&mut self, path: &ObjectPath) -> bool {
        self.by_path.remove(path.as_str()).is_some()
    }

    /// Removes the object of this name and everything below the folder; returns how many went.
    ///
    /// Comparing with `a/` and not with `a` is what keeps `ab` alive.
    pub(crate) fn remove_tree(&mut self, prefix: &Prefix) -> u64 {
        let start = prefix.start();
        let before = self.by_path.len();
        self.by_path.retain(|path, _| path != prefix.as_str() && !path.starts_with(&start));
        (before - self.by_path.len()) as u64
    }

    /// The objects from a bound on, in byte order.
    pub(crate) fn from<'a>(
        &'a self,
        start: Bound<&str>,
    ) -> impl Iterator<Item = (&'a String, &'a Stored)> + use<'a> {
        self.by_path.range::<str, _>((start, Unbounded))
    }

    fn insert(&mut self, path: &ObjectPath, content: Arc<Content>) -> ObjectInfo {
        self.last_version += 1;
        let stored = Stored { content, modified: SystemTime::now(), version: self.last_version };
        let info = stored.info();
        self.by_path.insert(path.as_str().to_owned(), stored);
        info
    }

    fn check_condition(&self, path: &ObjectPath, condition: &Condition) -> Result<()> {
        let present = self.by_path.get(path.as_str());
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => present.is_none(),
            // An absent object has no tag, so the condition fails. It is not `NotFound`.
            Condition::IfMatch(etag) => present.is_some_and(|stored| stored.etag() == *etag),
        };
        if holds {
            return Ok(());
        }
        Err(Error::new(ErrorKind::ConditionFailed, "the object is not in the expected version").at(path))
    }

    fn check_place(&self, path: &ObjectPath) -> Result<()> {
        let text = path.as_str();
        if self.is_folder(text) {
            return Err(Error::new(ErrorKind::Conflict, "a folder is at this path").at(path));
        }
        for (slash, _) in text.match_indices('/') {
            if self.by_path.contains_key(&text[..slash]) {
                let message = format!("an object is at {}, where a folder is needed", &text[..slash]);
                return Err(Error::new(ErrorKind::Conflict, message).at(path));
            }
        }
        Ok(())
    }

    /// Whether an object lies below `path`. Folders are not stored, so an empty one cannot exist.
    fn is_folder(&self, path: &str) -> bool {
        let start = format!("{path}/");
        self.from(Included(&start)).next().is_some_and(|(found, _)| found.starts_with(&start))
    }
}
