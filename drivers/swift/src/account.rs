//! One account of a cluster: the token, where it is, and requests to it.

use std::sync::OnceLock;

use docker_registry_driver_api::{ETag, Error, ErrorKind, Result};
use docker_registry_object_storage::{
    Fresh, Renewal, Renewed,
    bucket::Content,
    http::{AnswerBody, Call, Refusal, Subject, Transport, normal_address},
    xml::encode,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

use crate::{
    identity::{Granted, Identity},
    learning::Learnt,
    settings::{SwiftSettings, invalid},
};

/// Largest answer of an identity service: catalogs of large clouds have hundreds of endpoints.
const LARGEST_GRANT: usize = 4 << 20;

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    Container,
    Object(&'a str),
}

/// A request before it is proved.
pub(crate) struct Ask<'a> {
    /// What its failure would mean.
    pub(crate) call: Call,
    pub(crate) method: Method,
    pub(crate) place: Place<'a>,
    /// The query, encoded; empty for none.
    pub(crate) query: String,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) content: Content,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(call: Call, method: Method, place: Place<'a>) -> Self {
        Self { call, method, place, query: String::new(), headers: Vec::new(), content: Content::new() }
    }

    pub(crate) fn query(mut self, query: impl Into<String>) -> Self {
        self.query = query.into();
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn content(mut self, content: impl Into<Content>) -> Self {
        self.content = content.into();
        self
    }
}

/// The account.
pub(crate) struct Account {
    pub(crate) settings: SwiftSettings,
    pub(crate) transport: Transport,
    renewed: Renewed<Granted>,
    /// What the cluster said of itself when the driver opened.
    pub(crate) learnt: OnceLock<Learnt>,
}

impl Account {
    pub(crate) fn new(settings: SwiftSettings, transport: Transport) -> Self {
        Self { settings, transport, renewed: Renewed::default(), learnt: OnceLock::new() }
    }

    /// Token and address.
    ///
    /// # Errors
    /// When the identity service refuses, does not answer, or knows no such storage.
    pub(crate) async fn granted(&self) -> Result<Granted> {
        self.renewed.get(self.fetch()).await
    }

    async fn fetch(&self) -> Result<Fresh<Granted>> {
        let SwiftSettings { identity, interface, region, storage_url, .. } = &self.settings;
        let Some((head, content)) = identity.request()? else {
            let (Identity::Token { token }, Some(storage_url)) = (identity, storage_url) else {
                return Err(Error::new(ErrorKind::Internal, "there is no way to a token"));
            };
            let value = Granted { token: token.clone(), storage_url: storage_url.clone(), life: None };
            return Ok(Fresh { value, life: None });
        };
        let call = Call::reading("token", Subject::Credentials);
        let answer =
            self.transport.send(call, head, content).await.map_err(|refusal| self.refused(refusal))?;
        let headers = answer.headers().clone();
        let body = answer.into_body().bytes(LARGEST_GRANT).await?;
        let mut value =
            identity.granted(&headers, &body, *interface, region.as_deref(), storage_url.as_deref())?;
        let Some(address) = normal_address(&value.storage_url) else {
            let message =
                "the address of the object storage in the catalog is none: set swift_object_storage_url";
            return Err(invalid(message));
        };
        value.storage_url = address;
        tracing::debug!(storage_url = %value.storage_url, life = ?value.life, "a new token");
        Ok(Fresh { life: value.life, value })
    }

    /// A refusal of the identity service. Asking it once more with the same words makes no sense.
    fn refused(&self, refusal: Refusal) -> Error {
        let Some(status) = refusal.status() else { return refusal.into() };
        let advice = self.transport.advice();
        let credentials = &advice.credentials;
        let sentence = match status.as_u16() {
            401 | 403 => format!("the identity service does not accept the credentials: check {credentials}"),
            300..500 if !refusal.error.retryable => {
                "what answers is no identity service of this version: check swift_authurl and swift_auth_version".to_owned()
            }
            _ => return refusal.into(),
        };
        let kind = if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            ErrorKind::Unauthenticated
        } else {
            ErrorKind::InvalidConfiguration
        };
        Error::new(kind, format!("{sentence} [status {}]", status.as_u16()))
    }

    /// Proves and sends a request.
    ///
    /// # Errors
    /// Every answer that is not 2xx, and none at all.
    pub(crate) async fn send(&self, ask: Ask<'_>) -> Result<Response<AnswerBody>, Refusal> {
        if let Place::Object(key) = ask.place
            && key.len() > self.learnt().longest_name
        {
            return Err(too_long(&ask.method).into());
        }
        let granted = self.granted().await?;
        let container = &self.settings.container;
        let mut address = match ask.place {
            Place::Container => format!("{}/{}", granted.storage_url, encode(container)),
            Place::Object(key) => format!("{}/{}/{}", granted.storage_url, encode(container), encode(key)),
        };
        if !ask.query.is_empty() {
            address = format!("{address}?{}", ask.query);
        }
        let mut head = head(ask.method, &address, &ask.headers)?;
        let mut token = HeaderValue::from_str(&granted.token)
            .map_err(|_| Error::new(ErrorKind::Unavailable, "the token of the identity service is none"))?;
        token.set_sensitive(true);
        head.headers.insert("x-auth-token", token);
        self.transport.send(ask.call, head, ask.content).await
    }

    /// The path of a key with its container, as bodies and the header of a copy name it.
    pub(crate) fn path(&self, key: &str) -> String {
        format!("/{}/{}", encode(&self.settings.container), encode(key))
    }

    /// What the cluster said of itself, or what every cluster can.
    pub(crate) fn learnt(&self) -> &Learnt {
        static LEAST: OnceLock<Learnt> = OnceLock::new();
        self.learnt.get().unwrap_or_else(|| LEAST.get_or_init(Learnt::default))
    }
}

/// Swift answers names that are too long with the status of any other mistake.
fn too_long(method: &Method) -> Error {
    let kind = if *method == Method::PUT { ErrorKind::InvalidPath } else { ErrorKind::NotFound };
    Error::new(kind, "the path is longer than the cluster allows")
}

/// The head of a request.
pub(crate) fn head(
    method: Method,
    address: &str,
    headers: &[(&'static str, String)],
) -> Result<http::request::Parts> {
    let (mut head, ()) = Request::new(()).into_parts();
    head.method = method;
    head.uri = address
        .parse::<Uri>()
        .map_err(|_| invalid("the address of the object storage and swift_container make no address"))?;
    head.headers = HeaderMap::new();
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| Error::new(ErrorKind::Internal, format!("this cannot be the header {name}")))?;
        value.set_sensitive(name.ends_with("-key"));
        head.headers.insert(HeaderName::from_static(name), value);
    }
    Ok(head)
}

impl Renewal for Account {
    fn accepted(&self) {
        self.renewed.accepted();
    }

    fn failed(&self, error: Error) -> Error {
        self.renewed.failed(error)
    }
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// A tag with quotes. Swift gives them to large objects only.
pub(crate) fn quoted(tag: &str) -> ETag {
    ETag(if tag.starts_with('"') { tag.to_owned() } else { format!("\"{tag}\"") })
}

pub(crate) fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("Swift's answer {what}"))
}
