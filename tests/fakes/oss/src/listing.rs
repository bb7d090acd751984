//! ListObjects, both versions: prefix, delimiter, and pages.

use std::ops::Bound;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Response;

use crate::call::Call;
use crate::fault::Fault;
use crate::reply::{Body, document, element, encoded, iso};
use crate::store::{Bucket, Object, Store};

/// How many entries a page has when the client does not say.
const USUAL: usize = 100;
const MOST: usize = 1000;

/// An entry of a page.
enum Entry {
    Object(String, std::sync::Arc<Object>),
    Folder(String),
}

impl Entry {
    fn name(&self) -> &str {
        match self {
            Self::Object(name, _) | Self::Folder(name) => name,
        }
    }
}

/// ListObjects and ListObjectsV2.
pub(crate) fn list(store: &Store, call: &Call) -> Result<Response<Body>, Fault> {
    let second = call.value("list-type") == Some("2");
    let limit = call.number::<usize>("max-keys")?.unwrap_or(USUAL);
    if limit == 0 || limit > MOST {
        return Err(Fault::argument("max-keys must be 1 to 1000").detail("ArgumentName", "max-keys"));
    }
    let prefix = call.value("prefix").unwrap_or_default();
    let delimiter = call.value("delimiter").unwrap_or_default();
    let token = call.value("continuation-token").filter(|_| second);
    let after = match token {
        Some(token) => {
            let decoded = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            decoded.ok_or_else(|| Fault::argument("The continuation token is incorrect."))?
        }
        None => call.value(if second { "start-after" } else { "marker" }).unwrap_or_default().to_owned(),
    };

    let encodes = call.encodes_names()?;
    let name = |text: &str| if encodes { encoded(text) } else { text.to_owned() };
    let owner = call.value("fetch-owner") == Some("true") || !second;
    store.with(call, |bucket| {
        let (entries, more) = page(bucket, prefix, delimiter, &after, limit);
        let mut xml = String::new();
        element(&mut xml, "Name", &bucket.name);
        element(&mut xml, "Prefix", &name(prefix));
        element(&mut xml, "MaxKeys", &limit.to_string());
        element(&mut xml, "Delimiter", &name(delimiter));
        if encodes {
            element(&mut xml, "EncodingType", "url");
        }
        element(&mut xml, "IsTruncated", if more { "true" } else { "false" });
        let last = entries.last().filter(|_| more).map(Entry::name);
        if second {
            if let Some(token) = token {
                element(&mut xml, "ContinuationToken", token);
            }
            element(&mut xml, "StartAfter", &name(call.value("start-after").unwrap_or_default()));
            element(&mut xml, "KeyCount", &entries.len().to_string());
            if let Some(last) = last {
                element(&mut xml, "NextContinuationToken", &URL_SAFE_NO_PAD.encode(last));
            }
        } else {
            element(&mut xml, "Marker", &name(&after));
            if let Some(last) = last {
                element(&mut xml, "NextMarker", &name(last));
            }
        }
        // All objects come before all folders, as in the real answers.
        for entry in &entries {
            let Entry::Object(key, object) = entry else { continue };
            xml.push_str("<Contents>");
            element(&mut xml, "Key", &name(key));
            element(&mut xml, "LastModified", &iso(object.modified));
            element(&mut xml, "ETag", &object.etag);
            element(&mut xml, "Type", object.kind.name());
            element(&mut xml, "Size", &object.content.size().to_string());
            element(&mut xml, "StorageClass", "Standard");
            if owner {
                xml.push_str("<Owner><ID>1</ID><DisplayName>owner</DisplayName></Owner>");
            }
            xml.push_str("</Contents>");
        }
        for entry in &entries {
            let Entry::Folder(folder) = entry else { continue };
            xml.push_str("<CommonPrefixes>");
            element(&mut xml, "Prefix", &name(folder));
            xml.push_str("</CommonPrefixes>");
        }
        Ok(document("ListBucketResult", &xml))
    })
}

/// Entries behind `after`, and whether there are more than that.
fn page(bucket: &Bucket, prefix: &str, delimiter: &str, after: &str, limit: usize) -> (Vec<Entry>, bool) {
    let mut entries: Vec<Entry> = Vec::new();
    let mut start = if after >= prefix && !after.is_empty() {
        Bound::Excluded(after.to_owned())
    } else {
        Bound::Included(prefix.to_owned())
    };
    loop {
        let Some((key, object)) = bucket.objects.range((start, Bound::Unbounded)).next() else {
            return (entries, false);
        };
        if !key.starts_with(prefix) {
            return (entries, false);
        }
        let folder = key[prefix.len()..]
            .find(delimiter)
            .filter(|_| !delimiter.is_empty())
            .map(|end| &key[..prefix.len() + end + delimiter.len()]);
        start = Bound::Excluded(key.clone());
        // A page that ended with a folder goes on behind all that is in it.
        if folder
            .is_some_and(|folder| folder == after || entries.last().is_some_and(|last| last.name() == folder))
        {
            continue;
        }
        if entries.len() == limit {
            return (entries, true);
        }
        entries.push(match folder {
            Some(folder) => Entry::Folder(folder.to_owned()),
            None => Entry::Object(key.clone(), object.clone()),
        });
    }
}
