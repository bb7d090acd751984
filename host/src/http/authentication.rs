//! Stands in front of the APIs and lets in only who may do what the request asks for.
//!
//! Decided before anything is looked up, from the method and the path as the APIs themselves read them. Open are
//! the pings and the account in the body of `POST /v1/users/`; everything else, unknown paths too, wants a login.
//!
//! | shown | counts for |
//! |---|---|
//! | `Authorization: Basic` | everything |
//! | `Authorization: Token` | images, tags and lists of V1, as the token says |
//! | `Authorization: Bearer` | V2, where `access` gives rights to anonymous clients |
//!
//! Anything else in `Authorization`, two of them, broken Base64, no colon, control characters and bytes that are
//! not UTF-8 are answered like a wrong password. No other header is looked at.
//!
//! **Anonymous clients.** Docker decides at `/v2/` whether it logs in at all, and never thinks better of it. An
//! open `/v2/` would keep users from pushing, and one that asks for Basic would keep out everybody without a
//! password. So where anonymous clients have rights, `/v2/` asks for a bearer token, and `/v2/_token` gives one
//! to everybody: for the user whose password is shown, else for nobody. Docker, containerd, podman and skopeo
//! fetch it by themselves. Basic counts there as well.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use docker_registry_driver_api::async_trait;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{
    exchange::{Request, Response, Scheme, User, set, whole},
    routes::{Handler, is_v2},
    v1, v2,
};
use crate::auth::{Authority, Login, Need, Refused, Right};

/// Where bearer tokens are given out.
const TOKEN_PATH: &str = "/v2/_token";

/// Another handler behind a login.
pub struct Authenticated {
    inner: Arc<dyn Handler>,
    authority: Arc<Authority>,
}

impl Authenticated {
    /// Puts a login in front of a handler.
    pub fn new(inner: Arc<dyn Handler>, authority: Arc<Authority>) -> Self {
        Self { inner, authority }
    }
}

#[async_trait]
impl Handler for Authenticated {
    async fn handle(&self, request: Request) -> Response {
        let api = if is_v2(&request.path) { Face::V2 } else { Face::V1 };
        let mut response = match self.admit(api, request).await {
            Ok(request) => {
                let user = request.login.user().map(str::to_owned);
                let mut response = self.inner.handle(request).await;
                // For the log.
                if let Some(user) = user {
                    response.extensions_mut().insert(User(user));
                }
                return response;
            }
            Err(response) => response,
        };
        if api == Face::V2 {
            v2::mark(&mut response);
        }
        response
    }
}

/// Whose answers a client understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Face {
    V1,
    V2,
}

impl Authenticated {
    /// The request with its login, or the answer to a client that is not let in.
    async fn admit(&self, api: Face, mut request: Request) -> Result<Request, Response> {
        let need = match api {
            Face::V1 => v1::need(&request.method, &request.path),
            Face::V2 => v2::need(&request.method, &request.path),
        };
        if need == Need::Nothing {
            request.login = self.authority.nobody();
            return Ok(request);
        }
        let shown = Shown::of(&request.headers);
        if api == Face::V2 && request.path == TOKEN_PATH && self.authority.welcomes_anonymous() {
            return Err(self.give_token(&request.method, request.peer, shown).await);
        }
        let login = match shown {
            Shown::Nothing => Ok(self.authority.nobody()),
            Shown::Password { name, password } => self.authority.log_in(&name, &password, request.peer).await,
            Shown::Token(token) if api == Face::V1 => {
                self.authority.take_v1_token(token).ok_or(Refused::Wrong)
            }
            Shown::Bearer(token) if api == Face::V2 && self.authority.welcomes_anonymous() => {
                self.authority.take_bearer_token(token).ok_or(Refused::Wrong)
            }
            Shown::Token(_) | Shown::Bearer(_) | Shown::Odd => Err(Refused::Wrong),
        };
        match login {
            Ok(login) if login.may(&need) => {
                request.login = login;
                Ok(request)
            }
            // A token is for one thing, and a password may be good for more.
            Ok(login) if login.user().is_some() && !login.is_by_v1_token() => Err(match api {
                Face::V1 => v1::denied(),
                Face::V2 => v2::denied(),
            }),
            Ok(_) | Err(Refused::Wrong) => {
                let challenge = self.challenge(api, &request, &need);
                Err(match api {
                    Face::V1 => v1::log_in_first(&challenge),
                    Face::V2 => v2::log_in_first(&challenge),
                })
            }
            Err(Refused::TooMany { retry_after }) => Err(match api {
                Face::V1 => v1::too_many_logins(retry_after),
                Face::V2 => v2::too_many_logins(retry_after),
            }),
        }
    }

    /// What `WWW-Authenticate` says.
    fn challenge(&self, api: Face, request: &Request, need: &Need) -> String {
        let host =
            request.header(header::HOST).filter(|host| !host.is_empty() && !host.contains(['"', '\\']));
        match host {
            Some(host) if api == Face::V2 && self.authority.welcomes_anonymous() => {
                let scheme = match request.scheme {
                    Scheme::Http => "http",
                    Scheme::Https => "https",
                };
                let mut challenge =
                    format!("Bearer realm=\"{scheme}://{host}{TOKEN_PATH}\",service=\"{host}\"");
                if let Need::Repository { name, right, .. } = need {
                    let actions = match right {
                        Right::Pull => "pull",
                        Right::Push => "pull,push",
                        Right::Delete => "delete",
                    };
                    challenge.push_str(&format!(",scope=\"repository:{name}:{actions}\""));
                }
                challenge
            }
            _ => basic_challenge(&self.authority),
        }
    }

    /// A bearer token for whoever the client is. What is asked for (`scope`) does not matter: each request is
    /// judged by the rights of its user.
    async fn give_token(&self, method: &Method, peer: Option<SocketAddr>, shown: Shown<'_>) -> Response {
        if !matches!(*method, Method::GET | Method::HEAD) {
            // Clients that try OAuth first take this as a no and use GET.
            let mut response = whole(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n");
            set(&mut response, header::ALLOW, "GET, HEAD");
            return response;
        }
        let login = match shown {
            Shown::Nothing => Ok(self.authority.nobody()),
            Shown::Password { name, password } => self.authority.log_in(&name, &password, peer).await,
            Shown::Token(_) | Shown::Bearer(_) | Shown::Odd => Err(Refused::Wrong),
        };
        let token = match &login {
            Ok(login) => login.bearer_token(),
            Err(Refused::TooMany { retry_after }) => return v2::too_many_logins(*retry_after),
            Err(Refused::Wrong) => None,
        };
        let Some((token, lifetime)) = token else {
            return v2::log_in_first(&basic_challenge(&self.authority));
        };
        let content = json!({ "token": token, "access_token": token, "expires_in": lifetime.as_secs() });
        let mut response = whole(StatusCode::OK, "application/json", content.to_string());
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

fn basic_challenge(authority: &Authority) -> String {
    let realm = authority.realm().replace('\\', "\\\\").replace('"', "\\\"");
    format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")
}

/// Whether the headers show the password of a user, for listeners that have only that.
pub(super) async fn user_of(
    authority: &Arc<Authority>,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Result<Login, Refused> {
    match Shown::of(headers) {
        Shown::Password { name, password } => authority.log_in(&name, &password, peer).await,
        _ => Err(Refused::Wrong),
    }
}

/// The value of `WWW-Authenticate` where only passwords count.
pub(super) fn password_challenge(authority: &Authority) -> String {
    basic_challenge(authority)
}

/// What a client shows of itself.
#[derive(Debug, PartialEq, Eq)]
enum Shown<'a> {
    Nothing,
    Password {
        name: String,
        password: String,
    },
    Token(&'a str),
    Bearer(&'a str),
    /// Nothing that could be right.
    Odd,
}

impl<'a> Shown<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::Nothing };
        if values.next().is_some() {
            return Self::Odd;
        }
        let Some((scheme, rest)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else {
            return Self::Odd;
        };
        let rest = rest.trim_start_matches(' ');
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => password(rest).unwrap_or(Self::Odd),
            "token" => Self::Token(rest),
            "bearer" => Self::Bearer(rest),
            _ => Self::Odd,
        }
    }
}

fn password(encoded: &str) -> Option<Shown<'static>> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    let is_possible = !name.is_empty() && !decoded.chars().any(char::is_control);
    is_possible.then(|| Shown::Password { name: name.to_owned(), password: password.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(values: &[&[u8]]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        format!("{:?}", Shown::of(&headers))
    }

    #[test]
    fn a_name_ends_at_the_first_colon_and_the_scheme_has_no_case() {
        let expected = "Password { name: \"ann\", password: \"a:b\" }";
        for scheme in ["Basic", "basic", "BASIC"] {
            assert_eq!(shown(&[format!("{scheme} {}", STANDARD.encode("ann:a:b")).as_bytes()]), expected);
        }
        assert_eq!(shown(&[]), "Nothing");
        assert_eq!(shown(&[b"Token Token x"]), "Token(\"Token x\")");
    }

    #[test]
    fn what_cannot_be_right_is_odd() {
        for content in [&b"no colon"[..], b":password", b"ann:a\0b", b"a\0nn:x", b"ann:\xff", b"a\nb:c", b""]
        {
            let value = format!("Basic {}", STANDARD.encode(content));
            assert_eq!(shown(&[value.as_bytes()]), "Odd", "{content:?}");
        }
        let right = format!("Basic {}", STANDARD.encode("ann:x"));
        for values in [
            &[&b"Basic"[..]][..],
            &[b"Basic !!!!"],
            &[b"Digest username=\"ann\""],
            &[b""],
            &[b"Basic YW5uOng\xff"],
            &[right.as_bytes(), right.as_bytes()],
            &[format!("{right},{right}").as_bytes()],
        ] {
            assert_eq!(shown(values), "Odd", "{values:?}");
        }
    }
}
