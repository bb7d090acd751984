//! The commands about drivers. Each has its file; this one holds what can be typed and what they share.

mod check;
mod child;
mod driver_archive;
mod driver_folder;
mod flavor_section;
mod inspect;
mod install;
mod list;
mod new;
mod remove;
mod rollback;
mod running_servers;
mod subject;

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};

use super::{Failure, prepare::load_configuration};
use crate::{isolation, plugin::Search};

/// What can be done with drivers.
#[derive(Debug, Subcommand)]
pub(super) enum DriverCommand {
    /// List the drivers in all driver folders. None of them is run.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what a driver is and every configuration key that it reads. It runs in a process of its own.
    Inspect(InspectArguments),
    /// Run the conformance suite on a driver, each case in a process of its own.
    #[command(after_help = check::HELP)]
    Check(check::CheckArguments),
    /// Write a driver project that builds and works as it stands.
    #[command(after_help = new::HELP)]
    New(new::NewArguments),
    /// What `check` runs in the child.
    #[command(hide = true)]
    CheckInChild,
    /// Put a driver into a driver folder, after checking and running it in a process of its own.
    #[command(after_help = install::HELP)]
    Install(install::InstallArguments),
    /// Exchange a driver with the version that was installed before it.
    #[command(after_help = rollback::HELP)]
    Rollback(InstalledArguments),
    /// Delete a driver and the version that was installed before it.
    #[command(after_help = remove::HELP)]
    Remove(InstalledArguments),
    /// What `inspect` runs in the child.
    #[command(hide = true)]
    DescribeInChild,
    /// The driver's process of `isolation: process`. The server starts it.
    #[command(hide = true)]
    Host,
}

/// Arguments of `driver inspect`.
#[derive(Debug, Args)]
pub(super) struct InspectArguments {
    /// Name of the driver, as in `storage: NAME`, or the path of a library.
    #[arg(value_name = "NAME|PATH")]
    driver: String,
    /// A configuration key for opening the driver; may be repeated.
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Configuration file whose flavor may name the driver.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Arguments of the commands about an installed driver.
#[derive(Debug, Args)]
pub(super) struct InstalledArguments {
    /// Name of the driver, as in `storage: NAME`.
    name: String,
    /// Driver folder; without it all driver folders are searched.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Runs one command.
pub(super) fn run(command: DriverCommand, output: &mut impl Write) -> Result<(), Failure> {
    match command {
        DriverCommand::List { json } => list::list(json, output),
        DriverCommand::Inspect(arguments) => inspect::inspect(&arguments, output),
        DriverCommand::Check(arguments) => check::check(&arguments, output),
        DriverCommand::New(arguments) => new::new(arguments, output),
        DriverCommand::CheckInChild => check::run_in_child(),
        DriverCommand::Install(arguments) => install::install(&arguments, output),
        DriverCommand::Rollback(arguments) => rollback::rollback(&arguments, output),
        DriverCommand::Remove(arguments) => remove::remove(&arguments, output),
        DriverCommand::DescribeInChild => subject::describe_in_child(),
        DriverCommand::Host => isolation::run_child().map_err(Failure::failed),
    }
}

/// The driver folders and pinned digests, those of the configuration included. `file` is the one that the operator
/// named, if any. Another one that cannot be used is named on standard error and left out: these commands are what
/// repairs a server.
///
/// # Errors
/// What is wrong with the file that was named.
fn search(file: Option<PathBuf>) -> Result<Search, Failure> {
    let is_named = file.is_some();
    let settings = match load_configuration(file) {
        Ok(loaded) => Some(loaded.settings),
        Err(problems) if is_named => return Err(problems.into()),
        Err(problems) => {
            eprintln!("Note: the configuration is left out, its driver folders and pins too:\n{problems}");
            None
        }
    };
    let (folders, pins) =
        settings.map(|settings| (settings.drivers, settings.driver_sha256)).unwrap_or_default();
    Ok(Search::from_process(&folders).with_pins(&pins))
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a key and its value are KEY=VALUE")?;
    if key.is_empty() {
        return Err("the key is missing before `=`".to_owned());
    }
    Ok((key.to_owned(), value.to_owned()))
}
