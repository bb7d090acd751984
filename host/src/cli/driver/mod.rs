//! The commands about drivers. Each has its file; this one holds what can be typed and what they share.

mod inspect;
mod list;
mod new;

use std::{io::Write, sync::Arc};

use clap::Subcommand;

use super::{Failure, prepare::load_configuration};
use crate::plugin::Search;

/// What can be done with drivers.
#[derive(Debug, Subcommand)]
pub(super) enum DriverCommand {
    /// List the drivers in all driver folders. None of them is run.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print what a driver is and every configuration key that it reads.
    Inspect {
        /// Name of the driver, as in `storage: NAME`.
        name: String,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write a driver project that builds and works as it stands.
    #[command(after_help = new::HELP)]
    New(new::NewArguments),
}

/// Runs one command.
pub(super) fn run(command: DriverCommand, output: &mut impl Write) -> Result<(), Failure> {
    match command {
        DriverCommand::List { json } => list::list(json, output),
        DriverCommand::Inspect { name, json } => inspect::inspect(&name, json, output),
        DriverCommand::New(arguments) => new::new(arguments, output),
    }
}

/// The driver folders, those of the configuration included when there is a usable one.
fn search() -> Arc<Search> {
    let folders = load_configuration(None).map(|loaded| loaded.settings.drivers).unwrap_or_default();
    Arc::new(Search::from_process(&folders))
}
