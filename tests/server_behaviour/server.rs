//! A server with test handlers, for one test.

use std::{sync::Arc, time::Duration};

use docker_registry::http::{
    exchange::{Request, Response, whole},
    routes::Handler,
    server::{Drained, Limits, Server},
};
use docker_registry_driver_api::async_trait;
use http::StatusCode;
use tokio::{sync::oneshot, task::JoinHandle};

use crate::wire::Client;

/// A running server.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Drained>,
}

impl Running {
    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Tells the server to stop, like SIGTERM does.
    pub(crate) fn stop(self) -> JoinHandle<Drained> {
        self.stop.send(()).expect("the server runs");
        self.ended
    }
}

/// Starts a server on a free port.
pub(crate) async fn start(limits: Limits, handler: impl Handler) -> Running {
    // Before anything counts: what is counted earlier stays unseen.
    docker_registry::telemetry::metrics::install().expect("the only recorder of this process");
    let server = Server::bind("127.0.0.1:0", limits).await.expect("a free port");
    let address = server.address().expect("a TCP address");
    let (stop, stopped) = oneshot::channel();
    let ended =
        tokio::spawn(async move { server.run(Arc::new(handler), async { drop(stopped.await) }).await });
    Running { address, stop, ended }
}

/// A handler made of a function.
pub(crate) struct Answer<F>(pub(crate) F);

#[async_trait]
impl<F, R> Handler for Answer<F>
where
    F: Fn(Request) -> R + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    async fn handle(&self, request: Request) -> Response {
        (self.0)(request).await
    }
}

/// Answers every request with the bytes of its body.
pub(crate) async fn echo(request: Request) -> Response {
    match docker_registry_driver_api::collect(request.body, 64 << 20).await {
        Ok(content) => whole(StatusCode::OK, "application/octet-stream", content),
        Err(error) => whole(StatusCode::BAD_REQUEST, "text/plain", error.to_string()),
    }
}

/// Limits with every time limit long, so that none of them plays a part.
pub(crate) fn patient() -> Limits {
    let mut limits = Limits::default();
    let long = Duration::from_secs(600);
    limits.timeouts.header = long;
    limits.timeouts.idle = long;
    limits.timeouts.body = long;
    limits.timeouts.write = long;
    limits
}
