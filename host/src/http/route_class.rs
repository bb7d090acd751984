//! Which kind of resource a path names, for metrics: a small closed set, whatever clients ask for.

use http::Method;

/// The kind of resource. The names of V2 classes are distribution's `handler` labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RouteClass {
    Base,
    Manifest,
    Tags,
    Blob,
    BlobUpload,
    BlobUploadChunk,
    Catalog,
    Referrers,
    V1Ping,
    V1Images,
    V1Repositories,
    V1Users,
    V1Search,
    Other,
}

impl RouteClass {
    /// The class of a path as it was sent, without the query.
    pub(crate) fn of(path: &str) -> Self {
        let mut segments = path.split('/').skip(1);
        match segments.next() {
            Some("v2") => Self::of_v2(path),
            Some("_ping") => Self::V1Ping,
            Some("v1") => match segments.next() {
                Some("_ping") => Self::V1Ping,
                Some("images" | "private_images") => Self::V1Images,
                Some("repositories") => Self::V1Repositories,
                Some("users") => Self::V1Users,
                Some("search") => Self::V1Search,
                _ => Self::Other,
            },
            _ => Self::Other,
        }
    }

    fn of_v2(path: &str) -> Self {
        // A repository may be called `blobs`: the last segments decide.
        let mut backwards = path.trim_end_matches('/').rsplit('/');
        let last = backwards.next().unwrap_or_default();
        let (second, third) = (backwards.next().unwrap_or_default(), backwards.next().unwrap_or_default());
        match (third, second, last) {
            (_, "", "v2") => Self::Base,
            (_, "v2", "_catalog") => Self::Catalog,
            (_, "tags", "list") => Self::Tags,
            (_, "manifests", _) => Self::Manifest,
            (_, "referrers", _) => Self::Referrers,
            (_, "blobs", "uploads") => Self::BlobUpload,
            ("blobs", "uploads", _) => Self::BlobUploadChunk,
            (_, "blobs", _) => Self::Blob,
            _ => Self::Other,
        }
    }

    /// Value of the `handler` label.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Manifest => "manifest",
            Self::Tags => "tags",
            Self::Blob => "blob",
            Self::BlobUpload => "blob-upload",
            Self::BlobUploadChunk => "blob-upload-chunk",
            Self::Catalog => "catalog",
            Self::Referrers => "referrers",
            Self::V1Ping => "v1-ping",
            Self::V1Images => "v1-images",
            Self::V1Repositories => "v1-repositories",
            Self::V1Users => "v1-users",
            Self::V1Search => "v1-search",
            Self::Other => "other",
        }
    }
}

/// Value of the `method` label: a client may invent methods, a metric may not.
pub(crate) fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "get",
        Method::HEAD => "head",
        Method::PUT => "put",
        Method::POST => "post",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        Method::OPTIONS => "options",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_the_class_of_their_resource() {
        for (path, class) in [
            ("/v2/", "base"),
            ("/v2", "base"),
            ("/v2/_catalog", "catalog"),
            ("/v2/a/b/tags/list", "tags"),
            ("/v2/a/manifests/latest", "manifest"),
            ("/v2/a/blobs/sha256:00", "blob"),
            ("/v2/a/blobs/uploads/", "blob-upload"),
            ("/v2/a/blobs/uploads/0000", "blob-upload-chunk"),
            ("/v2/a/blobs/uploads/manifests/latest", "manifest"),
            ("/v2/a/referrers/sha256:00", "referrers"),
            ("/v2/nonsense", "other"),
            ("/v1/_ping", "v1-ping"),
            ("/_ping", "v1-ping"),
            ("/v1/images/00/layer", "v1-images"),
            ("/v1/repositories/a/b/tags", "v1-repositories"),
            ("/", "other"),
            ("*", "other"),
            ("", "other"),
        ] {
            assert_eq!(RouteClass::of(path).name(), class, "{path}");
        }
    }
}
