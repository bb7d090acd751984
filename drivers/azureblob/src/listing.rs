//! Pages of a container.
//!
//! Read here and not through `object_store`, which refuses a page with a name that is no path of its own kind,
//! drops a blob whose name is the prefix itself, and does not know that names may be encoded.

use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::{ListCall, Listed, Listing},
    http::{Call, Subject},
};
use http::Method;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::{
    account::{Account, Ask, Place, Refused},
    headers::{quoted, time},
};

/// A page has at most 5,000 entries of about two kilobytes.
const LARGEST_PAGE: usize = 32 << 20;

pub(crate) async fn list(account: &Account, call: &ListCall) -> Result<Listing> {
    Ok(page(account, call).await?)
}

/// Like [`list`], with the code of a failure.
pub(crate) async fn page(account: &Account, call: &ListCall) -> Result<Listing, Refused> {
    let listing = Call::reading("list blobs", Subject::Bucket);
    let mut ask = Ask::new(listing, Method::GET, Place::Container)
        .query("restype", "container")
        .query("comp", "list")
        .query("maxresults", call.limit.to_string());
    if !call.prefix.is_empty() {
        ask = ask.query("prefix", &*call.prefix);
    }
    if call.delimited {
        ask = ask.query("delimiter", "/");
    }
    if let Some(token) = &call.token {
        ask = ask.query("marker", &**token);
    }
    let body = account.send(ask).await?.into_body().bytes(LARGEST_PAGE).await?;
    Ok(parse(&String::from_utf8_lossy(&body))?)
}

fn parse(document: &str) -> Result<Listing> {
    let document = document.trim_start_matches('\u{feff}');
    let page: Page = quick_xml::de::from_str(document)
        .map_err(|error| Error::new(ErrorKind::Corrupt, "a listing cannot be read").caused_by(&error))?;
    let objects = page.blobs.blobs.into_iter().filter(|blob| !blob.properties.is_directory());
    Ok(Listing {
        objects: objects
            .map(|blob| Listed {
                key: blob.name.text(),
                size: blob.properties.size,
                modified: blob.properties.modified.as_deref().and_then(time),
                etag: blob.properties.etag.as_deref().map(quoted),
            })
            .collect(),
        prefixes: page.blobs.prefixes.into_iter().map(|prefix| prefix.name.text()).collect(),
        next: page.next.filter(|next| !next.is_empty()),
    })
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "Blobs", default)]
    blobs: Blobs,
    #[serde(rename = "NextMarker")]
    next: Option<String>,
}

#[derive(Deserialize, Default)]
struct Blobs {
    #[serde(rename = "Blob", default)]
    blobs: Vec<Blob>,
    #[serde(rename = "BlobPrefix", default)]
    prefixes: Vec<Prefix>,
}

#[derive(Deserialize)]
struct Blob {
    #[serde(rename = "Name")]
    name: Name,
    #[serde(rename = "Properties")]
    properties: Properties,
}

#[derive(Deserialize)]
struct Prefix {
    #[serde(rename = "Name")]
    name: Name,
}

/// Names with characters that XML cannot hold come encoded.
#[derive(Deserialize)]
struct Name {
    #[serde(rename = "@Encoded")]
    encoded: Option<String>,
    #[serde(rename = "$text", default)]
    text: String,
}

impl Name {
    fn text(self) -> String {
        match self.encoded.as_deref() {
            Some("true") => percent_decode_str(&self.text).decode_utf8_lossy().into_owned(),
            _ => self.text,
        }
    }
}

#[derive(Deserialize)]
struct Properties {
    #[serde(rename = "Content-Length", default)]
    size: u64,
    #[serde(rename = "Last-Modified")]
    modified: Option<String>,
    #[serde(rename = "Etag")]
    etag: Option<String>,
    /// Only in accounts with a hierarchical namespace.
    #[serde(rename = "ResourceType")]
    kind: Option<String>,
}

impl Properties {
    fn is_directory(&self) -> bool {
        self.kind.as_deref() == Some("directory")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_blobs_and_prefixes_with_their_names_as_they_were_written() {
        let document = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults ContainerName=\"c\">\
            <Prefix>a/</Prefix><Delimiter>/</Delimiter><Blobs>\
            <Blob><Name>a/%2E&amp;b</Name><Properties><Last-Modified>Fri, 27 Nov 2026 12:00:00 GMT</Last-Modified>\
            <Etag>0x8D</Etag><Content-Length>5</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>\
            <BlobPrefix><Name>a/c/</Name></BlobPrefix>\
            <Blob><Name Encoded=\"true\">a%2Fd%01</Name><Properties><Content-Length>0</Content-Length></Properties></Blob>\
            <Blob><Name>a/e</Name><Properties><Content-Length>0</Content-Length><ResourceType>directory</ResourceType>\
            </Properties></Blob></Blobs><NextMarker>2!more</NextMarker></EnumerationResults>";
        let listing = parse(document).unwrap();
        let keys: Vec<&str> = listing.objects.iter().map(|object| object.key.as_str()).collect();
        assert_eq!(keys, ["a/%2E&b", "a/d\u{1}"]);
        assert_eq!(listing.objects[0].size, 5);
        assert_eq!(listing.objects[0].etag.as_ref().unwrap().0, "\"0x8D\"");
        assert!(listing.objects[0].modified.is_some());
        assert_eq!(listing.prefixes, ["a/c/"]);
        assert_eq!(listing.next.as_deref(), Some("2!more"));
    }

    #[test]
    fn an_empty_container_is_an_empty_page() {
        for blobs in ["<Blobs />", "<Blobs></Blobs>"] {
            let listing =
                parse(&format!("<EnumerationResults>{blobs}<NextMarker /></EnumerationResults>")).unwrap();
            assert!(listing.objects.is_empty() && listing.prefixes.is_empty() && listing.next.is_none());
        }
        assert_eq!(parse("nonsense").unwrap_err().kind, ErrorKind::Corrupt);
    }
}
