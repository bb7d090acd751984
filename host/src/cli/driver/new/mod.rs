//! `driver new`: a driver project that builds, is checked and serves as it stands.
//!
//! Everything that a build needs from this product is written along: the crates of the driver API come out
//! of the program itself. Nothing is written into a folder that holds anything.

mod driver_api;
mod project;

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::super::Failure;
use driver_api::DriverApi;

pub(super) const HELP: &str = "\
Examples:
  docker-registry driver new tape
      A project in ./docker-registry-driver-tape that keeps objects in memory, for you to change.
  docker-registry driver new cold-store --path ~/src/cold-store --licence MIT
      The driver cold_store in a folder of your choice.

The project builds outside of any other tree: it carries the driver API in vendor/. What it is made of:
  Cargo.toml                 package, workspace and lints
  src/                       the driver, one subject a file, each with what to put there
  tests/behaviour.rs         what the server does with a driver, as a test
  README.md                  building, checking, installing, the flavor
  .github/workflows/ci.yml   the same on a build server";

/// Arguments of `driver new`.
#[derive(Debug, Args)]
pub(in crate::cli) struct NewArguments {
    /// Name of the driver, as in `storage: NAME`: lower-case letters, digits and _; a dash means _.
    name: String,
    /// Folder for the project: absent or empty [default: docker-registry-driver-NAME here].
    #[arg(long, value_name = "FOLDER")]
    path: Option<PathBuf>,
    /// Licence of the driver, an SPDX expression.
    #[arg(long, value_name = "SPDX", default_value = "Apache-2.0", value_parser = spdx)]
    licence: String,
    /// Use the driver API of a checkout of docker-registry instead of a copy in vendor/.
    #[arg(long, value_name = "PATH")]
    driver_api: Option<PathBuf>,
}

/// One file of a project: its path in the folder and its text.
type ProjectFile = (String, String);

/// Writes the project and says what to do with it.
pub(super) fn new(arguments: NewArguments, output: &mut impl Write) -> Result<(), Failure> {
    let name = driver_name(&arguments.name)?;
    let dashed = name.replace('_', "-");
    let api = match arguments.driver_api {
        None => DriverApi::Vendored,
        Some(path) => DriverApi::checkout(&path)?,
    };
    let files = project::files(&name, &arguments.licence, &api);
    let folder = arguments.path.unwrap_or_else(|| format!("docker-registry-driver-{dashed}").into());
    claim(&folder)?;
    for (path, text) in &files {
        write_new(&folder.join(path), text)?;
    }
    writeln!(output, "wrote the driver `{name}` to {} ({} files)\n", folder.display(), files.len())?;
    writeln!(output, "Next:")?;
    writeln!(output, "  cd {}", folder.display())?;
    writeln!(output, "  cargo build --release")?;
    writeln!(output, "  docker-registry driver check target/release/libdocker_registry_driver_{name}.so")?;
    Ok(())
}

/// The name by the rules for drivers.
fn driver_name(text: &str) -> Result<String, Failure> {
    let name = text.replace('-', "_");
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(allowed) {
        return Err(Failure::Failed(format!(
            "`{text}` cannot be a driver's name: it begins with a lower-case letter, and only lower-case \
             letters, digits, - and _ follow"
        )));
    }
    if name == "file" {
        return Err(Failure::Failed(
            "`file` is another word for the driver `local` in configurations; choose another name".to_owned(),
        ));
    }
    let package = format!("docker-registry-driver-{}", name.replace('_', "-"));
    if driver_api::package_names().contains(&package.as_str()) {
        return Err(Failure::Failed(format!(
            "`{text}` cannot be a driver's name: {package} is part of the driver API"
        )));
    }
    Ok(name)
}

/// An SPDX expression by its characters; whether the licence exists is the author's matter.
fn spdx(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+' | ' ' | '(' | ')' | ':');
    if text.trim().is_empty() || !text.chars().all(allowed) {
        return Err("a licence is an SPDX expression, for example `MIT OR Apache-2.0`".to_owned());
    }
    Ok(text.to_owned())
}

/// Makes sure that the folder is there and empty.
fn claim(folder: &Path) -> Result<(), Failure> {
    let cannot = |reason: &dyn std::fmt::Display| {
        Failure::Failed(format!("{} cannot hold the new project: {reason}", folder.display()))
    };
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(cannot(&"it is not empty; choose another folder with --path")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(|error| cannot(&error))
        }
        Err(error) => Err(cannot(&error)),
    }
}

/// Writes a file that is not there yet.
fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        let mut file = fs::File::create_new(path)?;
        file.write_all(text.as_bytes())
    });
    written.map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_for_drivers() {
        assert_eq!(driver_name("cold-store").unwrap(), "cold_store");
        assert_eq!(driver_name("s3").unwrap(), "s3");
        for wrong in ["", "S3", "3s", "a/b", "../a", "a.b", "_a", "-a", "ä", "file", "api"] {
            assert!(driver_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_licence_cannot_break_the_manifest() {
        assert!(spdx("MIT OR Apache-2.0").is_ok() && spdx("LicenseRef-Ours").is_ok());
        for wrong in ["", " ", "MIT\"", "MIT\nx = 1"] {
            assert!(spdx(wrong).is_err(), "{wrong:?}");
        }
    }
}
