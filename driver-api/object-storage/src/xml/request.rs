//! One request: its address, its signature, its content.

use docker_registry_driver_api::{Error, ErrorKind, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    XmlBucket, checks,
    dialect::{Address, Dialect, Payload, PayloadCheck},
};
use crate::{
    bucket::Content,
    http::{AnswerBody, Call, Refusal},
    sums::Sums,
};

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same, with the separator of folders kept.
const RESERVED_IN_KEY: &AsciiSet = &RESERVED.remove(b'/');

/// A key as it stands in an address or in the source of a copy, encoded exactly once.
pub fn encode(key: &str) -> String {
    utf8_percent_encode(key, RESERVED_IN_KEY).to_string()
}

/// A request that is not yet signed.
#[derive(Debug, Clone)]
pub struct Request {
    pub(super) method: Method,
    pub(super) key: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
}

impl Request {
    /// A request for an object, or for the bucket where `key` is empty.
    pub fn new(method: Method, key: &str) -> Self {
        Self { method, key: key.to_owned(), query: Vec::new(), headers: HeaderMap::new() }
    }

    /// Adds to the query; a value that is empty goes without `=`.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds a header.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] for what cannot be a header.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self> {
        let wrong = || Error::new(ErrorKind::Internal, format!("this cannot be the header {name}"));
        let name_of = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        self.headers.insert(name_of, HeaderValue::from_str(value).map_err(|_| wrong())?);
        Ok(self)
    }

    /// The head of the request for a bucket at `address`.
    pub(super) fn head(self, address: &Address) -> Result<http::request::Parts> {
        let mut text = format!("{}/{}", address.base, encode(&self.key));
        for (at, (name, value)) in self.query.iter().enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.extend(utf8_percent_encode(name, RESERVED));
            if !value.is_empty() {
                text.push('=');
                text.extend(utf8_percent_encode(value, RESERVED));
            }
        }
        let wrong =
            |_| Error::new(ErrorKind::InvalidConfiguration, "the endpoint and the bucket make no address");
        let uri: Uri = text.parse().map_err(wrong)?;
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = self.method;
        head.uri = uri;
        head.headers = self.headers;
        Ok(head)
    }
}

impl<D: Dialect> XmlBucket<D> {
    /// Signs and sends a request; drivers use it for what only their store has.
    ///
    /// # Errors
    /// Every answer that is not 2xx, and none at all.
    pub async fn exchange(
        &self,
        call: Call,
        request: Request,
        content: Content,
    ) -> Result<http::Response<AnswerBody>, Refusal> {
        let check = if content.content_length() == 0 {
            PayloadCheck::Nothing
        } else {
            self.dialect.form().payload_check
        };
        let sums = Sums::of(&content, check == PayloadCheck::Md5, check == PayloadCheck::SignedHash).await?;
        self.exchange_hashed(call, request, content, &sums).await
    }

    /// The same, for content whose hashes are known already.
    pub(super) async fn exchange_hashed(
        &self,
        call: Call,
        mut request: Request,
        content: Content,
        sums: &Sums,
    ) -> Result<http::Response<AnswerBody>, Refusal> {
        let length = content.content_length() as u64;
        let check = self.dialect.form().payload_check;
        let mut payload = Payload { length, sha256: None };
        if length == 0 && check == PayloadCheck::SignedHash {
            payload.sha256 = Some(checks::SHA256_OF_NOTHING.to_owned());
        } else if check == PayloadCheck::SignedHash {
            payload.sha256 = sums.sha256.clone();
        }
        if let Some(md5) = &sums.md5
            && check == PayloadCheck::Md5
        {
            request = request.header("content-md5", &checks::base64(md5))?;
        }
        let mut head = request.head(&self.address)?;
        self.dialect.sign(&mut head, &payload).await?;
        self.transport.send(call, head, content).await
    }
}
