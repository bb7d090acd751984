//! Listings in byte order of the full paths.
//!
//! At any time one page and the names of the folders on the way down are in memory, however large the
//! store is. Nothing needs to be kept between pages: the cursor says where to go on, and folders that lie
//! before it are not opened. What is kept all the same ([`known_folders`](crate::known_folders)) saves reading a folder
//! for each of its pages.

use std::{
    fs::{self, DirEntry},
    io::ErrorKind as Io,
    path::Path,
};

use docker_registry_driver_api::{Entry, Error, ListPage, ListRequest, ObjectPath, Result};

use crate::{
    Store,
    known_folders::{NamesRead, Stamp},
    reading,
    root::is_reserved,
};

/// One page for the request.
pub(crate) fn page(store: &Store, request: &ListRequest) -> Result<ListPage> {
    let folder = store.root.prefix(&request.prefix)?;
    let limit = request.limit.max(1) as usize;
    let after = request.after.as_deref().unwrap_or_default();
    let mut walk = Walk { recursive: request.recursive, limit, after, store, entries: Vec::new() };
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
    store: &'a Store,
    entries: Vec<Entry>,
}

impl Walk<'_> {
    /// Adds what is in the folder whose paths begin with `start`.
    fn folder(&mut self, folder: &Path, start: &str) -> Result<()> {
        let stamp = if self.recursive { None } else { self.store.stamp(folder) };
        if let Some(names) = stamp.and_then(|stamp| self.store.known_names(folder, stamp)) {
            for (name, is_folder) in names.after(start, self.after) {
                if self.is_full() {
                    break;
                }
                self.add(folder, name, Child { path: format!("{start}{name}"), is_folder })?;
            }
            return Ok(());
        }
        for child in self.children(folder, start, stamp)? {
            if self.is_full() {
                break;
            }
            let name = child.path.strip_prefix(start).unwrap_or(&child.path).trim_end_matches('/').to_owned();
            self.add(folder, &name, child)?;
        }
        Ok(())
    }

    /// Whether there is one entry more than asked for.
    fn is_full(&self) -> bool {
        self.entries.len() > self.limit
    }

    /// Adds one child of a folder, or what is in it, if it is still there.
    fn add(&mut self, folder: &Path, name: &str, child: Child) -> Result<()> {
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
        } else if self.store.witnesses.holds_objects(&place) {
            self.entries.push(Entry { path: child.path, object: None });
        }
        Ok(())
    }

    /// The children that can add to the page, in order. What else a folder with a stamp holds may be remembered for
    /// the next listing.
    fn children(&self, folder: &Path, start: &str, stamp: Option<Stamp>) -> Result<Vec<Child>> {
        let names = match fs::read_dir(folder) {
            // Also when an object is at this path, or when the folder was removed meanwhile.
            Err(error) if matches!(error.kind(), Io::NotFound | Io::NotADirectory) => return Ok(Vec::new()),
            other => other.map_err(|error| Error::from(error).at(start))?,
        };
        let (mut children, mut known) = (Vec::new(), stamp.map(NamesRead::new));
        for name in names {
            let name = name.map_err(|error| Error::from(error).at(start))?;
            let Found { child, may_change } = child(&name, start);
            known = known.filter(|_| !may_change);
            let Some(child) = child else { continue };
            known = known.and_then(|known| known.with(&child.path[start.len()..], child.is_folder));
            children.extend(self.wanted(child));
        }
        if let Some(known) = known {
            self.store.remember(folder, known);
        }
        children.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(children)
    }

    fn wanted(&self, mut child: Child) -> Option<Child> {
        if child.is_folder && self.recursive {
            // With the `/` the folder sorts where its objects do: `a/b` comes after `a-b`.
            child.path.push('/');
            // The cursor lies inside the folder, before it, or behind it.
            let wanted = self.after.starts_with(&child.path) || child.path.as_str() > self.after;
            return wanted.then_some(child);
        }
        (child.path.as_str() > self.after).then_some(child)
    }
}

/// Looks at a name in a folder.
fn child(entry: &DirEntry, start: &str) -> Found {
    let nothing = |may_change| Found { child: None, may_change };
    let name = entry.file_name();
    // What no path can name is not there: other encodings, control characters, our own files.
    let Some(name) = name.to_str().filter(|name| !is_reserved(name)) else { return nothing(false) };
    let Ok(path) = ObjectPath::new(format!("{start}{name}")) else { return nothing(false) };
    let Ok(kind) = entry.file_type() else { return nothing(true) };
    let (mut is_folder, mut is_file) = (kind.is_dir(), kind.is_file());
    let may_change = !is_folder && !is_file;
    if may_change {
        let Ok(metadata) = fs::metadata(entry.path()) else { return nothing(true) };
        (is_folder, is_file) = (metadata.is_dir(), metadata.is_file());
    }
    let child = Child { path: path.as_str().to_owned(), is_folder };
    Found { child: (is_folder || is_file).then_some(child), may_change }
}

/// What is behind a name.
struct Found {
    /// `None` where it is neither a file nor a folder, or no path names it.
    child: Option<Child>,
    /// Whether that may become something else while the folder stays as it is: a link, and what could not be looked at.
    may_change: bool,
}

/// One name in a folder.
struct Child {
    /// The full path; in a recursive walk with a `/` after a folder.
    path: String,
    is_folder: bool,
}
