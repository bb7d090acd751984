//! One line and one set of metrics per request, written when its response has ended.
//!
//! The event has the target `access`. Everything that a client sent is a field value: the log formats
//! escape those, so that no request can forge a line. The query is left out, since it may hold tokens.

use std::{
    borrow::Cow,
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, LazyLock, PoisonError, RwLock},
    time::Instant,
};

use http::{HeaderValue, Method, StatusCode};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use super::{
    identity::Identity,
    route_class::{RouteClass, method_name},
    service::RequestFacts,
};
use crate::telemetry::{logs::ACCESS, names};

/// Status in the log and in the metrics when the client went away before there was a response.
const CLIENT_GONE: u16 = 499;

/// What is known of a request under way. Dropping it ends the request: it is logged and counted.
pub(crate) struct Record {
    pub(crate) identity: Identity,
    method: Method,
    path: String,
    peer: Option<SocketAddr>,
    user: Option<String>,
    user_agent: Option<HeaderValue>,
    started: Instant,
    class: RouteClass,
    in_flight: Gauge,
    /// Status of the response, once there is one.
    status: Option<StatusCode>,
    sent: u64,
    complete: bool,
    facts: Option<Arc<RequestFacts>>,
}

impl Record {
    pub(crate) fn begin(
        identity: Identity,
        method: &Method,
        path: &str,
        peer: Option<SocketAddr>,
        user_agent: Option<&HeaderValue>,
        facts: Option<Arc<RequestFacts>>,
    ) -> Self {
        let class = RouteClass::of(path);
        let in_flight = METERS.in_flight(class);
        in_flight.increment(1.0);
        Self {
            identity,
            method: method.clone(),
            path: path.to_owned(),
            peer,
            user: None,
            user_agent: user_agent.cloned(),
            started: Instant::now(),
            class,
            in_flight,
            status: None,
            sent: 0,
            complete: false,
            facts,
        }
    }

    /// The client has shown that it is this user.
    pub(crate) fn logged_in(&mut self, user: String) {
        self.user = Some(user);
    }

    /// The response begins.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Bytes of content were handed to the connection.
    pub(crate) fn add_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    /// The response was handed over to its end.
    pub(crate) fn completed(&mut self) {
        self.complete = true;
    }
}

impl Record {
    /// The client's address, with its port where that is known.
    fn peer(&self) -> Option<String> {
        match self.peer {
            Some(peer) if peer.port() == 0 => Some(peer.ip().to_string()),
            Some(peer) => Some(peer.to_string()),
            None => self.facts.as_ref().map(|_| "unix".to_owned()),
        }
    }

    fn client_certificate(&self) -> Option<&str> {
        self.facts.as_ref()?.connection.client_certificate.as_deref()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let code = self.status.map_or(CLIENT_GONE, |status| status.as_u16());
        self.in_flight.decrement(1.0);
        let meters = METERS.finished(self.class, method_name(&self.method), code);
        meters.requests.increment(1);
        meters.duration.record(duration);
        meters.sent.increment(self.sent);
        let facts = self.facts.as_deref();
        tracing::info!(
            target: ACCESS,
            id = self.identity.id_text(),
            peer = self.peer(),
            user = self.user.as_deref(),
            client_certificate = self.client_certificate(),
            method = self.method.as_str(),
            path = self.path.as_str(),
            protocol = facts.map(|facts| tracing::field::debug(facts.version)),
            status = code,
            bytes = self.sent,
            complete = self.complete,
            milliseconds = duration.as_secs_f64() * 1000.0,
            referer = facts.and_then(|facts| facts.referer.as_ref()).map(text).as_deref(),
            user_agent = self.user_agent.as_ref().map(text).as_deref(),
            "request"
        );
    }
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

static METERS: LazyLock<Meters> = LazyLock::new(Meters::default);

/// Class of the route, method and status.
type Labels = (RouteClass, &'static str, u16);

/// Handles of the metrics, found once per combination of labels: looking them up by name for each
/// request costs more than counting.
#[derive(Default)]
struct Meters {
    finished: RwLock<HashMap<Labels, Arc<Finished>>>,
    in_flight: RwLock<HashMap<RouteClass, Gauge>>,
}

struct Finished {
    requests: Counter,
    duration: Histogram,
    sent: Counter,
}

impl Meters {
    fn finished(&self, class: RouteClass, method: &'static str, code: u16) -> Arc<Finished> {
        let key = (class, method, code);
        let known = self.finished.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.unwrap_or_else(|| {
            let mut finished = self.finished.write().unwrap_or_else(PoisonError::into_inner);
            let new = || {
                let (handler, code) = (class.name(), code.to_string());
                Arc::new(Finished {
                    requests: counter!(names::HTTP_REQUESTS, "handler" => handler, "method" => method, "code" => code),
                    duration: histogram!(names::HTTP_DURATION, "handler" => handler, "method" => method),
                    sent: counter!(names::HTTP_SENT_BYTES, "handler" => handler),
                })
            };
            Arc::clone(finished.entry(key).or_insert_with(new))
        })
    }

    fn in_flight(&self, class: RouteClass) -> Gauge {
        let known = self.in_flight.read().unwrap_or_else(PoisonError::into_inner).get(&class).cloned();
        known.unwrap_or_else(|| {
            let mut in_flight = self.in_flight.write().unwrap_or_else(PoisonError::into_inner);
            let new = || gauge!(names::HTTP_IN_FLIGHT, "handler" => class.name());
            in_flight.entry(class).or_insert_with(new).clone()
        })
    }
}
