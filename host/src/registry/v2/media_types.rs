//! Media types of manifests, and how to tell them from the bytes.

use std::{borrow::Cow, sync::Arc};

use quick_cache::sync::Cache;
use serde::{Deserialize, de::IgnoredAny};

use crate::registry::digest::Digest;

/// What is said of content that does not tell its type.
const UNTOLD: &str = "application/octet-stream";
/// Manifests whose media type is remembered at most.
const REMEMBERED: usize = 4096;
/// Longest media type that is remembered, in bytes.
const LONGEST_REMEMBERED: usize = 256;

/// Docker image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI image manifest, which is also what carries artifacts.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What a manifest without any media type is: the first, or the second when it has `manifests`.
pub(super) const OCI_MANIFEST_OR_INDEX: [&str; 2] = [OCI_MANIFEST, OCI_INDEX];
/// Docker's signed manifest of schema 1. It is not accepted, and a store of long ago may hold some.
pub const DOCKER_SCHEMA1_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// The same without signature.
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1+json";

/// Layers that may lie elsewhere, at addresses that the manifest names.
const FOREIGN_LAYERS: [&str; 4] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

/// What a manifest is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestKind {
    /// A configuration and layers.
    Image,
    /// Other manifests.
    Index,
}

/// The kind of manifest that a media type stands for, `None` for a type that is not accepted.
pub fn kind(media_type: &str) -> Option<ManifestKind> {
    match media_type {
        DOCKER_MANIFEST | OCI_MANIFEST => Some(ManifestKind::Image),
        DOCKER_MANIFEST_LIST | OCI_INDEX => Some(ManifestKind::Index),
        _ => None,
    }
}

/// Whether the type is one of schema 1.
pub fn is_schema1(media_type: &str) -> bool {
    matches!(media_type, DOCKER_SCHEMA1 | DOCKER_SCHEMA1_SIGNED)
}

/// Whether a layer of this type need not be in the registry.
pub fn is_foreign_layer(media_type: &str) -> bool {
    FOREIGN_LAYERS.contains(&media_type)
}

/// What tells the type of a manifest. Each pull asks, so that everything else is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Telling<'a> {
    schema_version: Option<u64>,
    #[serde(borrow)]
    media_type: Option<Cow<'a, str>>,
    manifests: Option<IgnoredAny>,
}

/// The media types of the manifests that were pulled last. Content by digest never changes, so that each is read for
/// its type once. Each pull asks, so that it is not a `Recent`, which takes one lock for all. What does not tell its
/// type is read again each time: it is damaged, and may be healed by a push.
pub(super) struct MediaTypes(Cache<Digest, Arc<str>>);

impl MediaTypes {
    pub(super) fn new() -> Self {
        Self(Cache::new(REMEMBERED))
    }

    /// The media type of the stored manifest with this digest.
    pub(super) fn of_stored(&self, digest: &Digest, content: &[u8]) -> Arc<str> {
        if let Some(known) = self.0.get(digest) {
            return known;
        }
        let Some(media_type) = of_stored(content) else { return UNTOLD.into() };
        let media_type: Arc<str> = media_type.into();
        // The type is the client's text.
        if media_type.len() <= LONGEST_REMEMBERED {
            self.0.insert(digest.clone(), Arc::clone(&media_type));
        }
        media_type
    }
}

/// The media type of a stored manifest. Layouts keep no media type, so the bytes have to tell: by their
/// `mediaType`, which Docker's types always have, else by what they list. `None` when they are no manifest.
fn of_stored(content: &[u8]) -> Option<String> {
    let document: Telling<'_> = serde_json::from_slice(content).ok()?;
    Some(match document.media_type {
        Some(media_type) if !media_type.is_empty() => media_type.into_owned(),
        _ if document.manifests.is_some() => OCI_INDEX.to_owned(),
        _ if document.schema_version == Some(1) => DOCKER_SCHEMA1_SIGNED.to_owned(),
        _ => OCI_MANIFEST.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::digest::Algorithm;

    #[test]
    fn a_manifest_is_read_for_its_type_once() {
        let known = MediaTypes::new();
        let digest = |digit: &str| Digest::from_hex(Algorithm::Sha256, &digit.repeat(64)).unwrap();
        let of_type = |media_type: &str| format!(r#"{{"mediaType":"{media_type}"}}"#).into_bytes();
        for (content, expected) in [
            // A power cut has emptied it, and a push brings it back.
            (Vec::new(), UNTOLD),
            (of_type("a/b"), "a/b"),
            (b"never looked at".to_vec(), "a/b"),
        ] {
            assert_eq!(&*known.of_stored(&digest("1"), &content), expected);
        }
        assert_eq!(&*known.of_stored(&digest("2"), &of_type("c/d")), "c/d");
        // Otherwise a client decided how much is remembered.
        let long = "x".repeat(LONGEST_REMEMBERED + 1);
        assert_eq!(&*known.of_stored(&digest("3"), &of_type(&long)), long);
        assert_eq!(&*known.of_stored(&digest("3"), &of_type("e/f")), "e/f");
    }

    #[test]
    fn the_type_of_stored_bytes() {
        for (content, expected) in [
            (format!(r#"{{"schemaVersion":2,"mediaType":"{DOCKER_MANIFEST}"}}"#), DOCKER_MANIFEST),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), OCI_INDEX),
            (r#"{"schemaVersion":2,"layers":[]}"#.to_owned(), OCI_MANIFEST),
            (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), DOCKER_SCHEMA1_SIGNED),
        ] {
            assert_eq!(of_stored(content.as_bytes()).as_deref(), Some(expected), "{content}");
        }
        assert_eq!(of_stored(b"not json"), None);
    }
}
