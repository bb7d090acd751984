//! How a bucket is addressed: by a host name of its own, or in the path of an address with numbers.

use crate::fault::Fault;

/// Domain of the endpoints.
const DOMAIN: &str = ".aliyuncs.com";
/// A name of a user's own that stands for one bucket, and the bucket.
const OWN_NAME: (&str, &str) = ("registry.example.test", "registry");

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) bucket: Option<String>,
    pub(crate) key: String,
    pub(crate) region: Option<String>,
}

impl Address {
    /// Reads host and decoded path, which has no slash at its beginning.
    ///
    /// # Errors
    /// When a bucket is in the path although the host is an endpoint with a name.
    pub(crate) fn of(host: &str, path: &str) -> Result<Self, Fault> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        if name == OWN_NAME.0 {
            let bucket = Some(OWN_NAME.1.to_owned());
            return Ok(Self { bucket, key: path.to_owned(), region: None });
        }
        let Some(labels) = name.strip_suffix(DOMAIN) else { return Ok(Self::in_path(path)) };
        match labels.split_once('.') {
            Some((bucket, endpoint)) => {
                Ok(Self { bucket: Some(bucket.to_owned()), key: path.to_owned(), region: region(endpoint) })
            }
            None if path.is_empty() => Ok(Self { bucket: None, key: String::new(), region: region(labels) }),
            None => Err(Fault::new(
                403,
                "SecondLevelDomainForbidden",
                "The bucket must be addressed by a third level domain.",
            )),
        }
    }

    fn in_path(path: &str) -> Self {
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let bucket = Some(bucket.to_owned()).filter(|bucket| !bucket.is_empty());
        Self { bucket, key: key.to_owned(), region: None }
    }
}

/// The region in an endpoint such as `oss-cn-test-internal`; those for acceleration have none.
fn region(endpoint: &str) -> Option<String> {
    let region = endpoint.strip_prefix("oss-")?;
    if region.starts_with("accelerate") {
        return None;
    }
    Some(region.strip_suffix("-internal").unwrap_or(region).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_found_in_the_host_or_in_the_path_of_an_address_with_numbers() {
        let inside = Address::of("b.oss-cn-test-internal.aliyuncs.com:80", "a/b").unwrap();
        assert_eq!(inside.bucket.as_deref(), Some("b"));
        assert_eq!(inside.region.as_deref(), Some("cn-test"));
        assert_eq!(Address::of("127.0.0.1:1", "b/a/b").unwrap().key, "a/b");
        assert_eq!(Address::of("registry.example.test", "a").unwrap().bucket.as_deref(), Some("registry"));
        assert!(Address::of("oss-cn-test.aliyuncs.com", "b/a").is_err());
    }
}
