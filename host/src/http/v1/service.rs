//! Greeting, ping and search.
//!
//! The greeting and the ping differ from version to version of docker-registry, and there are tools that look for a
//! version's own: the key `compatibility` chooses whose they are.

use std::fmt::Display;

use docker_registry_config::Compatibility;
use docker_registry_driver_api::async_trait;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{
    Api,
    errors::Failure,
    json::{X_DOCKER_REGISTRY_CONFIG, X_DOCKER_REGISTRY_STANDALONE, X_DOCKER_REGISTRY_VERSION, answer},
    route::{self, Route},
    without_body,
};
use crate::{
    auth::{Need, Right},
    http::{
        exchange::{Request, Response, set},
        routes::Handler,
    },
    search::{Query, Search},
};

/// Results on a page when the client names a page only.
const DEFAULT_PAGE: usize = 25;
/// Most results on a page.
const MAX_PAGE: usize = 100;

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
}

impl Api {
    /// Up to 0.8, every answer named the version and the flavor.
    pub(super) fn name_version(&self, response: &mut Response) {
        let compatibility = self.settings.compatibility;
        if compatibility != Compatibility::V0_9 {
            set(response, X_DOCKER_REGISTRY_VERSION, compatibility.release());
            set(response, X_DOCKER_REGISTRY_CONFIG, &self.settings.flavor);
        }
    }
}

/// `GET /v1/search`. Without an index nothing is found, as in 0.6 to 0.8; 0.9.1 lacks the route then.
pub(super) async fn find(search: &Search, request: Request) -> Response {
    let parameter = |name: &str| {
        let mut pairs = form_urlencoded::parse(request.query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let term = parameter("q").unwrap_or_default();
    let query = match (parameter("n").map(number).transpose(), parameter("page").map(number).transpose()) {
        (Ok(None), Ok(None)) => Query::all(&term),
        (Ok(size), Ok(page)) => {
            Query::page(&term, size.unwrap_or(DEFAULT_PAGE).min(MAX_PAGE), page.unwrap_or(1))
        }
        _ => return refused(StatusCode::BAD_REQUEST, "n and page must be numbers from 1"),
    };
    match search.find(query, visible_to(&request)).await {
        Ok(found) => {
            let results: Vec<_> = found
                .hits
                .into_iter()
                .map(|hit| json!({ "description": hit.description, "name": hit.name }))
                .collect();
            answer(StatusCode::OK, &json!({ "num_results": found.total, "query": term, "results": results }))
        }
        // The reason has been logged when it began.
        Err(_) => {
            let text = "The search index is not available, retry later";
            let mut response = refused(StatusCode::SERVICE_UNAVAILABLE, text);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            response
        }
    }
}

/// Which repositories the client may know of. Everything that is found or counted has passed this.
fn visible_to(request: &Request) -> impl Fn(&str) -> bool + Send + 'static {
    let login = request.login.clone();
    move |repository| {
        // The index has V1's form, in which `library/` may have been left out by who wrote the rule.
        let short_name = route::short_name(repository);
        login.may(&Need::Repository { name: repository.to_owned(), short_name, right: Right::Pull })
    }
}

fn number(text: String) -> Result<usize, ()> {
    text.parse().ok().filter(|number| *number > 0).ok_or(())
}

fn refused(status: StatusCode, text: impl Display) -> Response {
    answer(status, &json!({ "error": text.to_string() }))
}

/// All that is left of V1 where only V2 is served: today's docker searches at `/v1/search` and nowhere else.
pub struct SearchAlone(pub Search);

#[async_trait]
impl Handler for SearchAlone {
    async fn handle(&self, request: Request) -> Response {
        let method = request.method.clone();
        let response = match route::find(&request.path) {
            Ok(Route::Search) if matches!(method, Method::GET | Method::HEAD) => find(&self.0, request).await,
            Ok(Route::Search) => Failure::Method(&[Method::GET]).response(&method),
            _ => Failure::NoRoute.response(&method),
        };
        if method == Method::HEAD { without_body(response) } else { response }
    }
}
