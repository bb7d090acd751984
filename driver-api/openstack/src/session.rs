//! Requests to one service: the token, where the service is, and what a refusal means.

use docker_registry_driver_api::{ByteStream, Error, ErrorKind, Result};
use docker_registry_object_storage::{
    Fresh, Renewal, Renewed,
    bucket::Content,
    http::{AnswerBody, Call, Refusal, Subject, Transport, normal_address},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, request::Parts};

use crate::{CloudSettings, Granted, Identity, Service, invalid};

/// Largest answer of an identity service: catalogs of large clouds have hundreds of endpoints.
const LARGEST_GRANT: usize = 4 << 20;

/// One identity at one service. The token is renewed before it ends, and once more when the service refuses one that
/// was good before.
pub struct Session {
    service: Service,
    settings: CloudSettings,
    transport: Transport,
    renewed: Renewed<Granted>,
}

impl Session {
    /// Asks nobody yet.
    pub fn new(service: Service, settings: CloudSettings, transport: Transport) -> Self {
        Self { service, settings, transport, renewed: Renewed::default() }
    }

    /// What sends the requests.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Token and address.
    ///
    /// # Errors
    /// When the identity service refuses, does not answer, or knows no such service.
    pub async fn granted(&self) -> Result<Granted> {
        self.renewed.get(self.fetch()).await
    }

    async fn fetch(&self) -> Result<Fresh<Granted>> {
        let CloudSettings { identity, interface, region, address, .. } = &self.settings;
        let Some((head, content)) = identity.request(&self.service)? else {
            let (Identity::Token { token }, Some(address)) = (identity, address) else {
                return Err(Error::new(ErrorKind::Internal, "there is no way to a token"));
            };
            let value = Granted { token: token.clone(), address: address.clone(), life: None };
            return Ok(Fresh { value, life: None });
        };
        let call = Call::reading("token", Subject::Credentials);
        let answer =
            self.transport.send(call, head, content).await.map_err(|refusal| self.refused(refusal))?;
        let headers = answer.headers().clone();
        let body = answer.into_body().bytes(LARGEST_GRANT).await?;
        let (region, address) = (region.as_deref(), address.as_deref());
        let mut value = identity.granted(&self.service, &headers, &body, *interface, region, address)?;
        let Some(address) = normal_address(&value.address) else {
            return Err(invalid(format!(
                "the address of the {} in the catalog is none: set {}",
                self.service.said, self.service.address_key
            )));
        };
        value.address = address;
        tracing::debug!(address = %value.address, life = ?value.life, "a new token");
        Ok(Fresh { life: value.life, value })
    }

    /// A refusal of the identity service. Asking it once more with the same words makes no sense.
    fn refused(&self, refusal: Refusal) -> Error {
        let Some(status) = refusal.status() else { return refusal.into() };
        let credentials = &self.transport.advice().credentials;
        let sentence = match status.as_u16() {
            401 | 403 => format!("the identity service does not accept the credentials: check {credentials}"),
            300..500 if !refusal.error.retryable => format!(
                "what answers is no identity service of this version: check {} and {}",
                self.service.key("authurl"),
                self.service.key("auth_version")
            ),
            _ => return refusal.into(),
        };
        let kind = if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            ErrorKind::Unauthenticated
        } else {
            ErrorKind::InvalidConfiguration
        };
        Error::new(kind, format!("{sentence} [status {}]", status.as_u16()))
    }

    /// Proves and sends a request. `target` makes the address of the request from that of the service.
    ///
    /// # Errors
    /// Every answer that is not 2xx, and none at all.
    pub async fn send(
        &self,
        call: Call,
        method: Method,
        target: impl FnOnce(&str) -> String,
        headers: &[(&'static str, String)],
        content: Content,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let head = self.proved(method, target, headers).await?;
        self.transport.send(call, head, content).await
    }

    /// The same with content that comes as it is sent, and its size where that is known. It is sent once and never again.
    ///
    /// # Errors
    /// As for [`Session::send`], and the content's own.
    pub async fn send_stream(
        &self,
        call: Call,
        method: Method,
        target: impl FnOnce(&str) -> String,
        headers: &[(&'static str, String)],
        (content, size): (ByteStream, Option<u64>),
    ) -> Result<Response<AnswerBody>, Refusal> {
        let head = self.proved(method, target, headers).await?;
        self.transport.send_stream(call, head, content, size).await
    }

    async fn proved(
        &self,
        method: Method,
        target: impl FnOnce(&str) -> String,
        headers: &[(&'static str, String)],
    ) -> Result<Parts> {
        let granted = self.granted().await?;
        let mut head = self.head(method, &target(&granted.address), headers)?;
        let mut token = HeaderValue::from_str(&granted.token)
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the token of the identity service is none"))?;
        token.set_sensitive(true);
        head.headers.insert("x-auth-token", token);
        Ok(head)
    }

    /// The head of a request that needs no proof.
    ///
    /// # Errors
    /// `InvalidConfiguration` where the address is none.
    pub fn head(&self, method: Method, address: &str, headers: &[(&'static str, String)]) -> Result<Parts> {
        let (mut head, ()) = Request::new(()).into_parts();
        head.method = method;
        head.uri = address.parse::<Uri>().map_err(|_| {
            invalid(format!("the address of the {} makes no address of a request", self.service.said))
        })?;
        head.headers = HeaderMap::new();
        for (name, value) in headers {
            let mut value = HeaderValue::from_str(value)
                .map_err(|_| Error::new(ErrorKind::Internal, format!("this cannot be the header {name}")))?;
            value.set_sensitive(name.ends_with("-key"));
            head.headers.insert(HeaderName::from_static(name), value);
        }
        Ok(head)
    }
}

impl Renewal for Session {
    fn accepted(&self) {
        self.renewed.accepted();
    }

    fn failed(&self, error: Error) -> Error {
        self.renewed.failed(error)
    }
}
