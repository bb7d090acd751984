//! One request, taken apart: which bucket, which object, which question.

use http::{HeaderMap, Method, request::Parts};
use percent_encoding::percent_decode_str;

use crate::address::Address;
use crate::fault::Fault;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// How the store was addressed; `None` in `bucket` for a question about the whole service.
    pub(crate) bucket: Option<String>,
    /// Decoded; empty for a question about the bucket.
    pub(crate) key: String,
    /// Decoded, in the order of the request.
    pub(crate) query: Vec<(String, Option<String>)>,
    pub(crate) headers: HeaderMap,
    pub(crate) host: String,
    /// Region that the host name tells, if it does.
    pub(crate) host_region: Option<String>,
}

impl Call {
    /// Takes a request apart.
    ///
    /// # Errors
    /// As the store answers when it is addressed in a wrong way.
    pub(crate) fn parse(parts: &Parts) -> Result<Self, Fault> {
        // A request that came as to a proxy has its host in the address.
        let host = match parts.uri.authority() {
            Some(authority) => authority.as_str().to_owned(),
            None => text(&parts.headers, "host").unwrap_or_default().to_owned(),
        };
        let path = decode(parts.uri.path())?;
        let path = path.strip_prefix('/').unwrap_or(&path).to_owned();
        let query = match parts.uri.query() {
            None | Some("") => Vec::new(),
            Some(query) => query.split('&').map(pair).collect::<Result<_, _>>()?,
        };
        let address = Address::of(&host, &path)?;
        Ok(Self {
            method: parts.method.clone(),
            bucket: address.bucket,
            key: address.key,
            query,
            headers: parts.headers.clone(),
            host,
            host_region: address.region,
        })
    }

    /// Whether the query has this name.
    pub(crate) fn asks(&self, name: &str) -> bool {
        self.query.iter().any(|(key, _)| key == name)
    }

    /// The value of a name of the query; an empty one is none.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name)?.1.as_deref().filter(|value| !value.is_empty())
    }

    /// A number in the query.
    ///
    /// # Errors
    /// `InvalidArgument` when it is none.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, Fault> {
        let Some(value) = self.value(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| {
            Fault::argument(format!("{name} must be a number"))
                .detail("ArgumentName", name)
                .detail("ArgumentValue", value)
        })
    }

    /// A header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        text(&self.headers, name)
    }

    /// Whether the object may not be there already.
    pub(crate) fn forbids_overwrite(&self) -> bool {
        self.header("x-oss-forbid-overwrite") == Some("true")
    }

    /// Whether names in XML are to be encoded.
    pub(crate) fn encodes_names(&self) -> Result<bool, Fault> {
        match self.value("encoding-type") {
            None => Ok(false),
            Some("url") => Ok(true),
            Some(other) => Err(Fault::argument(format!("encoding-type {other} is unknown"))),
        }
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn pair(text: &str) -> Result<(String, Option<String>), Fault> {
    match text.split_once('=') {
        Some((key, value)) => Ok((decode(key)?, Some(decode(value)?))),
        None => Ok((decode(text)?, None)),
    }
}

fn decode(text: &str) -> Result<String, Fault> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(|text| text.into_owned()).map_err(|_| Fault::argument("the address is not UTF-8"))
}
