//! The admin listener, for operators and orchestrators and not for registry clients.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | all metrics in the Prometheus text format |
//! | `/livez`, `/healthz` | 200 as long as the process runs |
//! | `/startupz` | 200 once the server accepts requests, 503 before |
//! | `/readyz` | 200 while requests should be sent here; else 503 and the reason in one line |
//!
//! It runs on a thread and a runtime of its own, so that it answers when requests or a driver hold up
//! every worker of the server.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use http::{HeaderValue, StatusCode, header};
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, runtime, sync::oneshot};
use warp::{Filter, Reply, reply::Response as Outgoing};

use super::{
    connection::Terms,
    health::Health,
    listener::{BindError, Entrance, Listener},
    server::{Limits, accept},
};
use crate::telemetry::metrics::Metrics;

/// How often recorded metrics are folded together. Until then each value takes its room, some megabytes a
/// second under full load.
const UPKEEP: Duration = Duration::from_secs(1);
const MAX_CONNECTIONS: usize = 64;

/// A running admin listener; it ends when this is dropped.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Admin {
    /// Listens at `address`, `HOST:PORT`, and answers from now on.
    ///
    /// # Errors
    /// [`BindError`], one sentence.
    pub fn start(address: &str, metrics: Metrics, health: Arc<Health>) -> Result<Self, BindError> {
        let failed = |source| BindError { address: address.to_owned(), source };
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = runtime.block_on(TcpListener::bind(address)).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let upkeep = metrics.clone();
                    tokio::spawn(async move {
                        loop {
                            tokio::time::sleep(UPKEEP).await;
                            upkeep.run_upkeep();
                        }
                    });
                    let service = TowerToHyperService::new(warp::service(filter(metrics, health)));
                    let limits = Limits {
                        max_connections: MAX_CONNECTIONS,
                        graceful: Duration::ZERO,
                        ..Limits::default()
                    };
                    // The error is that the handle was dropped, which means the same.
                    let stopped = async { drop(stopped.await) };
                    let terms = Terms {
                        limits: Arc::new(limits),
                        windows: None,
                        entrance: Arc::new(Entrance::default()),
                    };
                    accept(vec![Listener::Tcp(listener)], service, Arc::new(terms), stopped).await;
                });
            })
            .map_err(failed)?;
        tracing::info!("admin listening at http://{bound}");
        Ok(Self { address: bound, _stop: stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn filter(
    metrics: Metrics,
    health: Arc<Health>,
) -> impl Filter<Extract = (Outgoing,), Error = warp::Rejection> + Clone {
    let startup = Arc::clone(&health);
    let metrics = warp::path!("metrics").map(move || text(StatusCode::OK, metrics.render()));
    let live = warp::path!("livez").or(warp::path!("healthz")).unify().map(|| text(StatusCode::OK, "ok\n"));
    let started = warp::path!("startupz").map(move || {
        if startup.has_started() {
            text(StatusCode::OK, "ok\n")
        } else {
            text(StatusCode::SERVICE_UNAVAILABLE, "the server is starting\n")
        }
    });
    let ready = warp::path!("readyz").map(move || match health.ready() {
        Ok(()) => text(StatusCode::OK, "ok\n"),
        Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    });
    let paths = metrics.or(live).unify().or(started).unify().or(ready).unify();
    warp::get().or(warp::head()).unify().and(paths)
}

fn text(status: StatusCode, content: impl Into<String>) -> Outgoing {
    let mut response = content.into().into_response();
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
