//! The one client of a driver: connections, limits, silence, and what came back.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt};
use http::{Method, StatusCode, header};
use http_body_util::BodyExt;
use object_store::{
    ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use tokio::{sync::Semaphore, time::Instant};

use super::{
    answer::{AnswerBody, Watched, watched},
    exchange::{self, LARGEST_DOCUMENT, Record},
    fault::{Advice, Call, Refusal},
    options::HttpOptions,
    progress::{Progress, after_the_next, in_pieces, watched_source},
    reason::{Reason, TransportError},
};
use crate::bucket::Content;

/// How many times longer a store may be silent over calls that are slow by nature.
const SLOW: u32 = 10;
/// Hosts that give credentials to their own machine; no proxy reaches them.
const METADATA_HOSTS: &str =
    "169.254.169.254,169.254.170.2,169.254.170.23,100.100.100.200,metadata.google.internal";

/// Sends requests. Cheap to clone; all clones share connections and limits.
#[derive(Clone)]
pub struct Transport(Arc<Inner>);

struct Inner {
    client: reqwest::Client,
    under_way: Semaphore,
    /// Requests whose content comes from elsewhere: they last as long as their source likes, and nothing else waits for
    /// them.
    streams_under_way: Semaphore,
    options: HttpOptions,
    advice: Arc<Advice>,
}

impl Transport {
    /// Makes the client. Nothing is connected yet.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] where the bundle of certificates or the proxy cannot be used.
    pub async fn new(options: HttpOptions, advice: Advice) -> Result<Self> {
        let certificates = match &options.ca_bundle {
            None => Vec::new(),
            Some(path) => {
                let wrong = |what: &str| {
                    let text = format!("{} ({}) {what}", advice.ca_bundle, path.display());
                    Error::new(ErrorKind::InvalidConfiguration, text)
                };
                let pem =
                    tokio::fs::read(path).await.map_err(|error| wrong("cannot be read").caused_by(&error))?;
                let certificates = reqwest::Certificate::from_pem_bundle(&pem)
                    .map_err(|error| wrong("is no list of PEM certificates").caused_by(&error))?;
                if certificates.is_empty() {
                    return Err(wrong("has no certificate"));
                }
                certificates
            }
        };
        let client = client(&options, &advice, &certificates)?;
        let most = options.most_requests.clamp(1, Semaphore::MAX_PERMITS);
        let (under_way, streams_under_way) = (Semaphore::new(most), Semaphore::new(most));
        let advice = Arc::new(advice);
        Ok(Self(Arc::new(Inner { client, under_way, streams_under_way, options, advice })))
    }

    /// The options that the client was made with.
    pub fn options(&self) -> &HttpOptions {
        &self.0.options
    }

    /// The words for the driver's errors.
    pub fn advice(&self) -> &Advice {
        &self.0.advice
    }

    /// The client as `object_store` takes it.
    pub fn http_client(&self) -> HttpClient {
        HttpClient::new(self.clone())
    }

    /// What `reqsign` needs to find credentials: this client, files, the environment.
    pub fn signing_context(&self) -> reqsign_core::Context {
        super::signing::context(self)
    }

    /// Sends a request whose head is signed already and gives the answer, if it is a good one (2xx).
    ///
    /// # Errors
    /// Every other answer, and none at all.
    pub async fn send(
        &self,
        call: Call,
        head: http::request::Parts,
        content: Content,
    ) -> Result<http::Response<AnswerBody>, Refusal> {
        let request = http::Request::from_parts(head, Outgoing::Content(content.into()));
        self.exchange(call, request).await
    }

    /// The same with content that comes as it is sent, so that the request is made once and never again. Waiting for the
    /// content is no silence of the store. A content that ends with an error is cut off, with and without its size.
    ///
    /// # Errors
    /// As for [`Transport::send`]; the content's own error, where it has one.
    pub async fn send_stream(
        &self,
        call: Call,
        head: http::request::Parts,
        content: ByteStream,
        size: Option<u64>,
    ) -> Result<http::Response<AnswerBody>, Refusal> {
        let failure = Arc::new(Mutex::new(None));
        let kept = Arc::clone(&failure);
        let content = content.inspect_err(move |error| {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
        });
        let request = http::Request::from_parts(head, Outgoing::Stream(content.boxed(), size));
        let result = self.exchange(call, request).await;
        let failure = failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failure {
            Some(error) => Err(error.into()),
            None => result,
        }
    }

    async fn exchange(
        &self,
        call: Call,
        request: http::Request<Outgoing>,
    ) -> Result<http::Response<AnswerBody>, Refusal> {
        let idle_timeout = self.patience(call.slow);
        let (method, authority) = (request.method().clone(), authority(&request));
        let refuse = |record: Record| {
            exchange::note(&record);
            let refusal = Refusal::new(self.advice(), call, record);
            tracing::debug!(call = call.name, error = %refusal, "the store refused a request");
            refusal
        };
        let answer = match self.dispatch(request, idle_timeout).await {
            Ok(answer) => answer,
            Err(error) => return Err(refuse(Record::of_failure(authority, method, error))),
        };
        let (parts, body) = answer.into_parts();
        if !parts.status.is_success() {
            let document = document(body).await;
            return Err(refuse(Record::of_answer(
                authority,
                method,
                parts.status,
                &parts.headers,
                &document,
            )));
        }
        let request_id =
            Record::of_answer(String::new(), method, parts.status, &parts.headers, &[]).request_id;
        let body = AnswerBody {
            body: Mutex::new(body),
            authority,
            request_id,
            advice: Arc::clone(&self.0.advice),
            call,
        };
        Ok(http::Response::from_parts(parts, body))
    }

    pub(super) fn patience(&self, slow: bool) -> Duration {
        self.0.options.idle_timeout * if slow { SLOW } else { 1 }
    }

    /// One exchange as far as the head of the answer, whatever its status.
    pub(super) async fn dispatch(
        &self,
        request: http::Request<Outgoing>,
        idle_timeout: Duration,
    ) -> Result<http::Response<Watched>, TransportError> {
        let line = match request.body() {
            Outgoing::Content(_) => &self.0.under_way,
            Outgoing::Stream(..) => &self.0.streams_under_way,
        };
        let _permit = line
            .acquire()
            .await
            .map_err(|_| TransportError::new(Reason::Request, false, "the client is closed"))?;
        let (parts, body) = request.into_parts();
        let url =
            parts.uri.to_string().parse().map_err(|_| {
                TransportError::new(Reason::Request, false, "the address of the request is none")
            })?;
        let answers_without_body = parts.method == Method::HEAD;
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = parts.headers;
        let progress = Arc::new(Progress::new(body.is_empty()));
        match body {
            Outgoing::Content(content) => {
                let length = content.content_length();
                if length > 0 || matches!(*request.method(), Method::PUT | Method::POST) {
                    request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
                }
                if length > 0 {
                    let pieces = in_pieces(content, Arc::clone(&progress));
                    *request.body_mut() = Some(reqwest::Body::wrap_stream(pieces));
                }
            }
            Outgoing::Stream(content, size) => {
                let content = match size {
                    Some(size) => {
                        request.headers_mut().insert(header::CONTENT_LENGTH, size.into());
                        after_the_next(content)
                    }
                    None => content,
                };
                let content = watched_source(content, Arc::clone(&progress));
                *request.body_mut() = Some(reqwest::Body::wrap_stream(content));
            }
        }
        let answer = self.0.client.execute(request);
        tokio::pin!(answer);
        let answer = loop {
            let silent = progress.silent_at(idle_timeout);
            tokio::select! {
                biased;
                answer = &mut answer => break answer.map_err(TransportError::of)?,
                () = tokio::time::sleep_until(silent) => {
                    if progress.silent_at(idle_timeout) <= Instant::now() {
                        let text = format!("nothing moved for {} seconds", idle_timeout.as_secs_f32());
                        return Err(TransportError::new(Reason::Timeout, progress.begun(), text));
                    }
                }
            }
        };
        let mut head = http::Response::new(());
        *head.status_mut() = answer.status();
        *head.headers_mut() = answer.headers().clone();
        let length = answer
            .headers()
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let length = length.filter(|_| !answers_without_body && answer.status() != StatusCode::NO_CONTENT);
        let body = watched(answer.bytes_stream().map_err(TransportError::of), idle_timeout, length);
        Ok(head.map(|()| body))
    }
}

/// The body of a request.
pub(super) enum Outgoing {
    /// It is in memory, or known to be nothing.
    Content(HttpRequestBody),
    /// It comes from somewhere, and has this size where that is known.
    Stream(ByteStream, Option<u64>),
}

impl Outgoing {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Content(content) if content.content_length() == 0)
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("options", &self.0.options).finish_non_exhaustive()
    }
}

#[docker_registry_driver_api::async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (method, authority) = (request.method().clone(), authority(&request));
        let answer = match self.dispatch(request.map(Outgoing::Content), self.patience(false)).await {
            Ok(answer) => answer,
            Err(error) => {
                let kind = match error.reason {
                    _ if !error.sent => HttpErrorKind::Connect,
                    Reason::Timeout => HttpErrorKind::Timeout,
                    _ => HttpErrorKind::Interrupted,
                };
                exchange::note(&Record::of_failure(authority, method, error.clone()));
                return Err(HttpError::new(kind, error));
            }
        };
        let (parts, body) = answer.into_parts();
        if parts.status.is_success() {
            exchange::note(&Record::of_answer(authority, method, parts.status, &parts.headers, &[]));
            let body = reqwest::Body::wrap_stream(body);
            let body = HttpResponseBody::new(
                body.map_err(|error| HttpError::new(HttpErrorKind::Interrupted, TransportError::of(error))),
            );
            return Ok(HttpResponse::from_parts(parts, body));
        }
        let document = document(body).await;
        exchange::note(&Record::of_answer(authority, method, parts.status, &parts.headers, &document));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(document)))
    }
}

impl HttpConnector for Transport {
    fn connect(&self, _options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(self.http_client())
    }
}

/// The beginning of an error document; what breaks on the way ends it.
async fn document(mut body: Watched) -> Bytes {
    let mut document = Vec::new();
    while let Some(Ok(piece)) = body.next().await {
        document.extend_from_slice(&piece[..piece.len().min(LARGEST_DOCUMENT - document.len())]);
        if document.len() == LARGEST_DOCUMENT {
            break;
        }
    }
    document.into()
}

/// An address as clients write it into the headers that are signed: scheme and host in small letters, without the
/// scheme's own port, and without `/` at the end. `None` when it is none of HTTP, or holds a user name or a query.
pub fn normal_address(address: &str) -> Option<String> {
    let url: reqwest::Url = address.parse().ok()?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_plain.then(|| url.as_str().trim_end_matches('/').to_owned())
}

fn authority<T>(request: &http::Request<T>) -> String {
    request.uri().authority().map(|authority| host_of(authority.as_str())).unwrap_or_default()
}

/// An authority without user name and password, which no error may show.
fn host_of(authority: &str) -> String {
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}

fn client(
    options: &HttpOptions,
    advice: &Advice,
    certificates: &[reqwest::Certificate],
) -> Result<reqwest::Client> {
    let build = |only: bool| -> Result<reqwest::ClientBuilder> {
        let mut builder = reqwest::Client::builder()
            .user_agent(&options.user_agent)
            .connect_timeout(options.connect_timeout)
            .pool_idle_timeout(options.pool_idle_timeout)
            .pool_max_idle_per_host(options.pool_idle_per_host)
            .tcp_keepalive(options.tcp_keepalive)
            .tcp_nodelay(true)
            // With HTTP/2 everything would share one connection, and readers that are slow would hold up everybody.
            .http1_only()
            // A redirect is a wrong region or endpoint, and a signature does not hold elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .no_proxy();
        if let Some(proxy) = proxy(options, advice)? {
            builder = builder.proxy(proxy);
        }
        if !options.verify {
            return Ok(builder.tls_danger_accept_invalid_certs(true));
        }
        let certificates = certificates.iter().cloned();
        Ok(if only { builder.tls_certs_only(certificates) } else { builder.tls_certs_merge(certificates) })
    };
    build(false)?.build().or_else(|error| {
        // A machine without any certificate may still speak plain HTTP, or have a bundle of its own.
        tracing::debug!(%error, "the system's certificates cannot be used");
        build(true)?.build().map_err(|error| {
            Error::new(
                ErrorKind::InvalidConfiguration,
                format!("the HTTP client cannot be made: check {}", advice.ca_bundle),
            )
            .caused_by(&error.without_url())
        })
    })
}

fn proxy(options: &HttpOptions, advice: &Advice) -> Result<Option<reqwest::Proxy>> {
    let Some(wanted) = &options.proxy else { return Ok(None) };
    let wrong = |_| {
        // The text of the library may repeat the address, which may hold a password.
        Error::new(ErrorKind::InvalidConfiguration, format!("{} is no address of a proxy", advice.proxy))
    };
    let mut proxy = reqwest::Proxy::all(&wanted.url).map_err(wrong)?;
    if let Some(user) = &wanted.user {
        proxy = proxy.basic_auth(user, wanted.password.as_deref().unwrap_or_default());
    }
    let except = match &wanted.except {
        Some(except) => format!("{except},{METADATA_HOSTS}"),
        None => METADATA_HOSTS.to_owned(),
    };
    Ok(Some(proxy.no_proxy(reqwest::NoProxy::from_string(&except))))
}
