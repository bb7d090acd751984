//! Who somebody is and what they may do. Knows no HTTP.
//!
//! [`Authority`] holds the password file, the rights and the keys; [`Authority::log_in`] turns a name and a
//! password into a [`Login`], which answers what it [may](Login::may) do. Guarantees:
//! - a password that was right once costs microseconds, and a changed file forgets it at once (the name under
//!   which it is remembered is made of the user's line, too);
//! - no password, hash or token is in a log, an error or `Debug` output;
//! - unknown users and wrong passwords cost the same time and get the same answer;
//! - a storm of wrong passwords neither keeps out a right one nor takes the processor from others (`gate`).

mod apache_md5;
mod bounded;
mod failures;
mod gate;
pub(crate) mod htpasswd;
mod key;
mod login;
mod rights;
pub(crate) mod scheme;
mod token;
pub(crate) mod watched_file;

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use docker_registry_config::{AuthSettings, SecretKey};
use tokio::sync::Semaphore;

use self::{
    bounded::Bounded,
    gate::{Busy, Gate},
    key::{Key, Signature},
    rights::Rights,
    token::{Bearer, Tokens},
    watched_file::WatchedFile,
};
pub use self::{
    login::Login,
    rights::{Need, Right},
    watched_file::FileProblem,
};
use crate::telemetry::seldom::Seldom;

/// Longest password, in bytes. A longer one is wrong without being hashed.
const LONGEST_PASSWORD: usize = 1024;
/// Logins that are remembered, right and wrong ones apart.
const REMEMBERED: usize = 16 * 1024;
/// How long the answer to somebody is held back who has to wait. Without it, asking again at once would cost the
/// server as much as any other request.
const HELD_BACK: Duration = Duration::from_millis(500);
/// Answers that are held back at once. More are given at once, or who has to wait could take every connection.
const MOST_HELD_BACK: usize = 512;
static WRONG_LINES: Seldom = Seldom::new();
static BUSY_LINES: Seldom = Seldom::new();

/// Why the password file or the rights cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthProblem {
    /// The file.
    #[error(transparent)]
    File(#[from] FileProblem),
    /// A rule that cannot be read.
    #[error("access: {0}")]
    Access(String),
    /// The system starts no threads.
    #[error("passwords cannot be checked: {0}")]
    Threads(io::Error),
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The name or the password is wrong.
    Wrong,
    /// Too many have tried from there.
    TooMany {
        /// When to come again.
        retry_after: Duration,
    },
}

/// The password file, the rights and the keys of a registry.
pub struct Authority {
    file: Arc<WatchedFile>,
    realm: String,
    rights: Rights,
    tokens: Tokens,
    gate: Gate,
    key: Key,
    known: Mutex<Known>,
    held_back: Semaphore,
}

/// Logins by a signature over name, password and line.
struct Known {
    right: Bounded<Signature, ()>,
    wrong: Bounded<Signature, ()>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl Authority {
    /// Reads the password file and starts to watch it. Blocks.
    ///
    /// # Errors
    /// [`AuthProblem`], a sentence.
    pub fn open(settings: &AuthSettings) -> Result<Arc<Self>, AuthProblem> {
        let rights = Rights::new(settings.access.as_deref()).map_err(AuthProblem::Access)?;
        let file = WatchedFile::open(&settings.htpasswd)?;
        for name in rights.users().filter(|name| file.content().user(name).is_none()) {
            tracing::warn!(user = name, "access has a rule for a user who is not in the password file");
        }
        let secret = settings.secret_key.as_ref().map(SecretKey::as_bytes);
        Ok(Arc::new(Self {
            file,
            realm: settings.realm.clone(),
            rights,
            tokens: Tokens::new(secret, settings.token_lifetime),
            gate: Gate::open().map_err(AuthProblem::Threads)?,
            key: Key::random(),
            known: Mutex::new(Known { right: Bounded::new(REMEMBERED), wrong: Bounded::new(REMEMBERED) }),
            held_back: Semaphore::new(MOST_HELD_BACK),
        }))
    }

    /// The realm that clients show.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether somebody without a password may do anything.
    pub fn welcomes_anonymous(&self) -> bool {
        self.rights.are_for_anonymous()
    }

    /// Somebody who has shown nothing.
    pub fn nobody(self: &Arc<Self>) -> Login {
        Login::of(self, None, false)
    }

    /// Checks a name and a password. `peer` is where the client is, for fairness.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn log_in(
        self: &Arc<Self>,
        name: &str,
        password: &str,
        peer: Option<SocketAddr>,
    ) -> Result<Login, Refused> {
        let refused = match self.check(name, password, peer).await {
            Ok(true) => return Ok(Login::of(self, Some(name.to_owned()), true)),
            Ok(false) => Refused::Wrong,
            Err(Busy { retry_after }) => Refused::TooMany { retry_after },
        };
        // The name is left out: people type passwords where names belong.
        let peer = peer.map(|peer| peer.ip().to_string()).unwrap_or_default();
        match refused {
            Refused::Wrong => {
                if let Some(more) = WRONG_LINES.now() {
                    tracing::warn!(peer, more_before_this = more, "a login failed");
                }
            }
            Refused::TooMany { .. } => {
                if let Some(more) = BUSY_LINES.now() {
                    tracing::warn!(
                        peer,
                        more_before_this = more,
                        "a login was put off: too many fail from there"
                    );
                }
                if let Ok(_place) = self.held_back.try_acquire() {
                    tokio::time::sleep(HELD_BACK).await;
                }
            }
        }
        Err(refused)
    }

    async fn check(
        self: &Arc<Self>,
        name: &str,
        password: &str,
        peer: Option<SocketAddr>,
    ) -> Result<bool, Busy> {
        let content = self.file.content();
        let user = content.user(name);
        let is_possible = password.len() <= LONGEST_PASSWORD;
        let line = user.map_or("", |user| &user.hash);
        let signature = self.key.sign(&[name.as_bytes(), password.as_bytes(), line.as_bytes()]);
        if self.known(&signature) == Some(true) {
            return Ok(true);
        }
        let origin = self.gate.arrive(peer, name)?;
        if !is_possible || self.known(&signature) == Some(false) {
            self.gate.failed(&origin);
            return Ok(false);
        }
        let (authority, name, password) = (Arc::downgrade(self), name.to_owned(), password.to_owned());
        let attempt = move || {
            let Some(authority) = authority.upgrade() else { return false };
            // A client sends many requests at once before the first of them is answered.
            if let Some(answer) = authority.known(&signature) {
                return answer;
            }
            let right = content.verify(&name, &password);
            authority.remember(signature, right);
            right
        };
        self.gate.attempt(origin, Box::new(attempt)).await
    }

    fn known(&self, signature: &Signature) -> Option<bool> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.right.get(*signature).is_some() {
            return Some(true);
        }
        known.wrong.get(*signature).map(|()| false)
    }

    fn remember(&self, signature: Signature, right: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if right { known.right.insert(signature, ()) } else { known.wrong.insert(signature, ()) }
    }

    /// Takes a V1 token in place of a password.
    pub fn take_v1_token(self: &Arc<Self>, token: &str) -> Option<Login> {
        let (bearer, grant) = self.tokens.check_v1(token, |bearer| self.line(bearer))?;
        let token = token.trim_start();
        let token = format!("Token {}", token.strip_prefix("Token ").unwrap_or(token));
        Some(Login::with_token(self, bearer, grant, token))
    }

    /// Takes a bearer token in place of a password.
    pub fn take_bearer_token(self: &Arc<Self>, token: &str) -> Option<Login> {
        let bearer = self.tokens.check_bearer(token, |bearer| self.line(bearer))?;
        Some(Login::of(self, bearer, true))
    }

    /// What a token is bound to. Nobody has no line, as long as there is something for nobody.
    fn line(&self, bearer: &Bearer) -> Option<String> {
        match bearer {
            Some(name) => self.file.content().user(name).map(|user| user.hash.clone()),
            None => self.welcomes_anonymous().then(String::new),
        }
    }
}
