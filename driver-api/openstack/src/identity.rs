//! Who asks: the requests to an identity service, and what its answers say.
//!
//! - Version 3 of Keystone: <https://docs.openstack.org/api-ref/identity/v3/>, `POST /auth/tokens`.
//! - Version 2, of clouds that were never upgraded: `POST /tokens`.
//! - Version 1, of the cluster itself (tempauth, swauth, the gateway of Ceph): names and keys in headers.

use std::{fmt, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::bucket::Content;
use http::{HeaderMap, Method, Request, request::Parts};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Service,
    catalog::{self, Interface},
    invalid,
};

/// A name or an id of a project or a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// What people call it.
    Name(String),
    /// What the cloud calls it.
    Id(String),
}

/// A domain of Keystone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// What people call it.
    Name(String),
    /// What the cloud calls it.
    Id(String),
}

/// How somebody proves to Keystone who they are.
#[allow(missing_docs)] // the words of Keystone
pub enum Proof {
    /// A user's.
    Password { user: String, domain: Domain, password: String },
    /// That of an application credential.
    Application { name: Name, secret: String, user: Option<(String, Domain)> },
    /// One that was given before.
    Token(String),
}

/// The identity that is configured.
#[allow(missing_docs)] // the words of the services
pub enum Identity {
    /// For an identity service of version 1, the cluster's own.
    First { url: String, user: String, password: String },
    /// For Keystone, version 2.
    Second { url: String, user: String, password: String, project: Option<Name> },
    /// For Keystone, version 3.
    Third { url: String, proof: Proof, scope: Option<(Name, Domain)> },
    /// A token for a service whose address is configured.
    Token { token: String },
}

/// What an identity service gives.
#[derive(Clone, PartialEq, Eq)]
pub struct Granted {
    /// The token.
    pub token: String,
    /// Where the service is, without `/` at the end.
    pub address: String,
    /// How long the token lives, where that is known.
    pub life: Option<Duration>,
}

impl fmt::Debug for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, life, .. } = self;
        f.debug_struct("Granted").field("address", address).field("life", life).finish_non_exhaustive()
    }
}

impl Domain {
    fn json(&self) -> Value {
        match self {
            Self::Name(name) => json!({"name": name}),
            Self::Id(id) => json!({"id": id}),
        }
    }
}

impl Identity {
    /// The request that asks for a token. `None` where there is one already.
    pub(crate) fn request(&self, service: &Service) -> Result<Option<(Parts, Content)>> {
        let (request, body) = match self {
            Self::Token { .. } => return Ok(None),
            Self::First { url, user, password } => {
                (Request::get(url).header("x-auth-user", user).header("x-auth-key", password), None)
            }
            Self::Second { url, user, password, project } => {
                let mut auth = json!({"passwordCredentials": {"username": user, "password": password}});
                match project {
                    Some(Name::Name(name)) => auth["tenantName"] = json!(name),
                    Some(Name::Id(id)) => auth["tenantId"] = json!(id),
                    None => {}
                }
                (
                    Request::builder().method(Method::POST).uri(format!("{url}/tokens")),
                    Some(json!({"auth": auth})),
                )
            }
            Self::Third { url, proof, scope } => {
                let mut auth = json!({"identity": proof.json()});
                if let Some((project, domain)) = scope {
                    auth["scope"]["project"] = match project {
                        Name::Id(id) => json!({"id": id}),
                        Name::Name(name) => json!({"name": name, "domain": domain.json()}),
                    };
                }
                let request = Request::builder().method(Method::POST).uri(format!("{url}/auth/tokens"));
                (request, Some(json!({"auth": auth})))
            }
        };
        let request = request.header("accept", "application/json").header("content-type", "application/json");
        let request = request.body(()).map_err(|error| {
            let key = |name| service.key(name);
            invalid(format!(
                "{}, {} and {} make no request: check them for characters that no address or header can have",
                key("authurl"),
                key("user"),
                key("password")
            ))
            .caused_by(&error)
        })?;
        let (mut head, ()) = request.into_parts();
        if let Some(key) = head.headers.get_mut("x-auth-key") {
            key.set_sensitive(true);
        }
        let content = body.map(|body| Content::from(Bytes::from(body.to_string()))).unwrap_or_default();
        Ok(Some((head, content)))
    }

    /// What an answer to [`Identity::request`] grants.
    ///
    /// # Errors
    /// `InvalidConfiguration` where it is no answer of an identity service, or its catalog has no such service.
    pub(crate) fn granted(
        &self,
        service: &Service,
        headers: &HeaderMap,
        body: &[u8],
        interface: Interface,
        region: Option<&str>,
        address: Option<&str>,
    ) -> Result<Granted> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (configured, no_answer) = (address.map(str::to_owned), || no_answer(service));
        match self {
            Self::Token { .. } => Err(Error::new(ErrorKind::Internal, "nobody was asked for this token")),
            Self::First { .. } => {
                let token = text("x-auth-token").or_else(|| text("x-storage-token"));
                let address = configured.or_else(|| text("x-storage-url"));
                let (Some(token), Some(address)) = (token, address) else { return Err(no_answer()) };
                let life = text("x-auth-token-expires").and_then(|seconds| seconds.parse().ok());
                Ok(Granted { token, address, life: life.map(Duration::from_secs) })
            }
            Self::Second { .. } => {
                let answer: SecondAnswer = serde_json::from_slice(body).map_err(|_| no_answer())?;
                let SecondAccess { token, service_catalog } = answer.access;
                let found = || catalog::second(service, &service_catalog, interface, region);
                let address = configured.map_or_else(found, Ok)?;
                let life = life(Some(&token.expires), token.issued_at.as_deref());
                Ok(Granted { token: token.id, address, life })
            }
            Self::Third { .. } => {
                let token = text("x-subject-token").ok_or_else(no_answer)?;
                let answer: ThirdAnswer = serde_json::from_slice(body).map_err(|_| no_answer())?;
                let ThirdToken { expires_at, issued_at, catalog } = answer.token;
                let found = || catalog::third(service, &catalog, interface, region);
                let address = configured.map_or_else(found, Ok)?;
                Ok(Granted { token, address, life: life(expires_at.as_deref(), issued_at.as_deref()) })
            }
        }
    }
}

impl Proof {
    fn json(&self) -> Value {
        match self {
            Self::Password { user, domain, password } => json!({
                "methods": ["password"],
                "password": {"user": {"name": user, "domain": domain.json(), "password": password}},
            }),
            Self::Application { name, secret, user } => {
                let mut credential = match name {
                    Name::Id(id) => json!({"id": id, "secret": secret}),
                    Name::Name(name) => json!({"name": name, "secret": secret}),
                };
                if let Some((user, domain)) = user {
                    credential["user"] = json!({"name": user, "domain": domain.json()});
                }
                json!({"methods": ["application_credential"], "application_credential": credential})
            }
            Self::Token(token) => json!({"methods": ["token"], "token": {"id": token}}),
        }
    }
}

#[derive(Deserialize)]
struct ThirdAnswer {
    token: ThirdToken,
}

#[derive(Deserialize)]
struct ThirdToken {
    expires_at: Option<String>,
    issued_at: Option<String>,
    #[serde(default)]
    catalog: Vec<catalog::ThirdService>,
}

#[derive(Deserialize)]
struct SecondAnswer {
    access: SecondAccess,
}

#[derive(Deserialize)]
struct SecondAccess {
    token: SecondToken,
    #[serde(rename = "serviceCatalog", default)]
    service_catalog: Vec<catalog::SecondService>,
}

#[derive(Deserialize)]
struct SecondToken {
    id: String,
    expires: String,
    issued_at: Option<String>,
}

/// How long a token lives, by the clock of the service where it says when the token was made.
fn life(expires: Option<&str>, issued: Option<&str>) -> Option<Duration> {
    let end: Timestamp = expires?.parse().ok()?;
    let begin = issued.and_then(|issued| issued.parse().ok()).unwrap_or_else(Timestamp::now);
    Some(Duration::from_secs(u64::try_from(end.as_second() - begin.as_second()).unwrap_or(0)))
}

fn no_answer(service: &Service) -> Error {
    invalid(format!(
        "what answers is no identity service of this version: check {} and {}",
        service.key("authurl"),
        service.key("auth_version")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::SWIFT;

    fn sent(identity: &Identity) -> (Parts, Value) {
        let (head, content) = identity.request(&SWIFT).unwrap().unwrap();
        let body: Vec<u8> = content.into_iter().flatten().collect();
        (head, serde_json::from_slice(&body).unwrap_or_default())
    }

    #[test]
    fn a_password_is_sent_with_both_domains() {
        let proof =
            Proof::Password { user: "u".into(), domain: Domain::Name("d".into()), password: "p".into() };
        let scope = Some((Name::Name("t".into()), Domain::Id("e".into())));
        let (head, body) = sent(&Identity::Third { url: "http://k/v3".into(), proof, scope });
        assert_eq!(head.uri, "http://k/v3/auth/tokens");
        let user = json!({"name": "u", "domain": {"name": "d"}, "password": "p"});
        let expected = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": user}},
            "scope": {"project": {"name": "t", "domain": {"id": "e"}}},
        }});
        assert_eq!(body, expected);
    }

    #[test]
    fn an_application_credential_has_its_own_scope() {
        let proof = Proof::Application { name: Name::Id("i".into()), secret: "s".into(), user: None };
        let (_, body) = sent(&Identity::Third { url: "http://k/v3".into(), proof, scope: None });
        let expected = json!({"auth": {"identity": {
            "methods": ["application_credential"], "application_credential": {"id": "i", "secret": "s"},
        }}});
        assert_eq!(body, expected);
    }

    #[test]
    fn version_1_speaks_in_headers() {
        let identity =
            Identity::First { url: "http://s/auth/v1.0".into(), user: "a:u".into(), password: "p".into() };
        let (head, _) = sent(&identity);
        assert_eq!(head.headers["x-auth-user"], "a:u");
        assert!(head.headers["x-auth-key"].is_sensitive());
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("x-auth-token", "t"), ("x-storage-url", "http://s/v1/AUTH_a"), ("x-auth-token-expires", "60")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        let granted = identity.granted(&SWIFT, &headers, b"", Interface::Public, None, None).unwrap();
        assert_eq!(granted.address, "http://s/v1/AUTH_a");
        assert_eq!(granted.life, Some(Duration::from_secs(60)));
        let error = identity
            .granted(&SWIFT, &HeaderMap::new(), b"<html>", Interface::Public, None, None)
            .unwrap_err();
        assert!(error.message.contains("swift_authurl"));
    }

    #[test]
    fn version_2_finds_the_account_in_its_catalog() {
        let identity = Identity::Second {
            url: "http://k/v2.0".into(),
            user: "u".into(),
            password: "p".into(),
            project: Some(Name::Name("t".into())),
        };
        let (head, body) = sent(&identity);
        assert_eq!(head.uri, "http://k/v2.0/tokens");
        let password = json!({"username": "u", "password": "p"});
        assert_eq!(body, json!({"auth": {"passwordCredentials": password, "tenantName": "t"}}));
        let endpoint = json!({"publicURL": "http://s/v1/AUTH_t", "internalURL": "http://i/", "region": "r"});
        let answer = json!({"access": {
            "token": {"id": "T", "issued_at": "2015-01-01T00:00:00.000000Z", "expires": "2015-01-01T01:00:00Z"},
            "serviceCatalog": [{"type": "object-store", "endpoints": [endpoint]}],
        }})
        .to_string();
        let granted = |region| {
            identity.granted(&SWIFT, &HeaderMap::new(), answer.as_bytes(), Interface::Public, region, None)
        };
        let expected = Granted {
            token: "T".into(),
            address: "http://s/v1/AUTH_t".into(),
            life: Some(Duration::from_secs(3600)),
        };
        assert_eq!(granted(Some("r")).unwrap(), expected);
        assert!(granted(Some("elsewhere")).unwrap_err().message.contains("swift_region_name"));
    }
}
