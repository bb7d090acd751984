//! What every test here starts from: a driver folder, a folder for downloads, and several versions of a driver.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use docker_registry::plugin::LibraryFile;
use docker_registry_tests::artifacts;
use tempfile::TempDir;

/// File name of the driver that is installed.
pub(crate) const MEMORY: &str = "libdocker_registry_driver_memory.so";
/// File name of what it replaced.
pub(crate) const PREVIOUS: &str = "libdocker_registry_driver_memory.so.previous";

/// A temporary folder with `drivers/` (the driver folder, empty), `downloads/`, and a configuration, so that none of
/// this machine's is found.
pub(crate) struct Place {
    root: TempDir,
}

/// How a command ended.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { root: tempfile::tempdir().unwrap() };
        for folder in [place.drivers(), place.downloads()] {
            fs::create_dir(&folder).unwrap();
            mode(&folder, 0o755);
        }
        fs::write(place.root().join("config.yml"), "dev: {storage: local}\n").unwrap();
        place
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(crate) fn drivers(&self) -> PathBuf {
        self.root.path().join("drivers")
    }

    pub(crate) fn downloads(&self) -> PathBuf {
        self.root.path().join("downloads")
    }

    /// The library that `storage: memory` finds.
    pub(crate) fn installed(&self) -> PathBuf {
        self.drivers().join(MEMORY)
    }

    pub(crate) fn previous(&self) -> PathBuf {
        self.drivers().join(PREVIOUS)
    }

    /// The memory driver as a downloaded file, its note saying this version.
    pub(crate) fn download(&self, version: &str) -> PathBuf {
        let path = self.downloads().join(format!("memory-{version}.so"));
        fs::write(&path, memory(version)).unwrap();
        path
    }

    /// The program without any of the caller's settings, with the driver folder in its search path.
    pub(crate) fn program(&self) -> Command {
        let mut command = Command::new(artifacts::folder().join("docker-registry"));
        command
            .env_clear()
            .env("DOCKER_REGISTRY_DRIVER_PATH", self.drivers())
            .env("REGISTRY_ADMIN", "off")
            .current_dir(self.root());
        command
    }

    /// Runs `docker-registry driver` with these arguments.
    pub(crate) fn driver(&self, arguments: &[&str]) -> Ended {
        ended(self.program().arg("driver").args(arguments))
    }

    pub(crate) fn install(&self, file: &Path) -> Ended {
        self.driver(&["install", path(file)])
    }

    /// The names in the driver folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.drivers())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

impl Ended {
    /// What it printed, after the success that a test counts on.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.output, self.errors);
        assert_eq!(self.errors, "");
        self.output
    }

    /// The sentence with which it failed.
    pub(crate) fn refused(self) -> String {
        assert_eq!(self.code, 1, "{}{}", self.output, self.errors);
        assert_eq!(self.output, "");
        let text = self.errors.trim_end().to_owned();
        text.strip_prefix("docker-registry: ").unwrap_or(&text).to_owned()
    }
}

pub(crate) fn ended(command: &mut Command) -> Ended {
    let output = command.output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ended {
        code: output.status.code().expect("an exit code"),
        output: text(output.stdout),
        errors: text(output.stderr),
    }
}

/// The memory driver, its note saying this version, which has five letters as the real one.
pub(crate) fn memory(version: &str) -> Vec<u8> {
    let mut library = fs::read(artifacts::folder().join(MEMORY)).unwrap();
    let wanted = b"version=0.1.0\n";
    let at = library.windows(wanted.len()).position(|bytes| bytes == wanted).expect("the note");
    let replaced = format!("version={version}\n");
    assert_eq!(replaced.len(), wanted.len(), "a version of five letters");
    library[at..at + wanted.len()].copy_from_slice(replaced.as_bytes());
    library
}

/// The version that a library's note says.
pub(crate) fn version(library: &Path) -> String {
    LibraryFile::open(library).unwrap_or_else(|error| panic!("{error}")).note().version.clone()
}

pub(crate) fn digest(library: &Path) -> String {
    LibraryFile::open(library).unwrap_or_else(|error| panic!("{error}")).digest().unwrap()
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

pub(crate) fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
