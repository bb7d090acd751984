//! How a test client reaches a registry.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use docker_registry::http::{
    exchange::{Request, Response, ResponseBody, Scheme},
    v1::Api,
};
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, ReadingBody, byte_stream, collect, futures};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// Largest answer that a test reads, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// A request as a client makes it.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: SentBody,
}

/// The body of a request.
#[derive(Debug, Clone)]
pub(crate) enum SentBody {
    /// With a `Content-Length`.
    Sized(Bytes),
    /// Chunk by chunk, of a length that is not announced.
    Chunked(Vec<Bytes>),
    /// Chunks, and then the connection breaks.
    Broken(Vec<Bytes>),
}

impl Sent {
    pub(crate) fn new(method: Method, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), headers: HeaderMap::new(), body: SentBody::Sized(Bytes::new()) }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target)
    }

    pub(crate) fn put(target: impl Into<String>, body: impl Into<Bytes>) -> Self {
        Self { body: SentBody::Sized(body.into()), ..Self::new(Method::PUT, target) }
    }

    pub(crate) fn delete(target: impl Into<String>) -> Self {
        Self::new(Method::DELETE, target)
    }

    pub(crate) fn body(self, body: SentBody) -> Self {
        Self { body, ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::try_from(name).unwrap();
        self.headers.insert(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
        self
    }
}

/// A response as a client sees it.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Received {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The response itself, if it has this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", self.text());
        self
    }

    /// Checks that it is an error with exactly this text.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, text: &str) {
        let body = serde_json::to_string(text).unwrap();
        assert_eq!(self.expect(status).text(), format!("{{\"error\": {body}}}"));
    }
}

/// A way to a registry: the handler in this process, or a server behind a socket.
pub(crate) trait Transport: Send + Sync {
    /// Sends a request and waits for the whole answer.
    fn exchange(&self, sent: Sent) -> impl Future<Output = Received> + Send;
}

/// The handler in this process.
#[derive(Clone)]
pub(crate) struct InProcess {
    pub(crate) api: Arc<Api>,
    /// What the client would write into `Host`.
    pub(crate) host: String,
}

impl InProcess {
    /// The request as the server would hand it to the handler.
    pub(crate) fn request(&self, sent: Sent) -> Request {
        let Sent { method, target, mut headers, body } = sent;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        headers.entry(header::HOST).or_insert_with(|| HeaderValue::from_str(&self.host).unwrap());
        let body = match body {
            SentBody::Sized(content) => {
                if !content.is_empty() {
                    headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(content.len()));
                }
                byte_stream((!content.is_empty()).then_some(content))
            }
            SentBody::Chunked(chunks) => {
                headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
                byte_stream(chunks)
            }
            SentBody::Broken(chunks) => broken(chunks),
        };
        Request {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body,
            peer: None,
            scheme: Scheme::Http,
            client_certificate: None,
            trace: None,
        }
    }
}

fn broken(chunks: Vec<Bytes>) -> ByteStream {
    let error = Error::new(ErrorKind::BodyFailed, "the client went away");
    Box::pin(futures::stream::iter(chunks.into_iter().map(Ok).chain([Err(error)])))
}

impl Transport for InProcess {
    async fn exchange(&self, sent: Sent) -> Received {
        let head = sent.method == Method::HEAD;
        received(self.api.handle(self.request(sent)).await, head).await
    }
}

/// The response as the server would send it.
async fn received(response: Response, head: bool) -> Received {
    let (mut parts, body) = response.into_parts();
    let body = match body {
        ResponseBody::Empty => Bytes::new(),
        ResponseBody::Whole(content) => content,
        ResponseBody::Reading(reading) => {
            let length = reading.length;
            let content = match reading.body {
                ReadingBody::Stream(stream) => collect(stream, MAX_ANSWER).await.unwrap(),
                ReadingBody::File(region) => {
                    use std::os::unix::fs::FileExt;
                    let mut content = vec![0; usize::try_from(region.length).unwrap()];
                    region.file.read_exact_at(&mut content, region.offset).unwrap();
                    content.into()
                }
            };
            assert_eq!(content.len() as u64, length, "a body of another length than announced");
            content
        }
    };
    if head {
        assert!(body.is_empty(), "the answer to HEAD has a body");
    } else if parts.status != StatusCode::NOT_MODIFIED {
        let length = HeaderValue::from(body.len());
        let said = parts.headers.insert(header::CONTENT_LENGTH, length.clone());
        assert!(said.is_none_or(|said| said == length), "a Content-Length that is not the body's");
    }
    Received { status: parts.status, headers: parts.headers, body }
}
