//! DeleteMultipleObjects, and reading the documents that clients send.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Response;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use md5::{Digest, Md5};
use serde::{Deserialize, de::DeserializeOwned};

use crate::call::Call;
use crate::fault::Fault;
use crate::reply::{Body, document, element, encoded};
use crate::store::Store;

/// Largest document.
const LARGEST: usize = 2 << 20;
/// Most objects of one request.
const MOST: usize = 1000;

#[derive(Debug, Deserialize)]
struct Delete {
    #[serde(rename = "Quiet", default)]
    quiet: bool,
    #[serde(rename = "Object", default)]
    objects: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    #[serde(rename = "Key")]
    key: String,
}

/// DeleteMultipleObjects.
pub(crate) async fn batch(store: &Store, call: &Call, body: Incoming) -> Result<Response<Body>, Fault> {
    let Some(digest) = call.header("content-md5") else {
        return Err(Fault::new(400, "MissingArgument", "Missing Some Required Arguments: Content-MD5."));
    };
    let text = read(body).await?;
    if STANDARD.encode(Md5::digest(text.as_bytes())) != digest {
        return Err(Fault::new(400, "InvalidDigest", "The Content-MD5 you specified is invalid."));
    }
    let delete: Delete = parse(&text)?;
    if delete.objects.is_empty() || delete.objects.len() > MOST {
        return Err(Fault::new(400, "MalformedXML", "There must be 1 to 1000 objects."));
    }
    let encodes = call.encodes_names()?;
    store.with(call, |bucket| {
        let mut xml = String::new();
        if encodes {
            element(&mut xml, "EncodingType", "url");
        }
        for object in &delete.objects {
            bucket.objects.remove(&object.key);
            if !delete.quiet {
                xml.push_str("<Deleted>");
                element(&mut xml, "Key", &if encodes { encoded(&object.key) } else { object.key.clone() });
                xml.push_str("</Deleted>");
            }
        }
        Ok(document("DeleteResult", &xml))
    })
}

/// Reads a document that a client sent.
///
/// # Errors
/// When it is too large or not what it should be.
pub(crate) async fn read_document<T: DeserializeOwned>(body: Incoming) -> Result<T, Fault> {
    parse(&read(body).await?)
}

fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    quick_xml::de::from_str(text).map_err(|error| Fault::new(400, "MalformedXML", error.to_string()))
}

async fn read(body: Incoming) -> Result<String, Fault> {
    let collected = Limited::new(body, LARGEST).collect().await;
    let bytes = collected.map_err(|error| Fault::new(400, "MalformedXML", error.to_string()))?.to_bytes();
    String::from_utf8(bytes.to_vec()).map_err(|_| Fault::new(400, "MalformedXML", "The XML is not UTF-8."))
}
