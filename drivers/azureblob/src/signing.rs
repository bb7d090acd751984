//! Addresses where anybody can read one blob for a while: shared access signatures.
//!
//! Made here and not by `object_store`, whose signatures cannot ask for response headers, begin at this machine's
//! present (so that a clock that is a second ahead breaks them), and are made over the encoded name, which is
//! another one where it holds a `%`, as the names of V1 do.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use docker_registry_driver_api::{Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::SignCall,
    http::{Call, Subject},
};
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::Sha256;
use tokio::sync::Mutex;

use crate::{
    account::{Account, Ask, Place},
    settings::Identity,
};

/// The version whose string to sign is made here.
const VERSION: &str = "2023-11-03";
/// How long a delegation key is asked for. Azure gives seven days at most.
const DELEGATION: Duration = Duration::from_secs(24 * 3600);
/// Clocks of server and service may differ by this much.
const CLOCKS: Duration = Duration::from_secs(15 * 60);
/// Longest life of an address.
pub(crate) const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// A key for signatures that stand for an identity of Microsoft Entra.
#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DelegationKey {
    signed_oid: String,
    signed_tid: String,
    signed_start: String,
    signed_expiry: String,
    signed_service: String,
    signed_version: String,
    value: String,
}

/// The delegation key that is in use, and until when it is.
#[derive(Default)]
pub(crate) struct Delegation(Mutex<Option<(DelegationKey, SystemTime)>>);

/// An address for one blob; `None` where the credentials cannot sign.
pub(crate) async fn sign(
    account: &Account,
    delegation: &Delegation,
    call: &SignCall,
) -> Result<Option<String>> {
    let until = SystemTime::now() + call.expires.min(LONGEST);
    let (key, delegated) = match &account.settings.identity {
        // A signature cannot sign another one, and must not be given away.
        Identity::SasToken(_) => return Ok(None),
        Identity::AccountKey(key) => (key.clone(), None),
        _ => {
            let delegated = delegation_key(account, delegation, until).await?;
            (delegated.value.clone(), Some(delegated))
        }
    };
    let fields = Fields {
        account: &account.settings.account,
        container: &account.settings.container,
        key: &call.key,
        until: humantime::format_rfc3339_seconds(until).to_string(),
        protocol: if account.settings.endpoint.starts_with("https:") { "https" } else { "https,http" },
        delegated: delegated.as_ref(),
        headers: HEADERS.map(|(name, _)| {
            let asked = call.response_headers.iter().find(|(asked, _)| asked == name);
            asked.map(|(_, value)| value.as_str()).unwrap_or_default()
        }),
    };
    let signature = signature(&key, &fields.string_to_sign())?;
    let mut address = account.address(Place::Blob(&call.key));
    let mut separator = '?';
    for (name, value) in fields.pairs().into_iter().chain([("sig", signature.as_str())]) {
        if !value.is_empty() {
            address.push_str(&format!("{separator}{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
            separator = '&';
        }
    }
    Ok(Some(address))
}

/// Response headers that a signature can ask for, in the order in which they are signed.
const HEADERS: [(&str, &str); 5] = [
    ("cache-control", "rscc"),
    ("content-disposition", "rscd"),
    ("content-encoding", "rsce"),
    ("content-language", "rscl"),
    ("content-type", "rsct"),
];

struct Fields<'a> {
    account: &'a str,
    container: &'a str,
    key: &'a str,
    until: String,
    protocol: &'a str,
    delegated: Option<&'a DelegationKey>,
    headers: [&'a str; 5],
}

impl Fields<'_> {
    /// One field a line, absent ones empty. The beginning is left out, so that clocks may differ.
    fn string_to_sign(&self) -> String {
        let resource = format!("/blob/{}/{}/{}", self.account, self.container, self.key);
        let mut lines = vec!["r", "", &self.until, &resource];
        match self.delegated {
            // Identifier of a stored policy.
            None => lines.push(""),
            Some(key) => {
                lines.extend([
                    key.signed_oid.as_str(),
                    &key.signed_tid,
                    &key.signed_start,
                    &key.signed_expiry,
                    &key.signed_service,
                    &key.signed_version,
                ]);
                // Authorized user, unauthorized user, correlation.
                lines.extend([""; 3]);
            }
        }
        // Address range; then resource kind, snapshot and encryption scope.
        lines.extend(["", self.protocol, VERSION, "b", "", ""]);
        lines.extend(self.headers);
        lines.join("\n")
    }

    fn pairs(&self) -> Vec<(&'static str, &str)> {
        let mut pairs =
            vec![("sv", VERSION), ("sp", "r"), ("se", &*self.until), ("sr", "b"), ("spr", self.protocol)];
        if let Some(key) = self.delegated {
            pairs.extend([
                ("skoid", key.signed_oid.as_str()),
                ("sktid", &key.signed_tid),
                ("skt", &key.signed_start),
                ("ske", &key.signed_expiry),
                ("sks", &key.signed_service),
                ("skv", &key.signed_version),
            ]);
        }
        pairs.extend(HEADERS.iter().zip(self.headers).map(|((_, name), value)| (*name, value)));
        pairs
    }
}

fn signature(key: &str, text: &str) -> Result<String> {
    let unusable = |_| Error::new(ErrorKind::InvalidConfiguration, "the signing key is not in base64");
    let key = BASE64_STANDARD.decode(key).map_err(unusable)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key)
        .map_err(|error| Error::new(ErrorKind::Internal, "the key cannot sign").caused_by(&error))?;
    mac.update(text.as_bytes());
    Ok(BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

/// A delegation key that lasts until `until`, fetched when there is none.
async fn delegation_key(
    account: &Account,
    delegation: &Delegation,
    until: SystemTime,
) -> Result<DelegationKey> {
    let mut kept = delegation.0.lock().await;
    if let Some((key, expiry)) = &*kept
        && *expiry >= until
    {
        return Ok(key.clone());
    }
    let now = SystemTime::now();
    let expiry = now + DELEGATION;
    let time = |time| humantime::format_rfc3339_seconds(time);
    let document = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><KeyInfo><Start>{}</Start><Expiry>{}</Expiry></KeyInfo>",
        time(now - CLOCKS),
        time(expiry),
    );
    let call = Call::reading("get user delegation key", Subject::Bucket);
    let ask = Ask::new(call, Method::POST, Place::Service)
        .query("restype", "service")
        .query("comp", "userdelegationkey")
        .header("content-type", "application/xml")
        .content(document.into_bytes());
    let body = account.send(ask).await?.into_body().bytes(64 << 10).await?;
    let text = String::from_utf8_lossy(&body);
    let key: DelegationKey =
        quick_xml::de::from_str(text.trim_start_matches('\u{feff}')).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "the delegation key cannot be read").caused_by(&error)
        })?;
    let expiry = humantime::parse_rfc3339_weak(&key.signed_expiry).unwrap_or(expiry).min(expiry);
    *kept = Some((key.clone(), expiry));
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_signed_as_it_is_and_the_headers_in_their_order() {
        let fields = Fields {
            account: "acct",
            container: "registry",
            key: "images/a%2Eb/layer",
            until: "2026-11-27T12:00:00Z".into(),
            protocol: "https",
            delegated: None,
            headers: ["", "attachment", "", "", "application/octet-stream"],
        };
        let expected = "r\n\n2026-11-27T12:00:00Z\n/blob/acct/registry/images/a%2Eb/layer\n\n\nhttps\n2023-11-03\nb\n\n\n\
                        \nattachment\n\n\napplication/octet-stream";
        assert_eq!(fields.string_to_sign(), expected);
        assert!(fields.pairs().contains(&("rscd", "attachment")));
        // By openssl: printf … | openssl dgst -sha256 -mac HMAC -macopt key:key -binary | base64
        assert_eq!(signature("a2V5", "text").unwrap(), "avqQRqlXnK0UOjhMG1ZLmiUNJ9b2pj+fIL86dZTJ4sY=");
    }
}
