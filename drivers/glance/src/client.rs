//! The calls of Glance's API v2 that the driver makes, one request each.
//!
//! <https://docs.openstack.org/api-ref/image/v2/>

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use docker_registry_driver_api::{ByteStream, Bytes, CallContext, Error, ErrorKind, Result, async_trait};
use docker_registry_object_storage::{
    Attempts, Renewal, Resume,
    http::{AnswerBody, Call, Refusal, Subject, content_range},
    resumed,
    xml::encode,
};
use docker_registry_openstack::{Session, split_version};
use futures::{Stream, StreamExt, stream};
use http::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{
    document::{COMPLETE, Image, PATH, Page, REGISTRY, REVISION, SIZE, STATE, WRITING},
    marks::Marks,
    old_images::OldImages,
};

/// Images of one page. Each may have some 180 KiB of properties.
const PAGE: usize = 100;
/// Largest answer that is taken.
const LARGEST_ANSWER: usize = 64 << 20;
const PATCH_TYPE: &str = "application/openstack-images-v2.1-json-patch";
const OCTETS: &str = "application/octet-stream";

/// Glance, as one identity of the cloud sees it.
pub(crate) struct Glance {
    session: Arc<Session>,
    pub(crate) attempts: Attempts,
    /// Ids of the images that this process is writing.
    pub(crate) under_way: Marks,
    pub(crate) old_images: OldImages,
    /// Whether the store of this Glance cannot read from the middle.
    reads_whole: AtomicBool,
    /// Name of the registry that the images belong to.
    pub(crate) registry: String,
    /// The project that images belong to, once one was made.
    owner: RwLock<Option<String>>,
}

impl Glance {
    pub(crate) fn new(session: Arc<Session>, attempts: Attempts, registry: String) -> Self {
        Self {
            session,
            attempts,
            under_way: Marks::default(),
            old_images: OldImages::default(),
            reads_whole: AtomicBool::new(false),
            registry,
            owner: RwLock::new(None),
        }
    }

    /// The path of an image that belongs to this registry.
    pub(crate) fn path<'a>(&self, image: &'a Image) -> Option<&'a str> {
        let owner = self.owner.read().unwrap_or_else(PoisonError::into_inner);
        image.path_in(&self.registry, owner.as_deref())
    }

    fn learn_owner(&self, ours: Option<&Image>) {
        if let Some(owner) = ours.and_then(|image| image.owner.clone()) {
            *self.owner.write().unwrap_or_else(PoisonError::into_inner) = Some(owner);
        }
    }

    /// Whether it is known to which project the images belong. An image that was completed tells.
    pub(crate) fn knows_owner(&self) -> bool {
        self.owner.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether an image belongs to the project that this driver's images belong to.
    pub(crate) fn is_owned(&self, image: &Image) -> bool {
        let owner = self.owner.read().unwrap_or_else(PoisonError::into_inner);
        owner.is_some() && image.owner == *owner
    }

    async fn ask(
        &self,
        call: Call,
        method: Method,
        target: &str,
        headers: &[(&'static str, String)],
        content: Bytes,
    ) -> Result<Response<AnswerBody>, Refusal> {
        self.session.send(call, method, |address| at(address, target), headers, content.into()).await
    }

    /// One page of this registry's images that have these properties, oldest first: those after `marker`, or the first
    /// ones when that image is gone.
    pub(crate) async fn page(
        &self,
        call: &CallContext,
        filters: &[(&str, &str)],
        marker: Option<&str>,
    ) -> Result<Page> {
        let ours = [("visibility", "private"), (REGISTRY, self.registry.as_str())];
        self.filtered(call, &[&ours, filters].concat(), marker).await
    }

    /// The same of all images that are docker's, whoever made them.
    pub(crate) async fn any_page(&self, call: &CallContext, marker: Option<&str>) -> Result<Page> {
        self.filtered(call, &[("container_format", "docker"), ("disk_format", "raw")], marker).await
    }

    async fn filtered(
        &self,
        call: &CallContext,
        filters: &[(&str, &str)],
        marker: Option<&str>,
    ) -> Result<Page> {
        if marker.is_some()
            && let Some(page) = self.page_after(call, filters, marker).await?
        {
            return Ok(page);
        }
        let first = self.page_after(call, filters, None).await?;
        first.ok_or_else(|| corrupt("knows no first image"))
    }

    /// The page after an image; `None` when that is gone.
    async fn page_after(
        &self,
        call: &CallContext,
        filters: &[(&str, &str)],
        marker: Option<&str>,
    ) -> Result<Option<Page>> {
        let mut target = format!("/v2/images?limit={PAGE}&sort_key=created_at&sort_dir=asc");
        let owner = self.owner.read().unwrap_or_else(PoisonError::into_inner).clone();
        let owner = owner.as_deref().map(|owner| ("owner", owner));
        let marked = marker.map(|marker| ("marker", marker));
        for (name, value) in filters.iter().copied().chain(owner).chain(marked) {
            target.push_str(&format!("&{name}={}", encode(value).replace('/', "%2F")));
        }
        let list = Call::reading("list images", Subject::Bucket);
        self.attempts
            .attempt(call, false, || async {
                match self.ask(list, Method::GET, &target, &[], Bytes::new()).await {
                    Ok(answer) => document(answer).await.map(Some),
                    Err(refusal) if marker.is_some() && is_unknown(&refusal) => Ok(None),
                    Err(refusal) => Err(refusal.into()),
                }
            })
            .await
    }

    /// The image with this id.
    pub(crate) async fn image(&self, call: &CallContext, id: &str) -> Result<Image> {
        let target = format!("/v2/images/{}", encode(id));
        let show = Call::reading("show image", Subject::Object);
        self.attempts
            .attempt(call, false, || async {
                document(self.ask(show, Method::GET, &target, &[], Bytes::new()).await?).await
            })
            .await
    }

    /// Makes an image with this id, which is nobody's yet, and without content, that nobody else in the cloud can see.
    pub(crate) async fn create(
        &self,
        call: &CallContext,
        id: &str,
        path: &str,
        properties: Map<String, Value>,
    ) -> Result<()> {
        let mut image = properties;
        for (name, value) in [
            ("id", id),
            ("name", path),
            ("visibility", "private"),
            ("disk_format", "raw"),
            ("container_format", "docker"),
            (REGISTRY, &self.registry),
            (PATH, path),
            (STATE, WRITING),
        ] {
            image.insert(name.to_owned(), value.into());
        }
        let body = Bytes::from(Value::Object(image).to_string());
        let headers = [("content-type", "application/json".to_owned())];
        let create = Call::writing("create image", Subject::Bucket);
        let made: Option<Image> = self
            .attempts
            .attempt(call, true, || async {
                match self.ask(create, Method::POST, "/v2/images", &headers, body.clone()).await {
                    Ok(answer) => document(answer).await.map(Some),
                    // The id is nobody else's: an attempt before this one made it.
                    Err(refusal) if refusal.status() == Some(StatusCode::CONFLICT) => Ok(None),
                    Err(refusal) => Err(of_write(refusal)),
                }
            })
            .await?;
        self.learn_owner(made.as_ref());
        Ok(())
    }

    /// Sends the content of an image, once; with its size where that is known.
    pub(crate) async fn upload(&self, id: &str, content: ByteStream, size: Option<u64>) -> Result<()> {
        let target = format!("/v2/images/{id}/file");
        let headers = [("content-type", OCTETS.to_owned())];
        // Its own store may take long over the end.
        let upload = Call::writing("upload image", Subject::Object).slow();
        let target = |address: &str| at(address, &target);
        let sent = self.session.send_stream(upload, Method::PUT, target, &headers, (content, size)).await;
        match sent {
            Ok(_) => {
                self.session.accepted();
                Ok(())
            }
            Err(refusal) => Err(unseen(self.session.failed(of_write(refusal)))),
        }
    }

    /// Says of an image that all of its content is there, in one step.
    pub(crate) async fn complete(
        &self,
        call: &CallContext,
        id: &str,
        size: u64,
        revision: u64,
    ) -> Result<Image> {
        // Each step may be made again.
        let patch = json!([
            {"op": "replace", "path": format!("/{STATE}"), "value": COMPLETE},
            {"op": "add", "path": format!("/{SIZE}"), "value": size.to_string()},
            {"op": "add", "path": format!("/{REVISION}"), "value": revision.to_string()},
        ]);
        let body = Bytes::from(patch.to_string());
        let headers = [("content-type", PATCH_TYPE.to_owned())];
        let (target, complete) =
            (format!("/v2/images/{id}"), Call::writing("complete image", Subject::Object));
        // Whether an attempt before this one may have completed it.
        let may_be_done = AtomicBool::new(false);
        self.attempts
            .attempt(call, true, || async {
                let was_asked = may_be_done.swap(true, Ordering::Relaxed);
                let answer = self.ask(complete, Method::PATCH, &target, &headers, body.clone()).await;
                let answer = answer.map_err(|refusal| {
                    let is_gone = refusal.status() == Some(StatusCode::NOT_FOUND);
                    let error = of_write(refusal);
                    may_be_done.store(was_asked || error.outcome_unknown, Ordering::Relaxed);
                    // Replaced by somebody since: it does not come back.
                    if is_gone && was_asked { error.retryable(false) } else { error }
                })?;
                let image: Image = document(answer).await?;
                self.learn_owner(Some(&image));
                Ok(image)
            })
            .await
    }

    /// Deletes an image. One that is gone is fine.
    pub(crate) async fn delete(&self, call: &CallContext, id: &str) -> Result<()> {
        let target = format!("/v2/images/{}", encode(id));
        let delete = Call::writing("delete image", Subject::Object);
        self.attempts
            .attempt(call, true, || async {
                match self.ask(delete, Method::DELETE, &target, &[], Bytes::new()).await {
                    Ok(_) => Ok(()),
                    Err(refusal) if refusal.error.is_not_found() => Ok(()),
                    Err(refusal) => Err(refusal.into()),
                }
            })
            .await
    }

    /// Opens the content of an image of `size` bytes from `offset` on, `length` bytes above zero. It survives what happens
    /// to its connection.
    pub(crate) async fn read(
        self: &Arc<Self>,
        call: &CallContext,
        id: &str,
        size: u64,
        offset: u64,
        length: u64,
    ) -> Result<ByteStream> {
        let body = self.open_content(call, id, size, offset, length).await?;
        let call = CallContext { deadline: None, ..call.clone() };
        let source = OpenImage { glance: Arc::clone(self), call, id: id.to_owned(), size };
        Ok(resumed(source, body, offset, length))
    }

    async fn open_content(
        &self,
        call: &CallContext,
        id: &str,
        size: u64,
        offset: u64,
        length: u64,
    ) -> Result<ByteStream> {
        let target = format!("/v2/images/{id}/file");
        let read = Call::reading("read image", Subject::Object);
        let is_whole = length == size;
        let mut headers = vec![("accept", OCTETS.to_owned())];
        if !is_whole && !self.reads_whole.load(Ordering::Relaxed) {
            headers.push(("range", format!("bytes={offset}-{}", offset + length - 1)));
        }
        let answer = self
            .attempts
            .attempt(call, false, || async {
                match self.ask(read, Method::GET, &target, &headers, Bytes::new()).await {
                    // Most of Glance's stores cannot read from the middle, and say so in this way.
                    Err(refusal) if headers.len() > 1 && refusal.status() == Some(StatusCode::BAD_REQUEST) => {
                        let whole = self.ask(read, Method::GET, &target, &headers[..1], Bytes::new()).await?;
                        if !self.reads_whole.swap(true, Ordering::Relaxed) {
                            tracing::warn!(
                                "the store of Glance cannot read from the middle: images are read from their beginning"
                            );
                        }
                        Ok(whole)
                    }
                    answer => Ok(answer?),
                }
            })
            .await?;
        let (head, body) = answer.into_parts();
        match head.status {
            StatusCode::PARTIAL_CONTENT => {
                let part = content_range(&head.headers);
                if part.is_some_and(|(start, count, _)| (start, count) != (offset, length)) {
                    return Err(corrupt("has other bytes than were asked for"));
                }
                Ok(body.stream(length))
            }
            StatusCode::OK if is_whole => Ok(body.stream(length)),
            StatusCode::OK => Ok(window(body.stream(size), offset, length).boxed()),
            _ => Err(corrupt("has no content where there was some")),
        }
    }

    /// Whether Glance answers and images can be listed.
    pub(crate) async fn probe(&self, call: &CallContext) -> Result<()> {
        self.page(call, &[(STATE, "none")], None).await.map(drop)
    }
}

/// An image whose content is being read. It never changes.
struct OpenImage {
    glance: Arc<Glance>,
    call: CallContext,
    id: String,
    size: u64,
}

#[async_trait]
impl Resume for OpenImage {
    async fn open_again(&self, at: u64, end: u64) -> Result<ByteStream> {
        let opened = self.glance.open_content(&self.call, &self.id, self.size, at, end - at).await;
        opened.map_err(|error| match error.kind {
            ErrorKind::NotFound => {
                Error::new(ErrorKind::Conflict, "the image was replaced or deleted while it was read")
            }
            _ => error,
        })
    }

    fn attempts(&self) -> &Attempts {
        &self.glance.attempts
    }

    fn call(&self) -> &CallContext {
        &self.call
    }
}

/// Whether Glance does not know the image that a page is to begin after.
fn is_unknown(refusal: &Refusal) -> bool {
    matches!(refusal.status(), Some(StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND))
}

/// The address of a request. Catalogs name Glance with and without its version.
fn at(address: &str, target: &str) -> String {
    format!("{}{target}", split_version(address).0)
}

/// `length` bytes of a stream from `offset` on, with an empty chunk for each one that is thrown away.
fn window(body: ByteStream, offset: u64, length: u64) -> impl Stream<Item = Result<Bytes>> + Send {
    stream::unfold((body, offset, length), |(mut body, mut skip, left)| async move {
        if left == 0 {
            return None;
        }
        let mut chunk = match body.next().await? {
            Ok(chunk) => chunk,
            Err(error) => return Some((Err(error), (body, 0, 0))),
        };
        let skipped = skip.min(chunk.len() as u64);
        skip -= skipped;
        // Both are at most the length of the chunk.
        chunk = chunk.slice(usize::try_from(skipped).unwrap_or(chunk.len())..);
        chunk.truncate(usize::try_from(left).unwrap_or(chunk.len()));
        // Empty where all of it is skipped, which shows that something moves.
        let left = left - chunk.len() as u64;
        Some((Ok(chunk), (body, skip, left)))
    })
}

async fn document<T: DeserializeOwned>(answer: Response<AnswerBody>) -> Result<T> {
    let body = answer.into_body().bytes(LARGEST_ANSWER).await?;
    serde_json::from_slice(&body).map_err(|_| {
        let message = "what answers is no Glance of version 2: check glance_url and glance_region_name";
        Error::new(ErrorKind::InvalidConfiguration, message)
    })
}

/// The error of a write. What is too large is too much for a quota, and an image that is gone in the middle of a write
/// was deleted by somebody else.
fn of_write(refusal: Refusal) -> Error {
    let status = refusal.status();
    let mut error = Error::from(refusal);
    match (error.kind, status) {
        (ErrorKind::TooLarge, _) => {
            error.kind = ErrorKind::StorageFull;
            error.message =
                format!("a quota of the project or a limit of Glance is used up [{}]", error.message);
        }
        (ErrorKind::NotFound | ErrorKind::Conflict, Some(_)) => {
            // Another image is another attempt.
            error.kind = ErrorKind::Unavailable;
            error.retryable = true;
            error.message =
                format!("somebody else changed the image while it was written [{}]", error.message);
        }
        (ErrorKind::InvalidConfiguration, Some(StatusCode::BAD_REQUEST)) => {
            error.message = format!(
                "Glance refuses an image with container_format docker and disk_format raw: check container_formats and \
                 disk_formats of Glance, and glance_url [{}]",
                error.message
            );
        }
        _ => {}
    }
    error
}

/// The error of a step after which nothing can be seen yet.
pub(crate) fn unseen(mut error: Error) -> Error {
    error.outcome_unknown = false;
    error
}

fn corrupt(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("Glance's answer {what}"))
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::{byte_stream, collect};

    use super::*;

    #[test]
    fn catalogs_may_name_glance_with_its_version() {
        for address in ["http://g:9292", "http://g:9292/v2", "http://g:9292/v1", "http://g:9292/v2.0"] {
            assert_eq!(at(address, "/v2/images"), "http://g:9292/v2/images");
        }
        assert_eq!(at("http://g/image", "/v2/images"), "http://g/image/v2/images");
        assert_eq!(at("http://g/volumes", "/v2/images"), "http://g/volumes/v2/images");
        assert_eq!(at("http://v2glance:9292", "/v2/images"), "http://v2glance:9292/v2/images");
        assert_eq!(at("https://v2.example.test", "/v2/images"), "https://v2.example.test/v2/images");
    }

    #[tokio::test]
    async fn a_window_is_cut_out_of_a_content_that_comes_whole() {
        let body = || byte_stream([Bytes::from("abc"), Bytes::from("defg"), Bytes::from("h")]);
        for (offset, length, expected) in
            [(0, 8, "abcdefgh"), (0, 2, "ab"), (2, 3, "cde"), (3, 4, "defg"), (7, 1, "h")]
        {
            let found = collect(window(body(), offset, length).boxed(), 100).await.unwrap();
            assert_eq!(found, expected, "{length} from {offset}");
        }
    }
}
