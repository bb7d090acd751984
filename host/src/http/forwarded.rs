//! What proxies say in headers about the client behind them.
//!
//! Guarantees: only a trusted proxy is believed, and only up to the first address that is none; these headers never
//! reach a handler, whoever sent them: a handler finds client and scheme in the request, and the host that the client
//! wrote in `Host`.
//!
//! `X-Forwarded-For` counts before `Forwarded`, that before `X-Real-IP`: a proxy that writes one and lets another
//! through from outside is so most likely believed in what it wrote itself. Where there is an `X-Forwarded-For`, the
//! other two say nothing about the address: when it names nobody, the client is the proxy.

use std::net::{IpAddr, SocketAddr};

use docker_registry_config::TrustedProxies;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::exchange::Scheme;

const FORWARDED: HeaderName = header::FORWARDED;
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// All of them.
const PROXY_HEADERS: [HeaderName; 6] =
    [FORWARDED, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PORT, FORWARDED_PROTO, REAL_IP];

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The client; port 0 when only its address is known, `None` when it is at the unix socket.
    pub(crate) peer: Option<SocketAddr>,
    /// How it reached the first server.
    pub(crate) scheme: Scheme,
}

/// Takes the proxies' headers out and returns what is true of them. `direct` is what the connection says, and
/// `trusted` is given when that is a proxy to be believed.
pub(crate) fn take(headers: &mut HeaderMap, direct: Origin, trusted: Option<&TrustedProxies>) -> Origin {
    // Most requests have none of them.
    if !headers.keys().any(|name| PROXY_HEADERS.contains(name)) {
        return direct;
    }
    let mut said = Said::default();
    let names_client = headers.contains_key(&FORWARDED_FOR);
    for name in PROXY_HEADERS {
        if !headers.contains_key(&name) {
            continue;
        }
        if let Some(trusted) = trusted {
            // Several lines are one list (RFC 9110 §5.3).
            let lines: Vec<_> = headers
                .get_all(&name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            said.read(&name, &lines.join(","), trusted);
        }
        headers.remove(&name);
    }
    let scheme = said.scheme.or(said.standard.scheme).unwrap_or(direct.scheme);
    let client = if names_client { said.client } else { said.standard.client.or(said.real_ip) };
    if let Some(host) = said.host(headers.get(header::HOST), scheme) {
        headers.insert(header::HOST, host);
    }
    Origin { peer: client.or(direct.peer), scheme }
}

/// What a trusted proxy wrote.
#[derive(Default)]
struct Said {
    client: Option<SocketAddr>,
    real_ip: Option<SocketAddr>,
    scheme: Option<Scheme>,
    host: Option<String>,
    port: Option<u16>,
    standard: Standard,
}

/// What `Forwarded` of RFC 7239 says.
#[derive(Default)]
struct Standard {
    client: Option<SocketAddr>,
    scheme: Option<Scheme>,
    host: Option<String>,
}

impl Said {
    fn read(&mut self, name: &HeaderName, value: &str, trusted: &TrustedProxies) {
        // The last item is what the nearest proxy wrote; the ones before it may be anybody's.
        let last = value.rsplit(',').next().unwrap_or_default().trim();
        if name == FORWARDED_FOR {
            self.client = client(value.rsplit(',').map(address), trusted);
        } else if name == REAL_IP {
            self.real_ip = address(last);
        } else if name == FORWARDED_PROTO {
            self.scheme = scheme(last);
        } else if name == FORWARDED_HOST {
            self.host = Some(last).filter(|host| is_host(host)).map(str::to_owned);
        } else if name == FORWARDED_PORT {
            self.port = last.parse().ok();
        } else {
            self.standard = standard(value, trusted);
        }
    }

    /// `Host` as the client wrote it, when a proxy says that it was another.
    fn host(self, present: Option<&HeaderValue>, scheme: Scheme) -> Option<HeaderValue> {
        let named = self.host.or(self.standard.host);
        let host = match (&named, self.port) {
            (Some(host), _) => host,
            // Only the port is known better: many proxies hand on the host without it.
            (None, Some(_)) => present?.to_str().ok()?,
            (None, None) => return None,
        };
        match self.port {
            Some(port) if !has_port(host) && port != scheme.default_port() => {
                HeaderValue::from_str(&format!("{host}:{port}")).ok()
            }
            _ => HeaderValue::from_str(host).ok(),
        }
    }
}

/// The first of these addresses, from the nearest on, that is no trusted proxy; when all are, the farthest. What
/// stands behind something that is no address is not believed.
fn client(
    nearest_first: impl Iterator<Item = Option<SocketAddr>>,
    trusted: &TrustedProxies,
) -> Option<SocketAddr> {
    let mut farthest = None;
    for address in nearest_first {
        let Some(address) = address else { break };
        farthest = Some(address);
        if !trusted.contains(address.ip()) {
            break;
        }
    }
    farthest
}

/// An address with or without port, IPv6 with or without brackets.
fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let known = bare.parse::<IpAddr>().map(|address| SocketAddr::new(address.to_canonical(), 0));
    known.or_else(|_| text.parse()).ok()
}

fn scheme(text: &str) -> Option<Scheme> {
    match text.to_ascii_lowercase().as_str() {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        _ => None,
    }
}

/// Whether the text may stand in `Host`.
fn is_host(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte))
}

fn has_port(host: &str) -> bool {
    let after_address = host.rsplit_once(']').map_or(host, |(_, rest)| rest);
    after_address.contains(':')
}

/// Reads `Forwarded`: elements between commas, in each `name=value` between semicolons.
fn standard(value: &str, trusted: &TrustedProxies) -> Standard {
    let mut farthest = Standard::default();
    for element in split(value, ',').into_iter().rev() {
        let mut found = Standard::default();
        for pair in split(element, ';') {
            let Some((name, value)) = pair.split_once('=') else { continue };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => found.client = address(value),
                "proto" => found.scheme = scheme(value),
                "host" => found.host = Some(value).filter(|host| is_host(host)).map(str::to_owned),
                _ => {}
            }
        }
        let Some(client) = found.client else {
            // The nearest proxy may keep to itself for whom it speaks and still say how it was spoken to.
            if farthest.client.is_none() {
                farthest = found;
            }
            break;
        };
        farthest = found;
        if !trusted.contains(client.ip()) {
            break;
        }
    }
    farthest
}

/// The parts between separators that do not stand in quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut is_quoted = false;
    text.split(|character| {
        is_quoted ^= character == '"';
        character == separator && !is_quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIRECT: &str = "10.0.0.1:999";

    /// What comes of headers from a proxy at 10.0.0.1: client, scheme and host.
    fn told(headers: &[(&'static str, &str)]) -> (String, Scheme, String) {
        let mut trusted = TrustedProxies::default();
        trusted.add("10.0.0.0/8").unwrap();
        taken(headers, Some(&trusted))
    }

    fn taken(headers: &[(&'static str, &str)], trusted: Option<&TrustedProxies>) -> (String, Scheme, String) {
        let mut map = HeaderMap::new();
        map.insert(header::HOST, HeaderValue::from_static("inside"));
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let direct = Origin { peer: DIRECT.parse().ok(), scheme: Scheme::Http };
        let origin = take(&mut map, direct, trusted);
        assert_eq!(map.len(), 1, "nothing of the proxies' headers is left");
        (origin.peer.unwrap().to_string(), origin.scheme, map[header::HOST].to_str().unwrap().to_owned())
    }

    fn client_of(headers: &[(&'static str, &str)]) -> String {
        told(headers).0
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_no_trusted_proxy() {
        for (list, client) in [
            ("203.0.113.7", "203.0.113.7:0"),
            ("1.1.1.1, 203.0.113.7, 10.3.3.3,10.2.2.2", "203.0.113.7:0"),
            ("10.9.9.9, 10.2.2.2", "10.9.9.9:0"),
            ("1.1.1.1, unknown, 10.2.2.2", "10.2.2.2:0"),
            ("203.0.113.7:4444", "203.0.113.7:4444"),
            ("[2001:db8::1]:4444", "[2001:db8::1]:4444"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("::ffff:203.0.113.7", "203.0.113.7:0"),
            ("1.1.1.1, nonsense", DIRECT),
            ("", DIRECT),
        ] {
            assert_eq!(client_of(&[("x-forwarded-for", list)]), client, "{list}");
        }
        let lines = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(client_of(&lines), "203.0.113.7:0", "several lines are one list");
        for list in ["unknown", "1.1.1.1, unknown", ""] {
            let all = [("x-forwarded-for", list), ("forwarded", "for=1.1.1.1"), ("x-real-ip", "1.1.1.1")];
            assert_eq!(client_of(&all), DIRECT, "{list}: the others are not asked");
        }
        assert_eq!(client_of(&[("x-real-ip", "203.0.113.7")]), "203.0.113.7:0");
        assert_eq!(
            client_of(&[("x-real-ip", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7")]),
            "203.0.113.7:0"
        );
    }

    #[test]
    fn scheme_host_and_port_are_what_the_nearest_proxy_says() {
        let (_, scheme, host) =
            told(&[("x-forwarded-proto", "http, https"), ("x-forwarded-host", "a.example")]);
        assert_eq!((scheme, host.as_str()), (Scheme::Https, "a.example"));
        for (headers, host) in [
            (&[("x-forwarded-host", "a.example"), ("x-forwarded-port", "5443")][..], "a.example:5443"),
            (&[("x-forwarded-host", "a.example:1"), ("x-forwarded-port", "5443")], "a.example:1"),
            (&[("x-forwarded-port", "5443")], "inside:5443"),
            (&[("x-forwarded-port", "443"), ("x-forwarded-proto", "https")], "inside"),
            (&[("x-forwarded-host", "[::1]"), ("x-forwarded-port", "81")], "[::1]:81"),
            (&[("x-forwarded-host", "evil, a.example")], "a.example"),
            (&[("x-forwarded-host", "a b/c")], "inside"),
            (&[("x-forwarded-port", "many")], "inside"),
        ] {
            assert_eq!(told(headers).2, host, "{headers:?}");
        }
        assert_eq!(told(&[("x-forwarded-proto", "gopher")]).1, Scheme::Http);
    }

    #[test]
    fn the_standard_header_says_the_same_in_one() {
        let value =
            "for=1.1.1.1;proto=http, For=\"[2001:db8::1]:47\";Proto=https;host=\"a.example:8\", for=10.2.2.2";
        let expected = ("[2001:db8::1]:47".to_owned(), Scheme::Https, "a.example:8".to_owned());
        assert_eq!(told(&[("forwarded", value)]), expected);
        assert_eq!(client_of(&[("forwarded", "for=1.1.1.1, for=_hidden, for=10.2.2.2")]), "10.2.2.2:0");
        assert_eq!(client_of(&[("forwarded", "for=\"a,b;c\", for=203.0.113.7")]), "203.0.113.7:0");
        let both = [("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "203.0.113.7")];
        assert_eq!(client_of(&both), "203.0.113.7:0");
        assert_eq!(told(&[("forwarded", "proto=https")]).1, Scheme::Https);
    }

    #[test]
    fn from_anybody_else_nothing_is_believed_and_nothing_handed_on() {
        let headers = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-port", "1"),
            ("forwarded", "for=1.1.1.1;host=evil;proto=https"),
        ];
        assert_eq!(taken(&headers, None), (DIRECT.to_owned(), Scheme::Http, "inside".to_owned()));
    }
}
