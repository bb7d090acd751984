//! Tokens of OAuth: where each kind comes from.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    Fresh, Renewal, Renewed,
    bucket::Content,
    http::{Call, Subject, Transport},
};
use http::{HeaderValue, Method, Request, header};
use rsa::{
    pkcs1v15::SigningKey,
    signature::{SignatureEncoding, Signer},
};
use serde::Deserialize;
use serde_json::json;
use sha2::Sha256;

use crate::credentials::{ServiceAccount, Source, User, refused};

/// What the tokens are good for: reading and writing objects.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";

/// How long an answer of a token service may be.
const LARGEST_ANSWER: usize = 64 << 10;

/// Tokens of one source.
pub(crate) struct Tokens {
    source: Source,
    transport: Transport,
    renewed: Renewed<HeaderValue>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Tokens {
    pub(crate) fn new(source: Source, transport: Transport) -> Self {
        Self { source, transport, renewed: Renewed::default() }
    }

    /// The service account whose key is at hand, for signed addresses.
    pub(crate) fn service_account(&self) -> Option<&ServiceAccount> {
        match &self.source {
            Source::ServiceAccount(account) => Some(account),
            _ => None,
        }
    }

    /// The value of the header `Authorization`.
    ///
    /// # Errors
    /// `InvalidConfiguration` where the source refuses; retryable ones where it does not answer.
    pub(crate) async fn authorization(&self) -> Result<HeaderValue> {
        self.renewed.get(self.fetch()).await
    }

    async fn fetch(&self) -> Result<Fresh<HeaderValue>> {
        let (request, content) = match &self.source {
            Source::ServiceAccount(account) => assertion(account).await?,
            Source::User(user) => refresh(user)?,
            Source::Metadata(host) => {
                let path = "computeMetadata/v1/instance/service-accounts/default/token";
                let request =
                    Request::get(format!("http://{host}/{path}")).header("metadata-flavor", "Google");
                (request.body(()).map_err(|_| self.unusable())?, Content::default())
            }
        };
        let (head, ()) = request.into_parts();
        let call = Call::reading("token", Subject::Credentials);
        let answer = match self.transport.send(call, head, content).await {
            Ok(answer) => answer,
            Err(refusal)
                if refusal.status().is_some_and(|status| status.is_client_error())
                    && !refusal.error.retryable
                    && !refusal.blames_the_clock() =>
            {
                let record = &refusal.record;
                let details = [record.code.as_deref(), record.message.as_deref()];
                let details: Vec<&str> = details.into_iter().flatten().collect();
                let credentials = &self.transport.advice().credentials;
                return Err(refused(&self.source, credentials, &details.join(", ")));
            }
            Err(refusal) => {
                let mut error = Error::from(refusal);
                error.message = format!(
                    "{} gives no token: check {} [{}]",
                    self.source,
                    self.transport.advice().credentials,
                    error.message
                );
                return Err(error);
            }
        };
        let answer = answer.into_body().bytes(LARGEST_ANSWER).await?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|_| self.unusable())?;
        let mut header =
            HeaderValue::try_from(format!("Bearer {}", answer.access_token)).map_err(|_| self.unusable())?;
        header.set_sensitive(true);
        let life = Duration::from_secs(answer.expires_in.unwrap_or(3600).clamp(1, 86_400));
        tracing::debug!(source = %self.source, life = life.as_secs(), "a new token");
        Ok(Fresh { value: header, life: Some(life) })
    }

    fn unusable(&self) -> Error {
        let message = format!("what {} gives is no token", self.source);
        Error::new(ErrorKind::Unavailable, message)
    }
}

/// A token for an assertion that the service account's key signed.
async fn assertion(account: &ServiceAccount) -> Result<(Request<()>, Content)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut head = json!({"alg": "RS256", "typ": "JWT"});
    if let Some(id) = &account.key_id {
        head["kid"] = json!(id);
    }
    let claims = json!({
        "iss": account.email,
        "scope": SCOPE,
        "aud": account.token_uri,
        "iat": now,
        "exp": now + 3600,
    });
    let encoded = |value: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", encoded(&head), encoded(&claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(account, text.clone()).await?);
    form(
        &account.token_uri,
        &[
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", &format!("{text}.{signature}")),
        ],
    )
}

/// The signature of the service account's key. It takes a millisecond or two, and is made beside the runtime.
pub(crate) async fn sign(account: &ServiceAccount, text: String) -> Result<Vec<u8>> {
    let key = Arc::clone(&account.key);
    let signed = tokio::task::spawn_blocking(move || {
        SigningKey::<Sha256>::new((*key).clone())
            .try_sign(text.as_bytes())
            .map(|signature| signature.to_vec())
    });
    let failed = |error: &(dyn std::error::Error + 'static)| {
        Error::new(ErrorKind::Internal, "the key of the service account does not sign").caused_by(error)
    };
    signed.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

fn refresh(user: &User) -> Result<(Request<()>, Content)> {
    form(
        &user.token_uri,
        &[
            ("grant_type", "refresh_token"),
            ("client_id", &user.client_id),
            ("client_secret", &user.client_secret),
            ("refresh_token", &user.refresh_token),
        ],
    )
}

fn form(address: &str, fields: &[(&str, &str)]) -> Result<(Request<()>, Content)> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let request = Request::builder()
        .method(Method::POST)
        .uri(address)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(())
        .map_err(|_| crate::settings::invalid("token_uri of the credentials is no address"))?;
    Ok((request, Content::from(Bytes::from(body))))
}

impl Renewal for Tokens {
    fn accepted(&self) {
        self.renewed.accepted();
    }

    fn failed(&self, error: Error) -> Error {
        self.renewed.failed(error)
    }
}
