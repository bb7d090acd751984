//! `driver list`: the drivers in all driver folders, from the notes in the files. None of them is run.

use std::io::Write;

use serde_json::json;

use super::{super::Failure, search};

/// Prints one line for each installed driver, from the notes in the files.
pub(super) fn list(as_json: bool, output: &mut impl Write) -> Result<(), Failure> {
    let search = search(None)?;
    let installed = search.installed();
    if as_json {
        let drivers: Vec<_> = installed
            .iter()
            .map(|driver| match &driver.note {
                Ok(note) => json!({
                    "name": driver.name, "path": driver.path, "version": note.version,
                    "api": format!("{}.{}", note.api.0, note.api.1), "nonblocking": note.nonblocking,
                    "plain_c": note.plain_c,
                }),
                Err(error) => json!({"name": driver.name, "path": driver.path, "error": error.to_string()}),
            })
            .collect();
        writeln!(output, "{:#}", json!(drivers))?;
        return Ok(());
    }
    for driver in &installed {
        match &driver.note {
            Ok(note) => writeln!(
                output,
                "{:<14} {:<10} API {}.{}  {}",
                driver.name,
                note.version,
                note.api.0,
                note.api.1,
                driver.path.display()
            )?,
            Err(error) => writeln!(output, "{:<14} cannot be used: {error}", driver.name)?,
        }
    }
    if installed.is_empty() {
        let folders: Vec<_> = search.folders().iter().map(|folder| folder.display().to_string()).collect();
        writeln!(output, "there is no driver in {}", folders.join(", "))?;
    }
    Ok(())
}
