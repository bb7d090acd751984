//! `config check` and `config show`.

use std::{io::Write, path::PathBuf};

use super::{
    Failure,
    prepare::{Prepared, load_configuration, open_registry},
};
use crate::auth::watched_file::read_once;

/// Reports every problem at once: the file's, the server's keys, the driver's keys, the driver itself.
pub(super) fn check(file: Option<PathBuf>, output: &mut impl Write) -> Result<(), Failure> {
    let loaded = load_configuration(file)?;
    let prepared = Prepared::new(loaded);
    for notice in &prepared.loaded.notices {
        writeln!(output, "note: {notice}")?;
    }
    if let Some(warning) = open_registry(&prepared.loaded.settings) {
        writeln!(output, "warning: {warning}")?;
    }
    let problems = prepared.problems();
    for problem in &problems.0 {
        writeln!(output, "{problem}")?;
    }
    let settings = &prepared.loaded.settings;
    match &prepared.driver {
        _ if settings.storage.is_empty() => {}
        Ok(driver) => {
            writeln!(output, "driver {} {} at {}", driver.name(), driver.version(), driver.path().display())?
        }
        Err(error) => writeln!(output, "{error}")?,
    }
    let mut has_passwords = true;
    if let Some(auth) = &settings.auth {
        match read_once(&auth.htpasswd) {
            Ok(file) => {
                for warning in &file.warnings {
                    writeln!(output, "warning: {}: {warning}", auth.htpasswd.display())?;
                }
            }
            Err(problem) => {
                writeln!(output, "{problem}")?;
                has_passwords = false;
            }
        }
    }
    if problems.has_errors() || prepared.driver.is_err() || !has_passwords {
        return Err(Failure::Configuration("the configuration cannot be used as it is".to_owned()));
    }
    writeln!(output, "flavor `{}` of {} can be used", settings.flavor, settings.source)?;
    Ok(())
}

/// Prints every value and where it came from.
pub(super) fn show(file: Option<PathBuf>, output: &mut impl Write) -> Result<(), Failure> {
    let loaded = load_configuration(file)?;
    let prepared = Prepared::new(loaded);
    for value in prepared.loaded.show(&prepared.keys) {
        writeln!(output, "{value}")?;
    }
    if let Err(error) = &prepared.driver {
        writeln!(output, "# the driver's own keys are not known: {error}")?;
    }
    Ok(())
}
