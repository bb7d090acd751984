//! Requests to Google that are written by hand, whatever the API: proved, sent, judged by their status.

use std::sync::Arc;

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::Content,
    http::{AnswerBody, Call, Refusal, Transport},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri};

use crate::signing::Signer;

/// The store as it is reached.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) transport: Transport,
    pub(crate) signer: Arc<Signer>,
    /// Scheme, host and port, without `/` at the end.
    pub(crate) endpoint: String,
}

impl Service {
    /// Proves and sends a request. `target` is path and query, encoded.
    pub(crate) async fn send(
        &self,
        call: Call,
        method: Method,
        target: &str,
        headers: &[(&'static str, &str)],
        content: Content,
    ) -> Result<http::Response<AnswerBody>, Refusal> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = method;
        head.uri = format!("{}{target}", self.endpoint)
            .parse::<Uri>()
            .map_err(|_| crate::settings::invalid("gs_endpoint and boto_bucket make no address"))?;
        head.headers = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value)
                .map_err(|_| Error::new(ErrorKind::Internal, format!("this cannot be the header {name}")))?;
            head.headers.insert(HeaderName::from_static(name), value);
        }
        self.signer.sign(&mut head, None).await?;
        self.transport.send(call, head, content).await
    }
}

/// An answer that is not what was to be expected.
pub(crate) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("Google Cloud Storage's answer {what}"))
}
