//! `/v2/NAME/tags/list` and `/v2/_catalog`.

use http::{StatusCode, header};
use serde::Serialize;

use super::{
    Api, Head, Refusal,
    errors::{NAME_INVALID, PAGINATION_NUMBER_INVALID, TAG_INVALID},
};
use crate::{
    http::exchange::{self, Response},
    registry::v2::{RepositoryName, Tag},
};

#[derive(Serialize)]
struct Tags<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

#[derive(Serialize)]
struct Repositories<'a> {
    repositories: Vec<&'a str>,
}

impl Api {
    /// `GET /v2/NAME/tags/list` (OCI distribution specification, end-8). A client that wants more tags
    /// than a page has gets a page and the address of the next one.
    pub(super) async fn list_tags(&self, request: &Head, name: &RepositoryName) -> Result<Response, Refusal> {
        let max = self.limits.tags_max;
        let limit = page_size(request)?.unwrap_or(max).min(max);
        let after = last(request, Tag::parse, TAG_INVALID)?;
        let page = self.registry.list_tags(request.call(), name, after.as_ref(), limit).await?;
        let tags: Vec<_> = page.tags.iter().map(Tag::as_str).collect();
        let next = tags
            .last()
            .filter(|_| page.more)
            .map(|last| format!("/v2/{name}/tags/list?n={limit}&last={last}"));
        Ok(listing(&Tags { name: name.as_str(), tags }, next))
    }

    /// `GET /v2/_catalog`, as distribution has it: a page has at most `catalog_max` names, and a client
    /// that asks for more is refused.
    pub(super) async fn list_repositories(&self, request: &Head) -> Result<Response, Refusal> {
        let limit = page_size(request)?.unwrap_or(self.limits.catalog_default);
        if limit > self.limits.catalog_max {
            let message = format!("n is at most {} here", self.limits.catalog_max);
            return Err(Refusal::new(PAGINATION_NUMBER_INVALID, message));
        }
        let after = last(request, RepositoryName::parse, NAME_INVALID)?;
        if limit == 0 {
            return Ok(catalog_page(&[], false, limit));
        }
        self.visible_repositories(request, after, limit).await
    }

    /// A page of what the client may pull. Pages of the registry are read until this one is full.
    async fn visible_repositories(
        &self,
        request: &Head,
        mut after: Option<RepositoryName>,
        limit: usize,
    ) -> Result<Response, Refusal> {
        let mut visible = Vec::new();
        // Who sees little would otherwise make the storage list one name at a time.
        let at_once =
            if request.login.may_everything() { limit } else { limit.max(self.limits.catalog_default) };
        loop {
            let catalog = self.registry.list_repositories(request.call(), after.as_ref(), at_once).await?;
            after = catalog.repositories.last().cloned();
            for repository in catalog.repositories {
                if !request.login.may_pull(repository.as_str()) {
                    continue;
                }
                if visible.len() == limit {
                    return Ok(catalog_page(&visible, true, limit));
                }
                visible.push(repository);
            }
            let is_full = visible.len() == limit && request.login.may_everything();
            if !catalog.more || is_full || after.is_none() {
                return Ok(catalog_page(&visible, catalog.more, limit));
            }
        }
    }
}

fn catalog_page(repositories: &[RepositoryName], more: bool, limit: usize) -> Response {
    let repositories: Vec<_> = repositories.iter().map(RepositoryName::as_str).collect();
    let next = repositories
        .last()
        .filter(|_| more)
        .map(|last| format!("/v2/_catalog?n={limit}&last={}", last.replace('/', "%2F")));
    listing(&Repositories { repositories }, next)
}

fn listing(content: &impl Serialize, next: Option<String>) -> Response {
    let content = serde_json::to_vec(content).expect("a struct of texts is always JSON");
    let mut response = exchange::whole(StatusCode::OK, "application/json", content);
    if let Some(next) = next {
        exchange::set(&mut response, header::LINK, &format!("<{next}>; rel=\"next\""));
    }
    response
}

/// The parameter `n`.
fn page_size(request: &Head) -> Result<Option<usize>, Refusal> {
    let invalid = || Refusal::new(PAGINATION_NUMBER_INVALID, "n must be a number of entries");
    request
        .parameter("n")
        .map(|n| {
            let is_number = !n.is_empty() && n.bytes().all(|byte| byte.is_ascii_digit());
            // One that is too large to be counted is larger than any page.
            if is_number { Ok(n.parse().unwrap_or(usize::MAX)) } else { Err(invalid()) }
        })
        .transpose()
}

/// The parameter `last`. What it names need not exist, but it must be a possible name.
fn last<T>(
    request: &Head,
    parse: impl Fn(&str) -> Option<T>,
    code: super::errors::Code,
) -> Result<Option<T>, Refusal> {
    request
        .parameter("last")
        .filter(|last| !last.is_empty())
        .map(|last| parse(&last).ok_or_else(|| Refusal::new(code, "last is not a possible name")))
        .transpose()
}
