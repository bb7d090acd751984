//! What a cluster says of itself: `GET /info`, which needs no token and which operators may switch off.
//!
//! <https://docs.openstack.org/swift/latest/api/discoverability.html>

use docker_registry_driver_api::{ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::{Content, Limits},
    http::{Call, Subject},
};
use http::Method;
use serde_json::Value;

use crate::{account::Account, settings::invalid};

/// Largest object of a cluster that does not say otherwise.
const LARGEST_OBJECT: u64 = 5 << 30;
/// Largest copy in one request: the proxy moves every byte, and is silent meanwhile.
const LARGEST_COPY: u64 = 1 << 30;
/// Segments below this size are handed out slowly by clusters with the usual limits of rate.
const SMALLEST_SEGMENT: u64 = 1 << 20;
/// Entries of one manifest.
const MOST_SEGMENTS: usize = 1000;
/// Longest name of an object, in bytes.
const LONGEST_NAME: usize = 1024;
/// Most objects of one request that deletes many. The cluster takes more, and is slow: one attempt has an end.
const MOST_DELETIONS: usize = 100;
const LARGEST_INFO: usize = 1 << 20;

/// How signed addresses are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Digest {
    Sha1,
    Sha256,
}

/// What the driver needs to know.
pub(crate) struct Learnt {
    pub(crate) limits: Limits,
    /// Most entries of one manifest.
    pub(crate) most_segments: usize,
    /// Most objects of one request that deletes many; 1 where there is none.
    pub(crate) most_deletions: usize,
    pub(crate) digest: Digest,
    /// Longest name of an object, in bytes.
    pub(crate) longest_name: usize,
}

impl Default for Learnt {
    fn default() -> Self {
        Self::new(LARGEST_OBJECT, MOST_SEGMENTS, 1, Digest::Sha256)
    }
}

impl Learnt {
    fn new(largest: u64, most_segments: usize, most_deletions: usize, digest: Digest) -> Self {
        let limits = Limits {
            put_if_absent: false,
            put_if_match: false,
            finish_if_absent: false,
            finish_if_match: false,
            largest_put: largest,
            smallest_part: SMALLEST_SEGMENT.min(largest),
            largest_part: largest,
            largest_copy: LARGEST_COPY.min(largest),
            largest_batch: most_deletions,
            // A cluster refuses to delete what has more than ten times as many segments.
            most_parts: u32::try_from(most_segments.saturating_mul(9)).unwrap_or(u32::MAX).min(10_000),
            abandons_whole: false,
            strongly_consistent: false,
            ..Limits::s3()
        };
        Self { limits, most_segments, most_deletions, digest, longest_name: LONGEST_NAME }
    }

    fn read(info: &Value) -> Result<Self> {
        if info["swift"].is_null() {
            return Ok(Self::default());
        }
        let largest =
            info["swift"]["max_file_size"].as_u64().filter(|size| *size > 0).unwrap_or(LARGEST_OBJECT);
        if info["slo"].is_null() {
            return Err(invalid(
                "the cluster offers no static large objects (slo), which large layers are kept in: ask for the middleware",
            ));
        }
        let number = |section: &str, name: &str| {
            info[section][name].as_u64().and_then(|number| number.try_into().ok())
        };
        let segments: usize = number("slo", "max_manifest_segments").unwrap_or(MOST_SEGMENTS);
        let deletions = match info["bulk_delete"].is_null() {
            true => 1,
            false => {
                number("bulk_delete", "max_deletes_per_request").unwrap_or(1000).clamp(1, MOST_DELETIONS)
            }
        };
        let digests = info["tempurl"]["allowed_digests"].as_array();
        let has = |name: &str| digests.is_none_or(|digests| digests.iter().any(|digest| digest == name));
        let digest = if has("sha256") { Digest::Sha256 } else { Digest::Sha1 };
        let longest_name = number("swift", "max_object_name_length").unwrap_or(LONGEST_NAME);
        Ok(Self { longest_name, ..Self::new(largest, segments.max(2), deletions, digest) })
    }
}

/// Asks the cluster.
///
/// # Errors
/// `InvalidConfiguration` where it lacks what the driver cannot do without; retryable ones where it does not answer.
pub(crate) async fn learn(account: &Account) -> Result<Learnt> {
    let call = Call::reading("info", Subject::Bucket);
    let address = address_of_info(&account.session.granted().await?.address);
    let head = account.session.head(Method::GET, &address, &[])?;
    match account.transport().send(call, head, Content::default()).await {
        Ok(answer) => {
            let document = answer.into_body().bytes(LARGEST_INFO).await?;
            let info: Value = serde_json::from_slice(&document).unwrap_or_default();
            Learnt::read(&info)
        }
        Err(refusal) if refusal.error.retryable || refusal.status().is_none() => Err(refusal.into()),
        Err(refusal) => {
            tracing::debug!(error = %refusal, "the cluster says nothing of itself");
            Ok(Learnt::default())
        }
    }
}

/// `/info` beside the version in the path of an account.
fn address_of_info(account: &str) -> String {
    let (scheme, rest) = account.split_once("://").unwrap_or(("http", account));
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let before = path.split('/').take_while(|segment| !segment.starts_with("v1"));
    let folders: String = before.map(|segment| format!("/{segment}")).collect();
    format!("{scheme}://{authority}{folders}/info")
}

/// Sets the key that addresses are signed with, where that is wanted and it is another one.
pub(crate) async fn set_temp_url_key(account: &Account) -> Result<()> {
    use crate::account::{Ask, Place, text};
    const KEY: &str = "x-container-meta-temp-url-key";
    let Some(wanted) = account.settings.temp_url.as_ref().filter(|temp_url| temp_url.setup) else {
        return Ok(());
    };
    let call = Call::reading("look for the key of addresses", Subject::Bucket);
    let answer = account.send(Ask::new(call, Method::HEAD, Place::Container)).await?;
    if text(answer.headers(), KEY) == Some(wanted.key.as_str()) {
        return Ok(());
    }
    let call = Call::reading("set the key of addresses", Subject::Bucket);
    let ask = Ask::new(call, Method::POST, Place::Container).header(KEY, wanted.key.clone());
    account.send(ask).await.map(drop).map_err(|refusal| {
        let mut error = docker_registry_driver_api::Error::from(refusal);
        if error.kind == ErrorKind::PermissionDenied {
            error.message = format!(
                "the user may not set the key that signs addresses: check swift_temp_url_setup [{}]",
                error.message
            );
        }
        error
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_those_of_the_cluster() {
        let learnt = Learnt::read(&json!({
            "swift": {"max_file_size": 1 << 20}, "slo": {"max_manifest_segments": 10},
            "bulk_delete": {"max_deletes_per_request": 10_000}, "tempurl": {"allowed_digests": ["sha1"]},
        }))
        .unwrap();
        assert_eq!((learnt.limits.largest_put, learnt.limits.largest_copy), (1 << 20, 1 << 20));
        assert_eq!((learnt.most_segments, learnt.most_deletions), (10, 100));
        assert_eq!(learnt.digest, Digest::Sha1);
    }

    #[test]
    fn information_is_beside_the_version() {
        for (account, info) in [
            ("http://s:8080/v1/AUTH_a", "http://s:8080/info"),
            ("https://v1.example.test/v1/AUTH_a", "https://v1.example.test/info"),
            ("http://gateway/swift/v1", "http://gateway/swift/info"),
        ] {
            assert_eq!(address_of_info(account), info);
        }
    }

    #[test]
    fn a_cluster_without_large_objects_is_refused_and_one_that_says_nothing_is_not() {
        let error = Learnt::read(&json!({"swift": {}})).err().unwrap();
        assert!(error.message.contains("slo"));
        assert_eq!(Learnt::read(&Value::Null).unwrap().most_deletions, 1);
    }
}
