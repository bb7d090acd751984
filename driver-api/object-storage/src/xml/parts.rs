//! Large objects in parts.

use std::ops::Range;

use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, Result};
use http::{Method, header};

use super::{
    XmlBucket,
    dialect::{Dialect, Write},
    documents::{self, InitiateMultipartUploadResult, ListMultipartUploadsResult, Written},
    request::Request,
};
use crate::{
    bucket::{Begun, Content, NewPart, Part},
    http::{Call, Subject},
};

/// Separates the two markers of a listing of uploads; no key has it.
const BETWEEN_MARKERS: char = '\n';

impl<D: Dialect> XmlBucket<D> {
    pub(super) async fn create_upload(&self, key: &str, mark: Option<&str>) -> Result<String> {
        let mut request = Request::new(Method::POST, key).query("uploads", "");
        if let Some(mark) = mark {
            request = request.header(&self.mark_header(), mark)?;
        }
        self.dialect.write_headers(Write::Begin, &mut request.headers);
        // Beginning twice leaves one that is never finished, which is garbage and no damage.
        let call = Call::reading("begin", Subject::Bucket);
        let answer = self.exchange(call, request, Content::default()).await?;
        let begun = self.document::<InitiateMultipartUploadResult>(call, answer).await?;
        if begun.upload_id.is_empty() {
            return Err(Error::new(ErrorKind::Corrupt, "the store began an upload without a name"));
        }
        Ok(begun.upload_id)
    }

    pub(super) async fn upload_part(&self, key: &str, id: &str, part: NewPart) -> Result<Part> {
        let size = part.content.content_length() as u64;
        let mut request =
            Request::new(Method::PUT, key).query("partNumber", part.number).query("uploadId", id);
        self.dialect.write_headers(Write::Part, &mut request.headers);
        // Sending a part again replaces it: its outcome need not be known.
        let call = Call::reading("part", Subject::Upload);
        let answer = self.exchange_compared(call, request, part.content).await.map_err(|refusal| {
            let mut error = Error::from(refusal);
            error.outcome_unknown = false;
            error
        })?;
        let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let tag = tag.filter(|tag| !tag.is_empty()).ok_or_else(|| no_tag(part.number))?.to_owned();
        Ok(Part { number: part.number, size, tag })
    }

    pub(super) async fn upload_part_copy(
        &self,
        key: &str,
        id: &str,
        number: u32,
        from: &str,
        range: Range<u64>,
    ) -> Result<Part> {
        let prefix = self.dialect.form().header_prefix;
        let last = range.end.max(range.start + 1) - 1;
        let mut request = Request::new(Method::PUT, key)
            .query("partNumber", number)
            .query("uploadId", id)
            .header(&format!("{prefix}copy-source"), &self.copy_source(from))?
            .header(&format!("{prefix}copy-source-range"), &format!("bytes={}-{last}", range.start))?;
        self.dialect.write_headers(Write::CopyPart, &mut request.headers);
        let call = Call::reading("copy part", Subject::Upload).slow();
        let answer = self.exchange(call, request, Content::default()).await?;
        let written = self.document::<Written>(call, answer).await?;
        let tag = written.etag.filter(|tag| !tag.is_empty()).ok_or_else(|| no_tag(number))?;
        Ok(Part { number, size: range.end - range.start, tag })
    }

    pub(super) async fn complete_upload(
        &self,
        key: &str,
        id: &str,
        parts: &[Part],
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let mut request = Request::new(Method::POST, key)
            .query("uploadId", id)
            .header("content-type", "application/xml")?;
        self.dialect.condition(condition, &mut request.headers)?;
        self.dialect.write_headers(Write::Finish, &mut request.headers);
        let content = Content::from(documents::complete_request(parts));
        let call = Call::writing("finish", Subject::Upload).slow();
        let answer = match self.exchange(call, request, content).await {
            Ok(answer) => answer,
            // With If-Match on an object that is gone, S3 speaks of the key and not of the upload.
            Err(refusal) if refusal.code() == "NoSuchKey" && *condition != Condition::Always => {
                let mut error = Error::from(refusal);
                error.kind = ErrorKind::ConditionFailed;
                return Err(error);
            }
            Err(refusal) => return Err(refusal.into()),
        };
        let written = self.document::<Written>(call, answer).await?;
        Ok(written.etag.filter(|tag| !tag.is_empty()).map(ETag))
    }

    pub(super) async fn abort_upload(&self, key: &str, id: &str) -> Result<()> {
        let request = Request::new(Method::DELETE, key).query("uploadId", id);
        let call = Call::writing("abandon", Subject::Upload);
        match self.exchange(call, request, Content::default()).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) async fn list_uploads(
        &self,
        prefix: &str,
        after: Option<&str>,
    ) -> Result<(Vec<Begun>, Option<String>)> {
        let mut request = Request::new(Method::GET, "").query("uploads", "").query("max-uploads", 1_000);
        if !prefix.is_empty() {
            request = request.query("prefix", prefix);
        }
        if self.dialect.form().encoded_listings {
            request = request.query("encoding-type", "url");
        }
        if let Some((key, id)) = after.and_then(|after| after.split_once(BETWEEN_MARKERS)) {
            request = request.query("key-marker", key);
            if !id.is_empty() {
                request = request.query("upload-id-marker", id);
            }
        }
        let call = Call::reading("list begun", Subject::Bucket);
        let answer = self.exchange(call, request, Content::default()).await?;
        let (begun, next) = self.document::<ListMultipartUploadsResult>(call, answer).await?.page()?;
        Ok((begun, next.map(|(key, id)| format!("{key}{BETWEEN_MARKERS}{id}"))))
    }
}

fn no_tag(number: u32) -> Error {
    Error::new(ErrorKind::Corrupt, format!("the store gave no entity tag for part {number}")).retryable(true)
}
