//! `driver install`: a downloaded driver becomes one that `storage: NAME` finds.
//!
//! The library is copied into the driver folder under a temporary name, checked there as it would be at the start
//! of a server, run in a child process so that it says what it is, and only then given its name.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;
use semver::Version;

use super::{
    super::{Failure, prepare::load_configuration},
    driver_archive,
    driver_folder::{self, DriverFolder},
    flavor_section,
    running_servers::Mapped,
    search,
    subject::{Described, Subject},
};
use crate::plugin::{LibraryFile, Search, canonical_name};

pub(super) const HELP: &str = "\
Examples:
  docker-registry driver install libdocker_registry_driver_tape.so
      Into the first driver folder that can be written to.
  docker-registry driver install tape-1.2.0-x86_64.tar.gz --sha256 5f2c...
      The one driver in an archive whose digest is known.
  docker-registry driver install tape-1.2.0.tar.xz --folder /usr/local/lib/docker-registry/drivers

Running processes keep the file that they loaded; it says which of them to restart. With `isolation: process` a
driver whose process crashes comes back with the new file, and the server's log says so. The version that was there is
kept for `docker-registry driver rollback`. It ends with a flavor that can be put into the configuration.";

/// Arguments of `driver install`.
#[derive(Debug, Args)]
pub(in crate::cli) struct InstallArguments {
    /// A library, or a tar archive that holds one: plain, or packed with gzip, bzip2 or xz.
    file: PathBuf,
    /// SHA-256 that FILE must have, in hex.
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    sha256: Option<String>,
    /// Driver folder; without it the first of the search order that can be written to.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

fn sha256(text: &str) -> Result<String, String> {
    let digest = text.trim_start_matches("sha256:").to_ascii_lowercase();
    if digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(digest);
    }
    Err("a SHA-256 is 64 hex digits".to_owned())
}

/// Installs a driver.
pub(super) fn install(arguments: &InstallArguments, output: &mut impl Write) -> Result<(), Failure> {
    let search = search(None)?;
    let folder = DriverFolder::lock(&driver_folder::choose(arguments.folder.as_deref(), &search)?)?;
    let staged = driver_archive::stage(&arguments.file, arguments.sha256.as_deref(), &folder)?;
    // Without the pins of the configuration: they may well be those of the version that is to be replaced.
    let folders = Search::new(search.folders(), None, None);
    let known = |failure| renamed(failure, staged.path(), &arguments.file);
    let subject =
        Subject::find(&staged.path().display().to_string(), &folders).map_err(|error| known(error.into()))?;
    Search::check_name(subject.name())?;
    let described = subject.describe(None).map_err(known)?;
    if subject.file.digest()? != described.digest {
        return Err(Failure::Failed(format!("{} changed while it was checked", folder.path().display())));
    }

    let (name, version) = (subject.name().to_owned(), subject.file.note().version.clone());
    let library = folder.library(&name);
    let present =
        LibraryFile::open(&library).and_then(|file| Ok((file.note().version.clone(), file.digest()?)));
    if matches!(&present, Ok((_, digest)) if *digest == described.digest) {
        writeln!(output, "{name} {version} is installed already: {}", library.display())?;
        writeln!(output, "  sha256 {}", described.digest)?;
        writeln!(output, "Nothing was changed.")?;
    } else {
        let replaced = driver_folder::exists(&library).then(|| Mapped::now(&library));
        folder.publish(staged, &library).map_err(|error| {
            Failure::Failed(format!("{} cannot be installed: {error}", library.display()))
        })?;
        writeln!(output, "{name} {version} is installed: {}", library.display())?;
        writeln!(output, "  sha256 {}", described.digest)?;
        match &present {
            Ok((old, _)) => writeln!(output, "{}", compared(&name, &version, old))?,
            Err(error) if replaced.is_some() => {
                writeln!(output, "What was there could not be used, and is not kept: {error}")?;
            }
            Err(_) => {}
        }
        if let Some(replaced) = replaced {
            writeln!(output, "{}", replaced.servers())?;
        }
    }
    report_use(&search, &name, &library, &described, output)?;
    report_keys(&name, &described, output)
}

/// What the new version is to the old one, and where that is.
fn compared(name: &str, new: &str, old: &str) -> String {
    let back = format!("`docker-registry driver rollback {name}` brings it back");
    match (Version::parse(new), Version::parse(old)) {
        (Ok(new), Ok(old)) if new < old => {
            format!("It is older than {old}, which it replaces; {back}.")
        }
        _ if new == old => format!("It replaces another build of {old}; {back}."),
        _ => format!("It replaces {old}; {back}."),
    }
}

/// Whether the server will use what was installed.
fn report_use(
    search: &Search,
    name: &str,
    library: &Path,
    described: &Described,
    output: &mut impl Write,
) -> Result<(), Failure> {
    match search.find(name) {
        Ok(found) if found == library => {}
        Ok(found) => writeln!(
            output,
            "Note: {} comes first in the search order and is the one that is used.",
            found.display()
        )?,
        Err(_) => writeln!(
            output,
            "Note: {} is not searched for drivers; add `drivers: [{0}]` to the configuration.",
            library.parent().unwrap_or(library).display()
        )?,
    }
    report_pin(name, &described.digest, output)
}

/// Whether the configuration allows the file that lies there now.
pub(super) fn report_pin(name: &str, digest: &str, output: &mut impl Write) -> Result<(), Failure> {
    let Ok(loaded) = load_configuration(None) else { return Ok(()) };
    let pins = loaded.settings.driver_sha256;
    if let Some((_, pinned)) = pins.iter().find(|(pinned, _)| canonical_name(pinned) == name)
        && pinned != digest
    {
        writeln!(
            output,
            "Note: flavor `{}` of {} pins {name} to {pinned}: no server starts with this file before its \
             digest is written there.",
            loaded.settings.flavor, loaded.settings.source
        )?;
    }
    Ok(())
}

fn report_keys(name: &str, described: &Described, output: &mut impl Write) -> Result<(), Failure> {
    let keys = &described.description.keys;
    let required = flavor_section::required(keys);
    if required.is_empty() {
        writeln!(output, "\nNo key must be set.")?;
    } else {
        writeln!(output, "\nKeys that must be set:")?;
        for key in required {
            writeln!(output, "  {} (or {}): {}", key.name, flavor_section::variable(name, key), key.doc)?;
        }
    }
    writeln!(output, "\nA flavor for the configuration, selected with SETTINGS_FLAVOR={name}:\n")?;
    write!(output, "{}", flavor_section::section(name, keys))?;
    writeln!(output, "\nThe line in it that allows this file and no other:\n")?;
    writeln!(output, "{}", flavor_section::pin(name, &described.digest))?;
    Ok(())
}

/// The same failure, about the file that the operator knows.
fn renamed(failure: Failure, staged: &Path, known: &Path) -> Failure {
    let rename = |text: String| text.replace(&staged.display().to_string(), &known.display().to_string());
    match failure {
        Failure::Failed(reason) => Failure::Failed(rename(reason)),
        Failure::Configuration(reason) => Failure::Configuration(rename(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(compared("tape", "1.9.0", "1.10.0").contains("older than 1.10.0"));
        assert!(compared("tape", "1.10.0", "1.9.0").starts_with("It replaces 1.9.0;"));
        assert!(compared("tape", "1.0.0", "1.0.0").contains("another build"));
        assert!(compared("tape", "spring", "winter").starts_with("It replaces winter;"));
    }

    #[test]
    fn a_digest_is_64_hex_digits_with_or_without_its_algorithm() {
        let digest = "AB".repeat(32);
        assert_eq!(sha256(&format!("sha256:{digest}")).unwrap(), digest.to_lowercase());
        assert!(sha256("ab").is_err() && sha256(&"g".repeat(64)).is_err());
    }
}
