//! The warp filter that every request passes, and the life of a request around its handler.
//!
//! The filter takes a request apart into what handlers know ([`Request`]). Guarantees: each request has
//! an identity, is counted and logged once, and a panic of its handler is a 500 for it alone.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Buf;
use docker_registry_driver_api::ByteStream;
use futures::{FutureExt, Stream, stream};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use warp::{Filter, path::FullPath, reply::Response as Outgoing};

use super::{
    access_log::Record,
    exchange::{Request, Response, Scheme, whole},
    forwarded::{self, Origin},
    identity::Identity,
    listener::{Entrance, Introduced},
    request_body::request_body,
    respond::{fault, respond},
    routes::Handler,
    sendfile::Windows,
    socket::{ActiveRequest, Activity},
};
use crate::{auth::Login, telemetry::names};

/// What a request knows of where it came from; travels as an extension of the request and lives until
/// its response has ended.
#[derive(Debug)]
pub(crate) struct RequestFacts {
    pub(crate) connection: Arc<ConnectionFacts>,
    pub(crate) version: Version,
    /// What the access log repeats of the request.
    pub(crate) referer: Option<HeaderValue>,
    pub(crate) _active: ActiveRequest,
}

/// What a connection is and can do.
#[derive(Debug)]
pub(crate) struct ConnectionFacts {
    /// Whom it is for, as far as the connection itself says.
    pub(crate) introduced: Introduced,
    pub(crate) scheme: Scheme,
    /// Common name of the client's certificate.
    pub(crate) client_certificate: Option<String>,
    pub(crate) entrance: Arc<Entrance>,
    pub(crate) activity: Arc<Activity>,
    /// Present when the connection sends files itself.
    pub(crate) windows: Option<Arc<Windows>>,
    /// HTTP/1: an unread request body is in the way of the next request.
    pub(crate) in_sequence: bool,
}

/// What the filter needs to answer.
pub(crate) struct Application {
    pub(crate) handler: Arc<dyn Handler>,
    /// Longest path and query together, in bytes.
    pub(crate) max_uri: usize,
    /// Longest time between two pieces of a request body.
    pub(crate) body_timeout: Duration,
}

/// The one filter of the server.
pub(crate) fn filter(
    application: Arc<Application>,
) -> impl Filter<Extract = (Outgoing,), Error = warp::Rejection> + Clone {
    warp::method()
        .and(warp::path::full())
        .and(warp::query::raw().or(warp::any().map(String::new)).unify())
        .and(warp::header::headers_cloned())
        .and(warp::ext::optional::<Arc<RequestFacts>>())
        .and(warp::body::stream())
        .then(move |method, path: FullPath, query, headers, facts, body| {
            // In a box: otherwise it would be copied from one of warp's futures into the next.
            Box::pin(Arc::clone(&application).answer(method, path, query, headers, facts, body))
        })
}

impl Application {
    async fn answer<B: Buf>(
        self: Arc<Self>,
        method: Method,
        path: FullPath,
        query: String,
        mut headers: HeaderMap,
        facts: Option<Arc<RequestFacts>>,
        body: impl Stream<Item = Result<B, warp::Error>> + Send + 'static,
    ) -> Outgoing {
        let connection = facts.as_ref().map(|facts| Arc::clone(&facts.connection));
        let Origin { peer, scheme } = origin(&mut headers, connection.as_deref());
        let client_certificate =
            connection.as_ref().and_then(|connection| connection.client_certificate.clone());
        let user_agent = headers.get(header::USER_AGENT);
        let record = Record::begin(Identity::of(&headers), &method, path.as_str(), peer, user_agent, facts);
        let in_sequence = connection.as_ref().filter(|connection| connection.in_sequence);
        // HTTP/1 says before a body that there will be one.
        let may_have_body = in_sequence.is_none() || has_body(&headers);
        let unread = in_sequence.filter(|_| may_have_body).map(|connection| Arc::clone(&connection.activity));
        let body: ByteStream = match may_have_body {
            true => request_body(body, self.body_timeout, unread.clone()),
            false => Box::pin(stream::empty()),
        };
        let response = if path.as_str().len() + query.len() > self.max_uri {
            drop(body);
            whole(StatusCode::URI_TOO_LONG, "text/plain; charset=utf-8", "the address is too long\n")
        } else {
            let trace = Some(record.identity.trace);
            let path = path.as_str().to_owned();
            let method = method.clone();
            let login = Login::default();
            let request = Request {
                method,
                path,
                query,
                headers,
                body,
                peer,
                scheme,
                client_certificate,
                trace,
                login,
            };
            self.handle(request).await
        };
        let windows = connection.as_ref().and_then(|connection| connection.windows.as_ref());
        let mut response = respond(response, &method, windows, record).await;
        if unread.is_some_and(|activity| activity.body_was_abandoned()) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    async fn handle(&self, request: Request) -> Response {
        // A handler shares nothing with other requests but what locks and atomics protect.
        match AssertUnwindSafe(self.handler.handle(request)).catch_unwind().await {
            Ok(response) => response,
            Err(panic) => {
                metrics::counter!(names::HTTP_PANICS).increment(1);
                tracing::error!(panic = panic_text(&*panic), "a request handler panicked");
                fault()
            }
        }
    }
}

/// What is known of the client, with what a trusted proxy says of it.
fn origin(headers: &mut HeaderMap, connection: Option<&ConnectionFacts>) -> Origin {
    let direct = Origin {
        peer: connection.and_then(|connection| connection.introduced.peer),
        scheme: connection.map(|connection| connection.scheme).unwrap_or_default(),
    };
    let trusted = connection.filter(|connection| connection.introduced.is_trusted);
    forwarded::take(headers, direct, trusted.map(|connection| &connection.entrance.trusted_proxies))
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&'static str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// The error type of services that always answer.
pub(crate) type Never = Infallible;
