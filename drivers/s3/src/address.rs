//! Where a bucket is: region, host and the form of its addresses.

use std::env;

use docker_registry_driver_api::Result;
use docker_registry_object_storage::xml::Address;
use http::{Uri, uri::Authority};

use crate::settings::invalid;

/// The region of buckets that were made without naming one.
const FIRST_REGION: &str = "us-east-1";

/// Where the bucket's name stands in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `host/bucket/key`.
    Path,
    /// `bucket.host/key`.
    Subdomain,
    /// The bucket is called like the host: `bucket/key`.
    Host,
}

/// What the configuration says of the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// `boto_bucket`.
    pub(crate) bucket: String,
    /// `s3_region`.
    pub(crate) region: Option<String>,
    /// `s3_endpoint`.
    pub(crate) endpoint: Option<String>,
    /// `boto_host`, which may hold a port.
    pub(crate) host: Option<String>,
    /// `boto_port`.
    pub(crate) port: Option<u16>,
    /// `s3_secure`.
    pub(crate) secure: bool,
    /// `s3_path_style` and `boto_calling_format`.
    pub(crate) style: Option<Style>,
    /// `s3_accelerate`.
    pub(crate) accelerate: bool,
    /// `s3_dualstack`.
    pub(crate) dualstack: bool,
}

impl Place {
    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the keys.
    pub(crate) fn check(&self) -> Result<()> {
        let region = self.region();
        if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return Err(invalid(format!("s3_region: {region:?} is no name of a region")));
        }
        if self.endpoint.is_some() && (self.host.is_some() || self.port.is_some()) {
            return Err(invalid("s3_endpoint and boto_host (or boto_port) exclude each other"));
        }
        if self.port.is_some() && self.host.is_none() {
            return Err(invalid("boto_port needs boto_host"));
        }
        if (self.accelerate || self.dualstack) && (self.endpoint.is_some() || self.host.is_some()) {
            return Err(invalid(
                "s3_accelerate and s3_dualstack are for Amazon's own hosts, without boto_host",
            ));
        }
        if self.accelerate && (self.bucket.contains('.') || self.style == Some(Style::Path)) {
            return Err(invalid("s3_accelerate needs a bucket without dots, named before the host"));
        }
        let address = self.address();
        let uri: Uri = address.base.parse().map_err(|_| self.no_address(&address.base))?;
        match uri.scheme_str() {
            Some("http" | "https")
                if uri.host().is_some_and(|host| !host.is_empty())
                    && uri.query().is_none()
                    // It would be shown to clients and in logs.
                    && !address.base.contains('@') =>
            {
                Ok(())
            }
            _ => Err(self.no_address(&address.base)),
        }
    }

    fn no_address(&self, base: &str) -> docker_registry_driver_api::Error {
        let key = if self.endpoint.is_some() { "s3_endpoint" } else { "boto_host" };
        if base.contains('@') {
            return invalid(format!("{key} must not hold a user name: set s3_access_key and s3_secret_key"));
        }
        invalid(format!("{key} and boto_bucket make the address {base:?}, which is none"))
    }

    /// The region that requests are signed for.
    pub(crate) fn region(&self) -> String {
        let of_environment = |name| env::var(name).ok().filter(|region: &String| !region.is_empty());
        self.region
            .clone()
            .or_else(|| region_of_host(self.host.as_deref()?).map(str::to_owned))
            .or_else(|| of_environment("AWS_REGION"))
            .or_else(|| of_environment("AWS_DEFAULT_REGION"))
            .unwrap_or_else(|| FIRST_REGION.to_owned())
    }

    /// The bucket's address.
    pub(crate) fn address(&self) -> Address {
        let bucket = &self.bucket;
        let (scheme, host) = self.server();
        let base = match self.style(&host, scheme == "https") {
            Style::Path => format!("{scheme}://{host}/{bucket}"),
            Style::Subdomain => format!("{scheme}://{bucket}.{host}"),
            Style::Host => match host.parse::<Authority>().ok().and_then(|host| host.port_u16()) {
                Some(port) => format!("{scheme}://{bucket}:{port}"),
                None => format!("{scheme}://{bucket}"),
            },
        };
        Address { base, bucket: bucket.clone() }
    }

    /// Scheme and host, with the port where there is one.
    fn server(&self) -> (&str, String) {
        if let Some(endpoint) = &self.endpoint {
            let (scheme, host) = endpoint.split_once("://").unwrap_or((self.scheme(), endpoint));
            return (scheme, host.trim_end_matches('/').to_owned());
        }
        let host = match &self.host {
            Some(host) => host.trim_end_matches('/').to_owned(),
            None => amazon(&self.region(), self.accelerate, self.dualstack),
        };
        match self.port {
            Some(port) => (self.scheme(), format!("{host}:{port}")),
            None => (self.scheme(), host),
        }
    }

    fn scheme(&self) -> &'static str {
        if self.secure { "https" } else { "http" }
    }

    fn style(&self, host: &str, secure: bool) -> Style {
        self.style.unwrap_or_else(|| {
            let name = host.split([':', '/']).next().unwrap_or(host);
            // Amazon's certificate is for one label before the host, and a host name has no capitals.
            let is_label = !self
                .bucket
                .contains(|letter: char| letter.is_ascii_uppercase() || matches!(letter, '_' | ':'));
            let fits = is_label && (!secure || !self.bucket.contains('.'));
            if is_amazon(name) && fits { Style::Subdomain } else { Style::Path }
        })
    }
}

fn is_amazon(host: &str) -> bool {
    host.ends_with(".amazonaws.com") || host.ends_with(".amazonaws.com.cn")
}

/// Amazon's host for a region.
fn amazon(region: &str, accelerate: bool, dualstack: bool) -> String {
    let end = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    match (accelerate, dualstack) {
        (true, true) => format!("s3-accelerate.dualstack.{end}"),
        (true, false) => format!("s3-accelerate.{end}"),
        (false, true) => format!("s3.dualstack.{region}.{end}"),
        (false, false) => format!("s3.{region}.{end}"),
    }
}

/// The region in a host name of Amazon's: `s3.REGION.amazonaws.com`, `s3-REGION.amazonaws.com`.
fn region_of_host(host: &str) -> Option<&str> {
    let host = host.split(':').next().unwrap_or(host);
    let name = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    let region = name
        .strip_prefix("s3.dualstack.")
        .or_else(|| name.strip_prefix("s3."))
        .or_else(|| name.strip_prefix("s3-"))?;
    let is_region = !region.contains('.') && !matches!(region, "external-1" | "accelerate");
    is_region.then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(bucket: &str) -> Place {
        Place {
            bucket: bucket.to_owned(),
            region: Some("eu-west-1".to_owned()),
            endpoint: None,
            host: None,
            port: None,
            secure: true,
            style: None,
            accelerate: false,
            dualstack: false,
        }
    }

    fn base(change: impl FnOnce(&mut Place)) -> String {
        let mut place = place("images");
        change(&mut place);
        place.check().unwrap();
        place.address().base
    }

    #[test]
    fn at_amazon_the_bucket_stands_before_the_host() {
        assert_eq!(base(|_| ()), "https://images.s3.eu-west-1.amazonaws.com");
        assert_eq!(base(|place| place.secure = false), "http://images.s3.eu-west-1.amazonaws.com");
        assert_eq!(
            base(|place| place.dualstack = true),
            "https://images.s3.dualstack.eu-west-1.amazonaws.com"
        );
        assert_eq!(base(|place| place.accelerate = true), "https://images.s3-accelerate.amazonaws.com");
        let china = base(|place| place.region = Some("cn-north-1".to_owned()));
        assert_eq!(china, "https://images.s3.cn-north-1.amazonaws.com.cn");
    }

    #[test]
    fn a_bucket_that_cannot_stand_before_the_host_stands_in_the_path() {
        assert_eq!(place("my.images").address().base, "https://s3.eu-west-1.amazonaws.com/my.images");
        assert_eq!(place("My_Images").address().base, "https://s3.eu-west-1.amazonaws.com/My_Images");
    }

    #[test]
    fn at_other_servers_the_bucket_stands_in_the_path() {
        let ceph = |place: &mut Place| {
            (place.host, place.port, place.secure) = (Some("ceph.example.com".to_owned()), Some(7480), false);
        };
        assert_eq!(base(ceph), "http://ceph.example.com:7480/images");
        assert_eq!(
            base(|place| place.endpoint = Some("http://[::1]:9000/".into())),
            "http://[::1]:9000/images"
        );
        assert_eq!(base(|place| place.host = Some("10.0.0.1:9000".into())), "https://10.0.0.1:9000/images");
    }

    #[test]
    fn boto_calling_formats_place_the_bucket() {
        let with = |style| {
            base(|place| {
                (place.style, place.host, place.port) =
                    (Some(style), Some("ceph.example.com".to_owned()), Some(7480));
            })
        };
        assert_eq!(with(Style::Path), "https://ceph.example.com:7480/images");
        assert_eq!(with(Style::Subdomain), "https://images.ceph.example.com:7480");
        assert_eq!(with(Style::Host), "https://images:7480");
    }

    #[test]
    fn the_region_may_come_from_the_hosts_name() {
        assert_eq!(region_of_host("s3-eu-west-1.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region_of_host("s3.eu-central-1.amazonaws.com:443"), Some("eu-central-1"));
        assert_eq!(region_of_host("s3.amazonaws.com"), None);
        assert_eq!(region_of_host("ceph.example.com"), None);
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_its_keys() {
        let refused = |change: &dyn Fn(&mut Place)| {
            let mut place = place("images");
            change(&mut place);
            place.check().unwrap_err().message
        };
        assert!(refused(&|place| place.port = Some(80)).contains("boto_port needs boto_host"));
        let both =
            refused(&|place| (place.host, place.endpoint) = (Some("a".into()), Some("http://b".into())));
        assert!(both.contains("s3_endpoint and boto_host"));
        assert!(refused(&|place| place.region = Some("eu west".into())).contains("s3_region"));
        assert!(refused(&|place| place.endpoint = Some("ftp://a".into())).contains("s3_endpoint"));
        assert!(refused(&|place| place.host = Some("a b".into())).contains("boto_host"));
    }
}
