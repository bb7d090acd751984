//! The listener: accept, limits, drain.
//!
//! Guarantees: at most [`Limits::max_connections`] clients are served, the others are told to come later; running out of file descriptors makes the server wait, not spin or end; when it is told to
//! stop, it takes no new connection and finishes the requests under way within the graceful timeout.

use std::{convert::Infallible, future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll, time::Duration};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::{
    connection::{self, Phase, Terms},
    crowding::{Places, REFUSAL, Seat, refusing},
    listener::{BindError, Entrance, ListenAddress, Listener, Wire},
    routes::Handler,
    sendfile::Windows,
    service::{Application, filter},
    socket::Timeouts,
};
use crate::telemetry::names;

/// How long to wait when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a client may use.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time.
    pub timeouts: Timeouts,
    /// Longest request header with its first line, in bytes; at least 8 KiB. More is answered with 431.
    pub max_header: usize,
    /// Longest path and query together, in bytes. More is answered with 414.
    pub max_uri: usize,
    /// Most clients connected at once; above zero.
    pub max_connections: usize,
    /// How long requests under way may take when the server stops.
    pub graceful: Duration,
    /// Whether files leave by `sendfile(2)` where that is possible.
    pub sendfile: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeouts: Timeouts {
                header: Duration::from_secs(30),
                idle: Duration::from_secs(120),
                body: Duration::from_secs(120),
                // With several megabytes of send buffer, a healthy client at 10 KB/s shows no progress for
                // minutes (see the field): only a client that is gone takes longer than this.
                write: Duration::from_secs(15 * 60),
                linger: Duration::from_secs(5),
            },
            max_header: 64 * 1024,
            max_uri: 16 * 1024,
            max_connections: 10_000,
            graceful: Duration::from_secs(60),
            sendfile: true,
        }
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections whose requests took longer than the graceful timeout and were cut off.
    pub cut_off: usize,
}

/// A server that listens and does not accept yet.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Listener>,
    limits: Arc<Limits>,
    entrance: Arc<Entrance>,
}

impl Server {
    /// Listens at `address`, `HOST:PORT`, for plain HTTP. Port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`], one sentence.
    pub async fn bind(address: &str, limits: Limits) -> Result<Self, BindError> {
        Self::listen(&[ListenAddress::Tcp(address.to_owned())], limits, Entrance::default()).await
    }

    /// Listens at several addresses.
    ///
    /// # Errors
    /// [`BindError`], one sentence about the first one that failed.
    pub async fn listen(
        addresses: &[ListenAddress],
        limits: Limits,
        entrance: Entrance,
    ) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        for address in addresses {
            listeners.extend(Listener::open(address).await?);
        }
        Ok(Self { listeners, limits: Arc::new(limits), entrance: Arc::new(entrance) })
    }

    /// The first TCP address at which the server listens.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listeners.iter().find_map(Listener::tcp_address)
    }

    /// Serves until `stop` is ready, then drains.
    pub async fn run(self, handler: Arc<dyn Handler>, stop: impl Future<Output = ()>) -> Drained {
        let application =
            Application { handler, max_uri: self.limits.max_uri, body_timeout: self.limits.timeouts.body };
        let service = TowerToHyperService::new(warp::service(filter(Arc::new(application))));
        let windows = self.limits.sendfile.then(Windows::reserve).and_then(|windows| {
            windows.inspect_err(|error| tracing::warn!(%error, "files are sent without sendfile")).ok()
        });
        for listener in &self.listeners {
            // The words of gunicorn, which people and scripts look for.
            let url = listener.url(self.entrance.tls.is_some());
            tracing::info!("Listening at: {url} ({})", std::process::id());
        }
        let following = self.entrance.tls.clone().map(|tls| {
            tokio::spawn(async move {
                if let Err(error) = tls.follow().await {
                    tracing::error!(%error, "new certificates will not be noticed");
                }
            })
        });
        let terms = Terms { limits: self.limits, windows, entrance: self.entrance };
        let drained = accept(self.listeners, service, Arc::new(terms), stop).await;
        if let Some(following) = following {
            following.abort();
        }
        drained
    }
}

/// Lets the process open as many files as it may: each connection is one, and each object that is read.
/// Systems start processes with a low limit for the sake of old programs. Processes that are started later
/// inherit the limit.
pub fn raise_file_limit() {
    let limits = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limits.maximum, ..limits };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %io::Error::from(error), "the limit of open files stays as it is");
    }
}

/// Accepts connections and serves each in a task of its own until `stop` is ready, then drains.
pub(crate) async fn accept<S, B>(
    listeners: Vec<Listener>,
    service: S,
    terms: Arc<Terms>,
    stop: impl Future<Output = ()>,
) -> Drained
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (phase, watching) = watch::channel(Phase::Running);
    let mut places = Places::new(terms.limits.max_connections);
    tokio::pin!(stop);
    let mut turn = 0;
    loop {
        turn += 1;
        let next = async {
            let seat = places.next().await;
            (seat, accept_one(&listeners, turn).await)
        };
        let (seat, (wire, peer)) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        // Never `None`: nobody closes the semaphores.
        let Some(seat) = seat.map(|seat| places.better(seat)) else { continue };
        if matches!(seat, Seat::Refusal(_)) {
            places.refuses();
            let refusing = connection::serve(wire, peer, refusing(), Arc::clone(&terms), watching.clone());
            tokio::spawn(async move {
                // Whoever sends nothing is cut off without an answer.
                let _ = timeout(REFUSAL, refusing).await;
                drop(seat);
            });
            continue;
        }
        let serving = connection::serve(wire, peer, service.clone(), Arc::clone(&terms), watching.clone());
        tokio::spawn(async move {
            let open = OpenConnection::count();
            serving.await;
            drop((open, seat));
        });
    }
    drop((listeners, watching));
    drain(&phase, terms.limits.graceful).await
}

async fn drain(phase: &watch::Sender<Phase>, graceful: Duration) -> Drained {
    tracing::info!(connections = phase.receiver_count(), "finishing the requests under way");
    phase.send_replace(Phase::Draining);
    if timeout(graceful, phase.closed()).await.is_ok() {
        return Drained { cut_off: 0 };
    }
    let cut_off = phase.receiver_count();
    tracing::warn!(connections = cut_off, "the graceful timeout is over, the rest is cut off");
    phase.send_replace(Phase::Aborting);
    phase.closed().await;
    Drained { cut_off }
}

/// Accepts the next connection, however long that takes. The `turn` says where to look first, so that a busy
/// listener does not keep another waiting.
async fn accept_one(listeners: &[Listener], turn: usize) -> (Wire, Option<SocketAddr>) {
    let mut troubled = false;
    let (first, last) = listeners.split_at(turn % listeners.len().max(1));
    loop {
        let accepted = poll_fn(|cx| {
            let mut ready = last.iter().chain(first).map(|listener| listener.poll_accept(cx));
            ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
        });
        match accepted.await {
            Ok(accepted) => return accepted,
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                if !troubled {
                    tracing::warn!(%error, "no connection can be accepted, waiting");
                    troubled = true;
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether only the connection that was to be accepted failed, and the next one may be fine.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Counts a connection as long as it lives.
struct OpenConnection(metrics::Gauge);

impl OpenConnection {
    fn count() -> Self {
        let gauge = metrics::gauge!(names::HTTP_CONNECTIONS);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}
