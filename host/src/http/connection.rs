//! One client connection from accept to close: whom it is for, TLS, protocol, limits, drain.
//!
//! Guarantees: all that comes before the first request is bounded by one deadline, and a client that cannot be served
//! costs one line in the log; many of them share one, except at the level `debug`.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::watch,
    time::timeout,
};

use super::{
    exchange::Scheme,
    listener::{Channel, Entrance, Introduced, Tls, Wire, common_name, introduce},
    response_watch::{WatchedBody, WatchingExecutor},
    sendfile::Windows,
    server::Limits,
    service::{ConnectionFacts, Never, RequestFacts},
    socket::{Activity, Socket},
};
use crate::telemetry::seldom::Seldom;

/// What an HTTP/2 client sends first when it knows that the server speaks it (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most requests that one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 64;
/// Most bytes that are read from an HTTP/1 connection at once. With hyper's own choice, half as much again, a body
/// is no faster, and many at once take more memory.
const READ_BUFFER: usize = 256 * 1024;
/// Bytes of request bodies that an HTTP/2 client may send ahead, per stream and per connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

static REFUSED_LINES: Seldom = Seldom::new();
static PLAIN_HTTP_LINES: Seldom = Seldom::new();

/// In which part of its life the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Requests under way are finished, new ones are not taken.
    Draining,
    /// Everything is dropped.
    Aborting,
}

/// What every connection of a server is served by.
pub(crate) struct Terms {
    pub(crate) limits: Arc<Limits>,
    pub(crate) windows: Option<Arc<Windows>>,
    pub(crate) entrance: Arc<Entrance>,
}

/// Serves a connection until either side closes it.
pub(crate) async fn serve<S, B>(
    wire: Wire,
    peer: Option<SocketAddr>,
    service: S,
    terms: Arc<Terms>,
    mut phase: watch::Receiver<Phase>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Never> + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let Terms { limits, windows, entrance } = &*terms;
    let activity = Activity::new();
    // In a box, as a handshake is large, soon over, and would be room in every idle connection otherwise.
    let entering = Box::pin(enter(wire, peer, entrance, limits.timeouts.linger));
    let begin = timeout(limits.timeouts.header, entering);
    let shown = peer.map(tracing::field::display);
    let entered = tokio::select! {
        begin = begin => match begin {
            Ok(Ok(Some(entered))) => entered,
            Ok(Ok(None)) => return,
            Ok(Err(error)) if is_a_refusal(&error) => {
                return match REFUSED_LINES.now() {
                    Some(held_back) => {
                        tracing::info!(peer = shown, %error, held_back, "a connection was refused");
                    }
                    None => tracing::debug!(peer = shown, %error, "a connection was refused"),
                };
            }
            Ok(Err(error)) => return tracing::debug!(peer = shown, %error, "a connection failed"),
            Err(_) => return tracing::debug!(peer = shown, "a connection sent nothing"),
        },
        _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
    };
    let Entered { channel, replay, protocol, introduced, client_certificate } = entered;
    let in_sequence = protocol == Protocol::Http1;
    let is_plain = matches!(channel, Channel::Plain(_));
    let windows = windows.clone().filter(|_| in_sequence && is_plain);
    let socket =
        Socket::new(channel, replay, windows.clone(), Arc::clone(&activity), limits.timeouts, in_sequence);
    let facts = Arc::new(ConnectionFacts {
        introduced,
        scheme: if is_plain { Scheme::Http } else { Scheme::Https },
        client_certificate,
        entrance: Arc::clone(entrance),
        activity,
        windows,
        in_sequence,
    });
    let service = service_fn(move |mut request: Request<Incoming>| {
        // Here and not when the request is first polled: the socket must know before it is read again.
        let active = facts.activity.begin();
        let referer = request.headers().get(header::REFERER).cloned();
        let version = request.version();
        let facts = RequestFacts { connection: Arc::clone(&facts), version, referer, _active: active };
        request.extensions_mut().insert(Arc::new(facts));
        name_host(&mut request);
        // In a box: hyper keeps room for it as long as the connection lives.
        Box::pin(service.call(request))
    });
    let ended = match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new()
                // The socket watches the time itself, for idle connections and headers apart.
                .header_read_timeout(None)
                .max_header_size(limits.max_header)
                .max_buf_size(limits.max_header.max(READ_BUFFER))
                .serve_connection(TokioIo::new(socket), service);
            drive(connection, phase).await
        }
        Protocol::Http2 => {
            let service = service_fn(move |request| {
                let answer = service.call(request);
                async move { answer.await.map(|response| response.map(WatchedBody::new)) }
            });
            let connection = http2::Builder::new(WatchingExecutor { longest: limits.timeouts.write })
                .timer(TokioTimer::new())
                .keep_alive_interval(limits.timeouts.idle)
                .max_header_list_size(u32::try_from(limits.max_header).unwrap_or(u32::MAX))
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .serve_connection(TokioIo::new(socket), service);
            Box::pin(drive(connection, phase)).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer = shown, error = &error as &dyn std::error::Error, "a connection ended early");
    }
}

/// Runs a connection to its end; when the server drains, only the requests that are under way.
async fn drive<C>(connection: C, mut phase: watch::Receiver<Phase>) -> Result<(), C::Error>
where
    C: GracefulConnection,
{
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        // The error is that the server is gone, which is the same.
        _ = phase.wait_for(|phase| *phase > Phase::Running) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => ended,
        _ = phase.wait_for(|phase| *phase > Phase::Draining) => Ok(()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// A connection on which HTTP begins.
struct Entered {
    channel: Channel,
    /// What was read of it already.
    replay: Bytes,
    protocol: Protocol,
    introduced: Introduced,
    client_certificate: Option<String>,
}

/// Everything before HTTP. `None` when the client has got its answer already.
async fn enter(
    mut wire: Wire,
    peer: Option<SocketAddr>,
    entrance: &Entrance,
    linger: Duration,
) -> io::Result<Option<Entered>> {
    let introduced = introduce(&mut wire, peer, entrance).await?;
    let Some(tls) = entrance.tls.as_ref().filter(|_| !wire.is_unix()) else {
        let mut channel = Channel::Plain(wire);
        let (protocol, replay) = protocol(&mut channel).await?;
        return Ok(Some(Entered { channel, replay, protocol, introduced, client_certificate: None }));
    };
    match wire.first_byte().await? {
        // One that looks whether the port is open.
        None => return Ok(None),
        Some(first) if Tls::is_plain_http(first) => {
            let peer = introduced.peer.map(tracing::field::display);
            match PLAIN_HTTP_LINES.now() {
                Some(held_back) => {
                    tracing::info!(peer, held_back, "a client spoke plain HTTP where https is spoken");
                }
                None => tracing::debug!(peer, "a client spoke plain HTTP where https is spoken"),
            }
            send_to_https(wire, linger).await?;
            return Ok(None);
        }
        Some(_) => {}
    }
    let stream = tls.accept(wire).await?;
    let (_, session) = stream.get_ref();
    let is_http2 = session.alpn_protocol() == Some(b"h2");
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let client_certificate = certificate.and_then(common_name);
    let mut channel = Channel::Tls(stream);
    let (protocol, replay) =
        if is_http2 { (Protocol::Http2, Bytes::new()) } else { protocol(&mut channel).await? };
    Ok(Some(Entered { channel, replay, protocol, introduced, client_certificate }))
}

/// Whether the connection failed because of what the client sent, and not because it went away.
fn is_a_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidData)
}

/// Answers a client that speaks plain HTTP to an encrypted port.
async fn send_to_https(mut wire: Wire, linger: Duration) -> io::Result<()> {
    const TEXT: &str = "this port speaks https\n";
    let length = TEXT.len();
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n{TEXT}"
    );
    wire.write_all(answer.as_bytes()).await?;
    wire.shutdown().await?;
    // Closing with bytes unread would reset the connection, and the client might not see the answer.
    let mut scratch = vec![0; 16 * 1024];
    let read_on = async { while matches!(wire.read(&mut scratch).await, Ok(1..)) {} };
    // When the time is over, the client had it.
    let _ = timeout(linger, read_on).await;
    Ok(())
}

/// Finds out what the client speaks, and what was read for it.
async fn protocol(channel: &mut Channel) -> io::Result<(Protocol, Bytes)> {
    let mut read = BytesMut::with_capacity(4096);
    loop {
        let ended = channel.read_buf(&mut read).await? == 0;
        if read.starts_with(PREFACE) {
            return Ok((Protocol::Http2, read.freeze()));
        }
        if ended || !PREFACE.starts_with(&read) {
            return Ok((Protocol::Http1, read.freeze()));
        }
    }
}

/// HTTP/2 names the host apart from the headers; handlers look for `Host`.
fn name_host(request: &mut Request<Incoming>) {
    if !request.headers().contains_key(header::HOST)
        && let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(header::HOST, host);
    }
}
