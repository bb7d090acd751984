//! Where the bucket is: host and scheme, how the bucket is named in addresses, and which region it is in.

use std::net::IpAddr;

use docker_registry_driver_api::Result;
use docker_registry_object_storage::xml::Address;

use crate::settings::invalid;

/// The endpoint of the original when nothing is said.
const DEFAULT_HOST: &str = "oss.aliyuncs.com";
/// The region behind that one.
const DEFAULT_REGION: &str = "cn-hangzhou";
const DOMAIN: &str = ".aliyuncs.com";

/// What the configuration says.
#[derive(Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// `oss_host`.
    pub(crate) host: Option<&'a str>,
    /// `oss_region`.
    pub(crate) region: Option<&'a str>,
    /// `oss_secure`.
    pub(crate) secure: bool,
    /// `oss_internal`.
    pub(crate) internal: bool,
    /// `oss_accelerate`.
    pub(crate) accelerate: bool,
    /// `oss_path_style`.
    pub(crate) path_style: Option<bool>,
    /// `oss_cname`.
    pub(crate) own_name: bool,
    /// `oss_redirect_host`.
    pub(crate) redirect_host: Option<&'a str>,
    /// Whether the signature has the region in it.
    pub(crate) needs_region: bool,
}

/// How the bucket is named in an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As the first label of the host.
    Subdomain,
    /// As the first segment of the path.
    Path,
    /// The whole host stands for it.
    Host,
}

/// An endpoint, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    scheme: &'static str,
    /// With a port where it is not the scheme's own.
    host: String,
    public_scheme: &'static str,
    public_host: String,
    style: Style,
    public_style: Style,
    region: Option<String>,
}

impl Endpoint {
    /// Makes one thing of all keys.
    ///
    /// # Errors
    /// `InvalidConfiguration`, naming the key.
    pub(crate) fn new(wanted: &Wanted<'_>) -> Result<Self> {
        if let Some(region) = wanted.region
            && !is_label(region)
        {
            return Err(invalid(format!("oss_region: {region:?} is no region, which is like cn-hangzhou")));
        }
        // The names of endpoints begin so, and people copy them from there.
        let region = wanted.region.map(|region| region.strip_prefix("oss-").unwrap_or(region));
        let given = match (wanted.host, region) {
            (Some(host), _) => host.to_owned(),
            (None, Some(region)) => format!("oss-{region}{DOMAIN}"),
            (None, None) => DEFAULT_HOST.to_owned(),
        };
        let usual_scheme = if wanted.secure { "https" } else { "http" };
        let (scheme, mut host) = split("oss_host", &given, usual_scheme)?;
        if wanted.internal && wanted.accelerate {
            return Err(invalid("oss_internal and oss_accelerate exclude each other"));
        }
        let found = region_of(&host);
        if wanted.internal {
            host = internal(&host)?;
        }
        if wanted.accelerate {
            if !host.ends_with(DOMAIN) {
                return Err(invalid(format!(
                    "oss_accelerate needs a host of Aliyun, and oss_host is {host}"
                )));
            }
            host = format!("oss-accelerate{DOMAIN}");
        }
        let style = match (wanted.own_name, wanted.path_style) {
            (true, Some(true)) => return Err(invalid("oss_cname and oss_path_style exclude each other")),
            (true, _) => Style::Host,
            (false, Some(true)) => Style::Path,
            (false, Some(false)) => Style::Subdomain,
            // A bucket cannot be put before an address with numbers.
            (false, None) if is_numeric(&host) => Style::Path,
            (false, None) => Style::Subdomain,
        };
        let (public_scheme, public_host) = match wanted.redirect_host {
            Some(other) => split("oss_redirect_host", other, scheme)?,
            None => (scheme, host.replace(&format!("-internal{DOMAIN}"), DOMAIN)),
        };
        let public_style = match wanted.redirect_host {
            None => style,
            Some(_) if public_host.split(':').next().is_some_and(|name| name.ends_with(DOMAIN)) => {
                Style::Subdomain
            }
            Some(_) if is_numeric(&public_host) => Style::Path,
            Some(_) => Style::Host,
        };
        let region = region.map(str::to_owned).or(found);
        if region.is_none() && wanted.needs_region {
            let message =
                format!("oss_region is missing: {host} does not tell it, and the signature needs it");
            return Err(invalid(message));
        }
        Ok(Self { scheme, host, public_scheme, public_host, style, public_style, region })
    }

    /// The region, as far as it is known.
    pub(crate) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// Hosts whose addresses have the bucket in the path.
    pub(crate) fn path_hosts(&self) -> Vec<String> {
        let hosts = [(self.style, &self.host), (self.public_style, &self.public_host)];
        hosts.into_iter().filter(|(style, _)| *style == Style::Path).map(|(_, host)| host.clone()).collect()
    }

    /// Where the server reaches the bucket.
    pub(crate) fn address(&self, bucket: &str) -> Address {
        address(self.scheme, &self.host, self.style, bucket)
    }

    /// Where clients reach the bucket.
    pub(crate) fn public_address(&self, bucket: &str) -> Address {
        address(self.public_scheme, &self.public_host, self.public_style, bucket)
    }
}

fn address(scheme: &str, host: &str, style: Style, bucket: &str) -> Address {
    let base = match style {
        Style::Subdomain => format!("{scheme}://{bucket}.{host}"),
        Style::Path => format!("{scheme}://{host}/{bucket}"),
        Style::Host => format!("{scheme}://{host}"),
    };
    Address { base, bucket: bucket.to_owned() }
}

/// Scheme and host of a text that may have both.
fn split(key: &str, text: &str, usual: &'static str) -> Result<(&'static str, String)> {
    let (scheme, rest) = match text.split_once("://") {
        None => (usual, text),
        Some(("http", rest)) => ("http", rest),
        Some(("https", rest)) => ("https", rest),
        Some((other, _)) => return Err(invalid(format!("{key}: {other} is neither http nor https"))),
    };
    let rest = rest.trim_end_matches('/');
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':' | b'[' | b']');
    let wrong = || invalid(format!("{key}: {text:?} is no host"));
    if rest.is_empty() || !rest.bytes().all(fits) {
        return Err(wrong());
    }
    let authority: http::uri::Authority = rest.to_ascii_lowercase().parse().map_err(|_| wrong())?;
    let own_port = if scheme == "https" { 443 } else { 80 };
    // Clients leave a scheme's own port out of the header that is signed.
    Ok(match authority.port_u16() {
        Some(port) if port != own_port => (scheme, format!("{}:{port}", authority.host())),
        Some(_) => (scheme, authority.host().to_owned()),
        None if authority.port().is_some() => return Err(wrong()),
        None => (scheme, authority.host().to_owned()),
    })
}

/// The endpoint inside of Aliyun's network.
fn internal(host: &str) -> Result<String> {
    let Some(name) = host.strip_suffix(DOMAIN) else {
        return Err(invalid(format!("oss_internal needs a host of Aliyun, and oss_host is {host}")));
    };
    if name.starts_with("oss-accelerate") {
        return Err(invalid("oss_internal and the accelerated oss_host exclude each other"));
    }
    Ok(if name.ends_with("-internal") { host.to_owned() } else { format!("{name}-internal{DOMAIN}") })
}

/// The region that a host of Aliyun tells: `oss-cn-hangzhou-internal.aliyuncs.com`.
fn region_of(host: &str) -> Option<String> {
    let name = host.strip_suffix(DOMAIN)?;
    // Both protocols of the internet, and the older form of private networks.
    let name = match name.strip_suffix(".oss") {
        Some(region) => return Some(region.to_owned()),
        None => name.strip_prefix("vpc100-").unwrap_or(name),
    };
    let name = name.strip_suffix("-internal").unwrap_or(name);
    match name {
        "oss" => Some(DEFAULT_REGION.to_owned()),
        _ => name
            .strip_prefix("oss-")
            .filter(|region| !region.starts_with("accelerate") && is_label(region))
            .map(str::to_owned),
    }
}

fn is_label(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// Whether a host, with or without a port, is an address with numbers or the name of this machine itself.
fn is_numeric(host: &str) -> bool {
    let Ok(authority) = host.parse::<http::uri::Authority>() else { return false };
    let name = authority.host().trim_matches(['[', ']']);
    name == "localhost" || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: &'static str) -> Wanted<'static> {
        Wanted { host: Some(host), secure: true, needs_region: true, ..Wanted::default() }
    }

    fn bases(wanted: &Wanted<'_>) -> (String, String) {
        let endpoint = Endpoint::new(wanted).unwrap();
        (endpoint.address("b-1").base, endpoint.public_address("b-1").base)
    }

    #[test]
    fn a_host_of_aliyun_tells_its_region() {
        for (host, region) in [
            ("oss.aliyuncs.com", "cn-hangzhou"),
            ("oss-cn-beijing.aliyuncs.com", "cn-beijing"),
            ("http://oss-cn-beijing-internal.aliyuncs.com/", "cn-beijing"),
            ("vpc100-oss-cn-beijing.aliyuncs.com", "cn-beijing"),
            ("ap-southeast-1.oss.aliyuncs.com", "ap-southeast-1"),
        ] {
            assert_eq!(Endpoint::new(&endpoint(host)).unwrap().region(), Some(region), "{host}");
        }
        let error = Endpoint::new(&endpoint("oss-accelerate.aliyuncs.com")).unwrap_err();
        assert!(error.message.starts_with("oss_region"), "{}", error.message);
    }

    #[test]
    fn the_bucket_is_put_before_the_host_but_not_before_numbers() {
        assert_eq!(bases(&endpoint("oss-cn-x.aliyuncs.com")).0, "https://b-1.oss-cn-x.aliyuncs.com");
        let local = Wanted { region: Some("cn-x"), ..endpoint("http://127.0.0.1:9000") };
        assert_eq!(bases(&local).0, "http://127.0.0.1:9000/b-1");
        let own = Wanted { region: Some("cn-x"), own_name: true, ..endpoint("files.example.com:443") };
        assert_eq!(bases(&own).0, "https://files.example.com");
    }

    #[test]
    fn clients_are_sent_to_the_public_endpoint_where_the_server_uses_the_internal_one() {
        let wanted = Wanted { internal: true, ..endpoint("oss-cn-x.aliyuncs.com") };
        let (inside, outside) = bases(&wanted);
        assert_eq!(inside, "https://b-1.oss-cn-x-internal.aliyuncs.com");
        assert_eq!(outside, "https://b-1.oss-cn-x.aliyuncs.com");
        let wanted = Wanted { redirect_host: Some("cdn.example.com"), ..wanted };
        assert_eq!(bases(&wanted).1, "https://cdn.example.com");
    }

    #[test]
    fn acceleration_needs_the_region_of_the_bucket_and_has_its_own_host() {
        let wanted = Wanted { accelerate: true, ..endpoint("oss-cn-x.aliyuncs.com") };
        assert_eq!(bases(&wanted).0, "https://b-1.oss-accelerate.aliyuncs.com");
        assert_eq!(Endpoint::new(&wanted).unwrap().region(), Some("cn-x"));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in ["ftp://x", "a b", "user@host", "host/path", "::"] {
            let error = Endpoint::new(&endpoint(host)).unwrap_err();
            assert!(error.message.starts_with("oss_host"), "{host}: {}", error.message);
        }
    }
}
