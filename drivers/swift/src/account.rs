//! One account of a cluster: requests to its container and objects.

use std::sync::OnceLock;

use docker_registry_driver_api::{ETag, Error, ErrorKind, Result};
use docker_registry_object_storage::{
    Renewal,
    bucket::Content,
    http::{AnswerBody, Call, Refusal, Transport},
    xml::encode,
};
use docker_registry_openstack::Session;
use http::{HeaderMap, Method, Response};

use crate::{learning::Learnt, settings::SwiftSettings};

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
    pub(crate) session: Session,
    /// What the cluster said of itself when the driver opened.
    pub(crate) learnt: OnceLock<Learnt>,
}

impl Account {
    pub(crate) fn new(settings: SwiftSettings, session: Session) -> Self {
        Self { settings, session, learnt: OnceLock::new() }
    }

    pub(crate) fn transport(&self) -> &Transport {
        self.session.transport()
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
        let container = encode(&self.settings.container);
        let query = if ask.query.is_empty() { String::new() } else { format!("?{}", ask.query) };
        let target = |address: &str| match ask.place {
            Place::Container => format!("{address}/{container}{query}"),
            Place::Object(key) => format!("{address}/{container}/{}{query}", encode(key)),
        };
        self.session.send(ask.call, ask.method, target, &ask.headers, ask.content).await
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

impl Renewal for Account {
    fn accepted(&self) {
        self.session.accepted();
    }

    fn failed(&self, error: Error) -> Error {
        self.session.failed(error)
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
