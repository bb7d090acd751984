//! The cache in front of small reads: this process first, then Redis, then the storage.
//!
//! # What it promises
//! - A request never fails because of the cache. A read waits for Redis no longer than its patience; a write that begins
//!   while Redis answers waits until Redis knows of it, or for the time of one command.
//! - Content is never served under another path than the one it was read from: see `sealed`.
//! - What a process has acknowledged as written is never answered with what was there before, by that process. Another
//!   process believes what it has for `tag_ttl` at most, counted from the start of the reading that found it, whatever
//!   happens to Redis, to the storage and to either process; while Redis works, not even that: see `writing`.
//! - What is absent is not kept, and neither is content that does not have the digest in its path.
//!
//! # How
//! A writer puts a tombstone into Redis before it writes and lifts it afterwards. A reader that finds nothing in Redis
//! leaves a lease and fills only where that lease still is, so that a reading which a write has overtaken fills nothing.
//! Deleting a folder changes the epoch of its scope, which every entry in it names. What Redis could not be told is a
//! debt (`barred`), and about that this process believes nobody.
//!
//! There are two views. One answers reads from the cache, for what clients ask. The other reads the storage, for what is
//! read in order to decide about a write. The writes of both are the same.

mod barred;
mod connect;
mod driver;
mod flights;
mod memory;
mod reading;
mod redis_error;
mod scripts;
mod sealed;
mod server;
mod supervisor;
mod writing;

use std::{sync::Arc, time::Duration};

use docker_registry_config::{CacheSettings, RedisKind};
use docker_registry_driver_api::{ObjectPath, Prefix};
use metrics::{Counter, counter};
use tokio::task::JoinHandle;

use self::{
    barred::Barred,
    connect::Connector,
    driver::Cached,
    flights::Flights,
    memory::Memory,
    server::{Live, Server},
};
use super::Storage;
use crate::telemetry::names;

/// What a cache may keep of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping<'a> {
    /// Nothing.
    Not,
    /// Its content, which is the same as long as the object exists.
    Unchanging,
    /// Its content for a while.
    Changing {
        /// The folder that it is deleted with; the path begins with it and a `/`.
        scope: Option<&'a str>,
    },
}

/// What lies below a folder, for its deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Below<'a> {
    /// Nothing that is kept.
    Nothing,
    /// Objects of this scope alone.
    Scope(&'a str),
    /// Perhaps anything.
    Everything,
}

/// Says by its path what may be kept of an object. The cache itself knows no path.
pub trait KeepingRules: Send + Sync + 'static {
    /// What may be kept of the object.
    fn keeping<'a>(&self, path: &'a ObjectPath) -> Keeping<'a>;

    /// Whether this can be the content of an object that does not change. Content that cannot is not kept. It is
    /// asked with as many bytes as a cache keeps, and need not hurry.
    fn is_sound(&self, path: &ObjectPath, content: &[u8]) -> bool;

    /// What is deleted with the folder.
    fn below<'a>(&self, folder: &'a Prefix) -> Below<'a>;
}

/// The views of a storage behind a cache. Dropping it ends what runs behind them.
pub struct Cache {
    /// Reads are answered from the cache.
    pub reads: Storage,
    /// Reads are answered by the storage.
    pub storage: Storage,
    supervisor: JoinHandle<()>,
}

impl Cache {
    /// Puts a cache around a storage and begins to connect, within a tokio runtime. `secret` is where the secret of the
    /// store lies, `call_time` what a small call of the storage may take.
    pub fn start(
        storage: Storage,
        settings: &CacheSettings,
        rules: impl KeepingRules,
        secret: ObjectPath,
        call_time: Duration,
    ) -> Self {
        let shared = Arc::new(Shared {
            storage,
            rules: Box::new(rules),
            memory: Memory::new(settings.memory),
            flights: Flights::default(),
            barred: Barred::new(settings.tag_ttl, settings.redis.kind == RedisKind::Cluster),
            server: Server::new(settings.timeout),
            meters: Meters::new(),
            tag_ttl: settings.tag_ttl,
            patience: settings.patience,
            max_value_size: settings.max_value_size,
            call_time,
        });
        let configured = settings.secret_key.as_ref().map(|key| key.as_bytes().to_vec()).unwrap_or_default();
        let connector = Connector::new(settings);
        let supervisor = tokio::spawn(supervisor::run(Arc::clone(&shared), connector, secret, configured));
        Self {
            reads: Arc::new(Cached { shared: Arc::clone(&shared), answers: true }),
            storage: Arc::new(Cached { shared, answers: false }),
            supervisor,
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// What both views share.
struct Shared {
    storage: Storage,
    rules: Box<dyn KeepingRules>,
    memory: Memory,
    flights: Flights,
    barred: Barred,
    server: Server,
    meters: Meters,
    tag_ttl: Duration,
    patience: Duration,
    max_value_size: u64,
    call_time: Duration,
}

impl Shared {
    /// A path or a scope has changed, or is about to: whatever is known of it is old.
    fn changed(&self, target: &str) {
        self.flights.overtake(target);
        self.forget_here(target);
    }

    /// Redis says that a path or a scope has changed.
    fn heard(&self, target: &str) {
        self.flights.outdate(target);
        self.forget_here(target);
    }

    /// A path is forgotten by itself. What is no path of an entry is a scope; their versions are few.
    fn forget_here(&self, target: &str) {
        if self.is_entry(target) {
            self.memory.remove(target);
        } else {
            self.memory.forget_scope(target);
        }
    }

    fn is_entry(&self, target: &str) -> bool {
        let path = ObjectPath::new(target);
        path.is_ok_and(|path| matches!(self.rules.keeping(&path), Keeping::Changing { .. }))
    }

    /// The name in Redis of a path or a scope that is written.
    fn name_of(&self, live: &Live, target: &str) -> String {
        let path = ObjectPath::new(target);
        match path.as_ref().map(|path| self.rules.keeping(path)) {
            Ok(Keeping::Changing { scope }) => live.seal.changing(target, scope),
            _ => live.seal.epoch(target),
        }
    }
}

/// Hits, misses and bytes of both tiers.
struct Meters {
    memory: Tier,
    redis: Tier,
}

struct Tier {
    hits: Counter,
    misses: Counter,
    bytes: Counter,
}

impl Meters {
    fn new() -> Self {
        let tier = |tier: &'static str| Tier {
            hits: counter!(names::CACHE_HITS, "tier" => tier),
            misses: counter!(names::CACHE_MISSES, "tier" => tier),
            bytes: counter!(names::CACHE_BYTES, "tier" => tier),
        };
        Self { memory: tier("memory"), redis: tier("redis") }
    }
}

impl Tier {
    fn hit(&self, bytes: usize) {
        self.hits.increment(1);
        self.bytes.increment(bytes as u64);
    }
}
