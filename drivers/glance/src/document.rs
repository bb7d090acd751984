//! An image as Glance tells of it, and the properties that the driver gives it.
//!
//! # Properties
//! | name | what it says |
//! |---|---|
//! | `docker_registry` | name of the registry, `glance_store` |
//! | `docker_path` | the path of the object |
//! | `docker_id` | id of the docker image, for its files |
//! | `docker_state` | `writing`, then `complete` |
//! | `docker_size` | size of the content; set when all of it is there |
//! | `docker_revision` | number of the write at this path |
//! | `meta_json`, `meta_ancestry`, … | a small file of a docker image, so that reading it is one request |
//!
//! # What is visible
//! An image is an object when Glance calls it `active` and its `docker_size` is the size that Glance found. Of several
//! images of one path the one with the highest revision counts, of equal revisions the one with the greatest id.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use docker_registry_driver_api::{ETag, ObjectInfo};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

pub(crate) const REGISTRY: &str = "docker_registry";
pub(crate) const PATH: &str = "docker_path";
pub(crate) const ID: &str = "docker_id";
pub(crate) const STATE: &str = "docker_state";
pub(crate) const SIZE: &str = "docker_size";
pub(crate) const REVISION: &str = "docker_revision";
/// The state of an image that is not complete.
pub(crate) const WRITING: &str = "writing";
/// The state of one that is.
pub(crate) const COMPLETE: &str = "complete";

/// Bytes of one property. MySQL's TEXT holds 65,535.
const LARGEST_PROPERTY: usize = 60_000;
/// Properties of one file. Larger ones are read from the content.
const MOST_PROPERTIES: usize = 3;
/// What a property begins with when its text is base64.
const BASE64: &str = "base64:";

/// An image.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Image {
    pub(crate) id: String,
    pub(crate) status: String,
    #[serde(default)]
    size: Option<u64>,
    #[serde(default)]
    updated_at: Option<String>,
    #[serde(default)]
    pub(crate) owner: Option<String>,
    #[serde(default)]
    visibility: Option<String>,
    #[serde(flatten)]
    properties: BTreeMap<String, Value>,
}

impl Image {
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.get(name)?.as_str()
    }

    /// The path, if the image is one of this registry's that nobody else can have made.
    pub(crate) fn path_in(&self, registry: &str, owner: Option<&str>) -> Option<&str> {
        let is_ours = self.property(REGISTRY) == Some(registry)
            && self.visibility.as_deref() == Some("private")
            && (owner.is_none() || self.owner.as_deref() == owner);
        if is_ours { self.property(PATH) } else { None }
    }

    /// The size of an image that is complete and whole.
    pub(crate) fn complete_size(&self) -> Option<u64> {
        let size = self.property(SIZE)?.parse().ok()?;
        (self.status == "active" && self.size == Some(size)).then_some(size)
    }

    /// How many bytes Glance has.
    pub(crate) fn stored_size(&self) -> u64 {
        self.size.unwrap_or(0)
    }

    pub(crate) fn is_being_written(&self) -> bool {
        self.property(STATE) == Some(WRITING)
    }

    pub(crate) fn revision(&self) -> u64 {
        self.property(REVISION).and_then(|revision| revision.parse().ok()).unwrap_or(0)
    }

    /// The order of the images of one path: the last one counts.
    pub(crate) fn order(&self) -> (u64, &str) {
        (self.revision(), &self.id)
    }

    /// When it was last changed.
    pub(crate) fn changed(&self) -> Option<SystemTime> {
        let time: Timestamp = self.updated_at.as_deref()?.parse().ok()?;
        let since = Duration::from_nanos(u64::try_from(time.as_nanosecond()).ok()?);
        Some(SystemTime::UNIX_EPOCH + since)
    }

    /// What the driver API has of it, if it is complete.
    pub(crate) fn info(&self) -> Option<ObjectInfo> {
        Some(ObjectInfo { size: self.complete_size()?, modified: self.changed(), etag: Some(self.etag()) })
    }

    /// Contents of an image never change, so its id says which content it is.
    pub(crate) fn etag(&self) -> ETag {
        ETag(self.id.clone())
    }

    /// The content, where the properties with this name have all of it.
    pub(crate) fn small_content(&self, name: &str) -> Option<Bytes> {
        let size = usize::try_from(self.complete_size()?).ok()?;
        let mut text = self.property(name)?.to_owned();
        for number in 2..=MOST_PROPERTIES {
            match self.property(&format!("{name}_{number}")) {
                Some(more) => text.push_str(more),
                None => break,
            }
        }
        let content = match text.strip_prefix(BASE64) {
            Some(encoded) => STANDARD.decode(encoded).ok()?,
            None => text.into_bytes(),
        };
        (content.len() == size).then(|| content.into())
    }
}

/// Properties named `name`, `name_2` and so on that hold a small file; none where it is too large.
pub(crate) fn small_properties(name: &str, content: &[u8]) -> Map<String, Value> {
    let text = match std::str::from_utf8(content) {
        // Databases differ in what they make of the characters that they do not know.
        Ok(text)
            if !text.contains('\0') && !text.starts_with(BASE64) && text.chars().all(|c| c <= '\u{ffff}') =>
        {
            text.to_owned()
        }
        _ => format!("{BASE64}{}", STANDARD.encode(content)),
    };
    let pieces = pieces(&text);
    if pieces.len() > MOST_PROPERTIES {
        return Map::new();
    }
    let named = pieces.into_iter().enumerate().map(|(index, piece)| {
        let name = if index == 0 { name.to_owned() } else { format!("{name}_{}", index + 1) };
        (name, Value::from(piece))
    });
    named.collect()
}

/// The text in pieces of at most [`LARGEST_PROPERTY`] bytes, at least one.
fn pieces(text: &str) -> Vec<&str> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while rest.len() > LARGEST_PROPERTY {
        let end = (0..=LARGEST_PROPERTY).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(0);
        let (piece, more) = rest.split_at(end);
        pieces.push(piece);
        rest = more;
    }
    pieces.push(rest);
    pieces
}

/// One page of images.
#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) images: Vec<Image>,
    #[serde(default)]
    pub(crate) next: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn image(values: Value) -> Image {
        let mut all = json!({
            "id": "1", "status": "active", "size": 3, "owner": "o", "visibility": "private",
            "updated_at": "2026-11-27T19:28:00Z", "docker_registry": "r", "docker_path": "p", "docker_size": "3",
            "docker_revision": "7", "min_ram": 0, "tags": [], "protected": false,
        });
        all.as_object_mut().unwrap().extend(values.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn kept(content: &[u8]) -> Option<Bytes> {
        let mut values = small_properties("meta_json", content);
        values.insert("size".to_owned(), content.len().into());
        values.insert(SIZE.to_owned(), content.len().to_string().into());
        image(Value::Object(values)).small_content("meta_json")
    }

    #[test]
    fn an_image_is_an_object_when_all_of_it_is_there_and_nobody_else_made_it() {
        let whole = image(json!({}));
        assert_eq!(whole.info().unwrap().size, 3);
        assert_eq!(whole.order(), (7, "1"));
        assert_eq!(whole.path_in("r", Some("o")), Some("p"));
        assert_eq!(whole.path_in("r", None), Some("p"));
        for (registry, owner) in [("x", "o"), ("r", "x")] {
            assert_eq!(whole.path_in(registry, Some(owner)), None);
        }
        assert_eq!(image(json!({"visibility": "public"})).path_in("r", Some("o")), None);
        for other in [
            json!({"status": "saving"}),
            json!({"size": 2}),
            json!({"docker_size": "4"}),
            json!({"docker_size": null}),
            json!({"size": null}),
        ] {
            assert_eq!(image(other.clone()).info(), None, "{other}");
        }
    }

    #[test]
    fn small_files_come_back_byte_for_byte_whatever_is_in_them() {
        let long = "ä".repeat(40_000);
        for content in [
            &b""[..],
            b"true",
            b"base64:AAAA",
            b"\0\xff binary",
            "{\"author\": \"\u{1f40b}\"}".as_bytes(),
            long.as_bytes(),
            &[b'x'; 65_536],
            &[b'x'; 180_000],
        ] {
            assert!(kept(content).is_some_and(|kept| kept == content), "{} bytes", content.len());
            for piece in small_properties("meta_json", content).values() {
                assert!(piece.as_str().unwrap().len() <= LARGEST_PROPERTY);
            }
        }
        assert!(small_properties("meta_json", &[b'x'; 180_001]).is_empty(), "it is read from the content");
        assert_eq!(small_properties("meta_json", &[b'x'; 65_536]).len(), 2);
    }

    #[test]
    fn properties_that_somebody_changed_are_not_taken_for_the_content() {
        let values = json!({"meta_json": "four", "size": 3});
        assert_eq!(image(values).small_content("meta_json"), None);
        assert_eq!(image(json!({})).small_content("meta_json"), None);
    }
}
