//! Keeps a driver's process running: notices its end and starts the next one.
//!
//! Guarantees: one line and one count for each end; pauses between starts that double from 100 ms to 30 s,
//! are spread so that many servers do not start at once, and begin anew after a quiet minute; when the
//! driver is closed or dropped, the process is ended and reaped and none follows.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::Capabilities;
use metrics::counter;
use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep, timeout},
};

use super::{Launch, connection::Connection, process::DriverProcess};
use crate::{plugin::PluginError, telemetry::names};

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
    },
    /// The next start is at `next`; `hopeful` when calls may wait for it.
    Pausing {
        next: Instant,
        hopeful: bool,
    },
    Closed,
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
        let (process, capabilities, name) = start(&launch, &settings).await?;
        let connection = Arc::clone(process.connection());
        let (say, state) = watch::channel(State::Running { connection, generation: 0 });
        let (close, closing) = mpsc::channel(1);
        let supervision = Supervision { launch, settings, name, capabilities, say, generation: 0 };
        tokio::spawn(supervision.run(process, closing));
        Ok((Self { state, close }, capabilities))
    }

    /// The connection to the present process and the number of that process; to a later process than the one
    /// with the number `dead`, when that is given. The first start after an end is waited for, if it comes
    /// soon.
    pub(super) async fn connection(&self, dead: Option<u64>) -> Result<(Arc<Connection>, u64), Absent> {
        let fits = |generation: u64| dead.is_none_or(|dead| generation > dead);
        if let State::Running { connection, generation } = &*self.state.borrow()
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

    /// How long to wait before the next call, by what is known now.
    pub(super) fn retry_after(&self) -> Duration {
        match present(&self.state.borrow()) {
            Err(Absent::Until(pause)) => pause,
            _ => FIRST_PAUSE,
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
        State::Running { connection, generation } => Ok((Arc::clone(connection), *generation)),
        State::Pausing { next, .. } => Err(Absent::Until(next.saturating_duration_since(Instant::now()))),
        State::Closed => Err(Absent::Closed),
    }
}

async fn start(
    launch: &Launch,
    settings: &Map<String, Value>,
) -> Result<(DriverProcess, Capabilities, String), PluginError> {
    let (mut process, loaded) = DriverProcess::start(launch).await?;
    let capabilities = process.open(settings).await?;
    tracing::info!(driver = loaded.name, process = process.id(), "the driver runs in a process of its own");
    Ok((process, capabilities, loaded.name))
}

/// The task that watches.
struct Supervision {
    launch: Launch,
    settings: Map<String, Value>,
    name: String,
    capabilities: Capabilities,
    say: watch::Sender<State>,
    generation: u64,
}

impl Supervision {
    async fn run(mut self, mut process: DriverProcess, mut closing: mpsc::Receiver<Close>) {
        let mut failures = 0;
        loop {
            let started = Instant::now();
            let id = process.id();
            let what = tokio::select! {
                what = process.ended() => what,
                close = closing.recv() => return self.end(Some(process), close).await,
            };
            drop(process);
            if started.elapsed() >= QUIET {
                failures = 0;
            }
            tracing::error!(
                driver = self.name,
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
            let pause = pause_after(*failures);
            // The first start after an end is worth waiting for; one after a failed start is not.
            let hopeful = pause <= WORTH_WAITING && !matches!(*self.say.borrow(), State::Pausing { .. });
            self.say.send_replace(State::Pausing { next: Instant::now() + pause, hopeful });
            *failures = failures.saturating_add(1);
            sleep(pause).await;
            counter!(names::DRIVER_RESTARTS, "driver" => self.name.clone()).increment(1);
            match start(&self.launch, &self.settings).await {
                Ok((process, capabilities, _)) => {
                    if capabilities != self.capabilities {
                        tracing::warn!(
                            driver = self.name,
                            before = ?self.capabilities,
                            now = ?capabilities,
                            "the driver has other capabilities than before; restart the server to use them"
                        );
                    }
                    self.generation += 1;
                    let connection = Arc::clone(process.connection());
                    self.say.send_replace(State::Running { connection, generation: self.generation });
                    return process;
                }
                Err(error) => {
                    tracing::error!(driver = self.name, %error, "the driver could not be started again")
                }
            }
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
    whole.mul_f64(0.5 + fastrand::f64() / 2.0)
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
