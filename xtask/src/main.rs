//! `cargo xtask`: the few commands a developer needs, each of them complete on a bare machine.
//!
//! `run` builds and serves, `test` installs what the tests need and runs them all, `bench` compares this server
//! with other registries, `replay` shows what its cache answers, `dist` and `install` make what is handed out, `header`
//! writes the header for drivers in plain C. Nothing here is part of the product.

mod bench;
mod checks;
mod dist;
mod packages;
mod replay;
mod serve;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use workspace::Workspace;

/// Build, run, test and measure docker-registry.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build everything and serve flavor dev on port 5000, with the storage drivers just built.
    Run(serve::Arguments),
    /// Install what the tests need, then check formatting and lints and run every test.
    Test(checks::Arguments),
    /// Put the same load on this server and on others and print the ratios.
    Bench(bench::Arguments),
    /// Send requests in the shape of real traces and show how many reads the cache answers, by its size.
    Replay(replay::Arguments),
    /// Be one of the programs that the benchmark compares with.
    #[command(hide = true)]
    Reference(bench::reference::Arguments),
    /// Build the release: archive, Debian packages and digests, or with --image the container image.
    Dist(dist::Arguments),
    /// Build the release and lay it out below a prefix, as the archive does.
    Install(dist::InstallArguments),
    /// Write the header for drivers in plain C anew from the Rust definitions.
    Header,
}

fn main() -> ExitCode {
    let outcome = Workspace::locate().and_then(|workspace| match Arguments::parse().command {
        Command::Run(arguments) => serve::run(&workspace, arguments),
        Command::Test(arguments) => checks::run(&workspace, arguments),
        Command::Bench(arguments) => bench::run(&workspace, arguments),
        Command::Replay(arguments) => replay::run(&workspace, arguments),
        Command::Reference(arguments) => bench::reference::run(arguments),
        Command::Dist(arguments) => dist::run(&workspace, arguments),
        Command::Install(arguments) => dist::install(&workspace, arguments),
        Command::Header => {
            println!("{}", docker_registry_tests::c_header::write().display());
            Ok(())
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
