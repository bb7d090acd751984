//! Greeting, ping and search.

use http::StatusCode;
use serde_json::json;

use super::{
    Api,
    json::{X_DOCKER_REGISTRY_CONFIG, X_DOCKER_REGISTRY_STANDALONE, X_DOCKER_REGISTRY_VERSION, answer},
};
use crate::http::exchange::{Request, Response, set};

/// The version whose API this is. Clients before docker 0.9 insist on the header (issue 808 of the
/// original), and newer ones only log it.
const API_OF: &str = "0.9.1";

impl Api {
    pub(super) fn root(&self) -> Response {
        answer(StatusCode::OK, &json!(self.settings.issue))
    }

    pub(super) fn ping(&self) -> Response {
        let mut facts = json!({});
        if self.settings.debug {
            facts["versions"] = json!({ "docker-registry": env!("CARGO_PKG_VERSION") });
        }
        let mut response = answer(StatusCode::OK, &facts);
        // Docker compares without case; the form is Python's.
        let standalone = if self.settings.standalone { "True" } else { "False" };
        set(&mut response, X_DOCKER_REGISTRY_STANDALONE, standalone);
        set(&mut response, X_DOCKER_REGISTRY_VERSION, API_OF);
        if self.settings.debug {
            set(&mut response, X_DOCKER_REGISTRY_CONFIG, &self.settings.flavor);
        }
        response
    }

    /// Without a search index nothing is found, as in 0.6 to 0.8; 0.9.1 lacks the route then.
    pub(super) fn search(&self, request: &Request) -> Response {
        let term = form_urlencoded::parse(request.query.as_bytes())
            .find(|(key, _)| key == "q")
            .map(|(_, term)| term.into_owned())
            .unwrap_or_default();
        answer(StatusCode::OK, &json!({ "num_results": 0, "query": term, "results": [] }))
    }
}
