//! `driver inspect`: everything that a driver says about itself.

use std::io::Write;

use docker_registry_driver_api::ConfigurationKey;
use serde_json::json;

use super::{super::Failure, search};
use crate::plugin::{LoadedDriver, load};

/// Prints everything that a driver says about itself.
pub(super) fn inspect(name: &str, as_json: bool, output: &mut impl Write) -> Result<(), Failure> {
    let driver = load(&search(), name)?;
    if as_json {
        let note = driver.note();
        let description = driver.description();
        let document = json!({
            "name": note.name, "version": note.version, "api": format!("{}.{}", note.api.0, note.api.1),
            "nonblocking": note.nonblocking, "path": driver.path(), "sha256": driver.digest(),
            "summary": description.summary, "licence": description.licence, "keys": description.keys,
        });
        writeln!(output, "{document:#}")?;
        return Ok(());
    }
    print_driver(&driver, output)
}

fn print_driver(driver: &LoadedDriver, output: &mut impl Write) -> Result<(), Failure> {
    let (note, description) = (driver.note(), driver.description());
    writeln!(output, "{} {}: {}", note.name, note.version, description.summary)?;
    writeln!(output, "  driver API  {}.{}", note.api.0, note.api.1)?;
    writeln!(output, "  licence     {}", description.licence)?;
    writeln!(output, "  file        {}", driver.path().display())?;
    writeln!(output, "  sha256      {}", driver.digest())?;
    let calls = if note.nonblocking { "polled in place" } else { "spawned on the driver's own threads" };
    writeln!(output, "  calls       {calls}")?;
    writeln!(output, "Configuration keys:")?;
    for key in &description.keys {
        writeln!(output, "  {}  ({})", key.name, facts(key))?;
        writeln!(output, "      {}", key.doc)?;
    }
    Ok(())
}

fn facts(key: &ConfigurationKey) -> String {
    let mut facts = vec![format!("{:?}", key.kind).to_lowercase()];
    if key.required {
        facts.push("required".to_owned());
    }
    if key.secret {
        facts.push("secret".to_owned());
    }
    if let Some(default) = &key.default {
        facts.push(format!("default {default}"));
    }
    if let Some(variable) = &key.environment {
        facts.push(format!("environment {variable}"));
    }
    facts.join(", ")
}
