//! The V2/OCI distribution API.
//!
//! [`Api::handle`] answers every path under `/v2/`. It never fails and never panics: what a client does
//! wrong gets the specification's error, what the storage does wrong gets a line in the log and 503 or
//! 500. Routes are in `route`, error answers in `errors`, and each kind of resource has its own file.

mod blobs;
mod errors;
mod head;
mod listings;
mod manifests;
mod ranges;
mod route;
mod uploads;

use std::sync::Arc;

use docker_registry_driver_api::ByteStream;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tracing::Instrument;

use self::{errors::Refusal, head::Head, route::Route};
pub(crate) use self::{
    errors::{denied, log_in_first, too_many_logins},
    route::need,
};
use crate::{
    http::exchange::{self, Request, Response, ResponseBody},
    registry::{digest::Digest, v2::Registry},
    search::Search,
    storage::Storage,
};

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What the API allows its clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest manifest in bytes, pushed or pulled. The specification wants 4 MiB at least.
    pub max_manifest_size: u64,
    /// Whether manifests, tags and blobs may be deleted.
    pub delete_enabled: bool,
    /// Repositories in one page of the catalog when the client does not say how many it wants.
    pub catalog_default: usize,
    /// Most repositories in one page of the catalog; a client that wants more is refused.
    pub catalog_max: usize,
    /// Most tags in one page; a client that wants more gets this many and a link to the next page.
    pub tags_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_manifest_size: 4 * 1024 * 1024,
            delete_enabled: true,
            catalog_default: 100,
            catalog_max: 1000,
            tags_max: 1000,
        }
    }
}

/// The API on one storage. Clones share everything.
#[derive(Clone)]
pub struct Api {
    registry: Registry,
    limits: Arc<Limits>,
    search: Search,
    redirects: bool,
}

impl Api {
    /// The API on `storage`.
    pub fn new(storage: Storage, limits: Limits) -> Self {
        Self {
            registry: Registry::new(storage),
            limits: Arc::new(limits),
            search: Search::off(),
            redirects: false,
        }
    }

    /// The same API, which answers clients from `reads`: the same storage behind a cache.
    pub fn with_reads(self, reads: Storage) -> Self {
        Self { registry: self.registry.with_reads(reads), ..self }
    }

    /// The same API, which sends clients that fetch a blob to the storage itself if `redirects` is true and the
    /// storage makes addresses.
    pub fn with_redirects(self, redirects: bool) -> Self {
        Self { redirects, ..self }
    }

    /// The same API, which tells a search index what changes.
    pub fn with_search(self, search: Search) -> Self {
        Self { search, ..self }
    }

    /// Answers one request for a path under `/v2/`.
    ///
    /// A change runs to its end even when the future returned here is dropped because the client went
    /// away: what has begun is finished or cleaned up. Must be called inside a tokio runtime.
    pub async fn handle(&self, request: Request) -> Response {
        let is_head = request.method == Method::HEAD;
        let mut response = if request.method.is_safe() {
            self.answer(request).await
        } else {
            let api = self.clone();
            let change = async move { api.answer(request).await };
            tokio::spawn(change.in_current_span()).await.unwrap_or_else(|error| {
                tracing::error!(%error, "a request's task ended early");
                Refusal::internal().into()
            })
        };
        if is_head {
            without_body(&mut response);
        }
        mark(&mut response);
        response
    }

    async fn answer(&self, request: Request) -> Response {
        let route = Route::parse(&request.path);
        let (request, body) = Head::of(request);
        match route {
            Ok(route) if request.method == Method::OPTIONS => allowed(&route),
            Ok(route) => self.dispatch(route, &request, body).await.unwrap_or_else(Response::from),
            Err(refusal) => refusal.into(),
        }
    }

    async fn dispatch(&self, route: Route, request: &Head, body: ByteStream) -> Result<Response, Refusal> {
        let methods = route.methods();
        // The catalog of methods and this table name the same ones; what falls through is in neither. What is no
        // pull is in boxes: a pull would carry the room that it needs, and asking for so much memory costs time.
        match (route, request.method.as_str()) {
            (Route::Base, "GET" | "HEAD") => Ok(exchange::whole(StatusCode::OK, "application/json", "{}")),
            (Route::Catalog, "GET" | "HEAD") => Box::pin(self.list_repositories(request)).await,
            (Route::Tags(name), "GET" | "HEAD") => self.list_tags(request, &name).await,
            (Route::Manifest(name, reference), "GET" | "HEAD") => {
                self.get_manifest(request, &name, &reference).await
            }
            (Route::Manifest(name, reference), "PUT") => {
                Box::pin(self.put_manifest(request, body, &name, &reference)).await
            }
            (Route::Manifest(name, reference), "DELETE") => {
                Box::pin(self.delete_manifest(request, &name, &reference)).await
            }
            (Route::Blob(name, digest), "GET") => self.get_blob(request, &name, &digest).await,
            (Route::Blob(name, digest), "HEAD") => self.head_blob(request, &name, &digest).await,
            (Route::Blob(name, digest), "DELETE") => {
                Box::pin(self.delete_blob(request, &name, &digest)).await
            }
            (Route::Uploads(name), "POST") => Box::pin(self.start_upload(request, body, &name)).await,
            (Route::Upload(name, id), "GET" | "HEAD") => Box::pin(self.get_upload(request, &name, &id)).await,
            (Route::Upload(name, id), "PATCH") => {
                Box::pin(self.patch_upload(request, body, &name, &id)).await
            }
            (Route::Upload(name, id), "PUT") => Box::pin(self.put_upload(request, body, &name, &id)).await,
            (Route::Upload(name, id), "DELETE") => Box::pin(self.delete_upload(request, &name, &id)).await,
            _ => Err(Refusal::new(errors::UNSUPPORTED, "this resource does not have this method")
                .header(header::ALLOW, methods)),
        }
    }

    /// Refuses deletions where they are switched off.
    fn check_deletion(&self) -> Result<(), Refusal> {
        if self.limits.delete_enabled {
            return Ok(());
        }
        Err(Refusal::new(errors::UNSUPPORTED, "deletion is switched off in this registry"))
    }
}

/// The headers that every answer of the API has, and by which clients know it.
pub(crate) fn mark(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn allowed(route: &Route) -> Response {
    let mut response = exchange::empty(StatusCode::NO_CONTENT);
    exchange::set(&mut response, header::ALLOW, route.methods());
    response
}

/// Leaves the headers of the answer as they are for `GET`, its length included.
fn without_body(response: &mut Response) {
    if let ResponseBody::Whole(content) = std::mem::take(response.body_mut()) {
        let length = HeaderValue::from(content.len());
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
}

fn parse_digest(text: &str) -> Result<Digest, Refusal> {
    Digest::parse(text).map_err(|error| Refusal::new(errors::DIGEST_INVALID, error.to_string()))
}
