//! `driver inspect`: everything that a driver says about itself. The library runs in a child process only.

use std::io::Write;

use docker_registry_driver_api::ConfigurationKey;
use serde_json::json;

use super::{
    super::Failure,
    InspectArguments, search,
    subject::{Described, Subject},
};

/// Prints everything that a driver says about itself.
pub(super) fn inspect(arguments: &InspectArguments, output: &mut impl Write) -> Result<(), Failure> {
    let subject = Subject::find(&arguments.driver, &search(arguments.config.clone())?)?;
    let mut described = subject.describe(None)?;
    // What a driver can do is known once it is open, for which it needs a configuration that is meant for it.
    let configuration = subject.configuration(arguments.config.clone(), &arguments.set)?;
    if configuration.is_flavor || !arguments.set.is_empty() {
        let keys = subject.keys(&described.description, &configuration);
        match keys.and_then(|keys| configuration.values(&keys)) {
            Ok(values) => described = subject.describe(Some(values))?,
            Err(Failure::Configuration(reason) | Failure::Failed(reason)) => {
                described.capabilities = Some(Err(reason));
            }
        }
    }
    if arguments.json {
        print_json(&subject, &described, output)
    } else {
        print(&subject, &described, output)
    }
}

fn print_json(subject: &Subject, described: &Described, output: &mut impl Write) -> Result<(), Failure> {
    let (note, description) = (subject.file.note(), &described.description);
    let capabilities = described.capabilities.as_ref().and_then(|names| names.as_ref().ok());
    let document = json!({
        "name": note.name, "version": note.version, "api": format!("{}.{}", note.api.0, note.api.1),
        "nonblocking": note.nonblocking, "plain_c": note.plain_c, "path": subject.file.path(), "sha256": described.digest,
        "summary": description.summary, "licence": description.licence, "keys": description.keys,
        "capabilities": capabilities, "glibc": subject.file.needed_glibc().map(|version| version.to_string()),
    });
    writeln!(output, "{document:#}")?;
    Ok(())
}

fn print(subject: &Subject, described: &Described, output: &mut impl Write) -> Result<(), Failure> {
    let (note, description) = (subject.file.note(), &described.description);
    writeln!(output, "{} {}: {}", note.name, note.version, description.summary)?;
    writeln!(output, "  driver API    {}.{}", note.api.0, note.api.1)?;
    if let Some(glibc) = subject.file.needed_glibc() {
        writeln!(output, "  needs glibc {glibc}")?;
    }
    writeln!(output, "  licence       {}", description.licence)?;
    writeln!(output, "  file          {}", subject.file.path().display())?;
    writeln!(output, "  sha256        {}", described.digest)?;
    let calls = match (note.plain_c, note.nonblocking) {
        (true, _) => "plain C functions on threads of their own",
        (false, true) => "polled in place",
        (false, false) => "spawned on the driver's own threads",
    };
    writeln!(output, "  calls         {calls}")?;
    match &described.capabilities {
        None => writeln!(
            output,
            "  capabilities  known once it is open: select a flavor that uses it, or give --set KEY=VALUE"
        )?,
        Some(Ok(names)) if names.is_empty() => writeln!(output, "  capabilities  none beyond the minimum")?,
        Some(Ok(names)) => writeln!(output, "  capabilities  {}", names.join(", "))?,
        Some(Err(reason)) => writeln!(output, "  capabilities  not known: {reason}")?,
    }
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
