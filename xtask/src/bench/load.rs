//! The load itself: threads that send requests on kept-alive connections, and what that cost the server.

use std::io;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use docker_registry_tests::http::Connection;
use docker_registry_tests::process::Process;

use super::contestants::Contestant;

/// Bodies from here on are not read to their end when the time is over: what has come by then counts as a part.
const LARGE: u64 = 1 << 20;

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// Requests, or whole pushes, or whole images; a part of a large body as a fraction.
    pub(super) requests: f64,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// Processor time of the server, user and system, all threads.
    pub(super) processor: Duration,
    /// Most memory the server used meanwhile, in bytes.
    pub(super) peak_memory: u64,
}

/// One prepared request and the answer it must get.
pub(super) struct Exchange {
    text: Vec<u8>,
    /// Bytes of the answer's body; `None` when it may be any number.
    body: Option<u64>,
}

impl Exchange {
    /// A request without a body. Its answer is 200 with `body` bytes.
    pub(super) fn new(
        contestant: &Contestant,
        method: &str,
        target: &str,
        headers: &str,
        body: Option<u64>,
    ) -> Exchange {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", contestant.address());
        Exchange { text: text.into_bytes(), body }
    }

    /// Sends it and reads the whole answer.
    pub(super) fn send(&self, connection: &mut Connection) -> Result<()> {
        self.judge(connection.exchange(&self.text)?)
    }

    /// Sends it and reads the answer until the time is over. Returns the part that came: 1 for the whole.
    fn send_until(&self, connection: &mut Connection, end: Instant) -> Result<f64> {
        let Some(size) = self.body.filter(|size| *size >= LARGE) else {
            self.send(connection)?;
            return Ok(1.0);
        };
        let (status, received) = connection.exchange_until(&self.text, end)?;
        if received < size && Instant::now() >= end {
            return Ok(received as f64 / size as f64);
        }
        self.judge((status, received))?;
        Ok(1.0)
    }

    fn judge(&self, (status, received): (u16, u64)) -> Result<()> {
        if status != 200 || self.body.is_some_and(|size| size != received) {
            bail!("{status} and {received} bytes for {:?}", String::from_utf8_lossy(&self.text));
        }
        Ok(())
    }
}

/// Sends a request over and over on so many connections until the time is over.
pub(super) fn repeat(
    contestant: &Contestant,
    exchange: &Exchange,
    connections: u32,
    time: Duration,
) -> Result<Measurement> {
    let mut opened = open(contestant, connections)?;
    // The first answers on a connection are not counted: they open it and fill caches.
    if exchange.body.is_none_or(|size| size < LARGE) {
        for connection in &mut opened {
            exchange.send(connection)?;
        }
    }
    measure(contestant.process(), |start| {
        in_parallel(opened, |mut connection| {
            let (mut count, end) = (0.0, start + time);
            while Instant::now() < end {
                count += exchange.send_until(&mut connection, end)?;
            }
            Ok(count)
        })
    })
}

/// Sends requests one after the other, over and over, on so many connections until the time is over. Counts rounds.
pub(super) fn repeat_sequence(
    contestant: &Contestant,
    steps: &[Exchange],
    connections: u32,
    time: Duration,
) -> Result<Measurement> {
    let mut opened = open(contestant, connections)?;
    let all = |connection: &mut Connection| steps.iter().try_for_each(|step| step.send(connection));
    all(&mut opened[0])?;
    measure(contestant.process(), |start| {
        in_parallel(opened, |mut connection| {
            let mut count = 0.0;
            while start.elapsed() < time {
                all(&mut connection)?;
                count += 1.0;
            }
            Ok(count)
        })
    })
}

/// Does each of `jobs` once, on so many connections.
pub(super) fn once_each<J: Sync>(
    contestant: &Contestant,
    jobs: &[J],
    connections: u32,
    job: impl Fn(&mut Connection, &J) -> io::Result<()> + Sync,
) -> Result<Measurement> {
    let opened = open(contestant, connections)?;
    let next = AtomicU64::new(0);
    measure(contestant.process(), |_| {
        in_parallel(opened, |mut connection| {
            let mut count = 0.0;
            while let Some(todo) = jobs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                job(&mut connection, todo)?;
                count += 1.0;
            }
            Ok(count)
        })
    })
}

/// Pulls a body once over TLS, with curl, which throws it away.
pub(super) fn pull_over_tls(contestant: &Contestant, target: &str) -> Result<Measurement> {
    let url = format!("https://{}{target}", contestant.secure_address());
    measure(contestant.secure_process(), |_| {
        // Nobody vouches for a certificate of the benchmark's own.
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--fail", "--insecure", "--output", "/dev/null", &url]);
        ensure!(command.status()?.success(), "{} gave nothing over TLS", contestant.name);
        Ok(1.0)
    })
}

fn open(contestant: &Contestant, connections: u32) -> Result<Vec<Connection>> {
    let client = contestant.client();
    let connect = |_| client.connect().with_context(|| format!("no connection to {}", contestant.name));
    (0..connections).map(connect).collect()
}

/// Runs `work`, which returns how much it did, and reads what it cost.
fn measure(process: &Process, work: impl FnOnce(Instant) -> Result<f64>) -> Result<Measurement> {
    process.forget_peak();
    let (processor, start) = (process.cpu_time(), Instant::now());
    let requests = work(start)?;
    let elapsed = start.elapsed();
    let processor = process.cpu_time() - processor;
    Ok(Measurement { requests, elapsed, processor, peak_memory: process.peak_memory() })
}

/// One thread per connection; the sum of what they return.
fn in_parallel(connections: Vec<Connection>, work: impl Fn(Connection) -> Result<f64> + Sync) -> Result<f64> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            connections.into_iter().map(|connection| scope.spawn(move || work(connection))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the load does not panic")).sum()
    })
}
