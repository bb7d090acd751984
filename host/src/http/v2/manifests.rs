//! `/v2/NAME/manifests/REFERENCE`.

use docker_registry_driver_api::{ByteStream, ErrorKind, collect};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::{
    Api, CONTENT_DIGEST, Head, Refusal,
    blobs::etag,
    errors::{MANIFEST_INVALID, MANIFEST_UNKNOWN, TAG_INVALID},
    parse_digest, ranges,
};
use crate::{
    http::exchange::{self, Response, ResponseBody},
    registry::{
        digest::Digest,
        v2::{PutManifest, RepositoryName, Tag},
    },
};

const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
/// Tags that one push by digest may set. The specification wants at least 10.
const MAX_TAGS: usize = 100;

/// How a client names a manifest.
enum Reference {
    Tag(Tag),
    Digest(Digest),
}

impl Reference {
    /// `None` for a text that is neither: no repository can have a manifest of that name.
    fn parse(text: &str) -> Result<Option<Self>, Refusal> {
        if text.contains(':') {
            return Ok(Some(Self::Digest(parse_digest(text)?)));
        }
        Ok(Tag::parse(text).map(Self::Tag))
    }
}

impl Api {
    /// `GET` and `HEAD` (end-3). A manifest is served as it was pushed, whatever `Accept` says: to
    /// convert it would change its digest.
    pub(super) async fn get_manifest(
        &self,
        request: &Head,
        name: &RepositoryName,
        reference: &str,
    ) -> Result<Response, Refusal> {
        let call = request.call();
        let most = self.limits.max_manifest_size;
        let manifest = match Reference::parse(reference)?.ok_or_else(unknown)? {
            Reference::Tag(tag) => self.registry.get_tagged_manifest(call, name, &tag, most).await?,
            Reference::Digest(digest) => self.registry.get_manifest(call, name, digest, most).await?,
        };
        let etag = etag(&manifest.digest);
        let mut response = if ranges::is_cached(&request.headers, &etag) {
            exchange::empty(StatusCode::NOT_MODIFIED)
        } else {
            let mut response = exchange::with_body(StatusCode::OK, ResponseBody::Whole(manifest.content));
            exchange::set(&mut response, header::CONTENT_TYPE, &manifest.media_type);
            response
        };
        exchange::set(&mut response, CONTENT_DIGEST, manifest.digest.as_str());
        exchange::set(&mut response, header::ETAG, &etag);
        Ok(response)
    }

    /// `PUT` by tag or by digest (end-7a), and by digest with tags in the query (end-7b).
    pub(super) async fn put_manifest(
        &self,
        request: &Head,
        body: ByteStream,
        name: &RepositoryName,
        reference: &str,
    ) -> Result<Response, Refusal> {
        let call = request.call();
        let (digest, tags) = match Reference::parse(reference)?.ok_or_else(invalid_tag)? {
            Reference::Tag(tag) => (None, vec![tag]),
            Reference::Digest(digest) => (Some(digest), tags_of(request)?),
        };
        let media_type =
            request.header(header::CONTENT_TYPE).map(essence).filter(|essence| !essence.is_empty());
        let content = self.read_manifest(request, body).await?;
        let manifest = PutManifest { media_type, digest: digest.clone(), tags: tags.clone(), content };
        // Some tags may be written when it fails.
        let mut note = (!tags.is_empty()).then(|| self.search.note_when_done(name));
        let stored = self.registry.put_manifest(call, name, manifest).await?;
        if let Some(note) = &mut note {
            note.tagged(&stored);
        }
        let mut response = exchange::empty(StatusCode::CREATED);
        exchange::set(&mut response, header::LOCATION, &format!("/v2/{name}/manifests/{stored}"));
        exchange::set(&mut response, CONTENT_DIGEST, stored.as_str());
        if digest.is_some() {
            for tag in tags {
                if let Ok(tag) = HeaderValue::from_str(tag.as_str()) {
                    response.headers_mut().append(OCI_TAG, tag);
                }
            }
        }
        Ok(response)
    }

    /// `DELETE` (end-9): a tag is only unlinked, a digest takes its tags with it.
    pub(super) async fn delete_manifest(
        &self,
        request: &Head,
        name: &RepositoryName,
        reference: &str,
    ) -> Result<Response, Refusal> {
        let call = request.call();
        let reference = Reference::parse(reference)?.ok_or_else(unknown)?;
        self.check_deletion()?;
        // Some tags may be gone when it fails.
        let _note = self.search.note_when_done(name);
        match reference {
            Reference::Tag(tag) => self.registry.delete_tag(call, name, &tag).await?,
            Reference::Digest(digest) => self.registry.delete_manifest(call, name, &digest).await?,
        }
        Ok(exchange::empty(StatusCode::ACCEPTED))
    }

    /// The body, as far as the limit allows. A larger one is not read on.
    async fn read_manifest(&self, request: &Head, body: ByteStream) -> Result<bytes::Bytes, Refusal> {
        let limit = self.limits.max_manifest_size;
        let too_large = || {
            Refusal::new(MANIFEST_INVALID, format!("a manifest has at most {limit} bytes here"))
                .status(StatusCode::PAYLOAD_TOO_LARGE)
        };
        let announced = request.content_length();
        if announced.is_some_and(|announced| announced > limit) {
            return Err(too_large());
        }
        let incomplete = || Refusal::new(MANIFEST_INVALID, "the manifest ended early");
        let content = collect(body, usize::try_from(limit).unwrap_or(usize::MAX)).await.map_err(|error| {
            tracing::debug!(%error, "a manifest could not be read");
            if error.kind == ErrorKind::TooLarge { too_large() } else { incomplete() }
        })?;
        if announced.is_some_and(|announced| announced != content.len() as u64) {
            return Err(incomplete());
        }
        Ok(content)
    }
}

/// The tags in the query, each once.
fn tags_of(request: &Head) -> Result<Vec<Tag>, Refusal> {
    let mut tags = Vec::new();
    for tag in request.parameters("tag") {
        let tag = Tag::parse(&tag).ok_or_else(invalid_tag)?;
        if !tags.contains(&tag) {
            tags.push(tag);
        }
        if tags.len() > MAX_TAGS {
            let message = format!("one push sets at most {MAX_TAGS} tags");
            return Err(Refusal::new(TAG_INVALID, message).status(StatusCode::URI_TOO_LONG));
        }
    }
    Ok(tags)
}

/// A media type without its parameters.
fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn invalid_tag() -> Refusal {
    let message = "a tag is 1 to 128 letters, digits, _, . and -, and does not begin with . or -";
    Refusal::new(TAG_INVALID, message)
}

fn unknown() -> Refusal {
    Refusal::new(MANIFEST_UNKNOWN, "the repository has no manifest of this name")
}
