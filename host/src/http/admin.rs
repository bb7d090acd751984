//! The admin listener, for operators and orchestrators and not for registry clients.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | all metrics in the Prometheus text format |
//! | `/livez`, `/healthz` | 200 as long as the process runs |
//! | `/startupz` | 200 once the server accepts requests, 503 before |
//! | `/readyz` | 200 while requests should be sent here; else 503 and the reason in one line |
//!
//! When the registry asks for passwords, this listener does, too, for everything but health, unknown paths
//! included: a name and a password of the same file by Basic. Any user may read metrics, whatever `access` says;
//! they name no repository. The health answers stay open, since orchestrators have no password, and then say
//! nothing but their status: the reason of a 503 is in the log alone.
//!
//! It runs on a thread and a runtime of its own, so that it answers when requests or a driver hold up
//! every worker of the server.

use std::{net::SocketAddr, sync::Arc, thread, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, runtime, sync::oneshot};
use warp::{Filter, Reply, reply::Response as Outgoing};

use super::{
    authentication::{password_challenge, user_of},
    connection::Terms,
    health::Health,
    listener::{BindError, Entrance, Listener},
    retry_after::seconds,
    server::{Limits, accept},
    service::RequestFacts,
};
use crate::{
    auth::{Authority, Refused},
    telemetry::metrics::Metrics,
};

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
    /// Listens at `address`, `HOST:PORT`, and answers from now on; with an authority, to its users only.
    ///
    /// # Errors
    /// [`BindError`], one sentence.
    pub fn start(
        address: &str,
        metrics: Metrics,
        health: Arc<Health>,
        authority: Option<Arc<Authority>>,
    ) -> Result<Self, BindError> {
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
                    let service = TowerToHyperService::new(warp::service(filter(metrics, health, authority)));
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
    authority: Option<Arc<Authority>>,
) -> impl Filter<Extract = (Outgoing,), Error = warp::Rejection> + Clone {
    let startup = Arc::clone(&health);
    let tells_reason = authority.is_none();
    let login = guard(authority);
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
        Err(reason) if tells_reason => text(StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    });
    let reading = || warp::get().or(warp::head()).unify();
    let open = reading().and(live.or(started).unify().or(ready).unify());
    open.or(login).unify().or(reading().and(metrics)).unify()
}

/// Answers whoever must show a password first, and rejects, which means "go on", who need not.
fn guard(
    authority: Option<Arc<Authority>>,
) -> impl Filter<Extract = (Outgoing,), Error = warp::Rejection> + Clone {
    warp::header::headers_cloned().and(warp::ext::optional::<Arc<RequestFacts>>()).and_then(
        move |headers: HeaderMap, facts: Option<Arc<RequestFacts>>| {
            let authority = authority.clone();
            async move {
                let Some(authority) = authority else { return Err(warp::reject()) };
                let peer = facts.and_then(|facts| facts.connection.introduced.peer);
                match user_of(&authority, &headers, peer).await {
                    Ok(_) => Err(warp::reject()),
                    Err(Refused::Wrong) => {
                        let mut response = text(StatusCode::UNAUTHORIZED, "a password is needed\n");
                        if let Ok(challenge) = HeaderValue::from_str(&password_challenge(&authority)) {
                            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                        }
                        Ok(response)
                    }
                    Err(Refused::TooMany { retry_after }) => {
                        let mut response =
                            text(StatusCode::TOO_MANY_REQUESTS, "too many logins have failed\n");
                        let pause = HeaderValue::from(seconds(retry_after));
                        response.headers_mut().insert(header::RETRY_AFTER, pause);
                        Ok(response)
                    }
                }
            }
        },
    )
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
