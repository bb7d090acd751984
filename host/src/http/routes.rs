//! Which API answers a request: everything below `/v2` is V2, everything else is V1.

use std::sync::Arc;

use docker_registry_driver_api::async_trait;
use http::StatusCode;

use super::{
    exchange::{Request, Response, whole},
    v1, v2,
};

/// Something that answers requests. A panic in it costs one request.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Answers one request. Dropped when the client goes away.
    async fn handle(&self, request: Request) -> Response;
}

#[async_trait]
impl Handler for v1::Api {
    async fn handle(&self, request: Request) -> Response {
        Self::handle(self, request).await
    }
}

#[async_trait]
impl Handler for v2::Api {
    async fn handle(&self, request: Request) -> Response {
        Self::handle(self, request).await
    }
}

/// The APIs that the server speaks. An API that is off answers 404, which is how docker finds out.
#[derive(Clone, Default)]
pub struct Routes {
    /// The V2/OCI API.
    pub v2: Option<Arc<dyn Handler>>,
    /// The legacy V1 API, with the start page.
    pub v1: Option<Arc<dyn Handler>>,
}

#[async_trait]
impl Handler for Routes {
    async fn handle(&self, request: Request) -> Response {
        let api = if is_v2(&request.path) { &self.v2 } else { &self.v1 };
        match api {
            Some(api) => api.handle(request).await,
            None => whole(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "404 page not found\n"),
        }
    }
}

pub(crate) fn is_v2(path: &str) -> bool {
    path.strip_prefix("/v2").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_segment_decides() {
        assert!(is_v2("/v2") && is_v2("/v2/") && is_v2("/v2/a/manifests/b"));
        assert!(!is_v2("/v2a") && !is_v2("/v1/v2") && !is_v2("/") && !is_v2("*") && !is_v2("//v2/"));
    }
}
