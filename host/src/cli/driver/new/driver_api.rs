//! The driver API as a project depends on it: a copy that the program carries, or a checkout.
//!
//! The crates of the API inherit versions, lints and package data from this workspace. What they inherit is
//! read from the workspace's own manifest, which the program carries as well, so that a new project and this
//! tree cannot differ.

use std::path::{Path, PathBuf};

use super::{super::super::Failure, ProjectFile};

/// Every file of the driver API's crates: path below `driver-api/` and text.
const SOURCES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/driver_api.rs"));
/// The manifest of this workspace.
const WORKSPACE: &str = include_str!("../../../../../Cargo.toml");
/// The crate that a driver is written with.
const API: &str = "docker-registry-driver-api";

/// Where a project gets the driver API from.
#[derive(Debug)]
pub(super) enum DriverApi {
    /// A copy in `vendor/driver-api`.
    Vendored,
    /// The folder `driver-api` of a checkout, absolute.
    Checkout(PathBuf),
}

/// One crate of the API: its name and its folder, relative to `driver-api/`.
struct ApiCrate {
    name: String,
    folder: String,
}

impl DriverApi {
    /// The API in a checkout: its root folder or `driver-api` in it.
    ///
    /// # Errors
    /// When the crate is in neither.
    pub(super) fn checkout(path: &Path) -> Result<Self, Failure> {
        [path.join("driver-api"), path.to_owned()]
            .into_iter()
            .find(|folder| {
                let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
                package_name(&manifest) == Some(API)
            })
            .and_then(|folder| folder.canonicalize().ok())
            .map(Self::Checkout)
            .ok_or_else(|| {
                Failure::Failed(format!(
                    "{} holds no {API}: give the folder of a checkout of docker-registry",
                    path.display()
                ))
            })
    }

    /// The files that the project needs for it.
    pub(super) fn files(&self) -> Vec<ProjectFile> {
        match self {
            Self::Checkout(_) => Vec::new(),
            Self::Vendored => SOURCES.iter().map(|(path, text)| vendored(path, text)).collect(),
        }
    }

    /// The workspace tables of a project whose own manifest is `manifest`.
    pub(super) fn workspace(&self, manifest: &str) -> String {
        let mut used = inherited(manifest);
        let mut crates = Vec::new();
        for api in api_crates() {
            let path = match self {
                Self::Checkout(root) => root.join(&api.folder).display().to_string(),
                Self::Vendored => Path::new("vendor/driver-api").join(&api.folder).display().to_string(),
            };
            // JSON quotes text as TOML does.
            let path = serde_json::Value::from(path.trim_end_matches('/'));
            crates.push(format!("{} = {{ path = {path} }}", api.name));
        }
        if matches!(self, Self::Vendored) {
            used.extend(manifests().flat_map(|(_, text)| inherited(text)));
        }
        let mut tables = String::from("[workspace]\nresolver = \"3\"\n");
        for (header, lines) in sections(WORKSPACE) {
            let kept: Vec<&str> = match header {
                "[workspace.dependencies]" => {
                    let third_party = lines.into_iter().filter(|line| {
                        let name = key(line);
                        used.contains(&name) && !crates.iter().any(|own| key(own) == name)
                    });
                    let mut kept: Vec<&str> = third_party.chain(crates.iter().map(String::as_str)).collect();
                    kept.sort_unstable();
                    kept
                }
                "[workspace.package]" => lines,
                _ if header.starts_with("[workspace.lints") => lines,
                _ => continue,
            };
            tables.push_str(&format!("\n{header}\n{}\n", kept.join("\n")));
        }
        tables
    }
}

/// Names of the crates of the API.
pub(super) fn package_names() -> Vec<&'static str> {
    manifests().filter_map(|(_, text)| package_name(text)).collect()
}

fn api_crates() -> Vec<ApiCrate> {
    manifests()
        .filter_map(|(path, text)| {
            let folder = path.trim_end_matches("Cargo.toml").trim_end_matches('/').to_owned();
            Some(ApiCrate { name: package_name(text)?.to_owned(), folder })
        })
        .collect()
}

fn manifests() -> impl Iterator<Item = (&'static str, &'static str)> {
    SOURCES.iter().copied().filter(|(path, _)| *path == "Cargo.toml" || path.ends_with("/Cargo.toml"))
}

/// A file of the copy. The crates' own tests stay behind, and so does what only they need.
fn vendored(path: &str, text: &str) -> ProjectFile {
    let text = if path.ends_with("Cargo.toml") {
        let mut kept = String::new();
        let mut keep = true;
        for line in text.lines() {
            if line.starts_with('[') {
                keep = !matches!(line, "[dev-dependencies]" | "[[test]]" | "[[bench]]" | "[[example]]");
            }
            if keep {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        kept.trim_end().to_owned() + "\n"
    } else {
        text.to_owned()
    };
    (format!("vendor/driver-api/{path}"), text)
}

/// The tables of a manifest: header and lines, without comments and empty lines.
fn sections(manifest: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in manifest.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            sections.push((line, Vec::new()));
        } else if let Some((_, lines)) = sections.last_mut() {
            lines.push(line);
        }
    }
    sections
}

/// The key of a line `key = value` or `key.more = value`.
fn key(line: &str) -> &str {
    line.split(['.', ' ', '=']).next().unwrap_or_default()
}

fn package_name(manifest: &str) -> Option<&str> {
    let (_, lines) = sections(manifest).into_iter().find(|(header, _)| *header == "[package]")?;
    lines.into_iter().find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
}

/// Names of the dependencies that a manifest inherits.
fn inherited(manifest: &str) -> Vec<&str> {
    let tables = sections(manifest).into_iter().filter(|(header, _)| header.ends_with("dependencies]"));
    let lines = tables.flat_map(|(_, lines)| lines);
    lines.filter(|line| line.contains("workspace = true")).map(key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_carries_the_api_without_a_path_of_the_building_machine() {
        let (_, manifest) = manifests().find(|(path, _)| *path == "Cargo.toml").expect("the API's manifest");
        assert_eq!(package_name(manifest), Some(API));
        for file in ["src/lib.rs", "src/driver.rs", "src/abi/table.rs"] {
            assert!(SOURCES.iter().any(|(path, _)| *path == file), "{file}");
        }
        for (path, text) in SOURCES {
            assert!(Path::new(path).is_relative(), "{path}");
            assert!(!text.contains(env!("CARGO_MANIFEST_DIR")), "{path}");
        }
    }

    #[test]
    fn everything_that_the_copied_crates_inherit_is_in_the_project() {
        let tables = DriverApi::Vendored.workspace("[dependencies]\ntempfile.workspace = true\n");
        let sections = sections(&tables);
        let lines = |header: &str| -> Vec<&str> {
            sections.iter().find(|(found, _)| *found == header).expect(header).1.clone()
        };
        let dependencies: Vec<&str> = lines("[workspace.dependencies]").into_iter().map(key).collect();
        let copied: Vec<ProjectFile> = DriverApi::Vendored.files();
        for (_, manifest) in copied.iter().filter(|(path, _)| path.ends_with("Cargo.toml")) {
            for name in inherited(manifest) {
                assert!(dependencies.contains(&name), "{name}");
            }
        }
        assert!(dependencies.contains(&"tempfile") && !dependencies.contains(&"warp"));
        assert!(dependencies.is_sorted());
        assert!(lines("[workspace.package]").iter().any(|line| line.starts_with("rust-version")));
        assert!(lines("[workspace.lints.rust]").contains(&"unsafe_code = \"deny\""));
    }

    #[test]
    fn a_checkout_is_found_by_its_root_and_by_its_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host/ lies in the workspace");
        for path in [root.to_owned(), root.join("driver-api")] {
            let api = DriverApi::checkout(&path).expect("the crate is here");
            assert!(api.files().is_empty());
            assert!(api.workspace("").contains("driver-api\" }"));
        }
        assert!(DriverApi::checkout(&root.join("host")).is_err());
    }
}
