//! The metadata service of a machine: credentials of its role, new at every question.
//!
//! `POST /expire` is the tests' own: it ends all credentials that were handed out.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response};
use hyper::body::Incoming;

use crate::accounts::Accounts;
use crate::reply::{Body, empty, full, iso};

/// What a machine must show when it asks.
const TOKEN: &str = "metadata-token";
const ROLE: &str = "registry";
const CREDENTIALS: &str = "/latest/meta-data/ram/security-credentials/";

/// Answers a question of a machine.
pub(crate) async fn answer(
    accounts: Arc<Accounts>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let shown = request.headers().get("x-aliyun-ecs-metadata-token").is_some_and(|token| token == TOKEN);
    Ok(match (request.method(), path.strip_prefix(CREDENTIALS)) {
        (&Method::PUT, _) if path == "/latest/api/token" => Response::new(full(TOKEN)),
        (&Method::POST, _) if path == "/expire" => {
            accounts.expire_all();
            empty(204)
        }
        (&Method::GET, Some(_)) if !shown => empty(403),
        (&Method::GET, Some("")) => Response::new(full(ROLE)),
        (&Method::GET, Some(ROLE)) => {
            let session = accounts.issue();
            Response::new(full(format!(
                r#"{{"AccessKeyId":"{}","AccessKeySecret":"{}","SecurityToken":"{}","Expiration":"{}","Code":"Success"}}"#,
                session.id,
                session.secret,
                session.token,
                iso(session.expires)
            )))
        }
        _ => empty(404),
    })
}
