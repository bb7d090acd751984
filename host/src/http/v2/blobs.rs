//! `/v2/NAME/blobs/DIGEST`.

use docker_registry_driver_api::ReadRange;
use http::{StatusCode, header};

use super::{Api, CONTENT_DIGEST, Head, Refusal, parse_digest, ranges};
use crate::{
    http::exchange::{self, Response, ResponseBody},
    registry::{digest::Digest, v2::RepositoryName},
};

/// A year: content by digest never changes.
const CACHE_CONTROL: &str = "max-age=31536000";
/// The same when there are passwords: a cache that others share would give it to everybody.
const PRIVATE_CACHE_CONTROL: &str = "private, max-age=31536000";

impl Api {
    /// `GET`: the blob or the wanted range of it (OCI distribution specification, end-2).
    pub(super) async fn get_blob(
        &self,
        request: &Head,
        name: &RepositoryName,
        digest: &str,
    ) -> Result<Response, Refusal> {
        let digest = parse_digest(digest)?;
        let etag = etag(&digest);
        if ranges::is_cached(&request.headers, &etag) {
            return self.head_blob_by(request, name, &digest).await;
        }
        if self.redirects
            && let Some(address) = self.registry.blob_address(request.call(), name, &digest).await?
        {
            return Ok(elsewhere(&address, &digest));
        }
        let range = ranges::requested(&request.headers, &etag);
        let reading = self.registry.open_blob(request.call(), name, &digest, range).await?;
        let content_range = (range != ReadRange::Full).then(|| {
            let last = (reading.offset + reading.length).saturating_sub(1);
            format!("bytes {}-{last}/{}", reading.offset, reading.total_size)
        });
        let status = if content_range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        let mut response = exchange::with_body(status, ResponseBody::Reading(reading));
        set_facts(&mut response, request, &digest);
        exchange::set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
        if let Some(content_range) = content_range {
            exchange::set(&mut response, header::CONTENT_RANGE, &content_range);
        }
        Ok(response)
    }

    /// `HEAD`: facts of the blob, without opening it. A range has no meaning here (RFC 9110, 14.2).
    pub(super) async fn head_blob(
        &self,
        request: &Head,
        name: &RepositoryName,
        digest: &str,
    ) -> Result<Response, Refusal> {
        self.head_blob_by(request, name, &parse_digest(digest)?).await
    }

    async fn head_blob_by(
        &self,
        request: &Head,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response, Refusal> {
        let facts = self.registry.stat_blob(request.call(), name, digest).await?;
        if ranges::is_cached(&request.headers, &etag(digest)) {
            let mut response = exchange::empty(StatusCode::NOT_MODIFIED);
            set_facts(&mut response, request, digest);
            return Ok(response);
        }
        let mut response = exchange::empty(StatusCode::OK);
        set_facts(&mut response, request, digest);
        exchange::set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
        exchange::set(&mut response, header::CONTENT_LENGTH, &facts.size.to_string());
        Ok(response)
    }

    /// `DELETE`: takes the blob out of this repository (end-10).
    pub(super) async fn delete_blob(
        &self,
        request: &Head,
        name: &RepositoryName,
        digest: &str,
    ) -> Result<Response, Refusal> {
        let digest = parse_digest(digest)?;
        self.check_deletion()?;
        self.registry.unlink_blob(request.call(), name, &digest).await?;
        let mut response = exchange::empty(StatusCode::ACCEPTED);
        exchange::set(&mut response, CONTENT_DIGEST, digest.as_str());
        Ok(response)
    }
}

/// The tag of content by digest is the digest.
pub(super) fn etag(digest: &Digest) -> String {
    ["\"", digest.as_str(), "\""].concat()
}

fn set_facts(response: &mut Response, request: &Head, digest: &Digest) {
    exchange::set(response, CONTENT_DIGEST, digest.as_str());
    exchange::set(response, header::ETAG, &etag(digest));
    exchange::set(response, header::ACCEPT_RANGES, "bytes");
    let cache_control = if request.login.is_asked_for() { PRIVATE_CACHE_CONTROL } else { CACHE_CONTROL };
    exchange::set(response, header::CACHE_CONTROL, cache_control);
}

/// Sends the client to an address of the storage, which works for a while and must not be kept longer than that.
fn elsewhere(address: &str, digest: &Digest) -> Response {
    let mut response = exchange::empty(StatusCode::TEMPORARY_REDIRECT);
    exchange::set(&mut response, header::LOCATION, address);
    exchange::set(&mut response, header::CACHE_CONTROL, "no-store");
    exchange::set(&mut response, CONTENT_DIGEST, digest.as_str());
    response
}
