//! A server with a password file of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::{Engine, engine::general_purpose::STANDARD};
use docker_registry_tests::artifacts;
use docker_registry_tests::http::{Client, Response};
use docker_registry_tests::process::{PATIENCE, run, wait_for};
use docker_registry_tests::server::{Chosen, Launch, Place, Server};
use tempfile::TempDir;

/// Password of the user `ann`, whom every file has.
pub(crate) const SECRET: &str = "correct horse";

/// A folder with a configuration and a password file.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    /// Both files, with the user `ann`. `keys` are further lines of the flavor.
    pub(crate) fn new(keys: &str) -> Files {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let files = Files { folder };
        let path = files.passwords().display().to_string();
        let configuration = format!(
            "dev:\n  storage: local\n  storage_path: _env:STORAGE_PATH\n  standalone: true\n  auth:\n    \
             htpasswd:\n      path: {path}\n      realm: the realm\n{keys}"
        );
        fs::write(files.configuration(), configuration).expect("a file in it");
        htpasswd(&["-c", "-B", "-C", "5"], &files.passwords(), "ann", SECRET);
        files
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.path().join("config.yml")
    }

    pub(crate) fn passwords(&self) -> PathBuf {
        self.folder.path().join("htpasswd")
    }

    /// Adds or changes a user with bcrypt.
    pub(crate) fn set(&self, user: &str, password: &str) {
        htpasswd(&["-B", "-C", "5"], &self.passwords(), user, password);
    }

    /// Adds a line.
    pub(crate) fn add_line(&self, line: &str) {
        let mut text = fs::read_to_string(self.passwords()).expect("the file");
        text.push_str(line);
        text.push('\n');
        fs::write(self.passwords(), text).expect("the file can be written");
    }

    pub(crate) fn start(self) -> Registry {
        let chosen = Chosen {
            configuration: self.configuration(),
            flavor: "dev".to_owned(),
            drivers: artifacts::folder().to_owned(),
        };
        let launch = Launch { chosen: Some(chosen), ..Launch::under_test() };
        Registry { server: Server::launch(launch, Place::new()), files: self }
    }
}

/// Runs Apache's program.
pub(crate) fn htpasswd(options: &[&str], file: &Path, user: &str, password: &str) {
    let mut command = Command::new("htpasswd");
    command.arg("-b").args(options).arg(file).args([user, password]);
    run(&mut command);
}

/// A running server.
pub(crate) struct Registry {
    pub(crate) server: Server,
    pub(crate) files: Files,
}

impl Registry {
    pub(crate) fn client(&self) -> Client {
        self.server.client()
    }

    /// Asks with a password.
    #[track_caller]
    pub(crate) fn ask_as(&self, user: &str, password: &str, method: &str, target: &str) -> Response {
        self.client().send(method, target, &[("Authorization", &basic(user, password))], b"")
    }

    /// Whether somebody gets in with a password.
    #[track_caller]
    pub(crate) fn lets_in(&self, user: &str, password: &str) -> bool {
        let status = self.ask_as(user, password, "GET", "/v2/").status;
        assert!(matches!(status, 200 | 401), "{user}: {status}");
        status == 200
    }

    /// Waits until the server has noticed a change of the file.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&Registry) -> bool) {
        wait_for(what, PATIENCE, || is_so(self).then_some(()));
    }
}

/// The value of `Authorization`.
pub(crate) fn basic(user: &str, password: &str) -> String {
    basic_of(format!("{user}:{password}").as_bytes())
}

/// The same of any bytes.
pub(crate) fn basic_of(content: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode(content))
}
