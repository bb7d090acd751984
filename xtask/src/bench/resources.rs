//! What a server costs beside speed: its start, its memory at rest, with many connections and with large bodies under way.
//!
//! Each figure comes from processes of its own. The bars are this project's; distribution stands beside them where it can
//! be measured alike.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use docker_registry_tests::content::Content;
use docker_registry_tests::http::{Connection, Length};
use docker_registry_tests::server::{Chosen, Launch, Place, Product, Server};
use docker_registry_tests::v2::OCTETS;

use super::fixture::{GIBIBYTE, MEBIBYTE, REPOSITORY, push};
use super::limits::Limit;
use crate::workspace::Workspace;

/// Starts that are timed.
const STARTS: usize = 11;
/// How long a server is left alone before its memory at rest is read.
const REST: Duration = Duration::from_secs(3);
/// Idle connections.
const IDLE: usize = 10_000;
/// Connections beyond the limit.
const BEYOND: usize = 1_000;
/// Pulls, and pushes, under way at the same time.
const BODIES: usize = 64;
/// How much of each body is pushed before all of them are given up, so that the disk does not fill up. The table says so.
const PUSHED: u64 = 128 * MEBIBYTE;
const SEED: u64 = 77;

/// One line of the table: what it is, ours, the peer's, the bar.
struct Line {
    what: &'static str,
    ours: String,
    peer: String,
    bar: &'static str,
    holds: bool,
}

/// Measures, and returns a table in Markdown and how many bars are missed.
pub(super) fn measure(workspace: &Workspace) -> Result<(String, usize)> {
    let mut lines = vec![start(workspace)?];
    let both = || -> Result<_> {
        Ok((launch(workspace, Product::Ours)?, launch(workspace, Product::Distribution)?))
    };
    // Each load on servers of its own: what one has needed, an allocator keeps.
    let (ours, peer) = both()?;
    lines.push(at_rest(&ours, &peer));
    lines.extend(connections(&ours, &peer)?);
    let (ours, peer) = both()?;
    lines.extend(bodies(&ours, &peer)?);

    let mut table = "|  | this server | distribution 2.8 | bar |\n|---|---|---|---|\n".to_owned();
    for line in &lines {
        let missed = if line.holds { "" } else { " **missed**" };
        writeln!(table, "| {} | {}{missed} | {} | {} |", line.what, line.ours, line.peer, line.bar)?;
    }
    Ok((table, lines.iter().filter(|line| !line.holds).count()))
}

/// A server on an empty folder that takes as many connections as are measured.
fn launch(workspace: &Workspace, product: Product) -> Result<Server> {
    let (place, artifacts) = (Place::new(), workspace.artifacts(true));
    let configuration = place.file("config.yml");
    fs::write(
        &configuration,
        format!(
            "dev:\n  storage: local\n  storage_path: {}\n  standalone: true\n  limits:\n    max_connections: {IDLE}\n",
            place.storage().display()
        ),
    )?;
    let chosen = Some(Chosen { configuration, flavor: "dev".to_owned(), drivers: artifacts.clone() });
    Ok(Server::launch(Launch { chosen, ..Launch::silent(product, artifacts) }, place))
}

/// From the start of the process to the first connection that it takes.
fn start(workspace: &Workspace) -> Result<Line> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let (launch, place) = (Launch::silent(Product::Ours, workspace.artifacts(true)), Place::new());
        let began = Instant::now();
        let server = Limit::begin(&launch, place);
        while TcpStream::connect(server.address()).is_err() {
            ensure!(began.elapsed() < Duration::from_secs(30), "the server does not start");
            thread::sleep(Duration::from_micros(200));
        }
        times.push(began.elapsed());
    }
    times.sort();
    let median = times[STARTS / 2];
    Ok(Line {
        what: "listening after the start (median)",
        ours: format!("{:.0} ms", median.as_secs_f64() * 1e3),
        peer: "-".to_owned(),
        bar: "50 ms",
        holds: median <= Duration::from_millis(50),
    })
}

fn at_rest(ours: &Server, peer: &Server) -> Line {
    thread::sleep(REST);
    let bytes = ours.process().resident_memory();
    Line {
        what: "memory at rest",
        ours: mebibytes(bytes),
        peer: mebibytes(peer.process().resident_memory()),
        bar: "24 MiB",
        holds: bytes <= 24 * MEBIBYTE,
    }
}

/// Kept-alive connections that do nothing, and what becomes of those beyond the limit.
fn connections(ours: &Server, peer: &Server) -> Result<[Line; 2]> {
    let mut costs = Vec::new();
    let mut refused = 0;
    for server in [ours, peer] {
        let before = server.process().resident_memory();
        let mut open = Vec::with_capacity(IDLE);
        while open.len() < IDLE {
            let mut connection = server.client().connect()?;
            connection.send("GET", "/v2/", &[], b"")?.expect(200);
            open.push(connection);
        }
        costs.push(server.process().resident_memory().saturating_sub(before));
        if server.product() == Product::Ours {
            refused = beyond(server)?;
            // Those that are in are served on.
            for connection in open.iter_mut().step_by(IDLE / 100) {
                connection.send("GET", "/v2/", &[], b"")?.expect(200);
            }
        }
    }
    Ok([
        Line {
            what: "10,000 idle connections",
            ours: mebibytes(costs[0]),
            peer: mebibytes(costs[1]),
            bar: "200 MiB",
            holds: costs[0] <= 200 * MEBIBYTE,
        },
        Line {
            what: "of 1,000 more, refused with 503",
            ours: refused.to_string(),
            peer: "has no limit".to_owned(),
            bar: "1,000",
            holds: refused == BEYOND,
        },
    ])
}

/// How many of those beyond the limit get an answer that says so.
fn beyond(server: &Server) -> Result<usize> {
    let mut refused = 0;
    for _ in 0..BEYOND {
        let mut connection = server.client().connect()?;
        let answer = connection.send("GET", "/v2/", &[], b"");
        refused += usize::from(answer.is_ok_and(|answer| answer.status == 503));
    }
    Ok(refused)
}

/// The most memory with large bodies under way.
fn bodies(ours: &Server, peer: &Server) -> Result<[Line; 2]> {
    let digest = Content::digest(SEED, GIBIBYTE);
    let (mut pulls, mut pushes) = (Vec::new(), Vec::new());
    for server in [ours, peer] {
        push(&mut server.client().connect()?, SEED, GIBIBYTE, &digest)?;
        server.process().forget_peak();
        at_once(server, |connection, _| {
            let request = format!(
                "GET /v2/{REPOSITORY}/blobs/{digest} HTTP/1.1\r\nHost: {}\r\n\r\n",
                server.registry()
            );
            match connection.exchange(request.as_bytes())? {
                (200, GIBIBYTE) => Ok(()),
                (status, received) => Err(io::Error::other(format!("{status} and {received} bytes"))),
            }
        })?;
        pulls.push(server.process().peak_memory());
        server.process().forget_peak();
        at_once(server, |connection, number| {
            let target = format!("/v2/{REPOSITORY}/blobs/uploads/");
            let location = connection.send("POST", &target, &[], b"")?.expect(202).location();
            connection.begin("PATCH", &location, &[OCTETS], Length::Known(GIBIBYTE))?;
            let mut content = Content::new(SEED + 1 + number as u64, PUSHED);
            loop {
                let piece = content.piece();
                if piece.is_empty() {
                    return Ok(());
                }
                connection.write(piece)?;
            }
        })?;
        pushes.push(server.process().peak_memory());
    }
    let line = |what, figures: &[u64]| Line {
        what,
        ours: mebibytes(figures[0]),
        peer: mebibytes(figures[1]),
        bar: "96 MiB",
        holds: figures[0] <= 96 * MEBIBYTE,
    };
    Ok([
        line("most memory, 64 pulls of 1 GiB at once", &pulls),
        line("most memory, 64 pushes of 1 GiB at once, with 128 MiB of each sent", &pushes),
    ])
}

/// Does the same on many connections at once, and keeps all of them open until the last is ready.
fn at_once(server: &Server, work: impl Fn(&mut Connection, usize) -> io::Result<()> + Sync) -> Result<()> {
    let mut connections = Vec::new();
    for _ in 0..BODIES {
        connections.push(server.client().connect()?);
    }
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = connections
            .iter_mut()
            .enumerate()
            .map(|(number, connection)| scope.spawn(move || work(connection, number)))
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => bail!("a load has died"),
            }
        }
        Ok(())
    })
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MEBIBYTE as f64)
}
