//! Accounts.
//!
//! Without a password file this is the fake index of 0.9.1: every name and every password is welcome, and the
//! checking is left to a proxy. With one, `docker login` learns here whether its password is right. Docker
//! first tries to create the user. What it hears for a right password, that the user exists, and what it hears
//! for a wrong one, 401, both make it ask with `GET` and Basic, and that answer counts. Nobody is ever created
//! or changed.

use http::StatusCode;
use serde_json::{Value, json};

use super::{
    Api,
    errors::Failure,
    json::{answer, no_content},
    read_body_up_to,
};
use crate::{
    auth::Refused,
    http::exchange::{Request, Response},
    registry::v1::{Error, json::parse},
};

/// Largest body with a name and a password, in bytes. Anybody may send one.
const MAX_ACCOUNT: usize = 16 * 1024;

impl Api {
    pub(super) fn log_in(&self) -> Response {
        answer(StatusCode::OK, &json!("OK"))
    }

    pub(super) async fn create_user(&self, request: Request) -> Result<Response, Failure> {
        let (login, peer) = (request.login.clone(), request.peer);
        let account = parse(read_body_up_to(MAX_ACCOUNT, request).await?).await.ok_or(Error::NotJson)?;
        let text = |key: &str| account.get(key).and_then(Value::as_str).unwrap_or_default();
        match login.check(text("username"), text("password"), peer).await {
            None => Ok(answer(StatusCode::CREATED, &json!("User Created"))),
            Some(Ok(_)) => Err(Failure::UserExists),
            Some(Err(Refused::Wrong)) => Err(Failure::WrongPassword),
            Some(Err(Refused::TooMany { retry_after })) => Err(Failure::TooManyLogins(retry_after)),
        }
    }

    /// Changes nothing, and says so to everybody but the user.
    pub(super) fn update_user(&self, name: &str, request: &Request) -> Result<Response, Failure> {
        if request.login.is_asked_for() && request.login.user() != Some(name) {
            return Err(Failure::Denied);
        }
        Ok(no_content())
    }
}
