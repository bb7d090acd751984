//! Listings in byte order of the full paths.
//!
//! At any time one page and the names of the folders on the way down are in memory, however large the
//! store is. Nothing is kept between pages: the cursor says where to go on, and folders that lie
//! before it are not opened.

use std::{
    fs::{self, DirEntry},
    io::ErrorKind as Io,
    path::Path,
};

use docker_registry_driver_api::{Entry, Error, ListPage, ListRequest, ObjectPath, Result};

use crate::{
    reading,
    root::{Root, is_reserved},
    witness::Witnesses,
};

/// One page for the request.
pub(crate) fn page(root: &Root, witnesses: &Witnesses, request: &ListRequest) -> Result<ListPage> {
    let folder = root.prefix(&request.prefix)?;
    let limit = request.limit.max(1) as usize;
    let after = request.after.as_deref().unwrap_or_default();
    let mut walk = Walk { recursive: request.recursive, limit, after, witnesses, entries: Vec::new() };
    walk.folder(&folder, &request.prefix.start())?;
    let Walk { mut entries, .. } = walk;
    // The walk went one entry further than asked, to learn whether there is more.
    let more = entries.len() > limit;
    entries.truncate(limit);
    let next = entries.last().filter(|_| more).map(|last| last.path.clone());
    Ok(ListPage { entries, next })
}

/// A walk through folders until a page is full.
struct Walk<'a> {
    recursive: bool,
    limit: usize,
    after: &'a str,
    witnesses: &'a Witnesses,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    /// Adds what is in the folder whose paths begin with `start`.
    fn folder(&mut self, folder: &Path, start: &str) -> Result<()> {
        for child in self.children(folder, start)? {
            if self.entries.len() > self.limit {
                return Ok(());
            }
            let name = child.path.strip_prefix(start).unwrap_or(&child.path).trim_end_matches('/');
            let place = folder.join(name);
            if !child.is_folder {
                match fs::metadata(&place) {
                    Ok(metadata) => {
                        let object = Some(reading::info(&metadata));
                        self.entries.push(Entry { path: child.path, object });
                    }
                    // Deleted since its name was read.
                    Err(error) if error.kind() == Io::NotFound => {}
                    Err(error) => return Err(Error::from(error).at(child.path)),
                }
            } else if self.recursive {
                self.folder(&place, &child.path)?;
            } else if self.witnesses.holds_objects(&place) {
                self.entries.push(Entry { path: child.path, object: None });
            }
        }
        Ok(())
    }

    /// The children that can add to the page, in order.
    fn children(&self, folder: &Path, start: &str) -> Result<Vec<Child>> {
        let names = match fs::read_dir(folder) {
            // Also when an object is at this path, or when the folder was removed meanwhile.
            Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory) => return Ok(Vec::new()),
            other => other.map_err(|error| Error::from(error).at(start))?,
        };
        let mut children = Vec::new();
        for name in names {
            let name = name.map_err(|error| Error::from(error).at(start))?;
            children.extend(self.child(&name, start));
        }
        children.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(children)
    }

    fn child(&self, entry: &DirEntry, start: &str) -> Option<Child> {
        let name = entry.file_name();
        // What no path can name is not there: other encodings, control characters, our own files.
        let name = name.to_str().filter(|name| !is_reserved(name))?;
        let mut path = ObjectPath::new(format!("{start}{name}")).ok()?.as_str().to_owned();
        let kind = entry.file_type().ok()?;
        let (mut is_folder, mut is_file) = (kind.is_dir(), kind.is_file());
        if !is_folder && !is_file {
            let metadata = fs::metadata(entry.path()).ok()?;
            (is_folder, is_file) = (metadata.is_dir(), metadata.is_file());
        }
        if is_folder && self.recursive {
            // With the `/` the folder sorts where its objects do: `a/b` comes after `a-b`.
            path.push('/');
            // The cursor lies inside the folder, before it, or behind it.
            let wanted = self.after.starts_with(&path) || path.as_str() > self.after;
            return wanted.then_some(Child { path, is_folder });
        }
        ((is_folder || is_file) && path.as_str() > self.after).then_some(Child { path, is_folder })
    }
}

/// One name in a folder.
struct Child {
    /// The full path; in a recursive walk with a `/` after a folder.
    path: String,
    is_folder: bool,
}
