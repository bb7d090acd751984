//! The load itself: threads that send requests on kept-alive connections, and what that cost the server.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use docker_registry_tests::http::Connection;
use docker_registry_tests::server::Server;

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// Requests, or whole pushes.
    pub(super) requests: u64,
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// Processor time of the server, user and system, all threads.
    pub(super) processor: Duration,
    /// Most memory the server used meanwhile, in bytes.
    pub(super) peak_memory: u64,
}

/// One prepared request and the answer it must get.
pub(super) struct Request {
    text: Vec<u8>,
    body: u64,
}

impl Request {
    /// A request without a body. Its answer is 200 with `body` bytes.
    pub(super) fn new(server: &Server, method: &str, target: &str, headers: &str, body: u64) -> Request {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", server.registry());
        Request { text: text.into_bytes(), body }
    }

    fn send(&self, connection: &mut Connection) -> Result<()> {
        let (status, body) = connection.exchange(&self.text)?;
        if (status, body) != (200, self.body) {
            bail!("{status} and {body} bytes for {:?}", String::from_utf8_lossy(&self.text));
        }
        Ok(())
    }
}

/// Sends a request over and over on so many connections until the time is over.
pub(super) fn repeat(
    server: &Server,
    request: &Request,
    connections: u32,
    time: Duration,
) -> Result<Measurement> {
    // The first answers on a connection are not counted: they open it and fill caches.
    let mut opened: Vec<Connection> = (0..connections).map(|_| connect(server)).collect::<Result<_>>()?;
    for connection in &mut opened {
        request.send(connection)?;
    }
    measure(server, |start| {
        in_parallel(opened, |mut connection| {
            let mut count = 0;
            while start.elapsed() < time {
                request.send(&mut connection)?;
                count += 1;
            }
            Ok(count)
        })
    })
}

/// Does each of `jobs` once, on so many connections.
pub(super) fn once_each<J: Sync>(
    server: &Server,
    jobs: &[J],
    connections: u32,
    job: impl Fn(&mut Connection, &J) -> io::Result<()> + Sync,
) -> Result<Measurement> {
    let opened: Vec<Connection> = (0..connections).map(|_| connect(server)).collect::<Result<_>>()?;
    let next = AtomicU64::new(0);
    measure(server, |_| {
        in_parallel(opened, |mut connection| {
            let mut count = 0;
            while let Some(todo) = jobs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                job(&mut connection, todo)?;
                count += 1;
            }
            Ok(count)
        })
    })
}

fn connect(server: &Server) -> Result<Connection> {
    server.client().connect().with_context(|| format!("no connection to {}", server.registry()))
}

/// Runs `work`, which returns how much it did, and reads what it cost.
fn measure(server: &Server, work: impl FnOnce(Instant) -> Result<u64>) -> Result<Measurement> {
    let process = server.process();
    process.forget_peak();
    let (processor, start) = (process.cpu_time(), Instant::now());
    let requests = work(start)?;
    let elapsed = start.elapsed();
    let processor = process.cpu_time() - processor;
    Ok(Measurement { requests, elapsed, processor, peak_memory: process.peak_memory() })
}

/// One thread per connection; the sum of what they return.
fn in_parallel(connections: Vec<Connection>, work: impl Fn(Connection) -> Result<u64> + Sync) -> Result<u64> {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> =
            connections.into_iter().map(|connection| scope.spawn(move || work(connection))).collect();
        threads.into_iter().map(|thread| thread.join().expect("the load does not panic")).sum()
    })
}
