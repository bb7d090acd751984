//! When more clients come than may be connected: the next one waits a moment for a place, and is then told to come later.
//!
//! Guarantees: whoever comes while there is a place is served. Nobody waits longer than [`PATIENCE`] without an answer
//! but for those that the kernel holds because [`MOST_REFUSALS`] others are being told already.

use std::{convert::Infallible, future, sync::Arc, time::Duration};

use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::{body::Incoming, service::service_fn};
use metrics::counter;
use serde_json::json;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::retry_after::seconds;
use crate::telemetry::{names, seldom::Seldom};

/// How long a connection waits for a place. Most crowds are over by then.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many are told to come later at the same time.
const MOST_REFUSALS: usize = 256;
/// How long one that is told may take to send its request and to read the answer.
pub(crate) const REFUSAL: Duration = Duration::from_secs(5);
/// When to come again.
const COME_AGAIN: Duration = Duration::from_secs(2);
const MESSAGE: &str = "the server has as many connections as it takes; try again later";

static LINES: Seldom = Seldom::new();

/// The places for connections.
pub(crate) struct Places {
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    most: usize,
    /// Since when there has been no place for the next one.
    full_since: Option<Instant>,
}

/// What the next connection gets; kept as long as it lives.
pub(crate) enum Seat {
    /// It is served.
    Place(#[expect(dead_code, reason = "the permit is what is kept")] OwnedSemaphorePermit),
    /// It is told to come later.
    Refusal(#[expect(dead_code, reason = "the permit is what is kept")] OwnedSemaphorePermit),
}

impl Places {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(most)),
            refusals: Arc::new(Semaphore::new(MOST_REFUSALS)),
            most,
            full_since: None,
        }
    }

    /// Until the next connection can be accepted; `None` when it will have to be refused. Nothing is lost when this is
    /// dropped.
    pub(crate) async fn next(&mut self) -> Option<Seat> {
        if let Some(place) = self.free() {
            return Some(place);
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        let place = timeout_at(since + PATIENCE, Arc::clone(&self.places).acquire_owned()).await;
        if let Ok(Ok(place)) = place {
            self.full_since = None;
            return Some(Seat::Place(place));
        }
        Arc::clone(&self.refusals).acquire_owned().await.ok().map(Seat::Refusal)
    }

    /// For a connection that has come: a place that has become free meanwhile, in place of a refusal.
    pub(crate) fn better(&mut self, seat: Seat) -> Seat {
        match seat {
            Seat::Refusal(_) => self.free().unwrap_or(seat),
            Seat::Place(_) => seat,
        }
    }

    fn free(&mut self) -> Option<Seat> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.full_since = None;
        Some(Seat::Place(place))
    }

    /// Counts a refusal and says now and then that there are some.
    pub(crate) fn refuses(&self) {
        counter!(names::HTTP_CONNECTIONS_REFUSED).increment(1);
        if let Some(held_back) = LINES.now() {
            let most = self.most;
            tracing::warn!(
                most,
                held_back,
                "limits.max_connections is reached: a client is told to come later"
            );
        }
    }
}

/// Answers every request of a refused connection, and closes it.
pub(crate) fn refusing() -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<String>,
    Error = Infallible,
    Future = future::Ready<Result<Response<String>, Infallible>>,
> {
    service_fn(|request: Request<Incoming>| {
        // What V1 shows of an error, and what V2 does.
        let body = json!({"error": MESSAGE, "errors": [{"code": "UNAVAILABLE", "message": MESSAGE}]});
        let mut answer = Response::new(body.to_string());
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(COME_AGAIN)));
        // HTTP/2 has no such header (RFC 9113 §8.2.2); there the time for a refusal ends the connection.
        if request.version() < Version::HTTP_2 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        future::ready(Ok(answer))
    })
}
