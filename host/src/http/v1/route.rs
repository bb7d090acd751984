//! Which thing of the registry a path names.
//!
//! 0.9.1 decodes a path first and matches it afterwards, so that `%2F` separates like `/`, and a
//! repository may have any number of segments. Longer patterns win: `a/tags/images` is the tag `images`
//! of `a`. Paths that would match with a slash at their end are redirected there.

use http::Method;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{
    auth::{Need, Right},
    http::v1::errors::Failure,
    registry::v1::names::RepositoryName,
};

/// What stays as it is in the path of a redirect.
const REDIRECT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~')
    .remove(b':')
    .remove(b'+');

/// A thing that a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// The same path with a slash at its end, ready for `Location`.
    Redirect(String),
    Root,
    Ping,
    Search,
    Users,
    /// With the name.
    User(String),
    /// The segment where an image's id belongs, unchecked.
    Image(String, ImagePart),
    Repository(RepositoryName),
    RepositoryImages(RepositoryName),
    RepositoryAuth,
    RepositoryMetadata(RepositoryName),
    Properties(RepositoryName),
    Tags(RepositoryName),
    Tag(RepositoryName, String),
    TagMetadata(RepositoryName, String),
}

/// What of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ImagePart {
    Json,
    Layer,
    Ancestry,
    Checksum,
    Files,
    Diff,
}

/// Finds the thing that a path names, percent-encoded as it was sent.
pub(super) fn find(path: &str) -> Result<Route, Failure> {
    let path = percent_decode_str(path).decode_utf8().map_err(|_| Failure::BadPath)?;
    if path.chars().any(char::is_control) {
        return Err(Failure::BadPath);
    }
    match path.as_ref() {
        "/" => return Ok(Route::Root),
        "/_ping" | "/v1/_ping" => return Ok(Route::Ping),
        "/v1/search" => return Ok(Route::Search),
        "/v1/users/" => return Ok(Route::Users),
        "/v1/users" => return Ok(with_slash(&path)),
        _ => {}
    }
    let found = if let Some(user) = path.strip_prefix("/v1/users/") {
        match user.split('/').collect::<Vec<_>>().as_slice() {
            [user, ""] if !user.is_empty() => Some(Route::User((*user).to_owned())),
            [_] => Some(with_slash(&path)),
            _ => None,
        }
    } else if let Some(image) = path.strip_prefix("/v1/images/") {
        image_part(image)
    } else if let Some(repository) = path.strip_prefix("/v1/repositories/") {
        repository_part(&path, repository)
    } else {
        None
    };
    found.ok_or(Failure::NoRoute)
}

fn with_slash(path: &str) -> Route {
    Route::Redirect(format!("{}/", utf8_percent_encode(path, REDIRECT)))
}

fn image_part(rest: &str) -> Option<Route> {
    let (id, part) = rest.split_once('/')?;
    let part = match part {
        "json" => ImagePart::Json,
        "layer" => ImagePart::Layer,
        "ancestry" => ImagePart::Ancestry,
        "checksum" => ImagePart::Checksum,
        "files" => ImagePart::Files,
        "diff" => ImagePart::Diff,
        _ => return None,
    };
    (!id.is_empty()).then(|| Route::Image(id.to_owned(), part))
}

fn repository_part(path: &str, rest: &str) -> Option<Route> {
    if rest.ends_with('/') {
        return RepositoryName::from_path(rest).map(Route::Repository);
    }
    let segments: Vec<&str> = rest.split('/').collect();
    let name = |end: usize| RepositoryName::from_path(&segments[..end].join("/"));
    let count = segments.len();
    match segments.as_slice() {
        ["", ..] => None,
        [_, .., "tags", tag, "json"] if !tag.is_empty() => {
            name(count - 3).map(|repository| Route::TagMetadata(repository, (*tag).to_owned()))
        }
        [_, .., "tags", tag] => name(count - 2).map(|repository| Route::Tag(repository, (*tag).to_owned())),
        [_, .., "images"] => name(count - 1).map(Route::RepositoryImages),
        [_, .., "auth"] => Some(Route::RepositoryAuth),
        [_, .., "json"] => name(count - 1).map(Route::RepositoryMetadata),
        [_, .., "properties"] => name(count - 1).map(Route::Properties),
        [_, .., "tags"] => name(count - 1).map(Route::Tags),
        _ => Some(with_slash(path)),
    }
}

impl Route {
    /// The methods that the thing has, `HEAD` and `OPTIONS` apart; none when it does not exist. The fake
    /// index is part of a standalone registry only.
    pub(super) fn methods(&self, standalone: bool) -> &'static [Method] {
        const GET: &[Method] = &[Method::GET];
        const PUT: &[Method] = &[Method::PUT];
        const GET_PUT: &[Method] = &[Method::GET, Method::PUT];
        const GET_PUT_DELETE: &[Method] = &[Method::GET, Method::PUT, Method::DELETE];
        match self {
            Self::Redirect(_) => &[],
            Self::Users | Self::User(_) | Self::RepositoryImages(_) | Self::RepositoryAuth if !standalone => {
                &[]
            }
            Self::Root | Self::Ping | Self::Search => GET,
            Self::Users => &[Method::GET, Method::POST],
            Self::User(_) | Self::RepositoryAuth => PUT,
            Self::Image(_, ImagePart::Json | ImagePart::Layer) => GET_PUT,
            Self::Image(_, ImagePart::Checksum) => PUT,
            Self::Image(..) | Self::RepositoryMetadata(_) | Self::TagMetadata(..) => GET,
            Self::Repository(_) if standalone => &[Method::PUT, Method::DELETE],
            Self::Repository(_) => &[Method::DELETE],
            Self::Properties(_) => GET_PUT,
            Self::Tags(_) => &[Method::GET, Method::DELETE],
            Self::RepositoryImages(_) | Self::Tag(..) => GET_PUT_DELETE,
        }
    }

    /// Whether a registry with an index of its own asks for a token here.
    pub(super) fn needs_permission(&self) -> bool {
        !matches!(
            self,
            Self::Redirect(_) | Self::Root | Self::Ping | Self::Search | Self::Users | Self::User(_)
        )
    }
}

/// What a request needs when the registry asks for passwords. What has no route tells its answer to nobody but
/// those who may come in.
pub(crate) fn need(method: &Method, path: &str) -> Need {
    let right = match *method {
        Method::PUT | Method::POST | Method::PATCH => Right::Push,
        Method::DELETE => Right::Delete,
        _ => Right::Pull,
    };
    match find(path) {
        Ok(Route::Ping) => Need::Nothing,
        // The password is in the body.
        Ok(Route::Users) if *method == Method::POST => Need::Nothing,
        Ok(Route::Users | Route::User(_)) => Need::User,
        Ok(Route::Image(..)) => Need::AnyRepository(right),
        Ok(
            Route::Repository(repository)
            | Route::RepositoryImages(repository)
            | Route::RepositoryMetadata(repository)
            | Route::Properties(repository)
            | Route::Tags(repository)
            | Route::Tag(repository, _)
            | Route::TagMetadata(repository, _),
        ) => {
            let name = repository.plain();
            let short_name = short_name(&name);
            Need::Repository { name, short_name, right }
        }
        Ok(Route::RepositoryAuth) => Need::User,
        Ok(Route::Redirect(_) | Route::Root | Route::Search) | Err(_) => Need::Entry,
    }
}

/// The name that V1 takes for the same: without `library/`, unless more than one segment follows. `library/a/b` is
/// not `a/b`.
pub(super) fn short_name(name: &str) -> Option<String> {
    name.strip_prefix("library/").filter(|name| !name.contains('/')).map(str::to_owned)
}

/// The value of `Allow`, in the order in which 0.9.1 happens to write it.
pub(super) fn allow(methods: &[Method]) -> String {
    let order = [Method::HEAD, Method::PUT, Method::OPTIONS, Method::GET, Method::POST, Method::DELETE];
    let allowed = |method: &Method| match *method {
        Method::HEAD => methods.contains(&Method::GET),
        Method::OPTIONS => true,
        _ => methods.contains(method),
    };
    order.iter().filter(|method| allowed(method)).map(Method::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(path: &str) -> RepositoryName {
        RepositoryName::from_path(path).unwrap()
    }

    fn found(path: &str) -> Route {
        find(path).unwrap_or_else(|_| panic!("{path} has no route"))
    }

    #[test]
    fn longer_patterns_win() {
        assert_eq!(found("/v1/repositories/a/tags/images"), Route::Tag(repository("a"), "images".into()));
        assert_eq!(
            found("/v1/repositories/a/b/tags/x/json"),
            Route::TagMetadata(repository("a/b"), "x".into())
        );
        assert_eq!(found("/v1/repositories/tags/x/json"), Route::RepositoryMetadata(repository("tags/x")));
        assert_eq!(found("/v1/repositories/a/tags"), Route::Tags(repository("a")));
        assert_eq!(found("/v1/repositories/a/tags/"), Route::Repository(repository("a/tags")));
        assert_eq!(found("/v1/images/x/json"), Route::Image("x".into(), ImagePart::Json));
    }

    #[test]
    fn paths_are_decoded_before_they_are_matched() {
        assert_eq!(found("/v1/repositories/..%2f..%2fetc/x/"), Route::Repository(repository("../../etc/x")));
        assert_eq!(found("/v1/repositories/a/tags/b%20c"), Route::Tag(repository("a"), "b c".into()));
        assert_eq!(found("/v1%2f_ping"), Route::Ping);
    }

    #[test]
    fn slashes_at_the_end_are_asked_for() {
        for (path, location) in [
            ("/v1/users", "/v1/users/"),
            ("/v1/users/joe", "/v1/users/joe/"),
            ("/v1/repositories/tags", "/v1/repositories/tags/"),
            ("/v1/repositories/a/tags/b%2Fc", "/v1/repositories/a/tags/b/c/"),
            ("/v1/repositories/a%22%C3%A9", "/v1/repositories/a%22%C3%A9/"),
        ] {
            assert_eq!(found(path), Route::Redirect(location.into()));
        }
    }

    #[test]
    fn what_is_no_route_is_not_found() {
        for path in [
            "",
            "/v1",
            "/v1/",
            "/_status",
            "/v2/",
            "/v1/_ping/",
            "/v1//_ping",
            "/v1/repositories",
            "/v1/repositories/",
            "/v1/repositories//x/",
            "/v1/images/",
            "/v1/images//json",
            "/v1/images/x",
            "/v1/images/x/json/",
            "/v1/images/x/other",
            "/v1/users/a/b/",
            "/v1/users//",
        ] {
            match find(path) {
                Err(Failure::NoRoute) => {}
                other => panic!("{path} is {:?}", other.ok()),
            }
        }
        for path in ["/v1/repositories/a%00b/", "/v1/repositories/%ff/", "/v1/images/%0a/json"] {
            assert!(matches!(find(path), Err(Failure::BadPath)), "{path}");
        }
    }

    #[test]
    fn library_may_be_left_out_before_one_segment_only() {
        for (path, short) in [("app", Some("app")), ("library/app", Some("app")), ("library/team/app", None)]
        {
            let Need::Repository { short_name, .. } =
                need(&Method::GET, &format!("/v1/repositories/{path}/tags"))
            else {
                panic!("{path} is a repository")
            };
            assert_eq!(short_name.as_deref(), short, "{path}");
        }
        assert_eq!(short_name("team/app"), None);
    }

    #[test]
    fn allow_names_the_automatic_methods_too() {
        assert_eq!(allow(Route::Ping.methods(true)), "HEAD, OPTIONS, GET");
        assert_eq!(allow(Route::User("a".into()).methods(true)), "PUT, OPTIONS");
        assert_eq!(allow(Route::Repository(repository("a")).methods(true)), "PUT, OPTIONS, DELETE");
        assert_eq!(allow(Route::Repository(repository("a")).methods(false)), "OPTIONS, DELETE");
    }
}
