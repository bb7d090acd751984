//! `cargo xtask bench`: the same load on this server and on others, in one run.
//!
//! All of them run side by side on storages of their own (folders, or roots in one S3 server), and rounds alternate
//! between them, so that whatever else the machine does hits everybody. The load comes from blocking threads with
//! kept-alive connections, on other processors than the servers; it is bounded in time and in number.

mod bars;
mod contestants;
mod fixture;
mod growth;
mod limits;
mod load;
mod object_store;
mod pinning;
mod record;
pub(crate) mod reference;
mod report;
mod resources;
mod round_trips;
mod rows;
mod versions;

use std::time::Duration;

use anyhow::{Result, ensure};
use docker_registry_tests::store_server::StoreServer;
use xshell::cmd;

use crate::packages;
use crate::workspace::Workspace;
use bars::Setting;
use contestants::{Ability, Cache, Contestant, Other, Surroundings};
use fixture::Fixture;
use pinning::Halves;
use report::Report;
use rows::{Effort, ROWS, Row};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How often each row is measured on each server; the table shows medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds that one measurement of reads takes.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Connections that send small requests at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    connections: u32,
    /// Only the rows whose name contains this text.
    #[arg(long)]
    only: Option<String>,
    /// Who is measured beside this server, which must nowhere be slower than the first if that is a registry.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "distribution-2.8")]
    against: Vec<Other>,
    /// All rows instead of the few that tell most.
    #[arg(long)]
    all: bool,
    /// Keep the result below docs/benchmarks.
    #[arg(long)]
    record: bool,
    /// Fail when a bar of this project is missed: those that are printed below the table, or in it.
    #[arg(long)]
    check: bool,
    /// Everybody stores in one S3 server, MinIO, each with its own driver, instead of folders.
    #[arg(long)]
    s3: bool,
    /// Registries cache in a Redis of their own, this one also in its own memory, or not.
    #[arg(long, value_enum)]
    cache: Option<Cache>,
    /// Count the requests that this server makes to each kind of object store for each request of a client, beside those
    /// of distribution 2.8, and measure nothing.
    #[arg(long)]
    round_trips: bool,
    /// Measure start and memory instead of speed.
    #[arg(long)]
    resources: bool,
    /// Measure how answers get slower with the number of repositories, tags and connections, beside distribution 2.8. A
    /// million repositories are 11 million folders: TMPDIR should be a file system in memory for them.
    #[arg(long, value_name = "REPOSITORIES", num_args = 0..=1, default_missing_value = "100000")]
    growth: Option<usize>,
    /// Let servers and load run on all processors, and not each on its half.
    #[arg(long)]
    unpinned: bool,
}

/// Builds, installs and starts what is needed, measures, and prints the table.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    if arguments.round_trips {
        let (tables, missed) = round_trips::measure(workspace)?;
        if arguments.record {
            record::write(workspace, &workspace.shell()?, "round-trips", round_trips::HOW, &[], &tables)?;
        }
        ensure!(missed == 0 || !arguments.check, "{missed} requests cost too many round trips");
        return Ok(());
    }
    let only = arguments.only.as_deref().unwrap_or_default();
    let chosen = |row: &&Row| (row.always || arguments.all) && row.name.contains(only);
    let rows: Vec<&Row> = ROWS.iter().filter(chosen).collect();
    ensure!(!rows.is_empty(), "no row has {only:?} in its name");

    let shell = workspace.shell()?;
    packages::install_missing(&shell, packages::FOR_BENCHMARK)?;
    workspace.build_release(&shell)?;
    if arguments.resources {
        let (table, missed) = resources::measure(workspace)?;
        println!("{table}");
        if arguments.record {
            let how = "Each server on a folder.";
            record::write(workspace, &shell, "resources", how, &[Other::DistributionTwo], &table)?;
        }
        ensure!(missed == 0 || !arguments.check, "{missed} bars are missed");
        return Ok(());
    }
    let effort =
        Effort { connections: arguments.connections, time: Duration::from_secs_f64(arguments.seconds) };
    if let Some(most) = arguments.growth {
        let table = growth::measure(workspace, effort, arguments.rounds, most)?;
        println!("{table}");
        if arguments.record {
            let how = format!(
                "One folder that both servers read, the time of one answer (connections that ask at the same time: \
                 {}); none where nothing came within a minute. Nobody keeps its answers; the folders are in the \
                 kernel's memory. The last table says itself how many connections there are.",
                arguments.connections
            );
            record::write(workspace, &shell, "growth", &how, &[Other::DistributionTwo], &table)?;
        }
        return Ok(());
    }
    // Outlives the servers.
    let store = arguments.s3.then(|| StoreServer::start("minio"));
    let fixture = Fixture::new();
    let surroundings = Surroundings { store: store.as_ref(), cache: arguments.cache };
    let mut contestants = vec![Contestant::ours(workspace, surroundings)?];
    let mut peers = Vec::new();
    for other in &arguments.against {
        match other.missing() {
            None => {
                contestants.push(Contestant::other(workspace, *other, &fixture, surroundings)?);
                peers.push(*other);
            }
            Some(error) => eprintln!("xtask: {} is left out: {error}", other.name()),
        }
    }
    for contestant in &contestants {
        if contestant.has(Ability::Registry) {
            fixture.store(&contestant.client(), arguments.all)?;
        }
        if arguments.all && contestant.has(Ability::V1) {
            fixture.store_v1(&contestant.client());
        }
    }

    let halves = Halves::of_this_machine().filter(|_| !arguments.unpinned);
    let mut report = Report::new(&rows, peers.clone());
    for round in 0..arguments.rounds {
        for (index, row) in rows.iter().enumerate() {
            if row.rounds.is_some_and(|rounds| round >= rounds) {
                continue;
            }
            eprintln!("xtask: round {} of {}, {}", round + 1, arguments.rounds, row.name);
            let mut order: Vec<usize> =
                (0..contestants.len()).filter(|place| contestants[*place].has(row.needs())).collect();
            // Who goes first alternates, too.
            if round % 2 == 1 {
                order.reverse();
            }
            for place in order {
                // What earlier pushes left to be written must not slow this measurement.
                cmd!(shell, "sync").quiet().run()?;
                let contestant = &contestants[place];
                let halves = halves.filter(|_| !row.writes());
                let process = row.process(contestant);
                if let Some(halves) = halves {
                    halves.serve(&process.family())?;
                    halves.load()?;
                }
                let measurement = row.measure(contestant, &fixture, effort, round);
                if let Some(halves) = halves {
                    halves.release(&process.family())?;
                    halves.release_load()?;
                }
                report.add(index, place, measurement?);
            }
        }
    }
    println!("{report}");
    let verdicts = report.verdicts(Setting { folders: !arguments.s3, cache: arguments.cache });
    for verdict in &verdicts {
        println!("{verdict}");
    }
    if arguments.record {
        let store = if arguments.s3 { "s3" } else { "local" };
        let name = match arguments.cache {
            None => store.to_owned(),
            Some(Cache::Memory) => format!("{store}-cache"),
            Some(Cache::Redis) => format!("{store}-redis"),
        };
        let tables = report.markdown() + &bars::markdown(&verdicts);
        record::write(workspace, &shell, &name, &how(&arguments), &peers, &tables)?;
    }
    let missed = verdicts.iter().filter(|verdict| !verdict.is_met()).count();
    ensure!(missed == 0 || !arguments.check, "{missed} bars are missed");
    Ok(())
}

/// How the figures came about, in words.
fn how(arguments: &Arguments) -> String {
    let storage = if arguments.s3 { "on one MinIO, each with its own S3 driver" } else { "on a folder" };
    let pinned = if arguments.unpinned {
        "Servers and load share all processors."
    } else {
        "For reads, the server measured runs on one half of the processors and the load on the other; for pushes, both \
         run on all."
    };
    let cache = match arguments.cache {
        None => "",
        Some(Cache::Memory) => {
            " Every registry caches in a Redis of its own; this one with its own memory in front."
        }
        Some(Cache::Redis) => {
            " Every registry caches in a Redis of its own; this one with no memory in front."
        }
    };
    let beside = match (arguments.s3, arguments.cache.is_some()) {
        (false, false) => "",
        (true, false) => " MinIO is not pinned, and its processor time is not counted.",
        (false, true) => " No Redis is pinned, and its processor time is not counted.",
        (true, true) => " Neither MinIO nor any Redis is pinned, and their processor time is not counted.",
    };
    format!(
        "Every server {storage}, {} rounds that alternate between them, {} s for each measurement of reads, \
         on one machine in one run. {pinned} A client throws bodies away in its kernel and does not look at \
         them.{cache}{beside} The figures are ratios and say nothing of other machines.",
        arguments.rounds, arguments.seconds
    )
}
