//! What images say about themselves in a sentence: `org.opencontainers.image.description`.
//!
//! It is an annotation of the manifest or index, or a label in the image's configuration. Whatever cannot be read
//! or understood says nothing; only a storage that fails is an error.

use std::collections::BTreeMap;

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, ErrorKind, ListRequest};
use serde::Deserialize;
use serde_json::Value;

use super::{Failure, Registry, RepositoryName, Result, Tag};
use crate::{layout::v2 as layout, registry::digest::Digest};

/// Name of the annotation and of the label.
const DESCRIPTION: &str = "org.opencontainers.image.description";
/// Longest description in characters.
const MAX_CHARACTERS: usize = 100;
/// Largest manifest that is looked into, in bytes.
const MAX_MANIFEST_BYTES: u64 = 4 << 20;
/// Largest image configuration that is looked into, in bytes.
const MAX_CONFIGURATION_BYTES: u64 = 1 << 20;
/// Pages of objects that are looked through for the tag that moved last.
const MAX_PAGES: usize = 10;

/// What of a manifest or an index may lead to a description.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Described {
    annotations: Option<BTreeMap<String, Value>>,
    config: Option<Pointer>,
    manifests: Option<Vec<Pointer>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pointer {
    digest: String,
    platform: Option<Platform>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Platform {
    os: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Configuration {
    config: Option<Labelled>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labelled {
    #[serde(rename = "Labels")]
    labels: Option<BTreeMap<String, Value>>,
}

impl Registry {
    /// What a manifest of the repository says: its first line, at most 100 characters. An index that says nothing
    /// is asked for its first image.
    ///
    /// # Errors
    /// The storage's.
    pub async fn description(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<String>> {
        let Some(document) = self.described(call, name, digest).await? else { return Ok(None) };
        if let Some(sentence) = document.annotations.as_ref().and_then(sentence_of) {
            return Ok(Some(sentence));
        }
        // Attestations stand in an index as images for an unknown system.
        let is_image = |child: &&Pointer| child.platform.as_ref().is_none_or(|on| on.os != "unknown");
        let Some(child) = document.manifests.iter().flatten().find(is_image) else {
            return self.label(call, &document).await;
        };
        let Ok(child) = Digest::parse(&child.digest) else { return Ok(None) };
        let Some(image) = self.described(call, name, &child).await? else { return Ok(None) };
        match image.annotations.as_ref().and_then(sentence_of) {
            Some(sentence) => Ok(Some(sentence)),
            None => self.label(call, &image).await,
        }
    }

    /// The manifest of the tag that moved last, where the storage keeps times; else of `latest`, or of the last
    /// tag in byte order.
    ///
    /// # Errors
    /// The storage's.
    pub async fn newest_manifest(&self, call: &CallContext, name: &RepositoryName) -> Result<Option<Digest>> {
        let start = layout::tags(name).start();
        let mut request = ListRequest::below(layout::tags(name));
        let mut newest = None;
        for _ in 0..MAX_PAGES {
            let page = self.storage.list(call, &request).await?;
            for entry in page.entries {
                let tag = entry.path.strip_prefix(&start).and_then(layout::tag_of_link).and_then(Tag::parse);
                if let Some(tag) = tag {
                    let moved = entry.object.and_then(|object| object.modified);
                    newest = newest.max(Some((moved, tag.as_str() == "latest", tag)));
                }
            }
            request.after = page.next;
            if request.after.is_none() {
                break;
            }
        }
        match newest {
            Some((_, _, tag)) => self.read_link(call, &layout::tag_link(name, &tag)).await,
            None => Ok(None),
        }
    }

    async fn described(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Described>> {
        match self.get_manifest(call, name, digest.clone(), MAX_MANIFEST_BYTES).await {
            Ok(manifest) => Ok(read_apart(manifest.content).await),
            Err(Failure::ManifestUnknown) => Ok(None),
            Err(Failure::Storage(error)) if error.kind == ErrorKind::TooLarge => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The label in the image configuration of a manifest.
    async fn label(&self, call: &CallContext, manifest: &Described) -> Result<Option<String>> {
        let configuration = manifest.config.as_ref().and_then(|config| Digest::parse(&config.digest).ok());
        let Some(configuration) = configuration else { return Ok(None) };
        let blob = self.storage.get(call, &layout::blob(&configuration), MAX_CONFIGURATION_BYTES).await;
        let content = match blob {
            Ok(object) => object.content,
            Err(error) if matches!(error.kind, ErrorKind::NotFound | ErrorKind::TooLarge) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let configuration = read_apart::<Configuration>(content).await;
        Ok(configuration
            .and_then(|configuration| configuration.config)
            .and_then(|config| config.labels)
            .as_ref()
            .and_then(sentence_of))
    }
}

/// Reads JSON where it holds up nobody.
async fn read_apart<T: for<'a> Deserialize<'a> + Send + 'static>(content: Bytes) -> Option<T> {
    tokio::task::spawn_blocking(move || serde_json::from_slice(&content).ok()).await.ok().flatten()
}

/// The first line of the description, as far as it is kept.
fn sentence_of(texts: &BTreeMap<String, Value>) -> Option<String> {
    let line = texts.get(DESCRIPTION)?.as_str()?.trim().lines().next()?;
    let kept: String = line.chars().filter(|c| !c.is_control()).take(MAX_CHARACTERS).collect();
    let kept = kept.trim();
    (!kept.is_empty()).then(|| kept.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(text: &str) -> Option<String> {
        sentence_of(&BTreeMap::from([(DESCRIPTION.to_owned(), Value::from(text))]))
    }

    #[test]
    fn a_description_is_its_first_line_and_at_most_100_characters() {
        assert_eq!(sentence("\n A shell.\nAnd more.").as_deref(), Some("A shell."));
        assert_eq!(sentence(&"é".repeat(500)), Some("é".repeat(100)));
        assert_eq!(sentence("a\u{1b}[31mb").as_deref(), Some("a[31mb"));
        for nothing in ["", "  \n ", "\u{7}"] {
            assert_eq!(sentence(nothing), None, "{nothing:?}");
        }
    }
}
