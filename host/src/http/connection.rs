//! One client connection from accept to close: protocol, limits, drain.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Request, Response, header};
use hyper::{
    body::{Body, Incoming},
    server::conn::{http1, http2},
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use tokio::{io::AsyncReadExt, net::TcpStream, sync::watch, time::timeout};

use super::{
    sendfile::Windows,
    server::Limits,
    service::{ConnectionFacts, Never, RequestFacts},
    socket::{Activity, Socket},
};

/// What an HTTP/2 client sends first when it knows that the server speaks it (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Most requests that one HTTP/2 connection may have under way.
const MAX_STREAMS: u32 = 64;
/// Bytes of request bodies that an HTTP/2 client may send ahead, per stream and per connection.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * STREAM_WINDOW;

/// In which part of its life the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Running,
    /// Requests under way are finished, new ones are not taken.
    Draining,
    /// Everything is dropped.
    Aborting,
}

/// Serves a connection until either side closes it.
pub(crate) async fn serve<S, B>(
    mut stream: TcpStream,
    peer: SocketAddr,
    service: S,
    limits: Arc<Limits>,
    windows: Option<Arc<Windows>>,
    mut phase: watch::Receiver<Phase>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Never> + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let activity = Activity::new();
    let begin = timeout(limits.timeouts.header, protocol(&mut stream));
    let (protocol, replay) = tokio::select! {
        begin = begin => match begin {
            Ok(Ok(begin)) => begin,
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "a connection failed"),
            Err(_) => return tracing::debug!(%peer, "a connection sent nothing"),
        },
        _ = phase.wait_for(|phase| *phase > Phase::Running) => return,
    };
    let in_sequence = protocol == Protocol::Http1;
    let windows = windows.filter(|_| in_sequence);
    let socket =
        Socket::new(stream, replay, windows.clone(), Arc::clone(&activity), limits.timeouts, in_sequence);
    let facts = Arc::new(ConnectionFacts { peer, activity, windows, in_sequence });
    let service = service_fn(move |mut request: Request<Incoming>| {
        // Here and not when the request is first polled: the socket must know before it is read again.
        let active = facts.activity.begin();
        let referer = request.headers().get(header::REFERER).cloned();
        let version = request.version();
        let facts = RequestFacts { connection: Arc::clone(&facts), version, referer, _active: active };
        request.extensions_mut().insert(Arc::new(facts));
        name_host(&mut request);
        service.call(request)
    });
    let ended = match protocol {
        Protocol::Http1 => {
            let connection = http1::Builder::new()
                // The socket watches the time itself, for idle connections and headers apart.
                .header_read_timeout(None)
                .max_header_size(limits.max_header)
                .serve_connection(TokioIo::new(socket), service);
            drive(connection, phase).await
        }
        Protocol::Http2 => {
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(limits.timeouts.idle)
                .max_header_list_size(u32::try_from(limits.max_header).unwrap_or(u32::MAX))
                .max_concurrent_streams(MAX_STREAMS)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .serve_connection(TokioIo::new(socket), service);
            drive(connection, phase).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error = &error as &dyn std::error::Error, "a connection ended early");
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

/// Finds out what the client speaks, and what was read for it.
async fn protocol(stream: &mut TcpStream) -> io::Result<(Protocol, Bytes)> {
    let mut read = BytesMut::with_capacity(4096);
    loop {
        let ended = stream.read_buf(&mut read).await? == 0;
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
