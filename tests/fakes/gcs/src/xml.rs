//! The XML API: objects, listings, sessions, copies.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::Incoming;
use jiff::Timestamp;
use quick_xml::escape::escape;

use crate::{
    answer::{Answer, Refusal, document, empty},
    auth::Proved,
    fake::{Asked, Fake, bucket_and_key},
    listing::{MOST, Page, Wanted},
    signature::encode,
    store::{Content, Described, Stored},
    transfer,
};

impl Fake {
    pub(crate) async fn answer_xml(&self, asked: &Asked, body: Incoming) -> Result<Answer, Refusal> {
        let (bucket, key) = bucket_and_key(&asked.path)?;
        // The address of a session is its own proof.
        if let Some(id) = asked.query_value("upload_id") {
            return self.xml_session(asked, id, body).await;
        }
        let proved = self.prove(asked)?;
        self.state().bucket(&bucket)?;
        let method = asked.method.as_str();
        let Some(key) = key else {
            return match method {
                "GET" if asked.query_value("list-type") == Some("2") => self.list_xml(asked, &bucket),
                "HEAD" => Ok(empty(200)),
                _ => Err(Refusal::new(400, "InvalidArgument", "This is not a request that the fake knows.")),
            };
        };
        match method {
            "GET" | "HEAD" => self.get(asked, &bucket, &key).await,
            "PUT" => match header_of(asked, "copy-source") {
                Some(source) => self.copy_xml(asked, source, &bucket, &key),
                None => self.put_xml(asked, &bucket, &key, &proved, body).await,
            },
            "POST" if asked.header("x-goog-resumable") == Some("start") => {
                let (described, condition) = (described(asked), condition(asked)?);
                let id = self.begin_session(&bucket, &key, described, condition).await?;
                let mut answer = empty(201);
                let location = format!("{}{}?upload_id={id}", self.endpoint, asked.path);
                set(answer.headers_mut(), header::LOCATION.as_str(), &location);
                Ok(answer)
            }
            "DELETE" => {
                let mut state = self.state();
                state.check_generation(&bucket, &key, condition(asked)?)?;
                state.remove(&bucket, &key).map(|()| empty(204))
            }
            _ => Err(Refusal::new(405, "MethodNotAllowed", "The method is not allowed here.")),
        }
    }

    async fn xml_session(&self, asked: &Asked, id: &str, body: Incoming) -> Result<Answer, Refusal> {
        if asked.method == "DELETE" {
            return self.cancel_session(id);
        }
        match self.continue_session(asked, id, body).await? {
            Err(unfinished) => Ok(unfinished),
            Ok((_, stored)) => {
                let mut answer = empty(200);
                describe(answer.headers_mut(), &stored);
                Ok(answer)
            }
        }
    }

    /// Sends an object, for both APIs.
    pub(crate) async fn get(&self, asked: &Asked, bucket: &str, key: &str) -> Result<Answer, Refusal> {
        let stored = {
            let state = self.state();
            let stored = state.object(bucket, key)?;
            state.check_generation(bucket, key, condition(asked)?)?;
            stored
        };
        if asked.header("if-match").is_some_and(|tag| tag != "*" && tag != stored.etag()) {
            return Err(Refusal::condition_failed());
        }
        let size = stored.size;
        let range = match asked.header("range") {
            Some(text) => Some(
                parse_range(text, size)
                    .ok_or_else(|| Refusal::new(416, "InvalidRange", "The range cannot be satisfied."))?,
            ),
            None => None,
        };
        let (first, end) = range.unwrap_or((0, size));
        let mut answer = empty(200);
        if asked.method != "HEAD" {
            *answer.body_mut() = transfer::send(&stored.file, first, end - first).await?;
        }
        let headers = answer.headers_mut();
        describe(headers, &stored);
        set(headers, header::CONTENT_LENGTH.as_str(), &(end - first).to_string());
        if range.is_some() {
            set(headers, header::CONTENT_RANGE.as_str(), &format!("bytes {first}-{}/{size}", end - 1));
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        let overrides = asked
            .query
            .iter()
            .filter_map(|(name, value)| Some((name.strip_prefix("response-")?.to_owned(), value)));
        for (name, value) in overrides {
            set(answer.headers_mut(), &name, value);
        }
        Ok(answer)
    }

    async fn put_xml(
        &self,
        asked: &Asked,
        bucket: &str,
        key: &str,
        proved: &Proved,
        body: Incoming,
    ) -> Result<Answer, Refusal> {
        let content = transfer::receive(body, self.new_file(), &asked.headers, proved).await?;
        let stored = self.state().insert(bucket, key, content, described(asked), condition(asked)?)?;
        let mut answer = empty(200);
        set(answer.headers_mut(), "etag", &stored.etag());
        set(answer.headers_mut(), "x-goog-generation", &stored.generation.to_string());
        Ok(answer)
    }

    fn copy_xml(&self, asked: &Asked, source: &str, bucket: &str, key: &str) -> Result<Answer, Refusal> {
        let (from_bucket, from_key) = bucket_and_key(source)?;
        let from_key = from_key.ok_or_else(|| Refusal::invalid("the source has no name"))?;
        let directive = header_of(asked, "metadata-directive").unwrap_or("COPY");
        let mut state = self.state();
        let from = state.object(&from_bucket, &from_key)?;
        let described = if directive == "REPLACE" { described(asked) } else { from.described.clone() };
        let (md5, crc32c) = (from.md5, from.crc32c);
        let content = Content { file: from.file.clone(), size: from.size, md5, crc32c };
        let stored = state.insert(bucket, key, content, described, condition(asked)?)?;
        drop(state);
        let mut answer = document(format!(
            "<?xml version='1.0' encoding='UTF-8'?><CopyObjectResult><LastModified>{}</LastModified>\
             <ETag>{}</ETag></CopyObjectResult>",
            instant(stored.updated),
            escape(stored.etag().as_str())
        ));
        set(answer.headers_mut(), "x-goog-generation", &stored.generation.to_string());
        Ok(answer)
    }

    fn list_xml(&self, asked: &Asked, bucket: &str) -> Result<Answer, Refusal> {
        let value = |name: &str| asked.query_value(name).unwrap_or_default().to_owned();
        let wanted = Wanted {
            prefix: value("prefix"),
            delimiter: value("delimiter"),
            token: asked.query_value("continuation-token").map(str::to_owned),
            start: None,
            after: asked.query_value("start-after").map(str::to_owned),
            limit: max_of(asked, "max-keys")?,
        };
        let page = Page::of(self.state().bucket(bucket)?, &wanted)?;
        let is_encoded = asked.query_value("encoding-type") == Some("url");
        let name = |text: &str| if is_encoded { encode(text) } else { escape(text).into_owned() };
        let mut text = format!(
            "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>\
             <Name>{bucket}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><IsTruncated>{}</IsTruncated>",
            name(&wanted.prefix),
            page.objects.len() + page.prefixes.len(),
            page.next.is_some()
        );
        if is_encoded {
            text += "<EncodingType>url</EncodingType>";
        }
        if let Some(next) = &page.next {
            text += &format!("<NextContinuationToken>{next}</NextContinuationToken>");
        }
        for (key, stored) in &page.objects {
            text += &format!(
                "<Contents><Key>{}</Key><Generation>{}</Generation><MetaGeneration>1</MetaGeneration>\
                 <LastModified>{}</LastModified><ETag>{}</ETag><Size>{}</Size></Contents>",
                name(key),
                stored.generation,
                instant(stored.updated),
                escape(stored.etag().as_str()),
                stored.size
            );
        }
        for prefix in &page.prefixes {
            text += &format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", name(prefix));
        }
        Ok(document(text + "</ListBucketResult>"))
    }
}

/// `x-goog-NAME` or `x-amz-NAME`.
fn header_of<'a>(asked: &'a Asked, name: &str) -> Option<&'a str> {
    asked.header(&format!("x-goog-{name}")).or_else(|| asked.header(&format!("x-amz-{name}")))
}

/// The precondition of a request of either API; 0 is for no object.
pub(crate) fn condition(asked: &Asked) -> Result<Option<u64>, Refusal> {
    let text = asked.header("x-goog-if-generation-match").or_else(|| asked.query_value("ifGenerationMatch"));
    text.map(|text| text.parse().map_err(|_| Refusal::invalid("a generation is a number"))).transpose()
}

fn described(asked: &Asked) -> Described {
    let mut described = Described {
        content_type: asked.header("content-type").unwrap_or("application/octet-stream").to_owned(),
        metadata: BTreeMap::new(),
    };
    for (name, value) in &asked.headers {
        let name = name.as_str();
        let key = name.strip_prefix("x-goog-meta-").or_else(|| name.strip_prefix("x-amz-meta-"));
        if let (Some(key), Ok(value)) = (key, value.to_str()) {
            described.metadata.insert(key.to_owned(), value.to_owned());
        }
    }
    described
}

fn describe(headers: &mut HeaderMap, stored: &Arc<Stored>) {
    set(headers, "etag", &stored.etag());
    set(headers, "x-goog-generation", &stored.generation.to_string());
    set(headers, "x-goog-metageneration", "1");
    set(headers, "x-goog-stored-content-length", &stored.size.to_string());
    let sums = (BASE64_STANDARD.encode(stored.crc32c.to_be_bytes()), BASE64_STANDARD.encode(stored.md5));
    let hash = format!("crc32c={},md5={}", sums.0, sums.1);
    set(headers, "x-goog-hash", &hash);
    set(headers, "last-modified", &httpdate::fmt_http_date(stored.updated));
    set(headers, "accept-ranges", "bytes");
    set(headers, "content-type", &stored.described.content_type);
    for (name, value) in &stored.described.metadata {
        set(headers, &format!("x-goog-meta-{name}"), value);
    }
}

fn set(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

fn max_of(asked: &Asked, name: &str) -> Result<usize, Refusal> {
    let max = asked.query_value(name).map(str::parse).transpose();
    Ok(max.map_err(|_| Refusal::invalid(format!("{name} is no number")))?.unwrap_or(MOST).min(MOST))
}

/// RFC 3339 with milliseconds.
pub(crate) fn instant(time: SystemTime) -> String {
    let time = Timestamp::try_from(time).unwrap_or_default();
    format!("{}", time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
}

/// First byte and the one behind the last of a `Range` header.
fn parse_range(text: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let (first, end) = match (first, last) {
        ("", length) => (size.saturating_sub(length.parse().ok()?), size),
        (first, "") => (first.parse().ok()?, size),
        (first, last) => (first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?.min(size)),
    };
    (first < end).then_some((first, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_at_the_end_and_refused_behind_it() {
        assert_eq!(parse_range("bytes=0-9", 100), Some((0, 10)));
        assert_eq!(parse_range("bytes=90-200", 100), Some((90, 100)));
        assert_eq!(parse_range("bytes=-5", 100), Some((95, 100)));
        assert_eq!(parse_range("bytes=5-", 100), Some((5, 100)));
        assert_eq!(parse_range("bytes=100-", 100), None);
        assert_eq!(parse_range("bytes=0-", 0), None);
    }
}
