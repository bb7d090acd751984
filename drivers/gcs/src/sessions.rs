//! Large objects by resumable sessions, of both APIs: chunks one after the other. Only the beginning differs.
//!
//! The store skips bytes that it has already when they are sent again, so that a chunk whose fate is not known
//! is simply sent again. A session remembers its precondition. The last chunk makes the object; sent again to a
//! session that is done, it is answered with the object.

use bytes::Buf;
use docker_registry_driver_api::{ETag, Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::{Content, NewPart, Part},
    http::{AnswerBody, Call, Refusal, Subject},
};
use http::{Method, Uri, header};

use crate::{
    dialect::{tag_in, tag_of},
    json::{Resource, document},
    service::{Service, corrupt},
};

/// Chunks are multiples of this, in bytes.
pub(crate) const MULTIPLE: u64 = 256 << 10;

/// How the tag of the part begins that made the object; the generation follows.
const DONE: &str = "done-";

/// How a session that is cancelled answers.
const CANCELLED: u16 = 499;

/// How far a session is.
enum Progress {
    /// So many bytes are stored.
    Stored(u64),
    /// The object is there, under this tag.
    Done(ETag),
}

/// The sessions of one bucket.
pub(crate) struct Sessions {
    service: Service,
    /// What the target of every session begins with.
    place: String,
}

impl Sessions {
    pub(crate) fn new(service: Service, place: String) -> Self {
        Self { service, place }
    }

    /// Begins a session by a request of one of the APIs. Its id is the address without scheme and host: nobody who could
    /// change the state of an upload is to lead the driver elsewhere.
    pub(crate) async fn begin(
        &self,
        target: &str,
        headers: &[(&'static str, &str)],
        content: Content,
    ) -> Result<String> {
        let call = Call::reading("begin", Subject::Bucket);
        let answer = self.service.send(call, Method::POST, target, headers, content).await?;
        let address = answer.headers().get(header::LOCATION).and_then(|address| address.to_str().ok());
        let path = address.and_then(|address| address.parse::<Uri>().ok()).and_then(|address| {
            let path = address.path_and_query()?.as_str().to_owned();
            self.has(&path).then_some(path)
        });
        path.ok_or_else(|| corrupt("does not say where the session is"))
    }

    pub(crate) async fn chunk(&self, id: &str, part: NewPart) -> Result<Part> {
        let NewPart { number, offset, content, last } = part;
        let size = content.content_length() as u64;
        let end = offset + size;
        let total = last.then_some(end);
        let mut stored = offset;
        loop {
            let rest = behind(&content, stored - offset);
            match self.step(id, stored, rest, total).await? {
                Progress::Done(tag) => {
                    let generation = tag.0.trim_matches('"');
                    return Ok(Part { number, size, tag: format!("{DONE}{generation}") });
                }
                // An earlier attempt, or this one, came as far as it should.
                Progress::Stored(now) if now >= end && !last => {
                    return Ok(Part { number, size, tag: String::new() });
                }
                Progress::Stored(now) if now > stored && now <= end => stored = now,
                Progress::Stored(now) => {
                    let message = format!("the session has {now} bytes, and was sent bytes from {stored}");
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
            }
        }
    }

    pub(crate) async fn end(&self, id: &str, parts: &[Part]) -> Result<Option<ETag>> {
        if let Some(generation) = parts.last().and_then(|part| part.tag.strip_prefix(DONE)) {
            return Ok(tag_of(generation));
        }
        let total = parts.iter().map(|part| part.size).sum();
        match self.step(id, total, Content::default(), Some(total)).await? {
            Progress::Done(tag) => Ok(Some(tag)),
            Progress::Stored(stored) => {
                let message = format!("the session has {stored} bytes of {total}");
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<()> {
        let call = Call::writing("abandon", Subject::Upload);
        match self.service.send(call, Method::DELETE, self.target(id)?, &[], Content::default()).await {
            Err(refusal) if refusal.status().is_some_and(|status| status.as_u16() == CANCELLED) => Ok(()),
            Err(refusal) if refusal.error.is_not_found() => Ok(()),
            Err(refusal) => Err(refusal.into()),
            Ok(_) => Ok(()),
        }
    }

    fn has(&self, path: &str) -> bool {
        is_session(&self.place, path)
    }

    /// The target of a session's requests.
    fn target<'a>(&self, id: &'a str) -> Result<&'a str> {
        let lost = || Error::new(ErrorKind::NotFound, "this is no session of the store");
        self.has(id).then_some(id).ok_or_else(lost)
    }

    /// Sends bytes from `offset`, and the total where it is known.
    async fn step(&self, id: &str, offset: u64, content: Content, total: Option<u64>) -> Result<Progress> {
        let size = content.content_length() as u64;
        let total_text = total.map_or_else(|| "*".to_owned(), |total| total.to_string());
        let range = match size {
            0 => format!("bytes */{total_text}"),
            _ => format!("bytes {offset}-{}/{total_text}", offset + size - 1),
        };
        let call = match total {
            Some(_) => Call::writing("part", Subject::Upload),
            // Sending it again changes nothing.
            None => Call::reading("part", Subject::Upload),
        };
        // Without this header a chunk is answered with a status that means a redirect everywhere else.
        let headers = [("content-range", range.as_str()), ("x-guploader-no-308", "yes")];
        let answer = self.service.send(call, Method::PUT, self.target(id)?, &headers, content).await;
        progress(call, answer).await
    }
}

async fn progress(call: Call, answer: Result<http::Response<AnswerBody>, Refusal>) -> Result<Progress> {
    let answer = answer.map_err(|refusal| match refusal.status().map(|status| status.as_u16()) {
        Some(CANCELLED) => Error::new(ErrorKind::NotFound, "the session was cancelled"),
        _ => refusal.into(),
    })?;
    let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    if text("x-http-status-code-override") != Some("308") {
        return finished(call, answer).await.map(Progress::Done);
    }
    let stored = match text("range") {
        None => 0,
        Some(range) => {
            let last = range.strip_prefix("bytes=0-").and_then(|last| last.parse::<u64>().ok());
            last.ok_or_else(|| corrupt("does not say how much of an upload it has"))? + 1
        }
    };
    Ok(Progress::Stored(stored))
}

/// The tag of the object that a session has become: the XML API says it in a header, the JSON API in a document.
async fn finished(call: Call, answer: http::Response<AnswerBody>) -> Result<ETag> {
    if let Some(tag) = tag_in(answer.headers()) {
        return Ok(tag);
    }
    let resource = document::<Resource>(call, answer).await?;
    let tag = resource.etag().ok_or_else(|| corrupt("does not say which generation was made"));
    tag.map_err(Error::outcome_unknown)
}

fn is_session(place: &str, path: &str) -> bool {
    path.starts_with(place) && path.contains("upload_id=")
}

/// Content without its first bytes.
fn behind(content: &Content, bytes: u64) -> Content {
    let mut skip = bytes as usize;
    content
        .iter()
        .cloned()
        .filter_map(|mut piece| {
            let cut = skip.min(piece.len());
            skip -= cut;
            piece.advance(cut);
            (!piece.is_empty()).then_some(piece)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_rest_of_content_begins_anywhere() {
        let content: Content =
            [Bytes::from_static(b"abc"), Bytes::from_static(b"defg")].into_iter().collect();
        for skip in 0..=7 {
            let rest: Vec<u8> = behind(&content, skip).into_iter().flatten().collect();
            assert_eq!(rest, &b"abcdefg"[skip as usize..]);
        }
    }

    #[test]
    fn a_session_is_nowhere_but_at_the_store() {
        for (place, good) in [
            ("/upload/", "/upload/storage/v1/b/b/o?uploadType=resumable&upload_id=x"),
            ("/bucket/", "/bucket/a/b?upload_id=x"),
        ] {
            assert!(is_session(place, good));
            for wrong in
                ["https://elsewhere/upload/?upload_id=x", "/storage/v1/b", "@host/bucket/?upload_id=x", ""]
            {
                assert!(!is_session(place, wrong), "{wrong}");
            }
        }
    }
}
