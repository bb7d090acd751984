//! C sources on their way to a driver library.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
    time::Duration,
};

use docker_registry::plugin::{Execution, LoadedDriver, PluginError, Search, load_file};
use docker_registry_driver_api::{CallContext, ObjectPath, Settings, SharedDriver};
use docker_registry_tests::{artifacts, projects};
use serde_json::{Value, json};

/// File name of the example.
pub(crate) const EXAMPLE: &str = "docker-registry-driver-plain-files.so";

/// The folder of the header.
pub(crate) fn include() -> PathBuf {
    artifacts::workspace().join("driver-api/include")
}

/// The folder with the example's library and no other. Made with its own Makefile, once for all tests here.
pub(crate) fn example() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let target = projects::target();
        let folder = target.parent().expect("a folder in the target folder").join("plain_c");
        fs::create_dir_all(&folder).expect("a folder for the example");
        // Under a name of this process first: another one may be using the library.
        let fresh = folder.join(format!("{EXAMPLE}.{}", std::process::id()));
        let mut make = Command::new("make");
        make.arg("-C").arg(artifacts::workspace().join("driver-api/examples/c"));
        make.arg("--always-make").arg(format!("OUTPUT={}", fresh.display()));
        let output = run(&mut make);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::rename(fresh, folder.join(EXAMPLE)).expect("the library gets its name");
        folder
    })
}

/// The driver in `drivers/faulty.c`, compiled with what `definitions` say.
pub(crate) fn faulty(folder: &Path, definitions: &[&str]) -> PathBuf {
    let library = folder.join("docker-registry-driver-faulty.so");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(include())
        .args(definitions.iter().map(|definition| format!("-D{definition}")))
        .arg("-o")
        .arg(&library)
        .arg(artifacts::workspace().join("tests/plain_c/drivers/faulty.c"));
    let output = run(&mut compiler);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
}

/// Loads a library as the server does.
pub(crate) fn load(library: &Path) -> Result<LoadedDriver, PluginError> {
    let search = Search::new(&[library.parent().expect("a folder").to_owned()], None, None);
    load_file(&std::sync::Arc::new(search), library)
}

/// The faulty driver without a fault in its table, open.
pub(crate) async fn open_faulty(settings: Value) -> SharedDriver {
    let folder = tempfile::tempdir().expect("a folder");
    let loaded = load(&faulty(folder.path(), &[])).expect("it loads");
    let Value::Object(values) = settings else { panic!("settings are an object") };
    loaded.open(Settings::new(values), Execution::Declared).await.expect("it opens")
}

/// The example on a folder, open.
pub(crate) async fn open_example(root: &Path) -> SharedDriver {
    let loaded = load(&example().join(EXAMPLE)).expect("it loads");
    let Value::Object(values) = json!({"root": root}) else { panic!("an object") };
    loaded.open(Settings::new(values), Execution::Declared).await.expect("it opens")
}

pub(crate) fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a path")
}

pub(crate) fn call() -> CallContext {
    CallContext::with_timeout(Duration::from_secs(60))
}
