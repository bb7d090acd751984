//! An HTTP proxy between a driver and its server that counts requests and makes trouble.
//!
//! It forwards requests as they are, the `Host` included, because that is part of what clients sign. Faults are
//! dealt out by a sequence that is the same in every run.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// One kind of trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The answer is 503 with the code `SlowDown`; the server hears nothing.
    Busy,
    /// The server does what is asked for, and the connection ends before the answer.
    AnswerLost,
    /// The connection ends in the middle of what the client sends.
    RequestCut,
    /// The connection ends in the middle of the answer's body.
    AnswerCut,
    /// Nothing happens for a while, then the request is forwarded.
    Stall(Duration),
    /// The answer is 403 with the code `ExpiredToken`.
    ExpiredToken,
    /// The answer has this status and no reason that a client could read; the server hears nothing.
    Status(u16),
    /// The `ETag` of an answer to a `PUT` is another one.
    WrongTag,
}

/// One request as the proxy saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub target: String,
    /// Bytes that the client announced for the body.
    pub sent: u64,
    /// The request's headers.
    pub headers: http::HeaderMap,
    /// Status of the answer; `None` when the client got none.
    pub status: Option<u16>,
    /// What was done to it.
    pub fault: Option<Fault>,
    /// Its place in the order in which requests came and were answered.
    came: u64,
    /// The place of its answer in the same order, once it has been given or has failed.
    answered: Option<u64>,
}

impl Seen {
    /// Whether each of the two came before the other one was answered.
    pub fn ran_beside(&self, other: &Seen) -> bool {
        let before = |came: u64, answered: Option<u64>| answered.is_none_or(|answered| came < answered);
        before(self.came, other.answered) && before(other.came, self.answered)
    }

    /// Whether the request only carries a part of a large object.
    pub fn is_part(&self) -> bool {
        self.method == Method::PUT
            && (self.asks("partNumber")
                || self.asks("upload_id")
                || self.query().any(|pair| pair == "comp=block")
                || self.target.contains("/.docker-registry/segments/"))
    }

    /// Whether it begins an object of parts, in the words of S3 and its relatives.
    pub fn begins_parts(&self) -> bool {
        self.method == Method::POST && self.asks("uploads")
    }

    /// Whether the server asks from time to time whether the store answers: a listing of one below the root.
    pub fn is_probe(&self) -> bool {
        let one = ["limit=1", "max-keys=1", "maxResults=1", "maxresults=1"];
        self.method == Method::GET
            && self.query().any(|pair| one.contains(&pair))
            && self.query().any(|pair| pair == "prefix=registry")
    }

    fn query(&self) -> impl Iterator<Item = &str> {
        self.target.split_once('?').map_or("", |(_, query)| query).split('&')
    }

    fn asks(&self, name: &str) -> bool {
        self.query().any(|pair| pair.split('=').next() == Some(name))
    }
}

#[derive(Default)]
struct Plan {
    /// Each with the share of requests that it meets, in percent.
    faults: Vec<(Fault, u32)>,
    seen: Vec<Seen>,
    random: u64,
    /// How often a request has come or an answer has been given.
    events: u64,
}

impl Plan {
    /// A number below 100, from a fixed sequence (an LCG by Knuth).
    fn next(&mut self) -> u32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from((self.random >> 33) % 100).unwrap_or_default()
    }

    fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn deal(&mut self) -> Option<Fault> {
        let mut number = self.next();
        for (fault, share) in &self.faults {
            if number < *share {
                return Some(*fault);
            }
            number -= share;
        }
        None
    }
}

/// A running proxy. Dropping it ends it and its connections.
pub struct FaultProxy {
    address: SocketAddr,
    plan: Arc<Mutex<Plan>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl FaultProxy {
    /// A proxy in front of `server` that does nothing but count yet.
    pub fn start(server: SocketAddr) -> FaultProxy {
        let plan = Arc::new(Mutex::new(Plan::default()));
        let (stop, stopped) = oneshot::channel();
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::clone(&plan);
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, server, shared) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        FaultProxy { address, plan, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on these faults meet requests, each the given share of them in percent.
    pub fn make_trouble(&self, faults: &[(Fault, u32)]) {
        let total: u32 = faults.iter().map(|(_, share)| share).sum();
        assert!(total <= 100, "more than all requests cannot fail");
        self.plan().faults = faults.to_vec();
    }

    /// The requests since the last call, in the order of their arrival.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.plan().seen)
    }

    /// How many requests [`Self::take_seen`] would return.
    pub fn seen_so_far(&self) -> usize {
        self.plan().seen.len()
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().expect("nobody panics with the plan")
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, plan: Arc<Mutex<Plan>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let plan = Arc::clone(&plan);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(request, server, Arc::clone(&plan)));
            // A connection that ends in the middle is what this proxy is for.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

async fn handle(
    request: Request<Incoming>,
    server: SocketAddr,
    plan: Arc<Mutex<Plan>>,
) -> io::Result<Answer> {
    let sent = request.headers().get(header::CONTENT_LENGTH);
    let sent = sent.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let (index, fault) = {
        let mut plan = plan.lock().expect("nobody panics with the plan");
        let (fault, came) = (plan.deal(), plan.next_event());
        let (method, headers) = (request.method().clone(), request.headers().clone());
        plan.seen.push(Seen { method, target, sent, headers, status: None, fault, came, answered: None });
        (plan.seen.len() - 1, fault)
    };
    let answer = with_fault(request, server, fault).await;
    let mut plan = plan.lock().expect("nobody panics with the plan");
    let event = plan.next_event();
    if let Some(seen) = plan.seen.get_mut(index) {
        seen.status = answer.as_ref().ok().map(|answer| answer.status().as_u16()).or(seen.status);
        seen.answered = Some(event);
    }
    drop(plan);
    answer
}

async fn with_fault(
    request: Request<Incoming>,
    server: SocketAddr,
    fault: Option<Fault>,
) -> io::Result<Answer> {
    let lost = |what: &str| io::Error::other(what.to_owned());
    let is_put = request.method() == Method::PUT;
    match fault {
        Some(Fault::Busy) => return refused(request, StatusCode::SERVICE_UNAVAILABLE, "SlowDown").await,
        Some(Fault::ExpiredToken) => return refused(request, StatusCode::FORBIDDEN, "ExpiredToken").await,
        Some(Fault::Status(status)) => {
            let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
            return refused(request, status, "").await;
        }
        Some(Fault::RequestCut) => {
            let mut body = request.into_body();
            let _ = body.frame().await;
            return Err(lost("cut while the request arrived"));
        }
        Some(Fault::Stall(time)) => tokio::time::sleep(time).await,
        _ => {}
    }
    let mut answer = forward(request, server).await?;
    match fault {
        Some(Fault::AnswerLost) => {
            let _ = answer.into_body().collect().await;
            Err(lost("the answer is lost"))
        }
        Some(Fault::AnswerCut) => Ok(answer.map(|body| Cut { body, left: 1_000 }.boxed())),
        Some(Fault::WrongTag) if is_put => {
            if answer.headers().contains_key(header::ETAG) {
                let wrong = HeaderValue::from_static("\"0123456789abcdef0123456789abcdef\"");
                answer.headers_mut().insert(header::ETAG, wrong);
            }
            Ok(answer)
        }
        _ => Ok(answer),
    }
}

/// An error of the kind that S3 and its relatives send; Azure's name for it stands in a header.
async fn refused(request: Request<Incoming>, status: StatusCode, code: &str) -> io::Result<Answer> {
    // Read, so that the client gets to the answer.
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        frame.map_err(io::Error::other)?;
    }
    if code.is_empty() {
        let answer = Response::builder()
            .status(status)
            .body(Full::default().map_err(|never: Infallible| match never {}).boxed());
        return answer.map_err(io::Error::other);
    }
    let text =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>by the proxy</Message></Error>");
    let azure = if code == "SlowDown" { "ServerBusy" } else { "AuthenticationFailed" };
    let answer = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/xml")
        .header("x-ms-error-code", azure)
        .body(Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed());
    answer.map_err(io::Error::other)
}

async fn forward(request: Request<Incoming>, server: SocketAddr) -> io::Result<Answer> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok(answer.map(|body| body.map_err(io::Error::other).boxed()))
}

/// A body that breaks after some bytes.
struct Cut {
    body: BoxBody<Bytes, io::Error>,
    left: usize,
}

impl Body for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(Some(Err(io::Error::other("cut"))));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        let Ok(mut data) = frame.into_data() else { return Poll::Ready(None) };
        data.truncate(self.left);
        self.left -= data.len();
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
