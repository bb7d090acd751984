//! Which resource a path names.
//!
//! A path is cut at its slashes first and each segment is decoded afterwards, so that an encoded slash
//! or dot never changes the shape of the path. Repository names may hold any words, the API's own
//! included; so a path is read from its end.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

use super::errors::{self, Refusal};
use crate::{
    auth::{Need, Right},
    registry::v2::RepositoryName,
};

/// A resource of the API. Names are checked; what is named inside a repository is not yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/NAME/tags/list`
    Tags(RepositoryName),
    /// `/v2/NAME/manifests/REFERENCE`
    Manifest(RepositoryName, String),
    /// `/v2/NAME/blobs/DIGEST`
    Blob(RepositoryName, String),
    /// `/v2/NAME/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/NAME/blobs/uploads/ID`
    Upload(RepositoryName, String),
}

impl Route {
    /// Reads a path as the client sent it.
    ///
    /// # Errors
    /// 404 for a path that is no resource of the API, `NAME_INVALID` for one with an impossible name.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let inner = match path.strip_prefix("/v2") {
            Some("") => "",
            Some(rest) => rest.strip_prefix('/').ok_or_else(no_route)?,
            None => return Err(no_route()),
        };
        if inner.is_empty() {
            return Ok(Self::Base);
        }
        let segments = inner.split('/').map(decode).collect::<Result<Vec<_>, _>>()?;
        let segments: Vec<&str> = segments.iter().map(AsRef::as_ref).collect();
        match segments.as_slice() {
            ["_catalog"] => Ok(Self::Catalog),
            [name @ .., "tags", "list"] => Ok(Self::Tags(repository(name)?)),
            [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
                Ok(Self::Uploads(repository(name)?))
            }
            [name @ .., "blobs", "uploads", id] => Ok(Self::Upload(repository(name)?, (*id).to_owned())),
            [name @ .., "blobs", digest] => Ok(Self::Blob(repository(name)?, (*digest).to_owned())),
            [name @ .., "manifests", reference] => {
                Ok(Self::Manifest(repository(name)?, (*reference).to_owned()))
            }
            _ => Err(no_route()),
        }
    }

    /// The methods that the resource has.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Base | Self::Catalog | Self::Tags(_) => "GET, HEAD, OPTIONS",
            Self::Manifest(..) => "GET, HEAD, PUT, DELETE, OPTIONS",
            Self::Blob(..) => "GET, HEAD, DELETE, OPTIONS",
            Self::Uploads(_) => "POST, OPTIONS",
            Self::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE, OPTIONS",
        }
    }
}

/// What a request needs when the registry asks for passwords. What has no route tells its answer to nobody but
/// those who may come in.
pub(crate) fn need(method: &Method, path: &str) -> Need {
    let Ok(route) = Route::parse(path) else { return Need::Entry };
    match (&route, method.as_str()) {
        (Route::Base, _) => Need::Handshake,
        (Route::Catalog, _) => Need::Entry,
        // Who gives up an upload deletes nothing.
        (Route::Uploads(name) | Route::Upload(name, _), _) => Need::on(name.as_str(), Right::Push),
        (Route::Manifest(name, _) | Route::Blob(name, _) | Route::Tags(name), "DELETE") => {
            Need::on(name.as_str(), Right::Delete)
        }
        (Route::Manifest(name, _) | Route::Blob(name, _) | Route::Tags(name), "PUT" | "POST" | "PATCH") => {
            Need::on(name.as_str(), Right::Push)
        }
        (Route::Manifest(name, _) | Route::Blob(name, _) | Route::Tags(name), _) => {
            Need::on(name.as_str(), Right::Pull)
        }
    }
}

fn repository(segments: &[&str]) -> Result<RepositoryName, Refusal> {
    if segments.is_empty() {
        return Err(no_route());
    }
    // A decoded segment may hold a slash. Joined, it could pass for two segments.
    let whole = segments.iter().all(|segment| !segment.contains('/'));
    whole.then(|| segments.join("/")).and_then(|name| RepositoryName::parse(&name)).ok_or_else(invalid_name)
}

fn decode(segment: &str) -> Result<Cow<'_, str>, Refusal> {
    // What is left of a broken escape is a `%`, which no name has.
    percent_decode_str(segment).decode_utf8().map_err(|_| invalid_name())
}

fn invalid_name() -> Refusal {
    Refusal::new(
        errors::NAME_INVALID,
        "a repository name is lower-case letters and digits, with single . _ or __ or - between them, in \
         parts joined by /, and at most 255 bytes",
    )
}

fn no_route() -> Refusal {
    Refusal::new(errors::UNSUPPORTED, "this registry has no such resource")
        .status(http::StatusCode::NOT_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::exchange::Response;

    fn name(text: &str) -> RepositoryName {
        RepositoryName::parse(text).unwrap()
    }

    fn status(path: &str) -> u16 {
        Response::from(Route::parse(path).expect_err(path)).status().as_u16()
    }

    #[test]
    fn every_resource_is_found() {
        let upload = "6a7d5f4e-3c5b-4f0a-9f57-111111111111";
        for (path, expected) in [
            ("/v2", Route::Base),
            ("/v2/", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/b/tags/list", Route::Tags(name("a/b"))),
            ("/v2/a/manifests/latest", Route::Manifest(name("a"), "latest".into())),
            ("/v2/a/manifests/sha256%3Aab", Route::Manifest(name("a"), "sha256:ab".into())),
            ("/v2/a/blobs/sha256:ab", Route::Blob(name("a"), "sha256:ab".into())),
            ("/v2/a/blobs/uploads/", Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads", Route::Uploads(name("a"))),
            (&format!("/v2/a/blobs/uploads/{upload}"), Route::Upload(name("a"), upload.into())),
        ] {
            assert_eq!(Route::parse(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn names_may_hold_the_words_of_the_api() {
        for (path, expected) in [
            ("/v2/tags/list/tags/list", Route::Tags(name("tags/list"))),
            ("/v2/blobs/uploads/tags/list", Route::Tags(name("blobs/uploads"))),
            ("/v2/blobs/uploads/blobs/uploads/", Route::Uploads(name("blobs/uploads"))),
            ("/v2/manifests/manifests/manifests", Route::Manifest(name("manifests"), "manifests".into())),
            ("/v2/a/blobs/manifests/uploads", Route::Manifest(name("a/blobs"), "uploads".into())),
        ] {
            assert_eq!(Route::parse(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn what_is_no_resource_is_not_found() {
        for path in
            ["/", "/v1/", "/v2x", "/v2/a", "/v2/tags/list", "/v2/a/tags/list/", "/v2/a/referrers/x", "/v2//"]
        {
            assert_eq!(status(path), 404, "{path}");
        }
    }

    #[test]
    fn impossible_names_are_refused_however_they_are_written() {
        let long = format!("/v2/{}/tags/list", "a".repeat(256));
        for path in [
            "/v2/../tags/list",
            "/v2/%2e%2e/tags/list",
            "/v2/a/%2E%2E/b/tags/list",
            "/v2/a%2Fb/tags/list",
            "/v2/a%00/tags/list",
            "/v2/a%ff/tags/list",
            "/v2/a%zz/tags/list",
            "/v2/a%/tags/list",
            "/v2//tags/list",
            "/v2/a//b/tags/list",
            "/v2/A/tags/list",
            "/v2/_uploads/tags/list",
            &long,
        ] {
            assert_eq!(status(path), 400, "{path}");
        }
    }
}
