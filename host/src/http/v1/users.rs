//! Accounts of the fake index: every name and every password is welcome.
//!
//! 0.9.1 leaves the checking of passwords to a proxy in front of it.

use http::StatusCode;
use serde_json::json;

use super::{
    Api,
    errors::Failure,
    json::{answer, no_content},
    read_body,
};
use crate::{
    http::exchange::{Request, Response},
    registry::v1::{Error, json::parse},
};

impl Api {
    pub(super) fn log_in(&self) -> Response {
        answer(StatusCode::OK, &json!("OK"))
    }

    pub(super) async fn create_user(&self, request: Request) -> Result<Response, Failure> {
        parse(read_body(request).await?).await.ok_or(Error::NotJson)?;
        Ok(answer(StatusCode::CREATED, &json!("User Created")))
    }

    pub(super) fn update_user(&self) -> Response {
        no_content()
    }
}
