//! Large objects by resumable sessions: chunks one after the other.
//!
//! The store skips bytes that it has already when they are sent again, so that a chunk whose fate is not known
//! is simply sent again. A session remembers its precondition. The last chunk makes the object; sent again to a
//! session that is done, it is answered with the object.

use bytes::{Buf, Bytes};
use docker_registry_driver_api::{Condition, ETag, Error, ErrorKind, Result};
use docker_registry_object_storage::{
    bucket::{Content, NewPart, Part},
    http::{AnswerBody, Call, Refusal, Subject},
};
use http::{Method, Uri, header};

use super::{FIELDS, JsonBucket, Resource, corrupt, document, objects::described};
use crate::{
    dialect::{tag_of, wanted_generation},
    signature::encode,
};

/// How the tag of the part begins that made the object; the generation follows.
const DONE: &str = "done-";

/// How a session that is cancelled answers.
const CANCELLED: u16 = 499;

/// How far a session is.
enum Progress {
    /// So many bytes are stored.
    Stored(u64),
    Done(Resource),
}

impl JsonBucket {
    /// Begins a session. Its id is the address without scheme and host: nobody who could change the state of an
    /// upload is to lead the driver elsewhere.
    pub(super) async fn begin_session(
        &self,
        key: &str,
        condition: &Condition,
        mark: Option<&str>,
    ) -> Result<String> {
        let mut target = format!("/upload{}?uploadType=resumable&name={}", self.objects, encode(key));
        target += &format!("&fields={}", encode(FIELDS));
        if let Some(generation) = wanted_generation(condition)? {
            target += &format!("&ifGenerationMatch={generation}");
        }
        let content = Content::from(Bytes::from(described(mark).to_string()));
        let call = Call::reading("begin", Subject::Bucket);
        let headers = [("content-type", "application/json; charset=UTF-8")];
        let answer = self.send(call, Method::POST, &target, &headers, content).await?;
        let address = answer.headers().get(header::LOCATION).and_then(|address| address.to_str().ok());
        let path = address.and_then(|address| address.parse::<Uri>().ok()).and_then(|address| {
            let path = address.path_and_query()?.as_str().to_owned();
            is_session(&path).then_some(path)
        });
        path.ok_or_else(|| corrupt("does not say where the session is"))
    }

    pub(super) async fn send_chunk(&self, id: &str, part: NewPart) -> Result<Part> {
        let NewPart { number, offset, content, last } = part;
        let size = content.content_length() as u64;
        let end = offset + size;
        let total = last.then_some(end);
        let mut stored = offset;
        loop {
            let rest = behind(&content, stored - offset);
            match self.step(id, stored, rest, total).await? {
                Progress::Done(resource) => {
                    let generation = resource.generation.unwrap_or_default();
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

    pub(super) async fn end_session(&self, id: &str, parts: &[Part]) -> Result<Option<ETag>> {
        if let Some(generation) = parts.last().and_then(|part| part.tag.strip_prefix(DONE)) {
            return Ok(tag_of(generation));
        }
        let total = parts.iter().map(|part| part.size).sum();
        match self.step(id, total, Content::default(), Some(total)).await? {
            Progress::Done(resource) => Ok(resource.etag()),
            Progress::Stored(stored) => {
                let message = format!("the session has {stored} bytes of {total}");
                Err(Error::new(ErrorKind::Corrupt, message))
            }
        }
    }

    pub(super) async fn cancel_session(&self, id: &str) -> Result<()> {
        let call = Call::writing("abandon", Subject::Upload);
        match self.send(call, Method::DELETE, session(id)?, &[], Content::default()).await {
            Err(refusal) if refusal.status().is_some_and(|status| status.as_u16() == CANCELLED) => Ok(()),
            Err(refusal) if refusal.error.is_not_found() => Ok(()),
            Err(refusal) => Err(refusal.into()),
            Ok(_) => Ok(()),
        }
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
        let answer = self.send(call, Method::PUT, session(id)?, &headers, content).await;
        progress(call, answer).await
    }
}

async fn progress(call: Call, answer: Result<http::Response<AnswerBody>, Refusal>) -> Result<Progress> {
    let answer = answer?;
    let text = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    if text("x-http-status-code-override") != Some("308") {
        return document::<Resource>(call, answer).await.map(Progress::Done);
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

fn is_session(path: &str) -> bool {
    path.starts_with("/upload/") && path.contains("upload_id=")
}

/// The target of a session's requests.
fn session(id: &str) -> Result<&str> {
    let lost = || Error::new(ErrorKind::NotFound, "this is no session of the store");
    is_session(id).then_some(id).ok_or_else(lost)
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
        assert!(session("/upload/storage/v1/b/b/o?uploadType=resumable&upload_id=x").is_ok());
        for wrong in
            ["https://elsewhere/upload/?upload_id=x", "/storage/v1/b", "@host/upload/?upload_id=x", ""]
        {
            assert_eq!(session(wrong).unwrap_err().kind, ErrorKind::NotFound);
        }
    }
}
