//! `driver check`: the conformance suite against an installed library.
//!
//! Each case runs in a child process with a time limit, so that a driver that crashes or hangs is one red
//! line with the case's name, and the next case starts from a clean process. The configuration comes from
//! the selected flavor when that names the driver, and from `--set`.

mod case;
mod report;

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Args;
use docker_registry_driver_api::{Capabilities, Capability};
use docker_registry_driver_conformance::{Case, cases};
use serde_json::{Map, Value};

pub(super) use case::run_in_child;

use self::report::{Line, Report};
use super::{
    super::Failure,
    child, key_and_value, search,
    subject::{Isolation, Opening, Subject},
};

/// What a case may take beyond its own limit: the start of the process and the opening of the driver.
const STARTING: Duration = Duration::from_secs(60);

pub(super) const HELP: &str = "\
Examples:
  docker-registry driver check local --set storage_path=/tmp/check
      The local driver on a folder of its own.
  SETTINGS_FLAVOR=s3 docker-registry driver check s3
      The driver of flavor s3 with that flavor's bucket and credentials.
  docker-registry driver check ./target/release/libdocker_registry_driver_mine.so --only uploads/
      One group of cases against a library that is not installed.
  docker-registry driver check mine --isolation process
      In a process of the driver's own, as with `isolation: process` in a flavor.
  docker-registry driver check mine --dead address=127.0.0.1:1
      Also tries what the driver does when its storage cannot be reached.

The cases work below a folder with a random name and remove it. Secrets belong into the environment or the
configuration: everyone on the machine can read a command line.

Exit codes: 0 every case passed or was skipped, 1 a case failed, 64 the configuration is wrong.";

/// Arguments of `driver check`.
#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArguments {
    /// Name of the driver, as in `storage: NAME`, or the path of a library.
    #[arg(value_name = "NAME|PATH", required_unless_present = "list")]
    driver: Option<String>,
    /// A configuration key of the driver; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// A key that makes the storage unreachable, for the cases about that; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    dead: Vec<(String, String)>,
    /// Configuration file whose flavor may name the driver.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only the cases whose name begins with this; may be repeated.
    #[arg(long, value_name = "CASE")]
    only: Vec<String>,
    /// Also the cases that take long: many entries, gigabytes.
    #[arg(long)]
    long: bool,
    /// Kill a case that takes longer, for example 30s; without it each case has its own limit. Much time is also
    /// given to cases that would have less.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    time_limit: Option<Duration>,
    /// Where the driver's code runs.
    #[arg(long, value_enum, default_value = "declared")]
    isolation: Isolation,
    /// Print the cases and run nothing.
    #[arg(long)]
    list: bool,
    /// Print one JSON document at the end; progress goes to standard error.
    #[arg(long)]
    json: bool,
}

/// Checks a driver, or lists the cases.
pub(super) fn check(arguments: &CheckArguments, output: &mut impl Write) -> Result<(), Failure> {
    let chosen: Vec<&Case> = cases()
        .filter(|case| {
            let name = case.name();
            arguments.only.is_empty() || arguments.only.iter().any(|start| name.starts_with(start.as_str()))
        })
        // A long case that is named in full is wanted.
        .filter(|case| {
            arguments.long
                || arguments.list
                || !case.is_long()
                || arguments.only.iter().any(|only| only == case.name())
        })
        .collect();
    if chosen.is_empty() {
        if cases().any(|case| arguments.only.iter().any(|start| case.name().starts_with(start.as_str()))) {
            return Err(Failure::Failed("only long cases are meant; add --long".to_owned()));
        }
        let reason = format!("no case begins with {}; --list names them", arguments.only.join(" or "));
        return Err(Failure::Failed(reason));
    }
    let Some(driver) = arguments.driver.as_deref().filter(|_| !arguments.list) else {
        return report::list(&chosen, arguments.json, output);
    };
    let subject = Subject::find(driver, &search(arguments.config.clone())?)?;
    let (opening, dead) = openings(&subject, arguments)?;
    // Settings with which it does not even open would only fail every case.
    let described = subject.describe(opening.settings.clone())?;
    let capabilities = match described.capabilities.transpose() {
        Ok(names) => names.unwrap_or_default(),
        Err(reason) => return Err(Failure::Failed(format!("no case was run: {reason}"))),
    };
    let offered = Capability::ALL
        .into_iter()
        .filter(|capability| capabilities.iter().any(|name| name == capability.name()));
    let offered: Capabilities = offered.collect();
    let mut report = Report::new(&subject, capabilities, chosen.len(), arguments.json);
    for case in chosen {
        report.begin(case.name(), output)?;
        let limit = arguments.time_limit.unwrap_or_else(|| case.time_limit(offered) + STARTING);
        let line = run(case, &opening, dead.as_ref(), limit);
        report.end(line, output)?;
    }
    report.finish(output)
}

/// How the driver is opened, and how it is opened on a storage that is not there.
fn openings(
    subject: &Subject,
    arguments: &CheckArguments,
) -> Result<(Opening, Option<Map<String, Value>>), Failure> {
    let description = subject.describe(None)?.description;
    let configuration =
        |overrides: &[(String, String)]| subject.configuration(arguments.config.clone(), overrides);
    let configured = configuration(&arguments.set)?;
    let keys = subject.keys(&description, &configured)?;
    let opening = subject
        .opening(Some(configured.values(&keys)?), arguments.isolation)
        .hiding(&configured.loaded, &keys);
    let dead = if arguments.dead.is_empty() {
        None
    } else {
        let overrides = [arguments.set.as_slice(), arguments.dead.as_slice()].concat();
        Some(configuration(&overrides)?.values(&keys)?)
    };
    Ok((opening, dead))
}

/// Runs one case in a child.
fn run(case: &Case, opening: &Opening, dead: Option<&Map<String, Value>>, limit: Duration) -> Line {
    let order = case::Order {
        case: case.name().to_owned(),
        least: limit.saturating_sub(STARTING),
        opening: opening.clone(),
        dead: dead.cloned(),
    };
    match child::run::<_, case::Verdict>(&["driver", "check-in-child"], &order, limit) {
        Ok(ended) => Line::new(case, ended),
        Err(error) => Line::not_started(case, &error),
    }
}
