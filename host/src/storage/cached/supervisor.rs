//! What keeps a connection: it learns the secret of the store, connects, listens, pays debts, and begins anew.
//!
//! The secret is looked at again before each connection and once a minute: a storage without conditional writes can end up
//! with another one than a server has read, and then replicas would not tell each other of changes.
//!
//! One warning when the Redis is lost, one line when it is back. Pauses between trials double from 100 ms to 10 s and
//! are drawn by lot, so that replicas do not come back together.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use docker_registry_driver_api::{CallContext, Capability, Condition, ObjectPath, Result};
use redis::{PushInfo, PushKind, Value};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::{
    Shared,
    connect::{Connector, Listener, Made},
    sealed::{Seal, random},
    server::Live,
};
use crate::pauses;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A connection that lived so long makes the next pause short again.
const STEADY: Duration = Duration::from_secs(10);
/// How often a connection is asked whether it answers.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// After it has written the secret, a process waits so long before it reads which one is there, so that two that
/// start together and whose storage has no conditional writes agree.
const SETTLING: Duration = Duration::from_secs(2);
/// How often a server looks whether the secret is still the one that it has read.
const SECRET_CHECK: Duration = Duration::from_secs(60);
/// How long that may take.
const LOOK: Duration = Duration::from_secs(5);
/// The smallest secret that is one, in bytes.
const LEAST_SECRET: usize = 16;
/// The largest secret, in bytes.
const MOST_SECRET: u64 = 256;

/// Runs until it is aborted.
pub(super) async fn run(shared: Arc<Shared>, connector: Connector, secret: ObjectPath, configured: Vec<u8>) {
    let mut known = learn(&shared, &secret).await;
    let mut seal = Arc::new(Seal::new(&known, &configured));
    let mut pause = FIRST_PAUSE;
    let (mut was_lost, mut doubted) = (false, None);
    loop {
        let number = shared.server.next_number();
        let listener = listener(&shared, &seal, number);
        let made = connector.connect(&shared.server.scripts, &seal.changing_prefix(), &listener).await;
        let reason = match made {
            Err(reason) => reason,
            Ok(Made { connection, tracks, doubt }) => {
                if doubt != doubted {
                    doubted = doubt;
                    if let Some(doubt) = doubt {
                        tracing::warn!(
                            "the Redis of cache_lru {doubt}: give it a maxmemory and the policy allkeys-lru"
                        );
                    }
                }
                if was_lost {
                    tracing::info!(tracks, "the Redis of cache_lru is back");
                } else {
                    tracing::info!(tracks, "cache_lru: Redis is connected");
                }
                was_lost = false;
                let live = Live { connection, number, seal: Arc::clone(&seal) };
                let began = Instant::now();
                // Before anybody asks it: it may have gone back to what it was before our last writes.
                shared.barred.doubt();
                shared.server.publish(live.clone(), tracks);
                watch(&shared, &live, (&secret, &known)).await;
                if began.elapsed() >= STEADY {
                    pause = FIRST_PAUSE;
                }
                shared.server.reason()
            }
        };
        if !was_lost {
            was_lost = true;
            tracing::warn!(reason, "the Redis of cache_lru is away: the storage answers until it is back");
        }
        sleep(pauses::drawn(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        if let Some(other) = another(&shared, &secret, &known).await {
            tracing::warn!(
                "cache_lru has another secret in the storage than before: it begins with an empty cache"
            );
            seal = Arc::new(Seal::new(&other, &configured));
            known = other;
        }
    }
}

/// The secret of the store, if it is not the known one. A storage that does not answer has the known one.
async fn another(shared: &Shared, path: &ObjectPath, known: &[u8]) -> Option<Vec<u8>> {
    let secret = timeout(LOOK, read(shared, path)).await.ok()?.ok()??;
    (secret != known).then_some(secret)
}

/// Returns when the connection is lost, or when the store has another secret.
async fn watch(shared: &Arc<Shared>, live: &Live, (secret, known): (&ObjectPath, &[u8])) {
    let mut looked = Instant::now();
    loop {
        if looked.elapsed() >= SECRET_CHECK {
            looked = Instant::now();
            if another(shared, secret, known).await.is_some() {
                shared.server.withdraw(live.number, "the store has another secret");
            }
        }
        pay(shared, live).await;
        if timeout(HEARTBEAT, shared.server.lost.notified()).await.is_ok() || !is_current(shared, live) {
            if is_current(shared, live) {
                // A notice of an earlier connection.
                continue;
            }
            return;
        }
        shared.server.ping(live).await;
    }
}

fn is_current(shared: &Shared, live: &Live) -> bool {
    shared.server.connection().is_some_and(|current| current.number == live.number)
}

/// Tells Redis of the writes that it was not told of. Each debt gets a tombstone for the rest of its time.
async fn pay(shared: &Arc<Shared>, live: &Live) {
    for (target, rest) in shared.barred.debts() {
        let Some(id) = tombstone_id() else { return };
        // From before it is sent, so that the tombstone lasts at least as long.
        let until = Instant::now() + rest;
        if !shared.server.bury(live, &shared.name_of(live, &target), &id, rest).await {
            return;
        }
        shared.barred.paid(&target, until);
    }
}

/// The id of a tombstone.
pub(super) fn tombstone_id() -> Option<String> {
    Some(random()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is done with what Redis says unasked.
fn listener(shared: &Arc<Shared>, seal: &Arc<Seal>, number: u64) -> Listener {
    let (shared, seal): (Weak<Shared>, _) = (Arc::downgrade(shared), Arc::clone(seal));
    Arc::new(move |info: PushInfo| {
        let Some(shared) = shared.upgrade() else { return };
        match info.kind {
            PushKind::Disconnection => shared.server.withdraw(number, "the connection was closed"),
            PushKind::Invalidate => match info.data.into_iter().next() {
                Some(Value::Array(names)) => {
                    for name in names {
                        let Value::BulkString(name) = name else { continue };
                        let target = std::str::from_utf8(&name).ok().and_then(|name| seal.path_of(name));
                        if let Some(target) = target {
                            shared.heard(&target);
                        }
                    }
                }
                // The whole database was emptied.
                _ => {
                    shared.server.new_generation();
                    shared.flights.overtake_all();
                }
            },
            _ => {}
        }
    })
}

/// The secret of the store; made by the first process that looks for it. Asks until the storage answers.
async fn learn(shared: &Shared, path: &ObjectPath) -> Vec<u8> {
    let mut pause = FIRST_PAUSE;
    let mut said = false;
    loop {
        match read_or_write(shared, path).await {
            Ok(Some(secret)) => return secret,
            Ok(None) => {}
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(%error, "cache_lru waits for its secret, which lies in the storage");
                }
            }
        }
        sleep(pauses::drawn(pause)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What lies there, `None` for what is too short to be a secret.
async fn read(shared: &Shared, path: &ObjectPath) -> Result<Option<Vec<u8>>> {
    let object = shared.storage.get(&CallContext::default(), path, MOST_SECRET).await?;
    Ok((object.content.len() >= LEAST_SECRET).then(|| object.content.to_vec()))
}

async fn read_or_write(shared: &Shared, path: &ObjectPath) -> Result<Option<Vec<u8>>> {
    let mut conditional = shared.storage.capabilities().has(Capability::PutIfAbsent);
    match read(shared, path).await {
        Ok(Some(secret)) => return Ok(Some(secret)),
        // What a power cut can leave in some stores.
        Ok(None) => conditional = false,
        Err(error) if error.is_not_found() => {}
        Err(error) => return Err(error),
    }
    let condition = if conditional { Condition::IfAbsent } else { Condition::Always };
    let secret = Uuid::new_v4().to_string().into();
    let written = shared.storage.put(&CallContext::default(), path, secret, &condition).await;
    if !conditional {
        written?;
        sleep(SETTLING).await;
    }
    // Whatever came of it, what is there now counts.
    read(shared, path).await
}
