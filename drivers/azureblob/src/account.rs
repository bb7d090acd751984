//! One storage account and one container of it: addresses, credentials, and signed requests.
//!
//! `object_store` signs every request with the credential that its own calls use, so that tokens are fetched and
//! renewed once for all.

use std::sync::Arc;

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    Renewal, StoreAdapter, Unchanging,
    adapter::no_retries,
    bucket::Content,
    http::{Advice, AnswerBody, Call, HttpOptions, Refusal, Subject, Transport, exchange, fault},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use object_store::{
    azure::{AzureAuthorizer, AzureCredential, MicrosoftAzure, MicrosoftAzureBuilder, split_sas},
    client::{HttpRequest, HttpRequestBody},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::settings::{AzureSettings, Identity};

/// Bytes of a segment that stand for themselves in an address.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same for a whole key.
const KEY: &AsciiSet = &SEGMENT.remove(b'/');

/// What a request is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place<'a> {
    /// The account.
    Service,
    /// The container.
    Container,
    /// One blob.
    Blob(&'a str),
}

/// A request before it is signed. Its headers may hold signatures, so that it is never shown.
pub(crate) struct Ask<'a> {
    /// What its failure would mean.
    pub(crate) call: Call,
    pub(crate) method: Method,
    pub(crate) place: Place<'a>,
    /// Names and values, not encoded.
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) content: Content,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(call: Call, method: Method, place: Place<'a>) -> Self {
        Self { call, method, place, query: Vec::new(), headers: Vec::new(), content: Content::new() }
    }

    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn content(mut self, content: impl Into<Content>) -> Self {
        self.content = content.into();
        self
    }
}

/// The account, and the credentials for it.
pub(crate) struct Account {
    pub(crate) settings: AzureSettings,
    pub(crate) transport: Transport,
    pub(crate) store: Arc<MicrosoftAzure>,
    /// Single blobs: reading, asking for, writing and deleting them.
    pub(crate) blobs: StoreAdapter,
    /// Whether the service has accepted the credentials lately.
    unchanging: Unchanging,
}

impl Account {
    /// Makes the client. Nothing is sent yet.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub(crate) async fn new(settings: AzureSettings, options: HttpOptions) -> Result<Self> {
        let transport = Transport::new(options, advice(&settings)).await?;
        let builder = MicrosoftAzureBuilder::new()
            .with_account(&settings.account)
            .with_container_name(&settings.container)
            .with_endpoint(settings.endpoint.clone())
            .with_allow_http(true)
            .with_retry(no_retries())
            .with_http_connector(transport.clone());
        let builder = match settings.identity.clone() {
            Identity::AccountKey(key) => builder.with_access_key(key),
            Identity::SasToken(token) => {
                let pairs = split_sas(&token).map_err(|_| {
                    let text = format!("{} is no shared access signature", settings.identity.keys());
                    Error::new(ErrorKind::InvalidConfiguration, text)
                })?;
                builder.with_sas_authorization(pairs)
            }
            Identity::ClientSecret { tenant, client, secret, authority } => builder
                .with_client_secret_authorization(client, secret, tenant)
                .with_authority_host(authority),
            Identity::FederatedToken { tenant, client, file, authority } => builder
                .with_client_id(client)
                .with_tenant_id(tenant)
                .with_federated_token_file(file)
                .with_authority_host(authority),
            Identity::Managed { client, endpoint } => {
                let builder = builder.with_credential_type("managed_identity");
                let builder = match client {
                    Some(client) => builder.with_client_id(client),
                    None => builder,
                };
                match endpoint {
                    Some(endpoint) => builder.with_msi_endpoint(endpoint),
                    None => builder,
                }
            }
        };
        let store = builder.build().map(Arc::new).map_err(|error| {
            let text = format!("the account cannot be used: check {}", settings.identity.keys());
            // The texts of the library name no secret: they are about addresses and missing parts.
            Error::new(ErrorKind::InvalidConfiguration, text).caused_by(&error)
        })?;
        let authority: http::Uri = settings.endpoint.parse().unwrap_or_default();
        let authority = authority.authority().map(ToString::to_string).unwrap_or_default();
        let blobs = StoreAdapter::new(Arc::clone(&store), transport.clone(), authority);
        Ok(Self { settings, transport, store, blobs, unchanging: Unchanging::default() })
    }

    /// The credential of the moment.
    ///
    /// # Errors
    /// When a token cannot be fetched.
    pub(crate) async fn credential(&self) -> Result<Arc<AzureCredential>> {
        let (credential, record) = exchange::observed(self.store.credentials().get_credential()).await;
        credential.map_err(|error| match record {
            Some(record) => {
                let call = Call::reading("fetch a token", Subject::Credentials);
                fault::error(self.transport.advice(), call, &record)
            }
            None => {
                let text = format!("no token can be had: check {}", self.settings.identity.keys());
                Error::new(ErrorKind::Unauthenticated, text).caused_by(&error)
            }
        })
    }

    /// Address of a place, without a signature.
    pub(crate) fn address(&self, place: Place<'_>) -> String {
        let AzureSettings { endpoint, container, .. } = &self.settings;
        match place {
            Place::Service => format!("{endpoint}/"),
            Place::Container => format!("{endpoint}/{container}"),
            Place::Blob(key) => format!("{endpoint}/{container}/{}", utf8_percent_encode(key, KEY)),
        }
    }

    /// Signs a request and sends it; the answer is a good one.
    ///
    /// # Errors
    /// Every other answer, and none at all.
    pub(crate) async fn send(&self, ask: Ask<'_>) -> Result<http::Response<AnswerBody>, Refused> {
        let credential = self.credential().await?;
        let mut address = self.address(ask.place);
        for (number, (name, value)) in ask.query.iter().enumerate() {
            address.push(if number == 0 { '?' } else { '&' });
            address.push_str(&format!("{name}={}", utf8_percent_encode(value, SEGMENT)));
        }
        let unsendable = |error: &(dyn std::error::Error + 'static)| {
            Error::new(ErrorKind::InvalidPath, "the request cannot be written down").caused_by(error)
        };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = ask.method;
        *request.uri_mut() = address.parse().map_err(|error: http::uri::InvalidUri| unsendable(&error))?;
        for (name, value) in ask.headers {
            let value = HeaderValue::from_str(&value).map_err(|error| unsendable(&error))?;
            let name = HeaderName::try_from(name).map_err(|error| unsendable(&error))?;
            request.headers_mut().insert(name, value);
        }
        request.headers_mut().insert(header::CONTENT_LENGTH, ask.content.content_length().into());
        AzureAuthorizer::new(&credential, &self.settings.account)
            .try_authorize(&mut request)
            .map_err(|error| unsendable(&error))?;
        let (head, _) = request.into_parts();
        self.transport.send(ask.call, head, ask.content).await.map_err(Refused::from)
    }
}

impl Renewal for Account {
    fn accepted(&self) {
        self.unchanging.accepted();
    }

    /// Tokens are renewed by `object_store` before they end, so that there is nothing to renew here either.
    fn failed(&self, error: Error) -> Error {
        self.unchanging.failed(error)
    }
}

/// A request that was not answered well, or could not be made.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: Error,
    /// The error code of the service, or an empty text.
    pub(crate) code: String,
    /// The status, if there was an answer.
    pub(crate) status: Option<StatusCode>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code().to_owned(), status: refusal.status(), error: refusal.into() }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self { error, code: String::new(), status: None }
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// The words of the errors.
fn advice(settings: &AzureSettings) -> Advice {
    Advice {
        store: "Azure Blob Storage".to_owned(),
        credentials: settings.identity.keys(),
        bucket: AzureSettings::CONTAINER.to_owned(),
        region: settings.endpoint_keys(),
        endpoint: settings.endpoint_keys(),
        ca_bundle: "ca_bundle".to_owned(),
        proxy: "proxy".to_owned(),
    }
}
