//! The files under test: the server and its drivers as cargo built them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
