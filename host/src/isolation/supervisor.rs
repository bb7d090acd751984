//! Keeps a driver's process running: notices its end and starts the next one.
//!
//! Guarantees: one line and one count for each end; pauses between starts that double from 100 ms to 30 s,
//! are spread so that many servers do not start at once, and begin anew after a quiet minute; a start that
//! finds another file than the first did says so; when the driver is closed or dropped, the process is ended
//! and reaped and none follows.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::Capabilities;
use metrics::counter;
use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::{Launch, connection::Connection, messages::Loaded, process::DriverProcess};
use crate::{pauses, plugin::PluginError, telemetry::names};

/// The first pause between an end and the next start.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long a process must have run for the pauses to begin anew.
const QUIET: Duration = Duration::from_secs(60);
/// A longer pause is not waited for by calls.
const WORTH_WAITING: Duration = Duration::from_secs(5);
/// How long a call waits for a process, its start included.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Where the process stands.
#[derive(Clone)]
enum State {
    Running {
        connection: Arc<Connection>,
        generation: u64,
        coming: Coming,
    },
    /// The next start is at `next`; `hopeful` when calls may wait for it.
    Pausing {
        next: Instant,
        hopeful: bool,
    },
    Closed,
}

/// The pause that follows when a process ends.
#[derive(Clone, Copy)]
struct Coming {
    started: Instant,
    pause: Duration,
}

impl Coming {
    fn after(failures: u32) -> Self {
        Self { started: Instant::now(), pause: pause_after(failures) }
    }

    fn was_quiet(&self) -> bool {
        self.started.elapsed() >= QUIET
    }

    fn pause(&self) -> Duration {
        if self.was_quiet() { FIRST_PAUSE } else { self.pause }
    }
}

/// There is no process to make a call in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Absent {
    /// There will probably be one after this time.
    Until(Duration),
    /// The driver was closed.
    Closed,
}

/// A handle to the process that there is at the moment. Dropping it ends the process.
pub(super) struct Supervisor {
    state: watch::Receiver<State>,
    close: mpsc::Sender<Close>,
}

struct Close {
    grace: Duration,
    done: oneshot::Sender<()>,
}

impl Supervisor {
    /// Starts the first process and opens the driver in it.
    pub(super) async fn start(
        launch: Launch,
        settings: Map<String, Value>,
    ) -> Result<(Self, Capabilities), PluginError> {
        let (process, capabilities, first) = start(&launch, &settings).await?;
        let connection = Arc::clone(process.connection());
        let (say, state) =
            watch::channel(State::Running { connection, generation: 0, coming: Coming::after(0) });
        let (close, closing) = mpsc::channel(1);
        let supervision = Supervision { launch, settings, first, capabilities, say, generation: 0 };
        tokio::spawn(supervision.run(process, closing));
        Ok((Self { state, close }, capabilities))
    }

    /// The connection to the present process and the number of that process; to a later process than the one
    /// with the number `dead`, when that is given. The first start after an end is waited for, if it comes
    /// soon.
    pub(super) async fn connection(&self, dead: Option<u64>) -> Result<(Arc<Connection>, u64), Absent> {
        let fits = |generation: u64| dead.is_none_or(|dead| generation > dead);
        if let State::Running { connection, generation, .. } = &*self.state.borrow()
            && fits(*generation)
        {
            return Ok((Arc::clone(connection), *generation));
        }
        let mut state = self.state.clone();
        let waiting = state.wait_for(|state| match state {
            State::Running { generation, .. } => fits(*generation),
            State::Pausing { hopeful, .. } => !hopeful,
            State::Closed => true,
        });
        match timeout(LONGEST_WAIT, waiting).await {
            Ok(Ok(state)) => present(&state),
            Ok(Err(_)) => Err(Absent::Closed),
            Err(_) => Err(Absent::Until(self.retry_after())),
        }
    }

    /// How long to wait before the next call, by what is known now. Calls whose process has just died ask before
    /// its end is published.
    pub(super) fn retry_after(&self) -> Duration {
        match &*self.state.borrow() {
            State::Running { coming, .. } => coming.pause(),
            State::Pausing { next, .. } => next.saturating_duration_since(Instant::now()),
            State::Closed => FIRST_PAUSE,
        }
    }

    /// Closes the driver and ends the process.
    pub(super) async fn close(&self, grace: Duration) {
        let (done, closed) = oneshot::channel();
        if self.close.send(Close { grace, done }).await.is_ok() {
            let _ = closed.await;
        }
    }
}

fn present(state: &State) -> Result<(Arc<Connection>, u64), Absent> {
    match state {
        State::Running { connection, generation, .. } => Ok((Arc::clone(connection), *generation)),
        State::Pausing { next, .. } => Err(Absent::Until(next.saturating_duration_since(Instant::now()))),
        State::Closed => Err(Absent::Closed),
    }
}

async fn start(
    launch: &Launch,
    settings: &Map<String, Value>,
) -> Result<(DriverProcess, Capabilities, Loaded), PluginError> {
    let (mut process, loaded) = DriverProcess::start(launch).await?;
    let capabilities = process.open(settings).await?;
    tracing::info!(driver = loaded.name, process = process.id(), "the driver runs in a process of its own");
    Ok((process, capabilities, loaded))
}

/// The task that watches.
struct Supervision {
    launch: Launch,
    settings: Map<String, Value>,
    /// What was loaded by the first process.
    first: Loaded,
    capabilities: Capabilities,
    say: watch::Sender<State>,
    generation: u64,
}

impl Supervision {
    async fn run(mut self, mut process: DriverProcess, mut closing: mpsc::Receiver<Close>) {
        let mut failures = 0;
        loop {
            let id = process.id();
            let what = tokio::select! {
                what = process.ended() => what,
                close = closing.recv() => return self.end(Some(process), close).await,
            };
            drop(process);
            if matches!(&*self.say.borrow(), State::Running { coming, .. } if coming.was_quiet()) {
                failures = 0;
            }
            tracing::error!(
                driver = self.first.name,
                process = id,
                "the driver's process {what}; it is started again"
            );
            process = tokio::select! {
                process = self.start_again(&mut failures) => process,
                close = closing.recv() => return self.end(None, close).await,
            };
        }
    }

    /// Starts processes until one stays long enough to open the driver.
    async fn start_again(&mut self, failures: &mut u32) -> DriverProcess {
        loop {
            let pause = match &*self.say.borrow() {
                State::Running { coming, .. } => coming.pause(),
                _ => pause_after(*failures),
            };
            // The first start after an end is worth waiting for; one after a failed start is not.
            let hopeful = pause <= WORTH_WAITING && !matches!(*self.say.borrow(), State::Pausing { .. });
            self.say.send_replace(State::Pausing { next: Instant::now() + pause, hopeful });
            *failures = failures.saturating_add(1);
            sleep(pause).await;
            counter!(names::DRIVER_RESTARTS, "driver" => self.first.name.clone()).increment(1);
            match start(&self.launch, &self.settings).await {
                Ok((process, capabilities, loaded)) => {
                    self.compare(&loaded);
                    if capabilities != self.capabilities {
                        tracing::warn!(
                            driver = self.first.name,
                            before = ?self.capabilities,
                            now = ?capabilities,
                            "the driver has other capabilities than before; restart the server to use them"
                        );
                    }
                    self.generation += 1;
                    let connection = Arc::clone(process.connection());
                    let (generation, coming) = (self.generation, Coming::after(*failures));
                    self.say.send_replace(State::Running { connection, generation, coming });
                    return process;
                }
                Err(error) => {
                    tracing::error!(driver = self.first.name, %error, "the driver could not be started again")
                }
            }
        }
    }

    /// The file may have been replaced since the server started, and only that one was announced.
    fn compare(&self, loaded: &Loaded) {
        if loaded.digest != self.first.digest {
            tracing::warn!(
                driver = self.first.name,
                version_before = self.first.version,
                sha256_before = self.first.digest,
                version = loaded.version,
                sha256 = loaded.digest,
                "the driver was loaded from another file than when the server started"
            );
        }
    }

    async fn end(self, process: Option<DriverProcess>, close: Option<Close>) {
        if let Some(mut process) = process {
            match &close {
                Some(close) => process.close(close.grace).await,
                None => process.kill().await,
            }
        }
        self.say.send_replace(State::Closed);
        if let Some(close) = close {
            // Whoever closes may have stopped waiting.
            let _ = close.done.send(());
        }
    }
}

/// The pause after that many starts in a row, between a half and the whole of its double.
fn pause_after(failures: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures)).min(LONGEST_PAUSE);
    pauses::drawn(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_are_spread() {
        for failures in 0..40 {
            let whole = (FIRST_PAUSE * 2_u32.pow(failures.min(20))).min(LONGEST_PAUSE);
            let pause = pause_after(failures);
            assert!(pause >= whole / 2 && pause <= whole, "{failures}: {pause:?}");
        }
        let several: std::collections::BTreeSet<_> = (0..20).map(|_| pause_after(5)).collect();
        assert!(several.len() > 1);
    }
}
