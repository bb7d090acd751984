//! One run: a server with a cache of one size, a Redis of its own behind it, and what the server's counters say.

use anyhow::{Context, Result, ensure};
use docker_registry_tests::process::{PATIENCE, wait_for};
use docker_registry_tests::redis::Redis;
use docker_registry_tests::server::{Launch, Place, Product, Server};

use super::load::Load;
use super::shape::{Catalog, Visit};
use crate::workspace::Workspace;

/// What a Redis may take while the cache connects to it, before its room is set.
const AT_FIRST: &str = "64mb";
/// What holds for every run. Time is not what is measured: no entry ends for its age, and no read gives up on a Redis that
/// shares few processors with server and load.
const TIMES: [(&str, &str); 3] =
    [("CACHE_LRU_TAG_TTL", "1h"), ("CACHE_LRU_PATIENCE", "1s"), ("CACHE_LRU_TIMEOUT", "10s")];

/// The parts of the small reads that were answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hits {
    /// By the memory of the process.
    pub(super) memory: f64,
    /// By it or by Redis.
    pub(super) both: f64,
    /// Small reads that were counted.
    pub(super) reads: f64,
}

/// Starts our server on this storage; requests are not logged.
pub(super) fn server(workspace: &Workspace, place: Place, cache: &[(&str, String)]) -> Server {
    let mut environment: Vec<(String, String)> =
        cache.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    environment.push(("GUNICORN_ACCESS_LOG_FILE".to_owned(), "/dev/null".to_owned()));
    let launch = Launch {
        // Only so has it an admin listener, which tells what the cache did.
        verbose: true,
        environment,
        ..Launch::silent(Product::Ours, workspace.artifacts(true))
    };
    Server::launch(launch, place)
}

/// What is measured on every size of the cache.
pub(super) struct Work<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) catalog: Catalog,
    pub(super) connections: usize,
    /// How many times more the Redis holds than the process.
    pub(super) redis_times: u64,
    /// Visits before the first that counts, and those that count.
    pub(super) warming: &'a [Visit],
    pub(super) counted: &'a [Visit],
}

impl Work<'_> {
    /// Runs it with so many bytes in the process. Gives the storage back.
    pub(super) fn run(&self, place: Place, memory: u64, run: u64) -> Result<(Hits, Place)> {
        let redis = Redis::start_with(&["--maxmemory", AT_FIRST, "--maxmemory-policy", "allkeys-lru"]);
        let mut cache: Vec<(&str, String)> =
            TIMES.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        cache.push(("CACHE_LRU_REDIS_URL", redis.url()));
        cache.push(("CACHE_LRU_MEMORY", memory.to_string()));
        let server = server(self.workspace, place, &cache);
        let load = Load { address: server.address(), catalog: self.catalog, connections: self.connections };
        // An empty Redis takes memory, and so do the server's connections and scripts: that is no room for entries.
        wait_for("the cache is connected to its redis", PATIENCE, || {
            let asked = load.replay(&[Visit::Check { image: 0, head: true }], run);
            (asked.is_err() || redis.ask(&["DBSIZE"]) != "0").then_some(asked)
        })?;
        let room = used(&redis)? + memory * self.redis_times;
        let set = redis.ask(&["CONFIG", "SET", "maxmemory", &room.to_string()]);
        ensure!(set == "OK", "redis does not take its maxmemory: {set}");

        load.pull_all()?;
        load.replay(self.warming, run)?;
        let before = Counters::read(&server)?;
        load.replay(self.counted, run)?;
        let hits = Counters::read(&server)?.since(&before)?;
        Ok((hits, server.stop().1))
    }
}

fn used(redis: &Redis) -> Result<u64> {
    let memory = redis.ask(&["INFO", "memory"]);
    let used = memory.lines().find_map(|line| line.trim().strip_prefix("used_memory:")?.parse().ok());
    used.context("redis does not say what it uses")
}

/// The server's counters of its cache, by tier.
struct Counters {
    memory_hits: f64,
    memory_misses: f64,
    redis_hits: f64,
    errors: f64,
}

impl Counters {
    fn read(server: &Server) -> Result<Counters> {
        let text = server.admin().get("/metrics").expect(200).text();
        let value = |name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
            found.with_context(|| format!("the server does not count {name}"))
        };
        let errors = text.lines().filter(|line| line.starts_with("registry_cache_errors_total{"));
        let errors = errors.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum();
        Ok(Counters {
            memory_hits: value("registry_cache_hits_total{tier=\"memory\"}")?,
            memory_misses: value("registry_cache_misses_total{tier=\"memory\"}")?,
            redis_hits: value("registry_cache_hits_total{tier=\"redis\"}")?,
            errors,
        })
    }

    fn since(&self, before: &Counters) -> Result<Hits> {
        // Reads that Redis left unanswered would look like a cache that is too small.
        ensure!(self.errors == before.errors, "redis failed {} times", self.errors - before.errors);
        let memory = self.memory_hits - before.memory_hits;
        let reads = memory + self.memory_misses - before.memory_misses;
        let both = memory + self.redis_hits - before.redis_hits;
        Ok(Hits { memory: memory / reads, both: both / reads, reads })
    }
}
