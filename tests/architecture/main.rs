//! The rules of ARCHITECTURE.md that a machine can check.

mod driver_reference;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Longest source file, in lines. A file has one subject; a longer one has two.
const MAX_LINES: usize = 520;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the workspace").to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

/// Names of the workspace's own crates that a crate depends on, in any way.
fn dependencies(metadata: &Value, package: &str) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().expect("packages");
    let found =
        packages.iter().find(|found| found["name"] == package).expect("the package is in the workspace");
    let all = found["dependencies"].as_array().expect("dependencies").iter();
    all.filter_map(|dependency| dependency["name"].as_str())
        .filter(|name| name.starts_with("docker-registry"))
        .map(str::to_owned)
        .collect()
}

fn sources() -> Vec<PathBuf> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                // A recording of released sources, which is never edited.
                if !path.ends_with("tests/compatibility/api-1.0") {
                    collect(&path, files);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    for room in ["config", "driver-api", "drivers", "host", "tests", "xtask"] {
        collect(&root().join(room), &mut files);
    }
    assert!(files.len() > 100, "the walk found only {} files", files.len());
    files
}

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    assert!(dependencies(&metadata, "docker-registry-driver-api").is_empty());
    assert!(dependencies(&metadata, "docker-registry-config").is_empty());
    // The conformance suite is what `driver check` runs. It knows the API only, as a driver does.
    let expected =
        ["docker-registry-config", "docker-registry-driver-api", "docker-registry-driver-conformance"];
    let expected = BTreeSet::from(expected.map(str::to_owned));
    assert_eq!(dependencies(&metadata, "docker-registry"), expected);
}

#[test]
fn a_driver_knows_only_the_driver_api() {
    let metadata = metadata();
    let mut drivers = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        if name.starts_with("docker-registry-driver-") && name != "docker-registry-driver-api" {
            // Or what the drivers for object stores and those for OpenStack share, which is for third parties as well.
            let mut known = dependencies(&metadata, name);
            known.remove("docker-registry-object-storage");
            known.remove("docker-registry-openstack");
            // A driver's own tests may run the suite, which knows the API only as well.
            known.remove("docker-registry-driver-conformance");
            let only = BTreeSet::from(["docker-registry-driver-api".to_owned()]);
            assert_eq!(known, only, "{name}");
            drivers += 1;
        }
    }
    assert!(drivers >= 3);
}

#[test]
fn unsafe_code_is_allowed_in_two_rooms_only() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a readable file");
        let path = file.strip_prefix(root()).expect("a file of the tree");
        let at_the_edge = path.starts_with("driver-api/src/abi") || path.starts_with("host/src/plugin");
        // Split, so that this file does not find itself.
        let allowed = text.contains(concat!("allow(", "unsafe_code"))
            || text.contains(concat!("expect(", "unsafe_code"));
        assert!(at_the_edge || !allowed, "{} allows unsafe code", path.display());
    }
}

#[test]
fn handlers_hold_no_storage_paths_and_the_storage_knows_no_http() {
    for file in sources() {
        let path = file.strip_prefix(root()).expect("a file of the tree").to_owned();
        let text = fs::read_to_string(&file).expect("a readable file");
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        if path.starts_with("host/src/http") || path.starts_with("host/src/registry") {
            for key in ["\"docker/registry", "_manifests/", "_layers/", "\"repositories/", "\"images/"] {
                let used = code.split("#[cfg(test)]").next().unwrap_or_default().contains(key);
                assert!(!used, "{} holds the storage path {key}", path.display());
            }
        }
        if path.starts_with("host/src/storage") || path.starts_with("host/src/registry") {
            assert!(!code.contains("crate::http"), "{} knows HTTP", path.display());
        }
    }
}

#[test]
fn files_are_small_and_open_with_what_they_are_for() {
    for file in sources() {
        let text = fs::read_to_string(&file).expect("a readable file");
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines", file.display());
        assert!(text.starts_with("//!"), "{} does not open with what it is for", file.display());
    }
}

#[test]
fn the_map_names_only_rooms_that_exist_and_every_room() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let mut named = BTreeSet::new();
    for word in map.split('`').skip(1).step_by(2) {
        let is_path = word.contains('/')
            && !word.contains([' ', '<', ':', '=', '*', '{'])
            && !word.starts_with(['/', '.']);
        if is_path
            && ["config", "driver-api", "drivers", "host", "tests", "xtask"]
                .contains(&word.split('/').next().unwrap_or_default())
        {
            assert!(root().join(word).exists(), "ARCHITECTURE.md names `{word}`, which is not there");
            named.insert(word.trim_end_matches('/').to_owned());
        }
    }
    for folder in ["host/src", "tests", "driver-api/src"] {
        for entry in fs::read_dir(root().join(folder)).expect("a readable folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                let room = path.strip_prefix(root()).expect("a folder of the tree").display().to_string();
                assert!(
                    named.iter().any(|name| name.starts_with(&room)),
                    "ARCHITECTURE.md does not name `{room}`"
                );
            }
        }
    }
}
