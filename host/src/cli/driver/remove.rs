//! `driver remove`: a driver and its previous version are deleted.

use std::io::Write;

use super::{
    super::{Failure, prepare::load_configuration},
    InstalledArguments,
    driver_folder::{self, DriverFolder},
    running_servers::Mapped,
    search,
};
use crate::plugin::{Search, canonical_name};

pub(super) const HELP: &str = "\
Examples:
  docker-registry driver remove tape
  docker-registry driver remove tape --folder /usr/local/lib/docker-registry/drivers
      One of several folders that hold it.

The stored data is not touched. Servers that run go on with the file that they loaded.";

/// Deletes a driver.
pub(super) fn remove(arguments: &InstalledArguments, output: &mut impl Write) -> Result<(), Failure> {
    let search = search(None)?;
    let name = canonical_name(&arguments.name);
    Search::check_name(&name)?;
    let folders = driver_folder::holding(&name, arguments.folder.as_deref(), &search)?;
    let path = match folders.as_slice() {
        [only] => only,
        [] => return Err(driver_folder::not_there(&name, arguments.folder.as_deref(), &search)),
        several => {
            let several: Vec<_> = several.iter().map(|folder| folder.display().to_string()).collect();
            return Err(Failure::Failed(format!(
                "{name} is in {} folders, {}; say which with --folder",
                several.len(),
                several.join(" and ")
            )));
        }
    };
    let folder = DriverFolder::lock(path)?;
    let library = folder.library(&name);
    let mapped = driver_folder::exists(&library).then(|| Mapped::now(&library));
    let deleted = folder
        .delete(&name)
        .map_err(|error| Failure::Failed(format!("{} cannot be removed: {error}", library.display())))?;
    for file in deleted {
        writeln!(output, "{} is deleted.", file.display())?;
    }
    if let Some(mapped) = mapped {
        writeln!(output, "{}", mapped.servers())?;
    }
    if let Ok(found) = search.find(&name) {
        writeln!(output, "Note: from now on {} is the one that is used.", found.display())?;
    } else if let Ok(loaded) = load_configuration(None) {
        let settings = &loaded.settings;
        let alternate = settings.storage_alternate.as_deref().map(canonical_name);
        for (key, value) in
            [("storage", Some(canonical_name(&settings.storage))), ("storage_alternate", alternate)]
        {
            if value.as_ref() == Some(&name) {
                writeln!(
                    output,
                    "Note: flavor `{}` of {} still says `{key}: {}`; no server starts with it any more.",
                    settings.flavor, settings.source, arguments.name
                )?;
            }
        }
    }
    Ok(())
}
