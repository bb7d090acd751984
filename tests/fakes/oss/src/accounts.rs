//! Who may do what: the owner of the buckets, a stranger without any right, and temporary credentials.

use std::collections::HashMap;
use std::sync::Mutex;

use uuid::Uuid;

use crate::fault::Fault;

/// How long temporary credentials last, in seconds.
const LIFETIME: i64 = 3600;

/// A permanent pair of keys.
pub(crate) struct Pair {
    pub(crate) id: String,
    pub(crate) secret: String,
}

/// Temporary credentials of the owner.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: String,
    /// In seconds since 1970.
    pub(crate) expires: i64,
}

/// All credentials. Made new at each start.
pub(crate) struct Accounts {
    pub(crate) owner: Pair,
    pub(crate) stranger: Pair,
    sessions: Mutex<HashMap<String, Session>>,
}

/// What a signature is verified with.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) secret: String,
    pub(crate) may: bool,
}

impl Accounts {
    pub(crate) fn new() -> Self {
        let pair = |name: &str| Pair {
            id: format!("LTAI{name}{}", random()),
            secret: format!("Secret{}", random()),
        };
        Self { owner: pair("Owner"), stranger: pair("Stranger"), sessions: Mutex::default() }
    }

    /// New temporary credentials of the owner.
    pub(crate) fn issue(&self) -> Session {
        let expires = jiff::Timestamp::now().as_second() + LIFETIME;
        let session = Session {
            id: format!("STS.{}", random()),
            secret: format!("Secret{}", random()),
            // Real ones hold characters that must be encoded in an address.
            token: format!("CAIS+/{}==", random()),
            expires,
        };
        self.sessions.lock().expect("no holder panics").insert(session.id.clone(), session.clone());
        session
    }

    /// Ends all temporary credentials that there are now.
    pub(crate) fn expire_all(&self) {
        for session in self.sessions.lock().expect("no holder panics").values_mut() {
            session.expires = 0;
        }
    }

    /// The secret of an id.
    ///
    /// # Errors
    /// As the store answers for an unknown id, a wrong token and an expired one.
    pub(crate) fn identify(&self, id: &str, token: Option<&str>, now: i64) -> Result<Identity, Fault> {
        for (pair, may) in [(&self.owner, true), (&self.stranger, false)] {
            if pair.id == id {
                return match token {
                    None => Ok(Identity { secret: pair.secret.clone(), may }),
                    Some(_) => Err(Fault::new(403, "InvalidSecurityToken", "The token is not of this key.")),
                };
            }
        }
        let sessions = self.sessions.lock().expect("no holder panics");
        match sessions.get(id) {
            Some(session) if token == Some(session.token.as_str()) => {
                if session.expires <= now {
                    let message = "The security token you provided has expired.";
                    return Err(Fault::new(403, "SecurityTokenExpired", message));
                }
                Ok(Identity { secret: session.secret.clone(), may: true })
            }
            Some(_) if token.is_some() => {
                Err(Fault::new(403, "InvalidSecurityToken", "The security token you provided is invalid."))
            }
            _ => Err(Fault::new(403, "InvalidAccessKeyId", "The OSS Access Key Id is not in our records.")
                .detail("OSSAccessKeyId", id)),
        }
    }
}

fn random() -> String {
    Uuid::new_v4().simple().to_string()
}
