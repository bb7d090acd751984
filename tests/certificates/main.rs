//! Certificates: what `cert new` makes is what openssl and its clients want, and what cannot be served is refused in a
//! sentence that says what to do. openssl is the real one, as operators have it.

mod checking;
mod making;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use docker_registry_tests::{artifacts, process};
use tempfile::TempDir;

/// A folder of its own with the programs run in it.
struct Workbench {
    folder: TempDir,
}

impl Workbench {
    fn new() -> Workbench {
        Workbench { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and returns its path.
    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file can be written");
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("a readable file")
    }

    /// Runs openssl, which must succeed, and returns what it says.
    fn openssl(&self, arguments: &str) -> String {
        let mut command = Command::new("openssl");
        command.args(arguments.split_whitespace()).current_dir(self.folder.path());
        process::run(&mut command)
    }

    /// Runs `docker-registry cert …`.
    fn cert(&self, arguments: &str) -> Ended {
        let mut command = Command::new(artifacts::folder().join("docker-registry"));
        command.arg("cert").args(arguments.split_whitespace()).env_clear().current_dir(self.folder.path());
        Ended::from(command.output().expect("the program runs"))
    }

    /// Runs `docker-registry cert check`, which must refuse in one sentence, and returns that.
    #[track_caller]
    fn refused(&self, arguments: &str) -> String {
        let ended = self.cert(&format!("check {arguments}"));
        assert_eq!(ended.code, 1, "{arguments} is refused: {}{}", ended.output, ended.errors);
        assert_eq!(ended.output, "", "nothing is said on standard output");
        let lines: Vec<&str> = ended.errors.lines().collect();
        assert_eq!(lines.len(), 1, "one sentence: {}", ended.errors);
        lines[0].strip_prefix("docker-registry: ").expect("the program says who speaks").to_owned()
    }

    /// Runs `docker-registry cert check`, which must have nothing against it, and returns what it says.
    #[track_caller]
    fn accepted(&self, arguments: &str) -> String {
        let ended = self.cert(&format!("check {arguments}"));
        assert_eq!(ended.code, 0, "{arguments} is good: {}{}", ended.output, ended.errors);
        assert_eq!(ended.errors, "");
        ended.output
    }
}

/// How a program ended.
struct Ended {
    code: i32,
    output: String,
    errors: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Ended {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let code = output.status.code().expect("an exit code");
        Ended { code, output: text(output.stdout), errors: text(output.stderr) }
    }
}

/// Whether nobody but its owner can read a file.
fn is_private(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().expect("a file").permissions().mode() & 0o077 == 0
}
