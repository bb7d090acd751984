//! What the probes of an orchestrator are told, found out in the background and not by the probe.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use docker_registry_driver_api::CallContext;

use crate::{storage::Storage, telemetry::names};

/// How often the storage is asked.
pub const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// After how many failures in a row the server is not ready.
pub const CHECK_THRESHOLD: u32 = 3;

/// The state of the server as probes see it. Shared by the server, the checker and the admin listener.
#[derive(Debug, Default)]
pub struct Health {
    started: AtomicBool,
    draining: AtomicBool,
    storage: Mutex<StorageState>,
}

#[derive(Debug, Default)]
struct StorageState {
    failures: u32,
    last_error: Option<String>,
    /// When the last check ended, and how long after that the next one must have ended.
    checked: Option<(Instant, Duration)>,
}

impl Health {
    /// The server accepts requests from now on.
    pub fn set_started(&self) {
        self.started.store(true, Relaxed);
    }

    /// The server stops: not ready any more.
    pub fn set_draining(&self) {
        self.draining.store(true, Relaxed);
    }

    /// Whether the start is over.
    pub fn has_started(&self) -> bool {
        self.started.load(Relaxed)
    }

    /// Whether requests should be sent here.
    ///
    /// # Errors
    /// One sentence that says why not.
    pub fn ready(&self) -> Result<(), String> {
        if !self.has_started() {
            return Err("the server is starting".to_owned());
        }
        if self.draining.load(Relaxed) {
            return Err("the server is stopping".to_owned());
        }
        let storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        if storage.failures >= CHECK_THRESHOLD {
            let reason = storage.last_error.as_deref().unwrap_or("unknown");
            return Err(format!("the storage failed {} checks in a row: {reason}", storage.failures));
        }
        match storage.checked {
            Some((at, next_within)) if at.elapsed() > next_within => {
                Err(format!("the storage check has not ended for {} seconds", at.elapsed().as_secs()))
            }
            _ => Ok(()),
        }
    }

    fn record(&self, result: Result<(), String>, next_within: Duration) {
        let mut storage = self.storage.lock().unwrap_or_else(PoisonError::into_inner);
        storage.checked = Some((Instant::now(), next_within));
        match result {
            Ok(()) => *storage = StorageState { checked: storage.checked, ..StorageState::default() },
            Err(error) => {
                storage.failures = storage.failures.saturating_add(1);
                storage.last_error = Some(error);
            }
        }
        metrics::gauge!(names::STORAGE_HEALTHY).set(if storage.failures < CHECK_THRESHOLD {
            1.0
        } else {
            0.0
        });
    }

    /// Asks the storage again and again, every `interval`. Runs until it is dropped.
    ///
    /// It belongs on the runtime that serves requests: when that one is blocked, the checks stop, and
    /// that alone makes the server not ready.
    pub async fn check_storage(&self, storage: Storage, interval: Duration) {
        loop {
            let call = CallContext { background: true, ..CallContext::with_timeout(interval) };
            let checked = match tokio::time::timeout(interval, storage.health(&call)).await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {} seconds", interval.as_secs_f32())),
            };
            if let Err(error) = &checked {
                tracing::warn!(error, "the storage failed its health check");
            }
            self.record(checked, interval * (CHECK_THRESHOLD + 1));
            tokio::time::sleep(interval).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn ready_after_the_start_and_until_the_drain() {
        let health = Health::default();
        assert_eq!(health.ready().unwrap_err(), "the server is starting");
        health.set_started();
        health.ready().unwrap();
        health.set_draining();
        assert_eq!(health.ready().unwrap_err(), "the server is stopping");
    }

    #[test]
    fn one_failed_check_is_forgiven_and_three_are_not() {
        let health = Health::default();
        health.set_started();
        for _ in 0..2 {
            health.record(Err("refused".to_owned()), LONG);
            health.ready().unwrap();
        }
        health.record(Err("refused".to_owned()), LONG);
        assert_eq!(health.ready().unwrap_err(), "the storage failed 3 checks in a row: refused");
        health.record(Ok(()), LONG);
        health.ready().unwrap();
    }

    #[test]
    fn a_check_that_does_not_end_counts_as_failed() {
        let health = Health::default();
        health.set_started();
        health.record(Ok(()), Duration::ZERO);
        assert!(health.ready().unwrap_err().starts_with("the storage check has not ended"));
    }
}
