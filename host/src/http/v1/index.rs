//! The fake index: lists of images, tokens and endpoints.

use http::{StatusCode, header};
use serde_json::json;

use super::{
    Api,
    errors::Failure,
    json::{X_DOCKER_ENDPOINTS, X_DOCKER_TOKEN, answer, no_content, verbatim},
    read_body,
};
use crate::{
    auth::{Login, Right},
    http::exchange::{Request, Response, set},
    registry::v1::names::RepositoryName,
};

impl Api {
    /// `PUT` of a repository and of its images; they differ in the status of success.
    pub(super) async fn put_repository(
        &self,
        repository: &RepositoryName,
        request: Request,
        success: StatusCode,
    ) -> Result<Response, Failure> {
        let (call, login) = (request.call(), request.login.clone());
        let endpoints = self.endpoints(&request);
        let content = read_body(request).await?;
        let _note = self.search.note_when_done(repository);
        self.registry.merge_index_images(&call, repository, content).await?;
        let response =
            if success == StatusCode::NO_CONTENT { no_content() } else { answer(success, &json!("")) };
        Ok(with_token(response, repository, Right::Push, &login, endpoints))
    }

    pub(super) async fn get_repository_images(
        &self,
        repository: &RepositoryName,
        request: Request,
    ) -> Result<Response, Failure> {
        let content = self.registry.index_images(&request.call(), repository).await?;
        let response = verbatim(StatusCode::OK, content);
        Ok(with_token(response, repository, Right::Pull, &request.login, self.endpoints(&request)))
    }

    /// Does nothing, as in 0.9.1: the list goes with the repository.
    pub(super) fn delete_repository_images(
        &self,
        repository: &RepositoryName,
        request: &Request,
    ) -> Response {
        with_token(no_content(), repository, Right::Delete, &request.login, self.endpoints(request))
    }

    pub(super) fn put_repository_auth(&self) -> Response {
        answer(StatusCode::OK, &json!("OK"))
    }

    /// Where docker is to push and pull: what the operator says, or the host that it spoke to.
    fn endpoints(&self, request: &Request) -> Option<String> {
        self.settings.registry_endpoints.clone().or_else(|| request.header(header::HOST).map(str::to_owned))
    }
}

/// Adds the headers without which docker gives up. Where nobody is asked for a password, the token opens
/// nothing, as in 0.9.1: nobody checks it.
fn with_token(
    mut response: Response,
    repository: &RepositoryName,
    right: Right,
    login: &Login,
    endpoints: Option<String>,
) -> Response {
    let token = if login.is_asked_for() {
        login.v1_token(&repository.plain(), right)
    } else {
        Some(random_token(repository, right))
    };
    if let Some(token) = token {
        set(&mut response, header::WWW_AUTHENTICATE, &token);
        set(&mut response, X_DOCKER_TOKEN, &token);
    }
    if let Some(endpoints) = endpoints {
        set(&mut response, X_DOCKER_ENDPOINTS, &endpoints);
    }
    response
}

fn random_token(repository: &RepositoryName, right: Right) -> String {
    let access = match right {
        Right::Pull => "read",
        Right::Push => "write",
        Right::Delete => "delete",
    };
    let signature: String =
        std::iter::repeat_with(|| fastrand::alphanumeric().to_ascii_uppercase()).take(16).collect();
    format!("Token signature={signature},repository=\"{repository}\",access={access}")
}
