//! The files under test: the server and its drivers as cargo built them, and the release that is made of them.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::process::run;

/// The folder with `docker-registry` and the drivers of the debug build.
///
/// `cargo test` builds neither of them for these tests, because no crate may depend on a driver. So the first call
/// in a process builds the workspace, unless `DOCKER_REGISTRY_TEST_ARTIFACTS` names a folder that is up to date.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match env::var_os("DOCKER_REGISTRY_TEST_ARTIFACTS") {
        Some(folder) => PathBuf::from(folder),
        None => build(),
    })
}

/// The folder with the release archive, the Debian packages and SHA256SUMS.
///
/// The first call makes them: those of an optimised build, or of the build that the tests use when
/// `DOCKER_REGISTRY_DIST_DEBUG` is `true`. `DOCKER_REGISTRY_TEST_DIST` names a folder that has them already. Another
/// process that needs them waits for it.
pub fn dist() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| match env::var_os("DOCKER_REGISTRY_TEST_DIST") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let target = folder().parent().expect("the artefacts lie in the target folder");
            let lock = File::create(target.join("dist.lock")).expect("the lock file can be made");
            lock.lock().expect("the lock can be waited for");
            let folder = target.join("test-dist");
            run(xtask().args(["dist", "--out"]).arg(&folder));
            folder
        }
    })
}

/// The only file of [`dist`] whose name begins and ends so.
pub fn dist_file(start: &str, end: &str) -> PathBuf {
    let entries = fs::read_dir(dist()).expect("the release files can be listed");
    let matches = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with(start) && name.ends_with(end)
    };
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.expect("an entry").path()).filter(matches).collect();
    assert_eq!(found.len(), 1, "files {start}...{end} in {}", dist().display());
    found.remove(0)
}

/// `cargo xtask`, as it was built together with the rest.
pub fn xtask() -> Command {
    let mut command = Command::new(folder().join("xtask"));
    command.current_dir(workspace());
    command
}

/// The root folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

fn build() -> PathBuf {
    let test = env::current_exe().expect("the path of this program is known");
    // target/debug/deps/NAME-HASH
    let folder = test.ancestors().nth(2).expect("tests run from a target folder").to_owned();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .args(["build", "--quiet", "--workspace"])
        .current_dir(workspace())
        .status()
        .unwrap_or_else(|error| panic!("{} does not start: {error}", cargo.display()));
    assert!(built.success(), "the workspace does not build");
    folder
}
