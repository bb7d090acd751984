//! `cargo xtask bench`: the same load on this server and on Debian's packaged registry, in one run.
//!
//! Both servers run side by side on storages of their own (folders, or two roots in one S3 server), and rounds
//! alternate between them, so that whatever else the machine does hits both. The load comes from blocking threads with
//! kept-alive connections; it is bounded in time and in number.

mod load;
mod object_store;
mod report;
mod round_trips;
mod rows;

use std::time::Duration;

use anyhow::{Result, ensure};
use docker_registry_tests::flavor_variables;
use docker_registry_tests::server::{Launch, Place, Product, Server};
use docker_registry_tests::store_server::StoreServer;
use xshell::cmd;

use crate::packages;
use crate::workspace::Workspace;
use report::Report;
use rows::{Fixture, ROWS, Row};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each row is measured on each server; the table shows medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that one measurement of small requests takes.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections that send small requests at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Only the rows whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    /// Fail unless this server is nowhere slower and small reads take at most a fifth of the peer's processor time.
    #[arg(long)]
    check: bool,
    /// Both servers store in one S3 server, MinIO, each with its own driver, instead of folders.
    #[arg(long)]
    s3: bool,
    /// Count the requests that this server makes to each kind of object store for each request of a client, beside those
    /// of distribution 2.8, and measure nothing.
    #[arg(long)]
    round_trips: bool,
    /// Measure the peer against itself: how far the ratios are from 1 is the noise of this machine.
    #[arg(long)]
    noise: bool,
}

/// How much load one measurement is.
#[derive(Clone, Copy)]
struct Effort {
    connections: u32,
    time: Duration,
}

/// Builds, installs and starts what is needed, measures, and prints the table.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    if arguments.round_trips {
        return round_trips::print(workspace, arguments.check);
    }
    let only = arguments.only.as_deref().unwrap_or_default();
    let rows: Vec<&Row> = ROWS.iter().filter(|row| row.name.contains(only)).collect();
    ensure!(!rows.is_empty(), "no row has {only:?} in its name");

    let shell = workspace.shell()?;
    packages::install_missing(&shell, packages::FOR_BENCHMARK)?;
    let first = if arguments.noise {
        Product::Distribution
    } else {
        workspace.build_release(&shell)?;
        Product::Ours
    };
    // Outlives the servers.
    let store = arguments.s3.then(|| StoreServer::start("minio"));
    let servers = [first, Product::Distribution].map(|product| {
        let launch = Launch {
            product,
            artifacts: workspace.artifacts(true),
            verbose: false,
            chosen: store.as_ref().map(|_| object_store::flavor(workspace, "s3", true)),
            environment: store
                .as_ref()
                .map(|store| flavor_variables::s3(store, store.address()))
                .unwrap_or_default(),
            peer_storage: store.as_ref().map(object_store::peer),
        };
        Server::launch(launch, Place::new())
    });

    let effort =
        Effort { connections: arguments.connections, time: Duration::from_secs_f64(arguments.seconds) };
    let fixture = Fixture::default();
    for server in &servers {
        fixture.store(server)?;
    }
    let mut report = Report::new(&rows);
    for round in 0..arguments.rounds {
        for (index, row) in rows.iter().enumerate() {
            if row.rounds.is_some_and(|rounds| round >= rounds) {
                continue;
            }
            eprintln!("xtask: round {} of {}, {}", round + 1, arguments.rounds, row.name);
            // Who goes first alternates, too.
            let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
            for place in order {
                // What earlier pushes left to be written must not slow this measurement.
                cmd!(shell, "sync").quiet().run()?;
                let measurement = (row.measure)(&servers[place], &fixture, effort, round)?;
                report.add(index, place, measurement);
            }
        }
    }
    println!("{report}");
    if arguments.noise {
        return Ok(());
    }
    let missed = report.missed_bars();
    for bar in &missed {
        println!("missed: {bar}");
    }
    ensure!(missed.is_empty() || !arguments.check, "{} bars are missed", missed.len());
    Ok(())
}
