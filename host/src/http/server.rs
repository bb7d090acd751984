//! The listener: accept, limits, drain.
//!
//! Guarantees: at most [`Limits::max_connections`] clients are connected, the others wait in the
//! kernel; running out of file descriptors makes the server wait, not spin or end; when it is told to
//! stop, it takes no new connection and finishes the requests under way within the graceful timeout.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{
    body::{Body, Incoming},
    service::Service,
};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    connection::{self, Phase},
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

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {address}: {source}")]
pub struct BindError {
    /// The address as it was configured.
    pub address: String,
    /// The system's reason.
    pub source: io::Error,
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
    listener: TcpListener,
    address: SocketAddr,
    limits: Arc<Limits>,
}

impl Server {
    /// Listens at `address`, `HOST:PORT`. Port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`], one sentence.
    pub async fn bind(address: &str, limits: Limits) -> Result<Self, BindError> {
        let failed = |source| BindError { address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address: bound, limits: Arc::new(limits) })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is ready, then drains.
    pub async fn run(self, handler: Arc<dyn Handler>, stop: impl Future<Output = ()>) -> Drained {
        let application =
            Application { handler, max_uri: self.limits.max_uri, body_timeout: self.limits.timeouts.body };
        let service = TowerToHyperService::new(warp::service(filter(Arc::new(application))));
        let windows = self.limits.sendfile.then(Windows::reserve).and_then(|windows| {
            windows.inspect_err(|error| tracing::warn!(%error, "files are sent without sendfile")).ok()
        });
        // The words of gunicorn, which people and scripts look for.
        tracing::info!("Listening at: http://{} ({})", self.address, std::process::id());
        accept(self.listener, service, self.limits, windows, stop).await
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
    listener: TcpListener,
    service: S,
    limits: Arc<Limits>,
    windows: Option<Arc<Windows>>,
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
    let places = Arc::new(Semaphore::new(limits.max_connections));
    tokio::pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, accept_one(&listener).await)
        };
        let (place, (stream, peer)) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        let serving = connection::serve(
            stream,
            peer,
            service.clone(),
            Arc::clone(&limits),
            windows.clone(),
            watching.clone(),
        );
        tokio::spawn(async move {
            let open = OpenConnection::count();
            serving.await;
            drop((open, place));
        });
    }
    drop((listener, watching));
    drain(&phase, limits.graceful).await
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

/// Accepts the next connection, however long that takes.
async fn accept_one(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut troubled = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // The system's answer does not matter: without it the connection is only slower.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
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
