//! One driver's process, from its start to its end, as the server sees it.
//!
//! Guarantees: starting and opening take a limited time; a process that is dropped is killed, and one that is
//! killed or has ended takes along what it started in its group; what ended is reaped, and what cannot be is
//! not waited for.

use std::{io, process::ExitStatus, process::Stdio, sync::Arc, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::Capabilities;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Map, Value};
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::timeout,
};

use super::{
    Launch,
    channel::pair,
    connection::Connection,
    messages::{Loaded, Refused, Start, ToChild, ToServer, VERSION},
};
use crate::plugin::{PluginError, log_level};

/// How long the last words of a process are read when it has ended, and how long its end is waited for when it
/// was killed.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running process.
pub(super) struct DriverProcess {
    name: String,
    child: Child,
    /// Its group, until that was killed. As long as it is here the process was not reaped, or just now, so that
    /// nobody else can have its number.
    group: Option<Pid>,
    connection: Arc<Connection>,
    /// The task of the connection, until it is known to have ended.
    running: Option<JoinHandle<Option<io::Error>>>,
    limit: Duration,
}

impl DriverProcess {
    /// Starts a process and has it load the driver.
    ///
    /// # Errors
    /// What the process found wrong with the driver, or how it ended.
    pub(super) async fn start(launch: &Launch) -> Result<(Self, Loaded), PluginError> {
        let name = launch.driver_name();
        let failed = |what: String| PluginError::Process { name: name.clone(), what };
        let (ours, theirs) = pair().map_err(|error| failed(format!("gets no socket ({error})")))?;
        let mut command = Command::new(&launch.program);
        command
            .arg0("docker-registry")
            .args(["driver", "host"])
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // Out of the terminal's reach: the server says when it is time to end.
            .process_group(0)
            .kill_on_drop(true);
        for variable in &launch.hidden_variables {
            command.env_remove(variable);
        }
        let child = command.spawn().map_err(|error| failed(format!("cannot be started ({error})")))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        // It holds the other end of the socket.
        drop(command);
        let (connection, run) =
            Connection::new(ours, &name).map_err(|error| failed(format!("gets no socket ({error})")))?;
        let running = Some(tokio::spawn(run));
        let mut process = Self { name, child, group, connection, running, limit: launch.start_limit };
        let start = ToChild::Start(Start {
            version: VERSION,
            log_level: log_level(),
            driver: launch.driver.clone(),
            folders: launch.folders.clone(),
            pins: launch.pins.clone(),
        });
        match process.ask(&start, Bytes::new(), "loaded the library").await? {
            ToServer::Loaded(loaded) => Ok((process, *loaded)),
            other => Err(process.refused(other).await),
        }
    }

    /// Opens the driver with checked settings.
    ///
    /// # Errors
    /// What the driver reported, or how the process ended.
    pub(super) async fn open(&mut self, settings: &Map<String, Value>) -> Result<Capabilities, PluginError> {
        let settings = serde_json::to_vec(settings)
            .map_err(|_| PluginError::Refused("the settings of the driver cannot be written".to_owned()))?;
        match self.ask(&ToChild::Open, settings.into(), "opened the driver").await? {
            ToServer::Opened { capabilities } => Ok(Capabilities::from_bits(capabilities)),
            other => Err(self.refused(other).await),
        }
    }

    /// Where its calls go.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// The process id; 0 when it has been reaped.
    pub(super) fn id(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Ready when the process has ended by itself or has said something that makes no sense; it is then
    /// killed and reaped. Says what became of it.
    pub(super) async fn ended(&mut self) -> String {
        let broken = tokio::select! {
            error = disconnected(&mut self.running) => error,
            _ = self.child.wait() => {
                self.kill_group();
                // What it had sent before counts. A grandchild that holds the socket does not.
                let _ = timeout(LAST_WORDS, disconnected(&mut self.running)).await;
                None
            }
        };
        match broken {
            Some(error) if error.kind() == io::ErrorKind::InvalidData => {
                self.kill().await;
                format!("was killed: it sent something that is no message ({error})")
            }
            Some(error)
                if !matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                self.kill().await;
                format!("was killed: its control socket failed ({error})")
            }
            // Its socket is closed because it is about to be gone, unless it did that itself.
            _ => match timeout(LAST_WORDS, self.child.wait()).await {
                Ok(status) => {
                    self.kill().await;
                    ended_with(status)
                }
                Err(_) => {
                    self.kill().await;
                    "was killed: it closed its control socket".to_owned()
                }
            },
        }
    }

    /// Closes the driver and ends the process. At most `grace` and a little more is waited for.
    pub(super) async fn close(mut self, grace: Duration) {
        let close = ToChild::Close { grace };
        let closing = async {
            let closed = self.connection.ask(&close, Bytes::new()).await.is_some();
            (closed, self.child.wait().await)
        };
        match timeout(grace.saturating_add(LAST_WORDS), closing).await {
            Ok((true, _)) => {}
            Ok((false, status)) => {
                let what = ended_with(status);
                tracing::error!(driver = self.name, "the driver's process {what} while it closed the driver");
            }
            Err(_) => tracing::warn!(
                driver = self.name,
                ?grace,
                "the driver's process did not end in time and is killed"
            ),
        }
        self.kill().await;
    }

    /// Ends the process and its group at once and reaps it.
    pub(super) async fn kill(&mut self) {
        self.kill_group();
        let _ = self.child.start_kill();
        if let Some(running) = &self.running {
            running.abort();
        }
        // Until the calls under way have heard of it.
        disconnected(&mut self.running).await;
        if timeout(LAST_WORDS, self.child.wait()).await.is_err() {
            tracing::warn!(
                driver = self.name,
                process = self.id(),
                "the driver's process was killed and does not end: the system holds it; it is left behind"
            );
        }
    }

    /// Ends everything in the group of the process, once.
    fn kill_group(&mut self) {
        if let Some(group) = self.group.take() {
            // There may be nobody left in it.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Asks within the time limit, and says how the process ended when there is no answer.
    async fn ask(&mut self, message: &ToChild, content: Bytes, what: &str) -> Result<ToServer, PluginError> {
        let connection = Arc::clone(&self.connection);
        let asked = timeout(self.limit, connection.ask(message, content)).await;
        let what = match asked {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => format!("{} before it had {what}", self.ended().await),
            Err(_) => {
                self.kill().await;
                format!("had not {what} after {:?} and was killed", self.limit)
            }
        };
        Err(PluginError::Process { name: self.name.clone(), what })
    }

    async fn refused(&mut self, said: ToServer) -> PluginError {
        self.kill().await;
        match said {
            ToServer::Refused(Refused::Sentence(sentence)) => PluginError::Refused(sentence),
            ToServer::Refused(Refused::Driver { name, error }) => {
                PluginError::Driver { name, error: Box::new(error.into()) }
            }
            _ => PluginError::Process { name: self.name.clone(), what: "answered out of turn".to_owned() },
        }
    }
}

impl Drop for DriverProcess {
    fn drop(&mut self) {
        // The process itself is killed and reaped by `kill_on_drop`.
        self.kill_group();
    }
}

/// Ready when the connection has ended, with the reason if there is one.
async fn disconnected(running: &mut Option<JoinHandle<Option<io::Error>>>) -> Option<io::Error> {
    let error = running.as_mut()?.await.ok().flatten();
    *running = None;
    error
}

fn ended_with(status: io::Result<ExitStatus>) -> String {
    match status {
        // `signal: 11 (SIGSEGV)` or `exit status: 1`.
        Ok(status) => format!("ended with {status}"),
        Err(error) => format!("ended, nobody knows how ({error})"),
    }
}
