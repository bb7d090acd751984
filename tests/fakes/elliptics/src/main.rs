//! A small Elliptics cluster for the tests of the driver `elliptics`, written from the published sources of the servers
//! and apart from the driver. No package of the real servers is to be had.
//!
//! It follows Elliptics 2.26.11.1 (github.com/reverbrain/elliptics, the last version of the line that the original
//! driver talks to) with eblob backends, and can also be told to be a server of 3.0, which differs in its version and
//! has no secondary indexes. The wire format is the same since 2.26.2.0; older servers are not played. With a `--version`
//! in between it leaves out what that one had not (`since` in `cluster.rs`). Each module says which published files its
//! rules come from, and where versions differ.
//!
//! `docker-registry-fake-elliptics FOLDER` starts three nodes in two groups on free ports of the loopback and a control
//! interface for tests (`control.rs`), and says in `FOLDER/ready` how they are reached. Content is in files of the
//! folder; what it knows about it is in memory and gone when the program ends. `tests/servers/elliptics_proof.py` proves
//! it with frames made by another hand.
//!
//! It was compared with servers of 3.0.0.1 that were built from their sources: `elliptics_proof.py` held for them, and
//! 2,500 commands by chance and 576 odd frames got the same answers from both, but for bytes that were never written
//! (real ones are whatever the disk had, here they are zeros) and an append to what is prepared, which spoils the record
//! in a real server. The client of 3.0.0.1 wrote, read, looked up and removed records here. The secondary indexes and
//! the older servers of 2.26 are by the sources alone.
//!
//! What it leaves out: `JOIN` and all that servers say to each other, the monitor, iterators, ranges, notifications,
//! caches, and index collections with a limit. It notes (`/problems`) what a careful client does not send, also where
//! the real servers let it pass: the real client has bytes that it never set in reserved places.

mod call;
mod cluster;
mod connection;
mod content;
mod control;
mod errno;
mod fault;
mod id;
mod index_table;
#[cfg(test)]
mod index_vectors;
mod indexes;
mod io;
mod journal;
mod records;
mod ring;
mod routes;
mod running;
#[cfg(test)]
mod vectors;
mod wire;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::net::TcpListener;

use crate::cluster::{Cluster, Settings};
use crate::control::Control;
use crate::journal::Journal;
use crate::ring::NodePlan;
use crate::running::Running;

/// What the program is told at its start.
#[derive(Debug, Parser)]
#[command(about = "A small Elliptics cluster for tests")]
struct Arguments {
    /// Folder for content, the log and the file `ready`.
    folder: PathBuf,

    /// A node, once for each: its backends with commas between them. A backend is GROUP, GROUP*COUNT for so many ids, or
    /// GROUP@HEX+HEX for these ids, of which only the first digits need be written.
    #[arg(long = "node", default_values = ["1", "2", "1,2"])]
    nodes: Vec<NodePlan>,

    /// The version that the servers have.
    #[arg(long, default_value = "2.26.11.1", value_parser = parse_version)]
    version: Version,

    /// Whether the servers have secondary indexes.
    #[arg(long)]
    indexes: bool,

    /// How many shards an index has.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(i32).range(1..))]
    shards: i32,

    /// What AUTH must say, at most 32 bytes.
    #[arg(long, default_value = "")]
    cookie: String,
}

/// The four numbers of a version.
#[derive(Debug, Clone, Copy)]
struct Version([i32; 4]);

fn parse_version(text: &str) -> Result<Version, String> {
    let numbers: Option<Vec<i32>> = text.split('.').map(|number| number.parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.map(Version).ok_or_else(|| format!("{text} is not four numbers with dots between them"))
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = &arguments.folder;
    let received = folder.join("received");
    std::fs::create_dir_all(&received).context("the folder cannot be made")?;
    let log_file = folder.join("access.log");
    let log = std::fs::File::create(&log_file).context("the log cannot be made")?;
    let mut cookie = [0; 32];
    let text = arguments.cookie.as_bytes();
    cookie.get_mut(..text.len()).context("the cookie has more than 32 bytes")?.copy_from_slice(text);

    let mut listeners = Vec::new();
    let mut addresses = Vec::new();
    for _ in &arguments.nodes {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port is free")?;
        addresses.push(SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port()));
        listeners.push(listener);
    }
    let settings = Settings {
        version: arguments.version.0,
        cookie,
        indexes: arguments.indexes,
        shards: arguments.shards,
    };
    let cluster = Cluster::new(settings, &arguments.nodes, &addresses, folder, Journal::new(log))?;
    let cluster = Arc::new(cluster);
    let running = Running::new(Arc::clone(&cluster), received);
    for (place, listener) in listeners.into_iter().enumerate() {
        running.start_on(place, listener).await;
    }
    let control = control::serve(Arc::new(Control { cluster: Arc::clone(&cluster), running })).await?;

    let mut groups: Vec<_> =
        arguments.nodes.iter().flat_map(|node| node.0.iter().map(|one| one.group)).collect();
    groups.sort_unstable();
    groups.dedup();
    let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
    // As the original driver's configuration has them: host, port, and 2 for IPv4.
    let nodes: Vec<_> = addresses.iter().map(|one| format!("{}:{}:2", one.ip(), one.port())).collect();
    let [major, minor, patch, build] = arguments.version.0;
    let ready = [
        ("nodes", nodes.join(" ")),
        ("groups", groups.join(",")),
        ("control", control),
        ("version", format!("{major}.{minor}.{patch}.{build}")),
        ("indexes", arguments.indexes.to_string()),
        ("cookie", arguments.cookie.clone()),
        ("access_log", log_file.display().to_string()),
    ];
    let text: String = ready.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    std::fs::write(folder.join("ready.tmp"), text)?;
    std::fs::rename(folder.join("ready.tmp"), folder.join("ready"))?;
    // Whoever started it ends it.
    std::future::pending().await
}
