//! What a manifest refers to.

use serde::{Deserialize, Serialize};

use super::{
    Failure, Result,
    media_types::{self, ManifestKind},
};
use crate::registry::digest::Digest;

/// The fields of a manifest that matter to a registry. Everything else is kept as bytes and not looked
/// at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    subject: Option<Descriptor>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    urls: Option<Vec<String>>,
}

/// Something that must be in the repository before the manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reference {
    pub(super) digest: Digest,
    pub(super) target: Target,
}

/// Where a reference may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A blob of the repository.
    Blob,
    /// A manifest of the repository.
    Manifest,
    /// Either. Build caches list layers in an index.
    BlobOrManifest,
}

/// Content that a manifest refers to and that the repository does not have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MissingReference {
    /// Its digest.
    pub digest: Digest,
}

/// Checks the form of a manifest and lists what it refers to, each thing once.
///
/// `announced` is the media type that the client sent, without parameters. The body's own must be the
/// same. A body without one must be one of the OCI types, which it may be left out of.
///
/// # Errors
/// [`Failure::ManifestInvalid`] with a sentence for the client.
pub(super) fn check(content: &[u8], announced: Option<&str>) -> Result<Vec<Reference>> {
    if announced.is_some_and(media_types::is_schema1) {
        return Err(schema1());
    }
    let document: Document = serde_json::from_slice(content)
        .map_err(|error| invalid(format!("the manifest is not the JSON of a manifest: {error}")))?;
    match document.schema_version {
        Some(2) => {}
        Some(1) => return Err(schema1()),
        _ => return Err(invalid("the manifest's schemaVersion must be 2")),
    }
    let announced = announced.filter(|announced| *announced != "application/json");
    let own = document.media_type.as_deref().filter(|own| !own.is_empty());
    let media_type = match (announced, own) {
        (Some(announced), Some(own)) if announced != own => {
            return Err(invalid(format!(
                "the manifest's mediaType is {own}, and its Content-Type is another"
            )));
        }
        (Some(media_types::DOCKER_MANIFEST | media_types::DOCKER_MANIFEST_LIST), None) => {
            return Err(invalid("a manifest of Docker's types must have the field mediaType"));
        }
        (Some(media_type), _) | (None, Some(media_type)) => media_type,
        (None, None) => media_types::OCI_MANIFEST_OR_INDEX[usize::from(document.manifests.is_some())],
    };
    let kind = media_types::kind(media_type)
        .ok_or_else(|| invalid("manifests of this media type are not accepted here"))?;
    if let Some(subject) = &document.subject {
        // It may be missing, but what it says must be a digest.
        parse(subject)?;
    }
    let mut references = match kind {
        ManifestKind::Image => document.of_image()?,
        ManifestKind::Index => document.of_index()?,
    };
    references.sort();
    references.dedup();
    Ok(references)
}

impl Document {
    fn of_image(&self) -> Result<Vec<Reference>> {
        // A document that is both could be one thing to the registry and another to its reader
        // (CVE-2021-41190).
        if self.manifests.is_some() {
            return Err(invalid("an image manifest cannot have the field manifests"));
        }
        let config = self.config.as_ref().ok_or_else(|| invalid("an image manifest must have a config"))?;
        let must_be_here = |layer: &&Descriptor| {
            let elsewhere = layer.urls.as_ref().is_some_and(|urls| !urls.is_empty());
            !(elsewhere && media_types::is_foreign_layer(&layer.media_type))
        };
        let layers = self.layers.iter().flatten();
        for layer in layers.clone() {
            parse(layer)?;
        }
        std::iter::once(config)
            .chain(layers.filter(must_be_here))
            .map(|descriptor| Ok(Reference { digest: parse(descriptor)?, target: Target::Blob }))
            .collect()
    }

    fn of_index(&self) -> Result<Vec<Reference>> {
        if self.layers.is_some() || self.config.is_some() {
            return Err(invalid("an index cannot have the fields config and layers"));
        }
        let manifests = self.manifests.as_ref().ok_or_else(|| invalid("an index must have manifests"))?;
        manifests
            .iter()
            .map(|descriptor| {
                let is_manifest = media_types::kind(&descriptor.media_type).is_some();
                let target = if is_manifest { Target::Manifest } else { Target::BlobOrManifest };
                Ok(Reference { digest: parse(descriptor)?, target })
            })
            .collect()
    }
}

fn parse(descriptor: &Descriptor) -> Result<Digest> {
    Digest::parse(&descriptor.digest).map_err(|error| invalid(format!("a descriptor's digest: {error}")))
}

fn schema1() -> Failure {
    invalid("manifests of schema 1 are no longer accepted; push the image with Docker 1.10 or later")
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure::ManifestInvalid(message.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: &str) -> String {
        format!("sha256:{}", byte.repeat(32))
    }

    fn refusal(content: &str, announced: Option<&str>) -> String {
        match check(content.as_bytes(), announced) {
            Err(Failure::ManifestInvalid(message)) => message,
            other => panic!("{content} gave {other:?}"),
        }
    }

    #[test]
    fn an_image_needs_its_config_and_layers_once_and_foreign_layers_only_without_urls() {
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let content = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{}"}},"layers":[
                {{"digest":"{}"}},{{"digest":"{}"}},
                {{"digest":"{}","mediaType":"{foreign}","urls":["https://example.org/x"]}},
                {{"digest":"{}","mediaType":"{foreign}"}}]}}"#,
            digest("aa"),
            digest("bb"),
            digest("bb"),
            digest("cc"),
            digest("dd"),
        );
        let references = check(content.as_bytes(), Some(media_types::OCI_MANIFEST)).unwrap();
        let expected: Vec<_> = ["aa", "bb", "dd"].map(digest).into();
        assert_eq!(references.iter().map(|each| each.digest.to_string()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_index_refers_to_manifests_and_a_build_cache_to_layers() {
        let content = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"digest":"{}","mediaType":"{}"}},{{"digest":"{}"}}]}}"#,
            digest("aa"),
            media_types::OCI_MANIFEST,
            digest("bb"),
        );
        let references = check(content.as_bytes(), None).unwrap();
        assert_eq!(references[0].target, Target::Manifest);
        assert_eq!(references[1].target, Target::BlobOrManifest);
    }

    #[test]
    fn what_is_no_manifest_is_refused_in_a_sentence() {
        let config = format!(r#""config":{{"digest":"{}"}}"#, digest("aa"));
        assert!(refusal("{", None).contains("JSON"));
        assert!(refusal("[]", None).contains("JSON"));
        assert!(refusal("{}", None).contains("schemaVersion"));
        assert!(refusal(r#"{"schemaVersion":1}"#, None).contains("schema 1"));
        assert!(refusal(r#"{"schemaVersion":2}"#, None).contains("config"));
        let both = format!(r#"{{"schemaVersion":2,{config},"manifests":[]}}"#);
        assert!(refusal(&both, Some(media_types::OCI_MANIFEST)).contains("manifests"));
        assert!(refusal(&both, Some(media_types::OCI_INDEX)).contains("config"));
        let plain = format!(r#"{{"schemaVersion":2,{config}}}"#);
        assert!(refusal(&plain, Some(media_types::DOCKER_MANIFEST)).contains("mediaType"));
        assert!(refusal(&plain, Some("text/html")).contains("not accepted"));
        let other = format!(r#"{{"schemaVersion":2,"mediaType":"{}",{config}}}"#, media_types::OCI_INDEX);
        assert!(refusal(&other, Some(media_types::OCI_MANIFEST)).contains("another"));
        assert!(refusal(r#"{"schemaVersion":2,"config":{"digest":"sha256:../x"}}"#, None).contains("digest"));
        assert!(refusal(&("[".repeat(100_000)), None).contains("JSON"));
    }
}
