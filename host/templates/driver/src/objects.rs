//! Whole objects: reading, writing, copying, deleting.
//!
//! What to put here: the calls of your storage. Where it cannot do a conditional write in one step,
//! leave `PutIfAbsent` and `PutIfMatch` out of the capabilities and answer
//! `Error::unsupported("put")` for such conditions: a check followed by a write is not atomic.

use std::sync::Arc;

use docker_registry_driver_api::{
    Bytes, Condition, Error, ErrorKind, Object, ObjectInfo, ObjectPath, Prefix, ReadRange, Reading,
    ReadingBody, Result, Stat, byte_stream,
};

use crate::contents::{Contents, Stored};

impl Contents {
    /// The object at `path`.
    pub(crate) fn find(&self, path: &ObjectPath) -> Result<&Stored> {
        self.objects.get(path.as_str()).ok_or_else(|| Error::not_found(path))
    }

    /// A small object, whole. The limit is checked before anything is joined.
    pub(crate) fn get(&self, path: &ObjectPath, max_size: u64) -> Result<Object> {
        let stored = self.find(path)?;
        if stored.size > max_size {
            let message = format!("{} bytes, where {max_size} are allowed", stored.size);
            return Err(Error::new(ErrorKind::TooLarge, message).at(path));
        }
        Ok(Object { content: Bytes::from(stored.pieces.concat()), info: stored.info() })
    }

    /// An object, opened. The stream keeps the pieces alive, also when the object is replaced.
    pub(crate) fn read(&self, path: &ObjectPath, range: ReadRange) -> Result<Reading> {
        let stored = self.find(path)?;
        let (offset, length) = range.resolve(stored.size).map_err(|error| error.at(path))?;
        Ok(Reading {
            total_size: stored.size,
            offset,
            length,
            etag: stored.info().etag,
            body: ReadingBody::Stream(byte_stream(cut(&stored.pieces, offset, length))),
        })
    }

    /// Writes a small object. The bytes are copied, because the server's may be part of a buffer
    /// that is much larger.
    pub(crate) fn put(
        &mut self,
        path: &ObjectPath,
        content: &[u8],
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        self.check_write(path, condition)?;
        let size = content.len() as u64;
        self.take_room(size)?;
        let pieces = if content.is_empty() { Vec::new() } else { vec![Bytes::copy_from_slice(content)] };
        Ok(self.insert(path.as_str(), Arc::new(pieces), size))
    }

    /// What lies at a path, folders included.
    pub(crate) fn stat(&self, path: &Prefix) -> Result<Stat> {
        if let Some(stored) = self.objects.get(path.as_str()) {
            return Ok(Stat::Object(stored.info()));
        }
        if path.is_root() || self.is_folder(path.as_str()) {
            return Ok(Stat::Folder);
        }
        Err(Error::not_found(path))
    }

    /// Copies one object. Pieces never change, so both share them. Onto itself it stays the same version.
    pub(crate) fn copy(&mut self, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        let stored = self.find(from)?.clone();
        if from == to {
            return Ok(());
        }
        self.check_write(to, &Condition::Always)?;
        self.take_room(stored.size)?;
        self.insert(to.as_str(), stored.pieces, stored.size);
        Ok(())
    }

    /// Moves one object. The room moves with it, so that a full storage can still rename.
    pub(crate) fn rename(&mut self, from: &ObjectPath, to: &ObjectPath) -> Result<()> {
        self.find(from)?;
        self.check_write(to, &Condition::Always)?;
        if from != to
            && let Some(stored) = self.objects.remove(from.as_str())
        {
            self.insert(to.as_str(), stored.pieces, stored.size);
        }
        Ok(())
    }

    /// Removes one object; `None` when there was none.
    pub(crate) fn remove(&mut self, path: &ObjectPath) -> Option<()> {
        let removed = self.objects.remove(path.as_str())?;
        self.free_room(removed.size);
        Some(())
    }

    /// Removes the object of this name and everything below the folder; returns how many went.
    /// Comparing with `a/` and not with `a` keeps `ab` alive.
    pub(crate) fn remove_tree(&mut self, prefix: &Prefix) -> u64 {
        let below = prefix.start();
        let (mut count, mut freed) = (0, 0);
        self.objects.retain(|path, stored| {
            let goes = path == prefix.as_str() || path.starts_with(&below);
            if goes {
                count += 1;
                freed += stored.size;
            }
            !goes
        });
        self.free_room(freed);
        count
    }

    /// Fails when the condition does not hold or the path is no place for an object.
    pub(crate) fn check_write(&self, path: &ObjectPath, condition: &Condition) -> Result<()> {
        let present = self.objects.get(path.as_str());
        let holds = match condition {
            Condition::Always => true,
            Condition::IfAbsent => present.is_none(),
            // An absent object has no tag: the condition fails, and it is not `NotFound`.
            Condition::IfMatch(etag) => {
                present.is_some_and(|stored| stored.info().etag.as_ref() == Some(etag))
            }
        };
        if !holds {
            let message = "the object is not in the expected version";
            return Err(Error::new(ErrorKind::ConditionFailed, message).at(path));
        }
        let text = path.as_str();
        let above = text.match_indices('/').any(|(end, _)| self.objects.contains_key(&text[..end]));
        if above || self.is_folder(text) {
            let message = "an object is where a folder is needed, or a folder where the object is";
            return Err(Error::new(ErrorKind::Conflict, message).at(path));
        }
        Ok(())
    }

    /// Whether an object lies below `path`. Folders are not kept, so there is no empty one.
    fn is_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let next = self.objects.range(below.clone()..).next();
        next.is_some_and(|(found, _)| found.starts_with(&below))
    }
}

/// The pieces that make up `length` bytes from `offset` on; clones of `Bytes` copy nothing.
fn cut(pieces: &[Bytes], offset: u64, length: u64) -> Vec<Bytes> {
    let mut result = Vec::new();
    let (mut skip, mut left) = (offset, length);
    for piece in pieces {
        let size = piece.len() as u64;
        if skip >= size {
            skip -= size;
            continue;
        }
        let end = size.min(skip.saturating_add(left));
        if end == skip {
            break;
        }
        left -= end - skip;
        result.push(piece.slice(skip as usize..end as usize));
        skip = 0;
    }
    result
}
