//! Tokens: who somebody is, signed, for an hour.
//!
//! A V1 token (`X-Docker-Token`, which docker 1.x sends back in place of a password over plain HTTP) is for one
//! repository and one access. A bearer token is for a user and whatever that user may do. Both hold the user,
//! the end of their time and a signature (HMAC-SHA-256), and the signature is also over the user's line of the
//! password file: it ends when the user is removed or gets another password.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::{key::Key, rights::Right};

/// What stays as it is in the name of a repository. Quotes and commas would end the name.
const REPOSITORY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.');

/// Whom a token speaks for; `None` is somebody without a password.
pub(super) type Bearer = Option<String>;

/// What a V1 token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) repository: String,
    pub(super) right: Right,
}

/// Makes tokens and checks them.
#[derive(Debug)]
pub(super) struct Tokens {
    key: Key,
    lifetime: Duration,
}

impl Tokens {
    pub(super) fn new(secret: Option<&[u8]>, lifetime: Duration) -> Self {
        let key = secret.map_or_else(Key::random, |secret| Key::derived(secret, "docker-registry tokens"));
        Self { key, lifetime }
    }

    pub(super) fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A V1 token, as `X-Docker-Token` has it. `line` is the user's hash in the password file.
    pub(super) fn v1(&self, bearer: &Bearer, line: &str, repository: &str, right: Right) -> String {
        let repository = utf8_percent_encode(repository, REPOSITORY).to_string();
        let access = access(right);
        let signature = self.signed(bearer, line, &["v1", &repository, access], now() + self.lifetime);
        format!("Token signature={signature},repository=\"{repository}\",access={access}")
    }

    /// Whom a V1 token speaks for, and what it is good for; `None` when it is not good now. `line` finds the
    /// hash of a user.
    pub(super) fn check_v1(
        &self,
        token: &str,
        line: impl Fn(&Bearer) -> Option<String>,
    ) -> Option<(Bearer, Grant)> {
        // docker puts `Token` in front of what it got, which begins with that already.
        let token = token.trim_start();
        let rest = token.strip_prefix("Token ").unwrap_or(token).strip_prefix("signature=")?;
        let (signature, rest) = rest.split_once(",repository=\"")?;
        let (repository, access) = rest.split_once("\",access=")?;
        let right = match access {
            "read" => Right::Pull,
            "write" => Right::Push,
            "delete" => Right::Delete,
            _ => return None,
        };
        let bearer = self.check(signature, &["v1", repository, access], line)?;
        let repository = percent_decode_str(repository).decode_utf8().ok()?.into_owned();
        Some((bearer, Grant { repository, right }))
    }

    /// A bearer token.
    pub(super) fn bearer(&self, bearer: &Bearer, line: &str) -> String {
        self.signed(bearer, line, &["bearer"], now() + self.lifetime)
    }

    /// Whom a bearer token speaks for.
    pub(super) fn check_bearer(
        &self,
        token: &str,
        line: impl Fn(&Bearer) -> Option<String>,
    ) -> Option<Bearer> {
        self.check(token, &["bearer"], line)
    }

    fn signed(&self, bearer: &Bearer, line: &str, purpose: &[&str], end: Duration) -> String {
        let end = end.as_secs().to_string();
        let name = bearer.as_deref().map_or_else(String::new, |name| URL_SAFE_NO_PAD.encode(name));
        let fields = fields(&name, &end, line, purpose);
        format!("{name}.{end}.{}", URL_SAFE_NO_PAD.encode(self.key.sign(&fields)))
    }

    fn check(
        &self,
        token: &str,
        purpose: &[&str],
        line: impl Fn(&Bearer) -> Option<String>,
    ) -> Option<Bearer> {
        let mut parts = token.split('.');
        let (name, end, signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let bearer = match name {
            "" => None,
            name => Some(String::from_utf8(URL_SAFE_NO_PAD.decode(name).ok()?).ok()?),
        };
        let line = line(&bearer)?;
        let is_signed = self.key.verify(&fields(name, end, &line, purpose), &signature);
        // Only a time that is signed is worth reading.
        (is_signed && now() < Duration::from_secs(end.parse().ok()?)).then_some(bearer)
    }
}

fn fields<'a>(name: &'a str, end: &'a str, line: &'a str, purpose: &[&'a str]) -> Vec<&'a [u8]> {
    [name, end, line].iter().chain(purpose).map(|field| field.as_bytes()).collect()
}

fn access(right: Right) -> &'static str {
    match right {
        Right::Pull => "read",
        Right::Push => "write",
        Right::Delete => "delete",
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn tokens() -> Tokens {
        Tokens::new(Some(b"a secret that is long enough"), HOUR)
    }

    fn ann() -> Bearer {
        Some("ann".to_owned())
    }

    fn line(_: &Bearer) -> Option<String> {
        Some("hash".to_owned())
    }

    #[test]
    fn a_token_is_good_for_what_it_says() {
        let token = tokens().v1(&ann(), "hash", "team/a \"b\",c", Right::Push);
        let grant = Grant { repository: "team/a \"b\",c".to_owned(), right: Right::Push };
        assert_eq!(tokens().check_v1(&token, line), Some((ann(), grant.clone())));
        // As docker sends it.
        assert_eq!(tokens().check_v1(&token["Token ".len()..], line), Some((ann(), grant)));
        let bearer = tokens().bearer(&None, "");
        assert_eq!(tokens().check_bearer(&bearer, |_| Some(String::new())), Some(None));
    }

    #[test]
    fn a_token_ends_with_its_time_the_user_the_password_and_the_key() {
        let token = tokens().v1(&ann(), "hash", "team/app", Right::Push);
        assert_eq!(tokens().check_v1(&token, |_| None), None, "the user is gone");
        assert_eq!(tokens().check_v1(&token, |_| Some("other".to_owned())), None, "another password");
        assert_eq!(Tokens::new(None, HOUR).check_v1(&token, line), None, "another key");
        let old = Tokens { lifetime: Duration::ZERO, ..tokens() }.v1(&ann(), "hash", "team/app", Right::Push);
        assert_eq!(tokens().check_v1(&old, line), None, "the time is over");
    }

    #[test]
    fn a_token_that_was_changed_is_good_for_nothing() {
        let token = tokens().v1(&ann(), "hash", "team/app", Right::Pull);
        for (from, to) in [
            ("access=read", "access=write"),
            ("team/app", "team/other"),
            ("signature=", "signature=A"),
            ("YW5u", "Ym9i"),
            ("\",access=read", "\""),
            ("signature=", "x="),
        ] {
            let changed = token.replace(from, to);
            assert_ne!(changed, token);
            assert_eq!(tokens().check_v1(&changed, line), None, "{changed}");
        }
        let later = token.split('.').nth(1).unwrap();
        let changed = token.replace(later, &format!("{later}0"));
        assert_eq!(tokens().check_v1(&changed, line), None, "{changed}");
        // One kind of token is not another.
        let bearer = tokens().bearer(&ann(), "hash");
        let forged = format!("Token signature={bearer},repository=\"team/app\",access=read");
        assert_eq!(tokens().check_v1(&forged, line), None);
    }
}
