//! A walk over everything below some paths, in byte order.
//!
//! Each folder costs a read of its index, so that those ahead are read meanwhile: some of each folder on the way down,
//! and so many at once in all. What was read ahead waits in memory until the walk is there; when that has many names,
//! no more is read ahead.

use std::collections::HashMap;

use docker_registry_driver_api::Result;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};

use crate::objects::Objects;

/// Folders that are read at once, and of one folder ahead of where the walk is.
pub(crate) const MOST_AHEAD: usize = 16;
/// Entries of one folder among which those ahead are looked for.
const LOOKED_AHEAD: usize = 1_000;
/// Names that were read ahead, above which nothing more is read ahead.
const MOST_NAMES: usize = 50_000;

/// The entries of a folder: its path, and what may be in it.
type Below = (String, Result<Vec<String>>);

/// A walk on its way.
pub(crate) struct Walk {
    objects: Objects,
    /// The folders on the way down, the deepest one last.
    open: Vec<Folder>,
    after: Option<String>,
    ahead: usize,
    reading: FuturesUnordered<BoxFuture<'static, Below>>,
    /// What was read ahead, by the path of its folder.
    read: HashMap<String, Result<Vec<String>>>,
    /// How many names that are.
    names: usize,
}

/// One folder on the way down.
struct Folder {
    entries: Vec<String>,
    /// Where the walk is.
    at: usize,
    /// Up to where folders in it are being read.
    begun: usize,
    /// How many of them the walk has not come to.
    waiting: usize,
}

impl Folder {
    fn of(entries: Vec<String>) -> Self {
        Self { entries, at: 0, begun: 0, waiting: 0 }
    }
}

impl Walk {
    /// Over all that is at and below some paths, in byte order, and behind `after`. At most `ahead` folders are read
    /// ahead.
    pub(crate) fn new(objects: Objects, entries: Vec<String>, after: Option<String>, ahead: usize) -> Self {
        let (reading, read) = (FuturesUnordered::new(), HashMap::new());
        let open = vec![Folder::of(entries)];
        Self { objects, open, after, ahead: ahead.clamp(1, MOST_AHEAD), reading, read, names: 0 }
    }

    /// The next path that may be one of an object; `None` at the end.
    ///
    /// # Errors
    /// When a folder on the way cannot be read.
    pub(crate) async fn next(&mut self) -> Result<Option<String>> {
        loop {
            self.read_ahead();
            let Some(folder) = self.open.last_mut() else { return Ok(None) };
            let Some(path) = folder.entries.get_mut(folder.at).map(std::mem::take) else {
                self.open.pop();
                continue;
            };
            let is_begun = folder.at < folder.begun;
            folder.at += 1;
            if is_before(&path, self.after.as_deref()) {
                continue;
            }
            if !path.ends_with('/') {
                return Ok(Some(path));
            }
            if is_begun {
                folder.waiting -= 1;
            } else {
                // So that those ahead go on meanwhile.
                self.begin(path.clone());
            }
            let entries = self.read_of(&path).await?;
            self.open.push(Folder::of(entries));
        }
    }

    /// Begins to read folders that the walk comes to: the nearest ones first, which are in the deepest folder.
    fn read_ahead(&mut self) {
        for depth in (0..self.open.len()).rev() {
            loop {
                let folder = &mut self.open[depth];
                folder.begun = folder.begun.max(folder.at);
                let end = folder.entries.len().min(folder.at.saturating_add(LOOKED_AHEAD));
                if folder.begun >= end || folder.waiting >= self.ahead {
                    break;
                }
                if self.reading.len() >= self.ahead || self.names >= MOST_NAMES {
                    return;
                }
                let path = &folder.entries[folder.begun];
                folder.begun += 1;
                if path.ends_with('/') && !is_before(path, self.after.as_deref()) {
                    let path = path.clone();
                    folder.waiting += 1;
                    self.begin(path);
                }
            }
        }
    }

    /// Begins to read a folder.
    fn begin(&self, path: String) {
        let objects = self.objects.clone();
        self.reading.push(Box::pin(async move {
            let entries = objects.entries(&path).await;
            (path, entries)
        }));
    }

    /// What is in a folder that is being read.
    async fn read_of(&mut self, path: &str) -> Result<Vec<String>> {
        loop {
            if let Some(entries) = self.read.remove(path) {
                self.names -= entries.as_ref().map_or(0, Vec::len);
                return entries;
            }
            match self.reading.next().await {
                Some((read, entries)) => {
                    self.names += entries.as_ref().map_or(0, Vec::len);
                    self.read.insert(read, entries);
                }
                // It was never begun.
                None => return self.objects.entries(path).await,
            }
        }
    }
}

/// Whether everything at and below a path is not behind `after`.
fn is_before(path: &str, after: Option<&str>) -> bool {
    after.is_some_and(|after| after >= path && !(path.ends_with('/') && after.starts_with(path)))
}
