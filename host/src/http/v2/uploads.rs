//! `/v2/NAME/blobs/uploads/` and `/v2/NAME/blobs/uploads/ID`.

use docker_registry_driver_api::ByteStream;
use http::{HeaderName, StatusCode, header};

use super::{
    Api, CONTENT_DIGEST, Head, Refusal,
    errors::{BLOB_UPLOAD_INVALID, BLOB_UPLOAD_UNKNOWN, DIGEST_INVALID, SIZE_INVALID},
    parse_digest, ranges,
};
use crate::{
    http::exchange::{self, Response},
    registry::{
        digest::{Algorithm, Digest},
        v2::{Chunk, Failure, Mount, RepositoryName, UploadLocation},
    },
};

const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");

impl Api {
    /// `POST`: a whole blob (end-4b), a mount from another repository (end-11), or the beginning of an
    /// upload (end-4a, end-4c).
    pub(super) async fn start_upload(
        &self,
        request: &Head,
        body: ByteStream,
        name: &RepositoryName,
    ) -> Result<Response, Refusal> {
        let call = request.call();
        if let Some(mount) = request.parameter("mount") {
            let digest = parse_digest(&mount)?;
            // A mount that cannot be done begins an upload (spec, "Mounting a blob from another repository"),
            // and from a repository that cannot exist nothing can be mounted.
            let possible = match request.parameter("from").map(|from| RepositoryName::parse(&from)) {
                None => Some(None),
                Some(source) => source.map(Some),
            };
            // A blob is mounted only from where this client could read it; without a source, from anywhere.
            let possible = possible.filter(|source| match source {
                Some(source) => request.login.may_pull(source.as_str()),
                None => request.login.may_everything(),
            });
            if let Some(source) = possible
                && self.registry.mount_blob(call, name, &digest, source.as_ref()).await? == Mount::Done
            {
                return Ok(created(name, &digest));
            }
        } else if let Some(digest) = request.parameter("digest") {
            let digest = parse_digest(&digest)?;
            self.registry.push_blob(call, name, &digest, body, request.content_length()).await?;
            return Ok(created(name, &digest));
        }
        let algorithm = match request.parameter("digest-algorithm") {
            None => Algorithm::Sha256,
            Some(algorithm) => Algorithm::from_name(&algorithm)
                .ok_or_else(|| Refusal::new(DIGEST_INVALID, "digest-algorithm must be sha256 or sha512"))?,
        };
        let begun = self.registry.start_upload(name, algorithm);
        let mut response = exchange::empty(StatusCode::ACCEPTED);
        for (header, value) in progress(name, &begun.location, begun.offset) {
            exchange::set(&mut response, header, &value);
        }
        Ok(response)
    }

    /// `GET`: how far the upload is (end-13).
    pub(super) async fn get_upload(
        &self,
        request: &Head,
        name: &RepositoryName,
        id: &str,
    ) -> Result<Response, Refusal> {
        let at = parse_location(id)?;
        let status = self.registry.upload_status(request.call(), name, &at).await?;
        let mut response = exchange::empty(StatusCode::NO_CONTENT);
        for (header, value) in progress(name, &status.location, status.offset) {
            exchange::set(&mut response, header, &value);
        }
        Ok(response)
    }

    /// `PATCH`: a chunk, or a stream of unknown length (end-5).
    pub(super) async fn patch_upload(
        &self,
        request: &Head,
        body: ByteStream,
        name: &RepositoryName,
        id: &str,
    ) -> Result<Response, Refusal> {
        let (call, at) = (request.call(), parse_location(id)?);
        let chunk = chunk_of(request, body)?;
        let appended = self.registry.append_upload(call, name, &at, chunk).await;
        let status = appended.map_err(|failure| upload_refusal(failure, name, at))?;
        let mut response = exchange::empty(StatusCode::ACCEPTED);
        for (header, value) in progress(name, &status.location, status.offset) {
            exchange::set(&mut response, header, &value);
        }
        Ok(response)
    }

    /// `PUT`: the end of an upload, with its last chunk or without (end-6).
    pub(super) async fn put_upload(
        &self,
        request: &Head,
        body: ByteStream,
        name: &RepositoryName,
        id: &str,
    ) -> Result<Response, Refusal> {
        let (call, at) = (request.call(), parse_location(id)?);
        let digest = request.parameter("digest").ok_or_else(|| {
            Refusal::new(DIGEST_INVALID, "the last request of an upload must name the digest")
        })?;
        let digest = parse_digest(&digest)?;
        let chunk = chunk_of(request, body)?;
        let finished = self.registry.finish_upload(call, name, &at, &digest, chunk).await;
        finished.map_err(|failure| upload_refusal(failure, name, at))?;
        Ok(created(name, &digest))
    }

    /// `DELETE`: cancels the upload (end-14).
    pub(super) async fn delete_upload(
        &self,
        request: &Head,
        name: &RepositoryName,
        id: &str,
    ) -> Result<Response, Refusal> {
        let at = parse_location(id)?;
        self.registry.cancel_upload(request.call(), name, &at).await?;
        Ok(exchange::empty(StatusCode::NO_CONTENT))
    }
}

/// The body of a request with what its headers say of it.
fn chunk_of(request: &Head, body: ByteStream) -> Result<Chunk, Refusal> {
    let length = request.content_length();
    let range = match request.headers.get(header::CONTENT_RANGE) {
        // Without bytes there is no range; a last request without a body may repeat the header.
        None => None,
        Some(_) if length == Some(0) => None,
        Some(range) => {
            let range = range.to_str().ok().and_then(ranges::chunk);
            let message = "the Content-Range of a chunk is FIRST-LAST, in bytes";
            Some(range.ok_or_else(|| Refusal::new(BLOB_UPLOAD_INVALID, message))?)
        }
    };
    let Some((start, wanted)) = range else {
        return Ok(Chunk { body, announced: length, start: None });
    };
    if length.is_some_and(|length| length != wanted) {
        return Err(Refusal::new(SIZE_INVALID, "Content-Length and Content-Range name different lengths"));
    }
    Ok(Chunk { body, announced: Some(wanted), start: Some(start) })
}

fn parse_location(text: &str) -> Result<UploadLocation, Refusal> {
    UploadLocation::parse(text)
        .ok_or_else(|| Refusal::new(BLOB_UPLOAD_UNKNOWN, "the repository has no such upload"))
}

fn upload_refusal(failure: Failure, name: &RepositoryName, at: UploadLocation) -> Refusal {
    let offset = match &failure {
        Failure::UploadOffset { offset } => Some(*offset),
        _ => None,
    };
    let mut refusal = Refusal::from(failure);
    // Tells the client where to go on. What revision it stands at now, the next request finds out; that an upload is
    // still new, nothing but its location says.
    let at = if offset == Some(0) { at } else { UploadLocation::from(at.id) };
    for (header, value) in offset.into_iter().flat_map(|offset| progress(name, &at, offset)) {
        refusal = refusal.header(header, value);
    }
    refusal
}

/// `Range` names the last byte, not the number of bytes, and `0-0` stands for none as well as for one.
fn progress(name: &RepositoryName, at: &UploadLocation, offset: u64) -> [(HeaderName, String); 3] {
    [
        (header::LOCATION, format!("/v2/{name}/blobs/uploads/{at}")),
        (header::RANGE, format!("0-{}", offset.saturating_sub(1))),
        (UPLOAD_UUID, at.id.to_string()),
    ]
}

fn created(name: &RepositoryName, digest: &Digest) -> Response {
    let mut response = exchange::empty(StatusCode::CREATED);
    exchange::set(&mut response, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    exchange::set(&mut response, CONTENT_DIGEST, digest.as_str());
    response
}
