//! Where drivers are looked for, and under which names.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt::Write,
    path::{Path, PathBuf},
};

use docker_registry_driver_api::abi::note::DriverNote;

use super::{LibraryFile, PluginError, canonical_name, privileges::Privileges};

/// Environment variable with further driver folders, separated by `:`.
pub const PATH_VARIABLE: &str = "DOCKER_REGISTRY_DRIVER_PATH";

/// Folders of installations, after the ones beside the executable.
const SYSTEM_FOLDERS: [&str; 2] =
    ["/usr/local/lib/docker-registry/drivers", "/usr/lib/docker-registry/drivers"];

/// The folders that may hold drivers, first match wins, and the digests that their files must have.
#[derive(Debug, Clone)]
pub struct Search {
    folders: Vec<PathBuf>,
    /// SHA-256 in hex, by the driver's name.
    pins: BTreeMap<String, String>,
}

/// A file in a driver folder that is named like a driver.
#[derive(Debug)]
pub struct Installed {
    /// Name by the file name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What its note says, or why it cannot be used.
    pub note: Result<DriverNote, PluginError>,
}

impl Search {
    /// The search order: `drivers:` of the configuration, the environment variable, `drivers/` beside
    /// the executable and `../lib/docker-registry/drivers`, then the system folders. Relative folders
    /// are skipped: the working folder of a server is nobody's choice.
    pub fn new(configured: &[PathBuf], environment: Option<&OsStr>, executable: Option<&Path>) -> Self {
        let mut folders = configured.to_vec();
        if let Some(paths) = environment {
            folders.extend(std::env::split_paths(paths).filter(|path| !path.as_os_str().is_empty()));
        }
        if let Some(folder) = executable.and_then(Path::parent) {
            folders.push(folder.join("drivers"));
            if let Some(prefix) = folder.parent() {
                folders.push(prefix.join("lib/docker-registry/drivers"));
            }
        }
        folders.extend(SYSTEM_FOLDERS.map(PathBuf::from));
        let (mut absolute, relative): (Vec<_>, Vec<_>) =
            folders.into_iter().partition(|folder| folder.is_absolute());
        for folder in relative {
            tracing::warn!(folder = %folder.display(), "a driver folder must be an absolute path; it is not searched");
        }
        let mut seen = std::collections::HashSet::new();
        absolute.retain(|folder| seen.insert(folder.clone()));
        Self { folders: absolute, pins: BTreeMap::new() }
    }

    /// The search order for this process. The environment variable does not count when the process has more
    /// rights than whoever started it.
    pub fn from_process(configured: &[PathBuf]) -> Self {
        let executable = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
        let environment = trusted_variable(std::env::var_os(PATH_VARIABLE), Privileges::of_process());
        Self::new(configured, environment.as_deref(), executable.as_deref())
    }

    /// The same folders; the file of a driver that is named in `pins` must have that SHA-256, in hex. A driver
    /// that is not named may have any.
    #[must_use]
    pub fn with_pins(self, pins: &BTreeMap<String, String>) -> Self {
        let pins = pins.iter().map(|(name, digest)| (canonical_name(name), digest.to_ascii_lowercase()));
        Self { pins: pins.collect(), ..self }
    }

    /// Compares a digest with the configured one.
    pub(super) fn check_pin(&self, name: &str, path: &Path, digest: &str) -> Result<(), PluginError> {
        match self.pins.get(name) {
            Some(pinned) if pinned != digest => Err(PluginError::OtherDigest {
                path: path.to_owned(),
                name: name.to_owned(),
                found: digest.to_owned(),
                pinned: pinned.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The folders, in order.
    pub fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// The library for a driver's name.
    ///
    /// # Errors
    /// [`PluginError::InvalidName`], or [`PluginError::NotFound`] with everything that was looked at.
    pub fn find(&self, name: &str) -> Result<PathBuf, PluginError> {
        if name.is_empty() || !name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            return Err(PluginError::InvalidName(name.to_owned()));
        }
        let names = file_names(name);
        if let Some(path) = self.folders.iter().find_map(|folder| Self::file_in(folder, name)) {
            return Ok(path);
        }
        Err(PluginError::NotFound {
            name: name.to_owned(),
            wanted: names.join(" and "),
            folders: self
                .folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
            installed: self.what_is_there(),
        })
    }

    /// The file of a driver in one folder. A link that leads nowhere is one as well: passing it over in silence
    /// would load another file than the one that was meant.
    pub fn file_in(folder: &Path, name: &str) -> Option<PathBuf> {
        file_names(name)
            .iter()
            .map(|file_name| folder.join(file_name))
            .find(|path| path.symlink_metadata().is_ok())
    }

    /// Every file that is named like a driver, in search order; of one name only the first, which is
    /// the one that would be loaded. No library runs for this.
    pub fn installed(&self) -> Vec<Installed> {
        let mut found: Vec<Installed> = Vec::new();
        for folder in &self.folders {
            let Ok(entries) = std::fs::read_dir(folder) else { continue };
            let mut here: Vec<(String, PathBuf)> = entries
                .filter_map(|entry| {
                    let path = entry.ok()?.path();
                    Some((driver_name(path.file_name()?.to_str()?)?, path))
                })
                .collect();
            here.sort();
            for (name, path) in here {
                if found.iter().all(|other| other.name != name) {
                    let note = LibraryFile::open(&path).map(|library| library.note().clone());
                    found.push(Installed { name, path, note });
                }
            }
        }
        found
    }

    fn what_is_there(&self) -> String {
        let mut text = String::new();
        for driver in self.installed() {
            let separator = if text.is_empty() { "the drivers there are " } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{} ({})", driver.name, driver.path.display());
        }
        if text.is_empty() { "there is no driver in any of them".to_owned() } else { text }
    }
}

/// The variable's value, unless it was set by somebody with fewer rights than this process has.
fn trusted_variable(value: Option<OsString>, privileges: Privileges) -> Option<OsString> {
    let value = value.filter(|value| !value.is_empty())?;
    if privileges.are_raised() {
        tracing::warn!(
            "{PATH_VARIABLE} is ignored because this process has more rights than whoever started it; \
             write the folder into `drivers:` of the configuration"
        );
        return None;
    }
    Some(value)
}

/// The file names of a driver, the usual one first.
pub(crate) fn file_names(name: &str) -> [String; 2] {
    [
        format!("libdocker_registry_driver_{name}.so"),
        format!("docker-registry-driver-{}.so", name.replace('_', "-")),
    ]
}

fn driver_name(file_name: &str) -> Option<String> {
    let stem = file_name.strip_suffix(".so")?;
    let name = stem
        .strip_prefix("libdocker_registry_driver_")
        .map(str::to_owned)
        .or_else(|| stem.strip_prefix("docker-registry-driver-").map(|name| name.replace('-', "_")))?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(folders: &[&Path]) -> Search {
        Search { folders: folders.iter().map(|folder| folder.to_path_buf()).collect(), pins: BTreeMap::new() }
    }

    #[test]
    fn the_order_is_configuration_environment_executable_system() {
        let search = Search::new(
            &["/configured".into()],
            Some(OsStr::new("/one:/two::relative")),
            Some(Path::new("/opt/registry/bin/docker-registry")),
        );
        let folders: Vec<_> = search.folders().iter().map(|folder| folder.to_str().unwrap()).collect();
        assert_eq!(
            folders,
            [
                "/configured",
                "/one",
                "/two",
                "/opt/registry/bin/drivers",
                "/opt/registry/lib/docker-registry/drivers",
                "/usr/local/lib/docker-registry/drivers",
                "/usr/lib/docker-registry/drivers"
            ]
        );
    }

    #[test]
    fn both_file_names_are_found_and_the_first_folder_wins() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dashed = second.path().join("docker-registry-driver-my-store.so");
        std::fs::write(&dashed, "").unwrap();
        let search = search(&[first.path(), second.path()]);
        assert_eq!(search.find("my_store").unwrap(), dashed);
        let usual = first.path().join("libdocker_registry_driver_my_store.so");
        std::fs::write(&usual, "").unwrap();
        assert_eq!(search.find("my_store").unwrap(), usual);
    }

    #[test]
    fn a_missing_driver_is_one_sentence_with_names_folders_and_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("libdocker_registry_driver_other.so"), "").unwrap();
        let message = search(&[folder.path()]).find("s3").unwrap_err().to_string();
        let here = folder.path().display();
        assert_eq!(
            message,
            format!(
                "no driver named `s3`: looked for libdocker_registry_driver_s3.so and docker-registry-driver-s3.so \
                 in {here}; the drivers there are other ({here}/libdocker_registry_driver_other.so)"
            )
        );
    }

    #[test]
    fn the_variable_counts_only_for_a_process_with_the_rights_of_its_starter() {
        let plain = Privileges { secure: false, users: (1000, 1000), groups: (1000, 1000) };
        let value = || Some(OsString::from("/somewhere"));
        assert_eq!(trusted_variable(value(), plain), value());
        assert_eq!(trusted_variable(value(), Privileges { secure: true, ..plain }), None);
        assert_eq!(trusted_variable(value(), Privileges { users: (1000, 0), ..plain }), None);
    }

    #[test]
    fn a_pin_holds_for_its_driver_under_every_name_of_it() {
        let (one, other) = ("1".repeat(64), "a".repeat(64));
        let pins = [("file".to_owned(), one.clone()), ("my-store".to_owned(), other.to_uppercase())];
        let search = search(&[]).with_pins(&pins.into());
        let check = |name, digest| search.check_pin(name, Path::new("/x.so"), digest);
        check("local", &one).unwrap();
        check("my_store", &other).unwrap();
        check("unnamed", &other).unwrap();
        let message = check("local", &other).unwrap_err().to_string();
        assert!(message.contains(&one) && message.contains(&other), "{message}");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found_and_not_passed_over() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = "libdocker_registry_driver_s3.so";
        std::os::unix::fs::symlink("missing", first.path().join(name)).unwrap();
        std::fs::write(second.path().join(name), "").unwrap();
        let search = search(&[first.path(), second.path()]);
        assert_eq!(search.find("s3").unwrap(), first.path().join(name));
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        for name in ["", "../x", "a/b", "A", "x.so"] {
            assert!(matches!(search(&[]).find(name), Err(PluginError::InvalidName(_))), "{name}");
        }
    }
}
