//! The files of a release by their paths below the prefix, with modes and contents.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Files in the order of their paths. Folders follow from them.
#[derive(Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, File>,
}

/// A file to be laid out.
pub(crate) struct File {
    /// Permission bits.
    pub(crate) mode: u32,
    /// The bytes.
    pub(crate) content: Vec<u8>,
}

impl Tree {
    /// A file that is read.
    pub(crate) fn text(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), File { mode: 0o644, content: content.into() });
    }

    /// A file that is run.
    pub(crate) fn program(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), File { mode: 0o755, content: content.into() });
    }

    /// A file as it lies on the disk, executable if it is that there.
    pub(crate) fn copy(&mut self, path: impl Into<String>, source: &Path) -> Result<()> {
        let read = || format!("{} cannot be read", source.display());
        let content = fs::read(source).with_context(read)?;
        if fs::metadata(source).with_context(read)?.permissions().mode() & 0o111 == 0 {
            self.text(path, content);
        } else {
            self.program(path, content);
        }
        Ok(())
    }

    /// Everything below a folder, if there is such a folder.
    pub(crate) fn copy_folder(&mut self, path: &str, source: &Path) -> Result<()> {
        if !source.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(source)? {
            let entry = entry?.path();
            let name =
                entry.file_name().and_then(|name| name.to_str()).context("a file name is not UTF-8")?;
            let below = format!("{path}/{name}");
            if entry.is_dir() { self.copy_folder(&below, &entry)? } else { self.copy(below, &entry)? }
        }
        Ok(())
    }

    /// The files, in order.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The folders that the files lie in, each before what is in it.
    pub(crate) fn folders(&self) -> BTreeSet<&str> {
        let above = |path: &'_ str| path.match_indices('/').map(|(at, _)| at).collect::<Vec<_>>();
        self.files.keys().flat_map(|path| above(path).into_iter().map(|at| &path[..at])).collect()
    }

    /// Writes the files below a folder. A file that is there is replaced by rename, because it may be in use.
    pub(crate) fn write(&self, root: &Path) -> Result<()> {
        for folder in self.folders() {
            let folder = root.join(folder);
            if !folder.is_dir() {
                fs::create_dir_all(&folder)
                    .with_context(|| format!("{} cannot be made", folder.display()))?;
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o755))?;
            }
        }
        for (path, file) in self.files() {
            let (target, fresh) = (root.join(path), root.join(format!("{path}.new")));
            let written = || format!("{} cannot be written", target.display());
            fs::write(&fresh, &file.content).with_context(written)?;
            fs::set_permissions(&fresh, fs::Permissions::from_mode(file.mode)).with_context(written)?;
            fs::rename(&fresh, &target).with_context(written)?;
        }
        Ok(())
    }
}
