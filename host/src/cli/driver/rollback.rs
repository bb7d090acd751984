//! `driver rollback`: the version that was installed before the present one, and back again.

use std::io::Write;

use super::{
    super::Failure,
    InstalledArguments,
    driver_folder::{self, DriverFolder},
    install::report_pin,
    running_servers::Mapped,
    search,
    subject::Subject,
};
use crate::plugin::{LibraryFile, PluginError, Search, canonical_name};

pub(super) const HELP: &str = "\
Examples:
  docker-registry driver rollback tape
      The version before is the present one, and what was the present one is kept: the same command again
      undoes it.";

/// Exchanges the present and the previous version.
pub(super) fn rollback(arguments: &InstalledArguments, output: &mut impl Write) -> Result<(), Failure> {
    let search = search(None)?;
    let name = canonical_name(&arguments.name);
    Search::check_name(&name)?;
    let folders = driver_folder::holding(&name, arguments.folder.as_deref(), &search)?;
    let Some(path) = folders.first() else {
        return Err(driver_folder::not_there(&name, arguments.folder.as_deref(), &search));
    };
    let folder = DriverFolder::lock(path)?;
    let library = folder.library(&name);
    let previous = driver_folder::previous(&library);
    if !driver_folder::exists(&previous) {
        return Err(Failure::Failed(format!(
            "there is no previous version of {name}: {} does not exist; one is kept when \
             `docker-registry driver install` replaces a driver",
            previous.display()
        )));
    }
    // As before an installation: what is about to be used must be usable.
    let folders = Search::new(search.folders(), None, None);
    let subject = Subject::find(&previous.display().to_string(), &folders)?;
    if subject.name() != name {
        return Err(PluginError::OtherName {
            path: previous,
            found: subject.name().to_owned(),
            expected: name,
        }
        .into());
    }
    let described = subject.describe(None)?;
    let present =
        LibraryFile::open(&library).and_then(|file| Ok((file.note().version.clone(), file.digest()?)));
    if matches!(&present, Ok((_, digest)) if *digest == described.digest) {
        return Err(Failure::Failed(format!(
            "{} and its previous version are the same file; there is nothing to go back to",
            library.display()
        )));
    }
    let replaced = driver_folder::exists(&library).then(|| Mapped::now(&library));
    folder
        .exchange(&library)
        .map_err(|error| Failure::Failed(format!("{} cannot be exchanged: {error}", library.display())))?;
    let version = &subject.file.note().version;
    writeln!(output, "{name} {version} is installed: {}", library.display())?;
    writeln!(output, "  sha256 {}", described.digest)?;
    match present {
        Ok((old, _)) => writeln!(output, "It replaces {old}, which is kept as the previous version.")?,
        Err(error) if replaced.is_some() => {
            writeln!(output, "It replaces a file that cannot be used: {error}")?
        }
        Err(_) => {}
    }
    if let Some(replaced) = replaced {
        writeln!(output, "{}", replaced.servers())?;
    }
    report_pin(&name, &described.digest, output)
}
