//! Proving a request: by an HMAC key, by a token, or not at all; and signed addresses.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use http::{HeaderValue, Uri, header, request::Parts};

use crate::{
    signature::{self, Moment, UNSIGNED, encode},
    tokens::{self, Tokens},
};

const HMAC: &str = "GOOG4-HMAC-SHA256";
const RSA: &str = "GOOG4-RSA-SHA256";

/// The longest life that Google gives to a signed address.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// How requests are proved.
pub(crate) enum Signer {
    Hmac { id: String, secret: String },
    Tokens(Arc<Tokens>),
    Anonymous,
}

impl Signer {
    /// Whether signed addresses can be made: it takes a key, and a token is none.
    pub(crate) fn signs(&self) -> bool {
        match self {
            Self::Hmac { .. } => true,
            Self::Tokens(tokens) => tokens.service_account().is_some(),
            Self::Anonymous => false,
        }
    }

    /// Puts the proof into the headers.
    pub(crate) async fn sign(&self, head: &mut Parts, payload: Option<&str>) -> Result<()> {
        match self {
            Self::Anonymous => {}
            Self::Tokens(tokens) => {
                let token = tokens.authorization().await?;
                head.headers.insert(header::AUTHORIZATION, token);
            }
            Self::Hmac { id, secret } => {
                let (moment, payload) = (Moment::now(), payload.unwrap_or(UNSIGNED));
                for (name, value) in
                    [("x-goog-date", moment.time.as_str()), ("x-goog-content-sha256", payload)]
                {
                    head.headers.insert(name, HeaderValue::from_str(value).map_err(|_| unfit())?);
                }
                let text = signature::string_to_sign(head, HMAC, &moment, payload);
                let (names, _) = signature::signed_headers(head);
                let value = format!(
                    "{HMAC} Credential={id}/{},SignedHeaders={names},Signature={}",
                    moment.scope(),
                    signature::hmac_signature(secret, &moment, &text)
                );
                let mut value = HeaderValue::from_str(&value).map_err(|_| unfit())?;
                value.set_sensitive(true);
                head.headers.insert(header::AUTHORIZATION, value);
            }
        }
        Ok(())
    }

    /// Puts the proof into the address.
    pub(crate) async fn presign(&self, head: &mut Parts, expires: Duration) -> Result<()> {
        let (algorithm, who) = match self {
            Self::Hmac { id, .. } => (HMAC, id.as_str()),
            Self::Tokens(tokens) => match tokens.service_account() {
                Some(account) => (RSA, account.email.as_str()),
                None => return Err(Error::unsupported("redirect_url")),
            },
            Self::Anonymous => return Err(Error::unsupported("redirect_url")),
        };
        let moment = Moment::now();
        let (names, _) = signature::signed_headers(head);
        let seconds = expires.min(LONGEST).as_secs().max(1).to_string();
        let credential = format!("{who}/{}", moment.scope());
        for (name, value) in [
            ("X-Goog-Algorithm", algorithm),
            ("X-Goog-Credential", &credential),
            ("X-Goog-Date", &moment.time),
            ("X-Goog-Expires", &seconds),
            ("X-Goog-SignedHeaders", &names),
        ] {
            add(head, name, value)?;
        }
        let text = signature::string_to_sign(head, algorithm, &moment, UNSIGNED);
        let made = match self {
            Self::Hmac { secret, .. } => signature::hmac_signature(secret, &moment, &text),
            Self::Tokens(tokens) => match tokens.service_account() {
                Some(account) => signature::hex(&tokens::sign(account, text).await?),
                None => return Err(Error::unsupported("redirect_url")),
            },
            Self::Anonymous => return Err(Error::unsupported("redirect_url")),
        };
        add(head, "X-Goog-Signature", &made)
    }
}

/// Adds a parameter to the address.
fn add(head: &mut Parts, name: &str, value: &str) -> Result<()> {
    let separator = if head.uri.query().is_some() { '&' } else { '?' };
    let text = format!("{}{separator}{name}={}", head.uri, encode(value));
    head.uri = text.parse::<Uri>().map_err(|_| unfit())?;
    Ok(())
}

fn unfit() -> Error {
    Error::new(ErrorKind::InvalidConfiguration, "the credentials have characters that no header can have")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_request_names_its_headers_in_order_and_hides_the_signature() {
        let signer = Signer::Hmac { id: "GOOG1EXAMPLE".into(), secret: "secret".into() };
        let request = http::Request::put("http://localhost:1/b/a%20b?x=1").header("x-goog-meta-b", "v");
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(signer.sign(&mut head, None)).unwrap();
        let value = &head.headers[header::AUTHORIZATION];
        assert!(value.is_sensitive());
        let value = value.to_str().unwrap();
        assert!(
            value.contains("SignedHeaders=host;x-goog-content-sha256;x-goog-date;x-goog-meta-b,"),
            "{value}"
        );
        assert_eq!(head.headers["x-goog-content-sha256"], "UNSIGNED-PAYLOAD");
    }

    #[test]
    fn an_address_lives_seven_days_at_most() {
        let signer = Signer::Hmac { id: "GOOG1EXAMPLE".into(), secret: "secret".into() };
        let (mut head, ()) =
            http::Request::get("http://h/b/k?response-content-type=a%2Fb").body(()).unwrap().into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(signer.presign(&mut head, Duration::from_secs(1 << 30))).unwrap();
        let address = head.uri.to_string();
        assert!(address.contains("&X-Goog-Expires=604800&"), "{address}");
        assert!(
            address.starts_with("http://h/b/k?response-content-type=a%2Fb&X-Goog-Algorithm="),
            "{address}"
        );
    }
}
