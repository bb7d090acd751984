//! Source files in memory, with replacements that fail loudly when their place is gone.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use docker_registry_tests::artifacts;

/// The recording of API 1.0, below this workspace.
pub(crate) const RECORDING: &str = "tests/compatibility/api-1.0";

/// Files by their path in a project.
#[derive(Default)]
pub(crate) struct Sources(BTreeMap<PathBuf, String>);

impl Sources {
    /// The recorded driver on the recorded API.
    pub(crate) fn recorded() -> Self {
        let mut sources = Self::default();
        sources.add(RECORDING, "", &["Cargo.toml"]);
        sources.add(&format!("{RECORDING}/driver"), "driver", &["Cargo.toml", "src"]);
        sources.add(&format!("{RECORDING}/driver-api"), "driver-api", &["Cargo.toml", "src"]);
        sources
    }

    /// The recorded driver under another name, on today's API in the folder `api`.
    ///
    /// Folders have names of their own, because cargo tells crates in one target folder apart by name, version
    /// and place in their workspace.
    pub(crate) fn today(name: &str) -> Self {
        let api = format!("driver-api-{name}");
        let mut sources = Self::default();
        sources.add(RECORDING, "", &["Cargo.toml"]);
        sources.add(&format!("{RECORDING}/driver"), "driver", &["Cargo.toml", "src"]);
        sources.add("driver-api", &api, &["Cargo.toml", "src"]);
        sources.replace("Cargo.toml", "\"driver-api\"]", &format!("\"{api}\"]"));
        sources.replace("Cargo.toml", "path = \"driver-api\"", &format!("path = \"{api}\""));
        sources.replace("driver/Cargo.toml", "docker-registry-driver-recorded", &package(name));
        sources.replace("driver/src/lib.rs", "name: \"recorded\"", &format!("name: \"{name}\""));
        // The layout as text knows every field of today, and only today's tests ask for it.
        sources.replace(&format!("{api}/src/abi/mod.rs"), "pub mod layout;\n", "");
        sources
    }

    fn add(&mut self, from: &str, to: &str, names: &[&str]) {
        for name in names {
            let path = artifacts::workspace().join(from).join(name);
            if path.is_dir() {
                let mut inner: Vec<String> = fs::read_dir(&path)
                    .expect("a readable folder")
                    .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
                    .collect();
                inner.sort();
                let inner: Vec<&str> = inner.iter().map(String::as_str).collect();
                self.add(&format!("{from}/{name}"), &format!("{to}/{name}"), &inner);
            } else {
                let text =
                    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                // A slash in front would make the path absolute.
                self.0.insert(PathBuf::from(format!("{to}/{name}").trim_start_matches('/')), text);
            }
        }
    }

    /// Replaces the one place where `anchor` stands in a file.
    ///
    /// # Panics
    /// When it stands nowhere or more than once: the sources have changed, and the replacement with them.
    pub(crate) fn replace(&mut self, file: &str, anchor: &str, text: &str) {
        let source = self.0.get_mut(Path::new(file)).unwrap_or_else(|| panic!("there is no {file}"));
        let places = source.matches(anchor).count();
        assert_eq!(
            places, 1,
            "{file} has {places} places like this, so it cannot be changed there:\n{anchor}"
        );
        *source = source.replace(anchor, text);
    }

    /// Makes the folder hold these files. A file that is there already is not touched, so that cargo need not
    /// build it again; one that is not among them goes.
    pub(crate) fn write(&self, folder: &Path) {
        for (path, text) in &self.0 {
            let path = folder.join(path);
            if fs::read_to_string(&path).is_ok_and(|present| present == *text) {
                continue;
            }
            fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
            fs::write(&path, text).expect("a file");
        }
        let lock = Path::new("Cargo.lock");
        // The lock file of this workspace may have changed since.
        let _ = fs::remove_file(folder.join(lock));
        remove_others(folder, folder, &self.0);
    }
}

fn remove_others(root: &Path, folder: &Path, wanted: &BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            remove_others(root, &path, wanted);
        } else if !wanted.contains_key(path.strip_prefix(root).expect("a file below the root")) {
            fs::remove_file(path).expect("a file that can be removed");
        }
    }
}

fn package(name: &str) -> String {
    format!("docker-registry-driver-{}", name.replace('_', "-"))
}
