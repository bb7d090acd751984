//! The driver's process: loads one driver and serves the server's calls of it.
//!
//! Two runtimes. The one of the control socket runs on the main thread and never runs code of the driver,
//! so that a driver that blocks cannot keep the process from noticing that the server is gone; calls run on
//! the other. Guarantees:
//!
//! - it ends as soon as the control socket ends, whatever the driver does at that moment, and takes along
//!   what the driver has started in its group;
//! - it ignores the signals with which a terminal or a service manager stops the server or has it open its logs anew:
//!   the server stops it, after the requests under way;
//! - the control socket is nobody else's: standard input is the null device before the library is loaded.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Settings, SharedDriver};
use rustix::process::{Signal, getpgrp, getpid, kill_process, kill_process_group};
use tokio::{
    runtime::{Builder, Handle},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    task::AbortHandle,
};

use super::{
    channel::{Channel, Incoming, Outgoing},
    child_calls::{self, Served},
    child_reports::Reports,
    messages::{Loaded, Refused, Start, ToChild, ToServer, VERSION, WhichDriver},
};
use crate::plugin::{Execution, LoadedDriver, PluginError, Search, load, load_file};

/// Frames that wait for the control socket. Calls wait for a place.
const QUEUE: usize = 64;
/// Frames that go out together, after what was logged before them.
const AT_ONCE: usize = 16;
/// Threads that poll calls, at least: as many drivers that block although they say they do not are borne.
const MIN_THREADS: usize = 4;

/// Serves on standard input, which must be the control socket, until the server closes it.
///
/// # Errors
/// When standard input is something else, or the system refuses a runtime.
pub fn run() -> io::Result<()> {
    let socket = take_standard_input()?;
    let threads =
        std::thread::available_parallelism().map_or(MIN_THREADS, |cores| cores.get().max(MIN_THREADS));
    let calls = Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name("driver-calls")
        .enable_all()
        .build()?;
    let control = Builder::new_current_thread().enable_all().build()?;
    let ended = control.block_on(serve(socket, calls.handle().clone()));
    match ended {
        Ok(Ended::Closed) => std::process::exit(0),
        Ok(Ended::ServerGone) => {}
        // A server that was killed in the middle of a frame, or with answers that it had not read.
        Err(error)
            if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {}
        Err(error) => {
            // The server cannot be told: what was said to it cannot be trusted any more.
            let _ = writeln!(
                io::stderr(),
                "docker-registry: the driver's process ends: its control socket carried no message ({error})"
            );
        }
    }
    // Nobody is left to care, and threads of the driver may be anywhere: no exit handlers.
    let this = getpid();
    if getpgrp() == this {
        let _ = kill_process_group(this, Signal::KILL);
    }
    let _ = kill_process(this, Signal::KILL);
    std::process::exit(1)
}

/// Takes the socket away from standard input, so that no program which the driver starts inherits it.
fn take_standard_input() -> io::Result<OwnedFd> {
    let stdin = io::stdin();
    rustix::net::getpeername(&stdin).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "standard input is no socket: this command is for the server only",
        )
    })?;
    // A copy is closed on exec.
    let socket = stdin.as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(socket)
}

enum Ended {
    Closed,
    ServerGone,
}

/// What the reader of the control socket and the calls share.
struct Host {
    calls: Handle,
    outgoing: mpsc::Sender<Message>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    loaded: Option<LoadedDriver>,
    driver: Option<SharedDriver>,
    under_way: HashMap<u64, AbortHandle>,
}

/// A frame in the queue; nothing is sent after the last.
enum Message {
    Frame(Outgoing),
    Last(Outgoing),
}

async fn serve(socket: OwnedFd, calls: Handle) -> io::Result<Ended> {
    for kind in [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::quit(),
        // Sent to the whole service after the logs were rotated, and meant for the server.
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ] {
        // From now on the signal does nothing, even when nobody listens to this.
        drop(signal(kind)?);
    }
    let channel = Arc::new(Channel::new(socket)?);
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let reports = Arc::new(Reports::default());
    let writing = tokio::spawn(write(Arc::clone(&channel), queue, Arc::clone(&reports)));
    let host = Arc::new(Host { calls, outgoing, state: Mutex::default() });
    let reading = read(&channel, &host, &reports);
    tokio::select! {
        ended = reading => ended,
        // The last frame is out, or the server does not take any.
        closed = writing => Ok(if matches!(closed, Ok(Ok(()))) { Ended::Closed } else { Ended::ServerGone }),
    }
}

async fn write(
    channel: Arc<Channel>,
    mut queue: mpsc::Receiver<Message>,
    reports: Arc<Reports>,
) -> io::Result<()> {
    let mut messages = Vec::with_capacity(AT_ONCE);
    loop {
        let ended = tokio::select! {
            // Answers first: reports go out in every round, so that neither can keep the other waiting.
            biased;
            received = queue.recv_many(&mut messages, AT_ONCE) => received == 0,
            () = reports.ready() => false,
        };
        // Taken after the answers, so that what a call logged goes out before its own.
        for report in reports.take() {
            channel.send(Outgoing::new(&report, Bytes::new(), None)?).await?;
        }
        for message in messages.drain(..) {
            match message {
                Message::Frame(frame) => channel.send(frame).await?,
                Message::Last(frame) => return channel.send(frame).await,
            }
        }
        if ended {
            return Ok(());
        }
    }
}

async fn read(channel: &Channel, host: &Arc<Host>, reports: &Arc<Reports>) -> io::Result<Ended> {
    while let Some(frame) = channel.receive::<ToChild>().await? {
        let Incoming { header, content, file, file_lost } = frame;
        match header {
            ToChild::Start(start) => {
                reports.install(start.log_level);
                host.spawn(|host| host.start(start));
            }
            ToChild::Open => host.spawn(|host| host.open(content)),
            ToChild::Call { id, context, request } => {
                let served = Served { context, request, content, file, file_lost };
                host.begin(id, served);
            }
            ToChild::Cancel { id } => {
                if let Some(call) = host.state().under_way.remove(&id) {
                    call.abort();
                }
            }
            ToChild::Close { grace } => host.spawn(move |host| host.close(grace)),
        }
    }
    Ok(Ended::ServerGone)
}

impl Host {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(self: &Arc<Self>, run: impl FnOnce(Arc<Self>) -> F) {
        drop(self.calls.spawn(run(Arc::clone(self))));
    }

    async fn say(&self, header: ToServer, content: Bytes, file: Option<OwnedFd>) {
        let frame = match (Outgoing::new(&header, content, file), header) {
            (Ok(frame), _) => Ok(frame),
            (Err(error), ToServer::Answer { id, .. }) => {
                let error =
                    Error::new(ErrorKind::TooLarge, "the driver's answer is too large").caused_by(&error);
                Outgoing::new(&ToServer::Answer { id, answer: Err(error.into()) }, Bytes::new(), None)
            }
            (Err(error), _) => {
                let refused = Refused::Sentence(format!("the driver says too much: {error}"));
                Outgoing::new(&ToServer::Refused(refused), Bytes::new(), None)
            }
        };
        if let Ok(frame) = frame {
            // The writer only ends together with the process.
            let _ = self.outgoing.send(Message::Frame(frame)).await;
        }
    }

    async fn start(self: Arc<Self>, start: Start) {
        let loading = tokio::task::spawn_blocking(move || load_driver(&start)).await;
        let said = match loading {
            Ok(Ok(driver)) => {
                let loaded = describe(&driver);
                self.state().loaded = Some(driver);
                ToServer::Loaded(Box::new(loaded))
            }
            Ok(Err(error)) => ToServer::Refused(refused(error)),
            Err(error) => ToServer::Refused(Refused::Sentence(format!("loading the driver failed: {error}"))),
        };
        self.say(said, Bytes::new(), None).await;
    }

    async fn open(self: Arc<Self>, settings: Bytes) {
        let loaded = self.state().loaded.clone();
        let said = match (loaded, serde_json::from_slice(&settings)) {
            (Some(loaded), Ok(settings)) => {
                match loaded.open(Settings::new(settings), Execution::Declared).await {
                    Ok(driver) => {
                        let capabilities = driver.capabilities().bits();
                        self.state().driver = Some(driver);
                        ToServer::Opened { capabilities }
                    }
                    Err(error) => ToServer::Refused(refused(error)),
                }
            }
            _ => {
                ToServer::Refused(Refused::Sentence("the driver's process was asked out of turn".to_owned()))
            }
        };
        self.say(said, Bytes::new(), None).await;
    }

    /// Begins a call. It is in the table before it can end, and out of it when it has ended.
    fn begin(self: &Arc<Self>, id: u64, served: Served) {
        let host = Arc::clone(self);
        let mut state = self.state();
        let driver = state.driver.clone();
        let call = self.calls.spawn(async move {
            let done = child_calls::serve(driver, served).await;
            let answer = ToServer::Answer { id, answer: done.answer };
            host.say(answer, done.content, done.file).await;
            host.state().under_way.remove(&id);
            if let Some((body, socket)) = done.body {
                super::body::send(body, socket).await;
            }
        });
        state.under_way.insert(id, call.abort_handle());
    }

    async fn close(self: Arc<Self>, grace: Duration) {
        let driver = self.state().driver.take();
        if let Some(driver) = driver {
            driver.close(grace).await;
        }
        if let Ok(frame) = Outgoing::new(&ToServer::Closed, Bytes::new(), None) {
            let _ = self.outgoing.send(Message::Last(frame)).await;
        }
    }
}

fn load_driver(start: &Start) -> Result<LoadedDriver, PluginError> {
    if start.version != VERSION {
        return Err(PluginError::Refused(format!(
            "the driver's process speaks version {VERSION} of the server's messages, not {}",
            start.version
        )));
    }
    let search = Arc::new(Search::new(&start.folders, None, None).with_pins(&start.pins));
    match &start.driver {
        WhichDriver::Named(name) => load(&search, name),
        WhichDriver::File(path) => load_file(&search, path),
    }
}

fn describe(driver: &LoadedDriver) -> Loaded {
    let note = driver.note();
    Loaded {
        name: note.name.clone(),
        version: note.version.clone(),
        api: note.api,
        nonblocking: note.nonblocking,
        path: driver.path().to_owned(),
        digest: driver.digest().to_owned(),
        description: driver.description().clone(),
    }
}

fn refused(error: PluginError) -> Refused {
    match error {
        PluginError::Driver { name, error } => Refused::Driver { name, error: (*error).into() },
        other => Refused::Sentence(other.to_string()),
    }
}
