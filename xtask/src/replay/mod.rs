//! `cargo xtask replay`: what part of the small reads the cache answers, by its size.
//!
//! The load has the shape of the registry traces of FAST '18 as we remember it, and is made anew from a seed: the traces
//! themselves are not in this tree. It runs against the release server on a folder, with one Redis for each size. Time is not
//! measured, so that what else the machine does changes nothing.

mod images;
mod load;
mod measure;
mod page;
mod plot;
mod shape;

use std::fs;

use anyhow::{Result, ensure};
use docker_registry_tests::server::Place;

use crate::packages;
use crate::workspace::Workspace;
use load::Load;
use measure::{Hits, Work};
use shape::{Catalog, Popularity, Zone};

/// Sizes of the cache in the process, in percent of all small content.
const SIZES: [f64; 8] = [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
/// The part of the requests that is sent before the first that counts, besides.
const WARMING: f64 = 0.5;

/// Options of `cargo xtask replay`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Images in the registry.
    #[arg(long, default_value_t = 4000, value_parser = clap::value_parser!(u32).range(500..=1_000_000))]
    images: u32,
    /// Requests that count on each size of the cache; half as many more come before them.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    requests: u32,
    /// Clients at the same time.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// How many times more the Redis holds than the process.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    redis_times: u32,
    /// What the order of requests follows from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Take the release build that is there, however old it is.
    #[arg(long)]
    no_build: bool,
}

/// What was measured in the shape of one zone.
struct Curve {
    zone: Zone,
    /// The exponent of the Zipf law.
    exponent: f64,
    /// The part of the reads of layers that went to the most read hundredth of them.
    top_of_layers: f64,
    points: Vec<Point>,
}

/// One size of the cache.
struct Point {
    /// In percent of all small content.
    size: f64,
    /// In bytes.
    memory: u64,
    hits: Hits,
}

/// Stores the images, measures every size in the shape of every zone, and writes page and picture.
pub(crate) fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    let shell = workspace.shell()?;
    packages::install_missing(&shell, packages::FOR_REPLAY)?;
    if !arguments.no_build {
        workspace.build_release(&shell)?;
    }
    let catalog = Catalog { images: arguments.images as usize };
    let connections = arguments.connections as usize;
    let redis_times = u64::from(arguments.redis_times);
    let small_bytes = images::small_bytes(catalog);

    eprintln!("xtask: {} images are stored", catalog.images);
    let server = measure::server(workspace, Place::new(), &[]);
    Load { address: server.address(), catalog, connections }.store()?;
    let (status, mut place) = server.stop();
    ensure!(status.success(), "the server ended with {status}");

    let mut curves = Vec::new();
    let mut run = 0;
    for zone in shape::ZONES {
        let popularity = Popularity::fitted(catalog.images, zone.top);
        let requests = f64::from(arguments.requests) * (1.0 + WARMING);
        let visits = shape::visits(catalog, &popularity, requests as usize, arguments.seed);
        let (warming, counted) = visits.split_at((visits.len() as f64 * WARMING / (1.0 + WARMING)) as usize);
        let work = Work { workspace, catalog, connections, redis_times, warming, counted };
        let mut points = Vec::new();
        for size in SIZES {
            let memory = (small_bytes as f64 * size / 100.0) as u64;
            let hits;
            (hits, place) = work.run(place, memory, run)?;
            run += 1;
            eprintln!(
                "xtask: {}, {size} %: {:.1} % in the process, {:.1} % with Redis",
                zone.name,
                100.0 * hits.memory,
                100.0 * hits.both
            );
            points.push(Point { size, memory, hits });
        }
        let top_of_layers = shape::top_of_layers(catalog, counted);
        curves.push(Curve { zone, exponent: popularity.exponent, top_of_layers, points });
    }

    let folder = workspace.file("docs/benchmarks");
    fs::create_dir_all(&folder)?;
    plot::write(&folder.join("replay.svg"), &curves, arguments.redis_times)?;
    let table = page::table(&curves);
    fs::write(folder.join("replay.md"), page::text(&arguments, small_bytes, &curves, &table))?;
    println!("{table}");
    println!("kept in {}", folder.join("replay.md").display());
    Ok(())
}
