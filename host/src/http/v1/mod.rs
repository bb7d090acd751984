//! The legacy V1 registry API: what docker 0.6 to 1.9 speaks.
//!
//! It answers as docker-registry 0.9.1 does, status, headers and text, where 0.9.1 is right. Errors of
//! the framework (no such route, wrong method, failed storage) are JSON here, because docker shows a
//! client the HTML that 0.9.1 sends as `invalid character '<'`.
//!
//! `route` finds what a path names, `images`, `layer`, `index`, `tags`, `users` and `service` answer,
//! `json` and `errors` write what they have to say.

mod errors;
mod images;
mod index;
mod json;
mod layer;
mod route;
mod service;
mod tags;
mod users;

pub use self::service::SearchAlone;
pub(crate) use self::{
    errors::{denied, log_in_first, too_many_logins},
    route::need,
};

use bytes::Bytes;
use docker_registry_config::Compatibility;
use docker_registry_driver_api::{ErrorKind, collect};
use http::{HeaderValue, Method, StatusCode, header};

use crate::{
    http::{
        exchange::{Request, Response, ResponseBody, empty, set},
        v1::{
            errors::Failure,
            route::{ImagePart, Route},
        },
    },
    registry::v1::{Registry, names::ImageId},
    search::Search,
    storage::Storage,
};

/// Largest JSON body that a client may send, in bytes.
const MAX_JSON_BODY: usize = 4 << 20;

/// What an operator decides about the V1 API; the keys of 0.9.1's configuration.
#[derive(Debug, Clone)]
pub struct V1Settings {
    /// `issue`: the text that `GET /` answers with; without it that text names the flavor.
    pub issue: Option<String>,
    /// `compatibility`: the version whose answers `/` and `/_ping` give.
    pub compatibility: Compatibility,
    /// `standalone`: the registry is its own index and asks nobody for permission.
    pub standalone: bool,
    /// `disable_token_auth`: without `standalone`, serve everything without a token.
    pub disable_token_auth: bool,
    /// `registry_endpoints`: what `X-Docker-Endpoints` says; `None` repeats the request's `Host`.
    pub registry_endpoints: Option<String>,
    /// `storage_redirect`: clients that fetch a layer are sent to the storage itself, where the driver makes addresses.
    pub storage_redirect: bool,
    /// `debug`: the ping names the flavor and the server's version. Unlike 0.9.1's, it says nothing of
    /// the machine or the command line.
    pub debug: bool,
    /// The flavor's name, for the ping with `debug`.
    pub flavor: String,
}

impl Default for V1Settings {
    /// The values of 0.9.1's sample configuration, without `debug`.
    fn default() -> Self {
        Self {
            issue: Some("\"docker-registry server\"".to_owned()),
            compatibility: Compatibility::V0_9,
            standalone: true,
            disable_token_auth: false,
            registry_endpoints: None,
            storage_redirect: false,
            debug: false,
            flavor: "dev".to_owned(),
        }
    }
}

/// The V1 API over one storage.
pub struct Api {
    registry: Registry,
    settings: V1Settings,
    search: Search,
}

impl Api {
    /// The API over the store that `storage` holds.
    pub fn new(storage: Storage, settings: V1Settings) -> Self {
        Self { registry: Registry::new(storage), settings, search: Search::off() }
    }

    /// The same API, which answers clients from `reads`: the same storage behind a cache.
    pub fn with_reads(self, reads: Storage) -> Self {
        Self { registry: self.registry.with_reads(reads), ..self }
    }

    /// The same API, which tells a search index what changes and asks it.
    pub fn with_search(self, search: Search) -> Self {
        Self { search, ..self }
    }

    /// Answers `/`, `/_ping` and every path under `/v1`; any other path is 404.
    ///
    /// Dropping the future gives the request up: an upload that it began is discarded.
    pub async fn handle(&self, request: Request) -> Response {
        let (method, is_login_needed) = (request.method.clone(), request.login.is_asked_for());
        let mut response = match self.answer(request).await {
            Ok(response) => response,
            Err(failure) => failure.response(&method),
        };
        if is_login_needed {
            json::keep_from_others(&mut response);
        }
        self.name_version(&mut response);
        if method == Method::HEAD { without_body(response) } else { response }
    }

    async fn answer(&self, request: Request) -> Result<Response, Failure> {
        let route = route::find(&request.path)?;
        if let Route::Redirect(location) = route {
            return Ok(redirect(&location, &request.query));
        }
        let methods = route.methods(self.settings.standalone);
        if methods.is_empty() {
            return Err(Failure::NoRoute);
        }
        if request.method == Method::OPTIONS {
            let mut response = empty(StatusCode::OK);
            set(&mut response, header::ALLOW, &route::allow(methods));
            return Ok(response);
        }
        let method = if request.method == Method::HEAD { Method::GET } else { request.method.clone() };
        if !methods.contains(&method) {
            return Err(Failure::Method(methods));
        }
        if route.needs_permission() && !(self.settings.standalone || self.settings.disable_token_auth) {
            return Err(Failure::Unauthorized);
        }
        self.dispatch(route, method, request).await
    }

    async fn dispatch(&self, route: Route, method: Method, request: Request) -> Result<Response, Failure> {
        let reads = method == Method::GET;
        let deletes = method == Method::DELETE;
        match route {
            Route::Redirect(_) => Err(Failure::NoRoute),
            Route::Root => Ok(self.root()),
            Route::Ping => Ok(self.ping()),
            Route::Search => Ok(service::find(&self.search, request).await),
            Route::Users if reads => Ok(self.log_in()),
            Route::Users => self.create_user(request).await,
            Route::User(name) => self.update_user(&name, &request),
            Route::Image(id, part) => {
                let id = ImageId::parse(&id).ok_or(crate::registry::v1::Error::InvalidImageId)?;
                match part {
                    ImagePart::Json if reads => self.get_image_json(&id, request).await,
                    ImagePart::Json => self.put_image_json(&id, request).await,
                    ImagePart::Layer if reads => self.get_layer(&id, request).await,
                    ImagePart::Layer => self.put_layer(&id, request).await,
                    ImagePart::Ancestry => self.get_ancestry(&id, request).await,
                    ImagePart::Checksum => self.put_checksum(&id, request).await,
                    ImagePart::Files => self.get_files(&id, request).await,
                    ImagePart::Diff => self.get_diff(&id, request).await,
                }
            }
            Route::Repository(repository) if deletes => self.delete_repository(&repository, request).await,
            Route::Repository(repository) => self.put_repository(&repository, request, StatusCode::OK).await,
            Route::RepositoryImages(repository) if reads => {
                self.get_repository_images(&repository, request).await
            }
            Route::RepositoryImages(repository) if deletes => {
                Ok(self.delete_repository_images(&repository, &request))
            }
            Route::RepositoryImages(repository) => {
                self.put_repository(&repository, request, StatusCode::NO_CONTENT).await
            }
            Route::RepositoryAuth => Ok(self.put_repository_auth()),
            Route::RepositoryMetadata(repository) => self.get_repository_metadata(&repository, request).await,
            Route::Properties(repository) if reads => self.get_properties(&repository, request).await,
            Route::Properties(repository) => self.put_properties(&repository, request).await,
            Route::Tags(repository) if deletes => self.delete_repository(&repository, request).await,
            Route::Tags(repository) => self.get_tags(&repository, request).await,
            Route::Tag(repository, tag) if reads => self.get_tag(&repository, &tag, request).await,
            Route::Tag(repository, tag) if deletes => self.delete_tag(&repository, &tag, request).await,
            Route::Tag(repository, tag) => self.put_tag(&repository, &tag, request).await,
            Route::TagMetadata(repository, tag) => self.get_tag_metadata(&repository, &tag, request).await,
        }
    }
}

/// Reads a JSON body, whatever its `Content-Type` says: `curl -d` calls everything a form.
async fn read_body(request: Request) -> Result<Bytes, Failure> {
    read_body_up_to(MAX_JSON_BODY, request).await
}

async fn read_body_up_to(limit: usize, request: Request) -> Result<Bytes, Failure> {
    if request.content_length().is_some_and(|length| length > limit as u64) {
        return Err(Failure::BodyTooLarge);
    }
    collect(request.body, limit).await.map_err(|error| match error.kind {
        ErrorKind::TooLarge => Failure::BodyTooLarge,
        _ => Failure::Registry(error.into()),
    })
}

/// The redirect to the form of a path that ends with a slash. It is relative, so that it is right behind
/// any proxy.
fn redirect(location: &str, query: &str) -> Response {
    let mut response = empty(StatusCode::MOVED_PERMANENTLY);
    let location = if query.is_empty() { location.to_owned() } else { format!("{location}?{query}") };
    set(&mut response, header::LOCATION, &location);
    response
}

/// The answer to `HEAD`: the headers of `GET`.
fn without_body(mut response: Response) -> Response {
    let length = match std::mem::take(response.body_mut()) {
        ResponseBody::Empty => return response,
        ResponseBody::Whole(content) => content.len() as u64,
        ResponseBody::Reading(reading) => reading.length,
    };
    response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    response
}
