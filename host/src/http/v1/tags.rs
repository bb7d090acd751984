//! Tags, their metadata, properties and the deletion of repositories.

use http::{StatusCode, header};
use serde_json::json;

use super::{
    Api,
    errors::Failure,
    json::{answer, done},
    read_body,
};
use crate::{
    http::exchange::{Request, Response},
    registry::v1::{PushedBy, names::RepositoryName},
};

impl Api {
    pub(super) async fn get_tags(
        &self,
        repository: &RepositoryName,
        request: Request,
    ) -> Result<Response, Failure> {
        let tags = self.registry.tags(&request.call(), repository).await?;
        Ok(answer(StatusCode::OK, &json!(tags)))
    }

    pub(super) async fn get_tag(
        &self,
        repository: &RepositoryName,
        tag: &str,
        request: Request,
    ) -> Result<Response, Failure> {
        let image = self.registry.tag(&request.call(), repository, tag).await?;
        Ok(answer(StatusCode::OK, &json!(image)))
    }

    pub(super) async fn put_tag(
        &self,
        repository: &RepositoryName,
        tag: &str,
        request: Request,
    ) -> Result<Response, Failure> {
        let call = request.call();
        let user_agent = request.header(header::USER_AGENT).unwrap_or_default().to_owned();
        let content = read_body(request).await?;
        let _note = self.search.note_when_done(repository);
        self.registry.put_tag(&call, repository, tag, content, &PushedBy { user_agent }).await?;
        Ok(done())
    }

    pub(super) async fn delete_tag(
        &self,
        repository: &RepositoryName,
        tag: &str,
        request: Request,
    ) -> Result<Response, Failure> {
        let _note = self.search.note_when_done(repository);
        self.registry.delete_tag(&request.call(), repository, tag).await?;
        Ok(done())
    }

    pub(super) async fn delete_repository(
        &self,
        repository: &RepositoryName,
        request: Request,
    ) -> Result<Response, Failure> {
        let _note = self.search.note_when_done(repository);
        self.registry.delete_repository(&request.call(), repository).await?;
        Ok(done())
    }

    pub(super) async fn get_tag_metadata(
        &self,
        repository: &RepositoryName,
        tag: &str,
        request: Request,
    ) -> Result<Response, Failure> {
        let metadata = self.registry.tag_metadata(&request.call(), repository, tag).await?;
        Ok(answer(StatusCode::OK, &metadata))
    }

    pub(super) async fn get_repository_metadata(
        &self,
        repository: &RepositoryName,
        request: Request,
    ) -> Result<Response, Failure> {
        let metadata = self.registry.repository_metadata(&request.call(), repository).await?;
        Ok(answer(StatusCode::OK, &metadata))
    }

    pub(super) async fn get_properties(
        &self,
        repository: &RepositoryName,
        request: Request,
    ) -> Result<Response, Failure> {
        let private = self.registry.is_private(&request.call(), repository).await?;
        let access = if private { "private" } else { "public" };
        Ok(answer(StatusCode::OK, &json!({ "access": access })))
    }

    pub(super) async fn put_properties(
        &self,
        repository: &RepositoryName,
        request: Request,
    ) -> Result<Response, Failure> {
        let call = request.call();
        let content = read_body(request).await?;
        self.registry.put_properties(&call, repository, content).await?;
        Ok(done())
    }
}
