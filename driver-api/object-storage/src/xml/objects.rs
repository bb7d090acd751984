//! Whole objects: reading, writing, listing, copying, deleting, signed addresses.

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, ReadRange, Result};
use http::{Method, StatusCode, header, response::Parts};

use super::{
    XmlBucket, checks,
    dialect::{Dialect, Listings, PayloadCheck, Write},
    documents::{self, DeleteResult, ListBucketResult, Written},
    request::{Request, encode},
};
use crate::{
    bucket::{Content, Facts, Limits, ListCall, Listing, MARK, Opened, SignCall},
    http::{
        AnswerBody, Call, Record, Refusal, Subject, content_length, content_range, fault, range_header,
        says_empty,
    },
    sums::{self, Sums},
};

/// Most bytes of a document: a page of 1,000 long keys, every byte of them encoded, has 5 MiB.
pub(super) const LARGEST_DOCUMENT: usize = 16 << 20;
/// Headers that a signed address can ask for.
const RESPONSE_HEADERS: [&str; 6] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
];

impl<D: Dialect> XmlBucket<D> {
    pub(super) async fn probe_bucket(&self, root: &str) -> Result<()> {
        let mut request = Request::new(Method::GET, "");
        if self.dialect.form().listings == Listings::Second {
            request = request.query("list-type", 2);
        }
        let call = Call::reading("probe", Subject::Bucket);
        let answer = self
            .exchange(call, request.query("max-keys", 1).query("prefix", root), Content::default())
            .await?;
        self.document::<ListBucketResult>(call, answer).await.map(drop).map_err(|error| {
            if error.kind != ErrorKind::Corrupt {
                return error;
            }
            // A portal's login page, the store's console, any other web server.
            let advice = self.transport.advice();
            Error::new(
                ErrorKind::InvalidConfiguration,
                format!("what answers is no {}: check {}", advice.store, advice.endpoint),
            )
        })
    }

    pub(super) async fn get_object(
        &self,
        key: &str,
        range: ReadRange,
        if_match: Option<&ETag>,
    ) -> Result<Opened> {
        let mut request = Request::new(Method::GET, key);
        if let Some(wanted) = range_header(range) {
            request = request.header("range", &wanted)?;
        }
        if let Some(tag) = if_match {
            self.dialect.read_condition(tag, &mut request.headers)?;
        }
        let answer =
            self.exchange(Call::reading("get", Subject::Object), request, Content::default()).await?;
        let (head, body) = answer.into_parts();
        let length = content_length(&head.headers);
        let corrupt = |what: &str| Error::new(ErrorKind::Corrupt, format!("the store's answer {what}"));
        if says_empty(&head.headers) {
            range.resolve(0)?;
        }
        let (offset, length, size) = if head.status == StatusCode::PARTIAL_CONTENT {
            let (offset, length, size) =
                content_range(&head.headers).ok_or_else(|| corrupt("does not say which bytes it has"))?;
            (offset, length, size)
        } else {
            let length = length.ok_or_else(|| corrupt("does not say how long the object is"))?;
            (0, length, length)
        };
        if range.resolve(size)? != (offset, length) {
            return Err(corrupt("has other bytes than were asked for"));
        }
        Ok(Opened { facts: self.facts(&head, size), offset, length, body: body.stream(length) })
    }

    pub(super) async fn head_object(&self, key: &str) -> Result<Facts> {
        let request = Request::new(Method::HEAD, key);
        let answer =
            self.exchange(Call::reading("head", Subject::Object), request, Content::default()).await?;
        let (head, _) = answer.into_parts();
        let size = content_length(&head.headers).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "the store's answer does not say how long the object is")
        })?;
        Ok(self.facts(&head, size))
    }

    fn facts(&self, head: &Parts, size: u64) -> Facts {
        let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        Facts {
            size,
            modified: text("last-modified").and_then(|time| httpdate::parse_http_date(time).ok()),
            etag: self.dialect.tag(&head.headers),
            mark: text(&self.mark_header()).map(str::to_owned),
        }
    }

    /// Name of the header that carries the mark.
    pub(super) fn mark_header(&self) -> String {
        format!("{}meta-{MARK}", self.dialect.form().header_prefix)
    }

    pub(super) async fn put_object(
        &self,
        key: &str,
        content: Content,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<Option<ETag>> {
        let mut request = Request::new(Method::PUT, key);
        if let Some(mark) = mark {
            request = request.header(&self.mark_header(), mark)?;
        }
        self.dialect.condition(condition, &mut request.headers)?;
        self.dialect.write_headers(Write::Put, &mut request.headers);
        let call = Call::writing("put", Subject::Object);
        match self.exchange_compared(call, request, content).await {
            Ok(answer) => Ok(self.dialect.tag(answer.headers())),
            // Nothing is there that could have the tag; S3 answers that with 404.
            Err(refusal) if refusal.code() == "NoSuchKey" && *condition != Condition::Always => {
                let mut error = Error::from(refusal);
                error.kind = ErrorKind::ConditionFailed;
                Err(error)
            }
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// Sends content, and compares the tag that comes back with it.
    pub(super) async fn exchange_compared(
        &self,
        call: Call,
        request: Request,
        content: Content,
    ) -> Result<http::Response<AnswerBody>, Refusal> {
        let form = self.dialect.form();
        let md5 = form.payload_check == PayloadCheck::Md5 || form.etag_is_md5;
        let sha256 = form.payload_check == PayloadCheck::SignedHash;
        let sums = Sums::of(&content, md5, sha256).await?;
        let answer = self.exchange_hashed(call, request, content, &sums).await?;
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        checks::compare(form, answer.headers(), tag, &sums)?;
        Ok(answer)
    }

    pub(super) async fn delete_object(&self, key: &str) -> Result<()> {
        let call = Call::writing("delete", Subject::Object);
        self.exchange(call, Request::new(Method::DELETE, key), Content::default()).await?;
        Ok(())
    }

    pub(super) async fn delete_objects(&self, keys: &[String]) -> Result<Vec<(String, Error)>> {
        let (in_xml, alone): (Vec<&str>, Vec<&str>) =
            keys.iter().map(String::as_str).partition(|key| documents::can_be_in_xml(key));
        let mut stay = Vec::new();
        for key in alone {
            match self.delete_object(key).await {
                Err(error) if !error.is_not_found() => stay.push((key.to_owned(), error)),
                _ => {}
            }
        }
        if in_xml.is_empty() {
            return Ok(stay);
        }
        let call = Call::writing("delete batch", Subject::Bucket);
        let content = Content::from(documents::delete_request(&in_xml));
        let md5 = sums::md5(&content).await?;
        let request = Request::new(Method::POST, "")
            .query("delete", "")
            .header("content-type", "application/xml")?
            // Every store of the family asks for it here.
            .header("content-md5", &checks::base64(&md5))?;
        let answer = self.exchange(call, request, content).await?;
        let (head, body) = answer.into_parts();
        let document = body.bytes(LARGEST_DOCUMENT).await?;
        if document.trim_ascii().is_empty() {
            return Ok(stay);
        }
        self.refuse_error_document(call, &head, &document)?;
        for failed in documents::read::<DeleteResult>(&document)?.errors {
            let record = Record {
                // The batch itself went well; what stays is told by its code.
                status: Some(StatusCode::INTERNAL_SERVER_ERROR),
                code: Some(failed.code),
                message: failed.message,
                ..self.record_of(&head, &[])
            };
            let call = Call::writing("delete", Subject::Object);
            let error = fault::error(self.transport.advice(), call, &record);
            if !error.is_not_found() {
                stay.push((failed.key, error));
            }
        }
        Ok(stay)
    }

    pub(super) async fn list_objects(&self, call: &ListCall) -> Result<Listing> {
        let form = self.dialect.form();
        let mut request = Request::new(Method::GET, "").query("max-keys", call.limit.clamp(1, 1_000));
        if !call.prefix.is_empty() {
            request = request.query("prefix", &call.prefix);
        }
        if call.delimited {
            request = request.query("delimiter", "/");
        }
        if form.encoded_listings {
            request = request.query("encoding-type", "url");
        }
        request = match form.listings {
            Listings::Second => {
                let request = request.query("list-type", 2);
                match (&call.token, &call.after) {
                    (Some(token), _) => request.query("continuation-token", token),
                    (None, Some(after)) => request.query("start-after", after),
                    (None, None) => request,
                }
            }
            Listings::First => match call.token.as_ref().or(call.after.as_ref()) {
                Some(marker) => request.query("marker", marker),
                None => request,
            },
        };
        let http_call = Call::reading("list", Subject::Bucket);
        let answer = self.exchange(http_call, request, Content::default()).await?;
        self.document::<ListBucketResult>(http_call, answer).await?.page(&self.dialect)
    }

    pub(super) async fn copy_object(&self, from: &str, to: &str) -> Result<()> {
        let prefix = self.dialect.form().header_prefix;
        let mut request = Request::new(Method::PUT, to)
            .header(&format!("{prefix}copy-source"), &self.copy_source(from))?
            // The mark of the source belongs to the write that made the source.
            .header(&format!("{prefix}metadata-directive"), "REPLACE")?;
        self.dialect.write_headers(Write::Copy, &mut request.headers);
        let call = Call::writing("copy", Subject::Object).slow();
        let answer = self.exchange(call, request, Content::default()).await?;
        self.document::<Written>(call, answer).await.map(drop)
    }

    /// An object as the source of a copy.
    pub(super) fn copy_source(&self, key: &str) -> String {
        format!("/{}/{}", self.address.bucket, encode(key))
    }

    pub(super) async fn signed_address(&self, call: &SignCall) -> Result<Option<String>> {
        if !self.limits_of().signs {
            return Ok(None);
        }
        let mut request = Request::new(call.method.clone(), &call.key);
        for (name, value) in &call.response_headers {
            if RESPONSE_HEADERS.contains(&name.as_str()) {
                request = request.query(&format!("response-{name}"), value);
            }
        }
        let mut head = request.head(&self.public)?;
        self.dialect.presign(&mut head, call.expires).await?;
        Ok(Some(head.uri.to_string()))
    }

    fn limits_of(&self) -> &Limits {
        self.dialect.limits()
    }

    /// Reads the document of a good answer, which may be an error all the same.
    pub(super) async fn document<T: serde::de::DeserializeOwned>(
        &self,
        call: Call,
        answer: http::Response<AnswerBody>,
    ) -> Result<T> {
        let (head, body) = answer.into_parts();
        let document = body.bytes(LARGEST_DOCUMENT).await?;
        self.refuse_error_document(call, &head, &document)?;
        documents::read(&document).map_err(|error| if call.writes { error.outcome_unknown() } else { error })
    }

    fn refuse_error_document(&self, call: Call, head: &Parts, document: &[u8]) -> Result<()> {
        if !fault::is_error_document(document) {
            return Ok(());
        }
        let mut record = self.record_of(head, document);
        // As if the store had known the outcome when it sent the status.
        record.status = Some(StatusCode::INTERNAL_SERVER_ERROR);
        Err(Refusal::new(self.transport.advice(), call, record).into())
    }

    fn record_of(&self, head: &Parts, document: &[u8]) -> Record {
        let authority = self.address.base.split('/').nth(2).unwrap_or_default().to_owned();
        Record::of_answer(authority, Method::GET, head.status, &head.headers, document)
    }
}
