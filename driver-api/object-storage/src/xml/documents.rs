//! The documents of the family, as far as they are looked at.

use std::time::SystemTime;

use docker_registry_driver_api::{Error, ErrorKind, Result};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, de::DeserializeOwned};

use super::dialect::{Dialect, Listings};
use crate::bucket::{Begun, Listed, Listing, Part};

/// Reads a document.
///
/// # Errors
/// [`ErrorKind::Corrupt`], retryable: something else may have answered in the store's place.
pub(super) fn read<T: DeserializeOwned>(document: &[u8]) -> Result<T> {
    let corrupt =
        || Error::new(ErrorKind::Corrupt, "the store's answer is not the expected XML").retryable(true);
    let text = std::str::from_utf8(document).map_err(|error| corrupt().caused_by(&error))?;
    quick_xml::de::from_str(text).map_err(|error| corrupt().caused_by(&error))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListBucketResult {
    #[serde(default)]
    contents: Vec<Contents>,
    #[serde(default)]
    common_prefixes: Vec<CommonPrefix>,
    #[serde(default)]
    is_truncated: Option<String>,
    #[serde(default)]
    next_continuation_token: Option<String>,
    #[serde(default)]
    next_marker: Option<String>,
    #[serde(default)]
    encoding_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Contents {
    key: String,
    #[serde(default)]
    last_modified: Option<String>,
    #[serde(default, rename = "ETag")]
    etag: Option<String>,
    size: u64,
    #[serde(default)]
    generation: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CommonPrefix {
    prefix: String,
}

fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.trim().eq_ignore_ascii_case("true"))
}

/// A key out of a document. Encoded ones have `+` for a space, as forms do.
fn decoded(text: &str, encoded: bool) -> Result<String> {
    if !encoded {
        return Ok(text.to_owned());
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().map(Into::into).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "a key in the store's listing is no text").caused_by(&error)
    })
}

fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339_weak(text.trim()).ok()
}

impl ListBucketResult {
    /// The page.
    pub(super) fn page(self, dialect: &impl Dialect) -> Result<Listing> {
        let encoded = self.encoding_type.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("url"));
        let objects = self.contents.into_iter().map(|entry| {
            Ok(Listed {
                key: decoded(&entry.key, encoded)?,
                size: entry.size,
                modified: entry.last_modified.as_deref().and_then(time),
                etag: dialect.listed_tag(entry.etag, entry.generation),
            })
        });
        let objects = objects.collect::<Result<Vec<_>>>()?;
        let prefixes = self.common_prefixes.iter().map(|entry| decoded(&entry.prefix, encoded));
        let prefixes = prefixes.collect::<Result<Vec<_>>>()?;
        let next = match dialect.form().listings {
            _ if !is_true(self.is_truncated.as_deref()) => None,
            Listings::Second => self.next_continuation_token.filter(|token| !token.is_empty()),
            Listings::First => match self.next_marker.filter(|marker| !marker.is_empty()) {
                Some(marker) => Some(decoded(&marker, encoded)?),
                // Given with a delimiter only; else it is the last that was listed.
                None => objects.last().map(|entry| &entry.key).max(prefixes.last()).cloned(),
            },
        };
        if next.is_none() && is_true(self.is_truncated.as_deref()) {
            return Err(Error::new(ErrorKind::Corrupt, "the store's listing goes on and does not say where"));
        }
        Ok(Listing { objects, prefixes, next })
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct InitiateMultipartUploadResult {
    pub upload_id: String,
}

/// `CopyObjectResult`, `CopyPartResult` and `CompleteMultipartUploadResult`.
#[derive(Debug, Deserialize)]
pub(super) struct Written {
    #[serde(default, rename = "ETag")]
    pub etag: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMultipartUploadsResult {
    #[serde(default)]
    upload: Vec<Upload>,
    #[serde(default)]
    is_truncated: Option<String>,
    #[serde(default)]
    next_key_marker: Option<String>,
    #[serde(default)]
    next_upload_id_marker: Option<String>,
    #[serde(default)]
    encoding_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    #[serde(default)]
    initiated: Option<String>,
}

/// A key and the id of an upload of it: where a page of begun uploads ends.
pub(super) type Markers = (String, String);

impl ListMultipartUploadsResult {
    /// The uploads and the two markers that the next page begins after.
    pub(super) fn page(self) -> Result<(Vec<Begun>, Option<Markers>)> {
        let encoded = self.encoding_type.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("url"));
        let mut begun = Vec::with_capacity(self.upload.len());
        for upload in self.upload {
            // One of unknown age is taken for a new one: nobody removes it by mistake.
            let at = upload.initiated.as_deref().and_then(time).unwrap_or_else(SystemTime::now);
            begun.push(Begun { key: decoded(&upload.key, encoded)?, id: upload.upload_id, begun: at });
        }
        let next = match (is_true(self.is_truncated.as_deref()), self.next_key_marker) {
            (true, Some(key)) if !key.is_empty() => {
                Some((decoded(&key, encoded)?, self.next_upload_id_marker.unwrap_or_default()))
            }
            _ => None,
        };
        Ok((begun, next))
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct DeleteResult {
    #[serde(default, rename = "Error")]
    pub errors: Vec<DeleteError>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DeleteError {
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: Option<String>,
}

/// The request of a batch of deletions; only what stays is reported.
pub(super) fn delete_request(keys: &[&str]) -> String {
    let mut document = String::from("<Delete><Quiet>true</Quiet>");
    for key in keys {
        document.push_str("<Object><Key>");
        document.push_str(&quick_xml::escape::escape(*key));
        document.push_str("</Key></Object>");
    }
    document.push_str("</Delete>");
    document
}

/// The request that makes parts an object.
pub(super) fn complete_request(parts: &[Part]) -> String {
    let mut document = String::from("<CompleteMultipartUpload>");
    for part in parts {
        let tag = quick_xml::escape::escape(part.tag.as_str());
        document
            .push_str(&format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", part.number));
    }
    document.push_str("</CompleteMultipartUpload>");
    document
}

/// Whether a text can stand in an XML 1.0 document at all.
pub(super) fn can_be_in_xml(text: &str) -> bool {
    !text.chars().any(|c| matches!(c, '\u{0}'..='\u{8}' | '\u{b}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'))
}
