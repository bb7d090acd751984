//! Whether folders hold objects, remembered by one object of each.
//!
//! A process that died between making a folder and putting an object into it leaves a folder that is none, and a
//! listing must not show it: a tag that leads nowhere. Looking for an object goes down folder by folder; looking
//! whether one that was there is still there is one call. Only that is remembered, so that nothing here is ever out of
//! date, whoever else changes the folders.

use std::{
    collections::HashMap,
    fs,
    io::ErrorKind as Io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::root::is_reserved;

/// Most folders that are remembered: three for each of some eight thousand repositories. When there are more,
/// remembering starts again.
const REMEMBERED: usize = 24 * 1024;

/// For each folder the way from there to an object.
#[derive(Debug, Default)]
pub(crate) struct Witnesses(Mutex<HashMap<PathBuf, PathBuf>>);

/// What is in a folder.
enum Found {
    Nothing,
    /// An object, and the way to it.
    Object(PathBuf),
    /// Something that cannot be looked at.
    Something,
}

impl Witnesses {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way from the folder to the object that was last seen below it.
    pub(crate) fn remembered(&self, folder: &Path) -> Option<PathBuf> {
        self.lock().get(folder).cloned()
    }

    /// When as many others are remembered as may be, they are forgotten.
    fn remember(&self, folder: &Path, way: PathBuf) {
        let mut known = self.lock();
        let is_full = known.len() >= REMEMBERED && !known.contains_key(folder);
        let forgotten = if is_full { std::mem::take(&mut *known) } else { HashMap::new() };
        known.insert(folder.to_owned(), way);
        drop(known);
        // Nobody waits for this.
        drop(forgotten);
    }

    /// Whether at least one object lies somewhere below the folder.
    pub(crate) fn holds_objects(&self, folder: &Path) -> bool {
        let remembered = self.remembered(folder).map(|way| folder.join(way));
        if remembered.is_some_and(|object| fs::metadata(object).is_ok_and(|metadata| metadata.is_file())) {
            return true;
        }
        match find(folder) {
            Found::Nothing => false,
            Found::Something => true,
            Found::Object(way) => {
                self.remember(folder, way);
                true
            }
        }
    }
}

fn find(folder: &Path) -> Found {
    let Ok(children) = fs::read_dir(folder) else { return Found::Nothing };
    for child in children.flatten() {
        let name = child.file_name();
        if name.to_str().is_none_or(is_reserved) {
            continue;
        }
        let path = child.path();
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => match find(&path) {
                Found::Nothing => {}
                Found::Object(way) => return Found::Object(Path::new(&name).join(way)),
                Found::Something => return Found::Something,
            },
            Ok(metadata) if metadata.is_file() => return Found::Object(name.into()),
            Err(error) if error.kind() != Io::NotFound => return Found::Something,
            Ok(_) | Err(_) => {}
        }
    }
    Found::Nothing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_holds_objects_until_the_last_one_goes_and_again_when_one_comes() {
        let root = tempfile::tempdir().unwrap();
        let (folder, witnesses) = (root.path().join("a"), Witnesses::default());
        fs::create_dir_all(folder.join("b/c")).unwrap();
        let holds = || witnesses.holds_objects(&folder);
        assert!(!holds());
        fs::write(folder.join("b/c/one"), "").unwrap();
        assert!(holds() && holds());
        assert_eq!(witnesses.lock().get(&folder).unwrap(), Path::new("b/c/one"));
        fs::write(folder.join("two"), "").unwrap();
        fs::remove_dir_all(folder.join("b")).unwrap();
        assert!(holds(), "another one is found");
        fs::remove_file(folder.join("two")).unwrap();
        assert!(!holds());
        fs::create_dir_all(folder.join("two")).unwrap();
        assert!(!holds(), "what was an object is an empty folder now");
    }

    #[test]
    fn the_drivers_own_files_are_no_objects() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".docker-registry-own"), "").unwrap();
        assert!(!Witnesses::default().holds_objects(root.path()));
    }

    #[test]
    fn no_more_folders_are_remembered_than_the_bound() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("object"), "").unwrap();
        let witnesses = Witnesses::default();
        let many = (0..REMEMBERED).map(|number| (PathBuf::from(number.to_string()), PathBuf::new()));
        witnesses.lock().extend(many);
        assert!(witnesses.holds_objects(root.path()));
        assert_eq!(witnesses.lock().len(), 1);
    }
}
