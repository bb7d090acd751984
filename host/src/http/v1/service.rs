//! Greeting, ping and search.
//!
//! The greeting and the ping differ from version to version of docker-registry, and there are tools that look for a
//! version's own: the key `compatibility` chooses whose they are.

use docker_registry_config::Compatibility;
use http::StatusCode;
use serde_json::json;

use super::{
    Api,
    json::{X_DOCKER_REGISTRY_CONFIG, X_DOCKER_REGISTRY_STANDALONE, X_DOCKER_REGISTRY_VERSION, answer},
};
use crate::http::exchange::{Request, Response, set};

impl Api {
    /// 0.9 answers with `issue`. Before there was that key, the flavor and then the version stood there.
    pub(super) fn root(&self) -> Response {
        let name = format!("docker-registry server ({})", self.settings.flavor);
        let compatibility = self.settings.compatibility;
        let text = match compatibility {
            Compatibility::V0_6 => name,
            Compatibility::V0_7 | Compatibility::V0_8 => format!("{name}(v{})", compatibility.release()),
            Compatibility::V0_9 => self.settings.issue.clone().unwrap_or(name),
        };
        answer(StatusCode::OK, &json!(text))
    }

    pub(super) fn ping(&self) -> Response {
        let mut facts = json!({});
        if self.settings.compatibility != Compatibility::V0_9 {
            facts = json!(true);
        } else if self.settings.debug {
            facts["versions"] = json!({ "docker-registry": env!("CARGO_PKG_VERSION") });
        }
        let mut response = answer(StatusCode::OK, &facts);
        // Docker compares without case; the form is Python's.
        let standalone = if self.settings.standalone { "True" } else { "False" };
        set(&mut response, X_DOCKER_REGISTRY_STANDALONE, standalone);
        // Clients before docker 0.9 insist on the header (issue 808 of the original), and newer ones only log it.
        set(&mut response, X_DOCKER_REGISTRY_VERSION, self.settings.compatibility.release());
        if self.settings.debug {
            set(&mut response, X_DOCKER_REGISTRY_CONFIG, &self.settings.flavor);
        }
        response
    }

    /// Up to 0.8, every answer named the version and the flavor.
    pub(super) fn name_version(&self, response: &mut Response) {
        let compatibility = self.settings.compatibility;
        if compatibility != Compatibility::V0_9 {
            set(response, X_DOCKER_REGISTRY_VERSION, compatibility.release());
            set(response, X_DOCKER_REGISTRY_CONFIG, &self.settings.flavor);
        }
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
