//! JSON, ancestry, checksum and files of images. Layers are in `layer`.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::{
    Api,
    errors::Failure,
    json::{X_DOCKER_CHECKSUM_PAYLOAD, X_DOCKER_SIZE, answer, done, keep, not_modified, verbatim},
    read_body,
};
use crate::{
    http::exchange::{Request, Response, ResponseBody, with_body},
    registry::v1::names::ImageId,
};

/// Whether the client has an earlier answer. What is complete never changes, so that any date will do;
/// unlike 0.9.1, the image must be there all the same.
pub(super) fn is_conditional(request: &Request) -> bool {
    request.headers.contains_key(header::IF_MODIFIED_SINCE)
}

fn kept(content: impl Into<Bytes>) -> Response {
    let mut response = verbatim(StatusCode::OK, content);
    keep(&mut response);
    response
}

impl Api {
    pub(super) async fn get_image_json(&self, id: &ImageId, request: Request) -> Result<Response, Failure> {
        let image = self.registry.image(&request.call(), id).await?;
        if is_conditional(&request) {
            return Ok(not_modified());
        }
        let mut response = kept(image.json);
        let headers = response.headers_mut();
        if let Some(size) = image.layer_size {
            headers.insert(X_DOCKER_SIZE, HeaderValue::from(size));
        }
        for checksum in image.checksums {
            if let Ok(checksum) = HeaderValue::try_from(checksum) {
                headers.append(X_DOCKER_CHECKSUM_PAYLOAD, checksum);
            }
        }
        Ok(response)
    }

    pub(super) async fn put_image_json(&self, id: &ImageId, request: Request) -> Result<Response, Failure> {
        let call = request.call();
        let content = read_body(request).await?;
        self.registry.put_image_json(&call, id, content).await?;
        Ok(done())
    }

    pub(super) async fn get_ancestry(&self, id: &ImageId, request: Request) -> Result<Response, Failure> {
        let ancestry = self.registry.ancestry(&request.call(), id).await?;
        if is_conditional(&request) {
            return Ok(not_modified());
        }
        let mut response = answer(StatusCode::OK, &ancestry);
        keep(&mut response);
        Ok(response)
    }

    pub(super) async fn put_checksum(&self, id: &ImageId, request: Request) -> Result<Response, Failure> {
        let checksum = request.headers.get(X_DOCKER_CHECKSUM_PAYLOAD).ok_or(Failure::NoPayloadChecksum)?;
        // A value that is no text is a checksum of nothing.
        let checksum = String::from_utf8_lossy(checksum.as_bytes());
        self.registry.put_checksum(&request.call(), id, &checksum).await?;
        Ok(done())
    }

    pub(super) async fn get_files(&self, id: &ImageId, request: Request) -> Result<Response, Failure> {
        if is_conditional(&request) {
            self.registry.layer_size(&request.call(), id).await?;
            return Ok(not_modified());
        }
        let list = self.registry.files(&request.call(), id).await?;
        let mut response = with_body(StatusCode::OK, ResponseBody::Reading(list));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        keep(&mut response);
        Ok(response)
    }

    /// Differences between layers were made by a worker behind a Redis queue, which is not part of this
    /// server. 0.9.1 without the queue gives the same answer.
    pub(super) async fn get_diff(&self, id: &ImageId, request: Request) -> Result<Response, Failure> {
        self.registry.refuse_in_progress(&request.call(), id).await?;
        Err(Failure::NoDiffQueue)
    }
}
