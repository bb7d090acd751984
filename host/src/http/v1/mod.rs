//! The legacy V1 registry API.

use crate::http::exchange::{Request, Response, empty};
use crate::storage::Storage;

/// What an operator decides about the V1 API; the keys of 0.9.1's configuration.
#[derive(Debug, Clone)]
pub struct V1Settings {
    /// `issue`: the text that `GET /` answers with.
    pub issue: String,
    /// `standalone`: the registry is its own index and asks nobody for permission.
    pub standalone: bool,
    /// `disable_token_auth`: without `standalone`, serve the images without a token.
    pub disable_token_auth: bool,
    /// `registry_endpoints`: what `X-Docker-Endpoints` says; `None` repeats the request's `Host`.
    pub registry_endpoints: Option<String>,
    /// `debug`: the ping names the flavor and the server's version.
    pub debug: bool,
    /// The flavor's name, for the ping with `debug`.
    pub flavor: String,
}

impl Default for V1Settings {
    fn default() -> Self {
        Self {
            issue: "\"docker-registry server\"".to_owned(),
            standalone: true,
            disable_token_auth: false,
            registry_endpoints: None,
            debug: false,
            flavor: "dev".to_owned(),
        }
    }
}

/// The V1 API over one storage.
pub struct Api {
    _storage: Storage,
    _settings: V1Settings,
}

impl Api {
    /// The API over this storage.
    pub fn new(storage: Storage, settings: V1Settings) -> Self {
        Self { _storage: storage, _settings: settings }
    }

    /// Answers `/`, `/_ping` and every path under `/v1`.
    pub async fn handle(&self, _request: Request) -> Response {
        empty(http::StatusCode::NOT_FOUND)
    }
}
