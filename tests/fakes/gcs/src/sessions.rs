//! Resumable uploads: one session, chunks one after the other, of both APIs.
//!
//! The address of a session needs no other proof, as with the real service. Bytes that are stored already are
//! skipped when they are sent again; a chunk that is not the last must be a multiple of 256 KiB.

use std::{path::PathBuf, sync::Arc};

use http::{HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{fs::File, fs::OpenOptions, io::AsyncWriteExt};

use crate::{
    answer::{Answer, Refusal, empty},
    fake::{Asked, Fake},
    store::{Described, Stored},
    transfer,
};

const MULTIPLE: u64 = 256 << 10;

/// One upload under way.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) described: Described,
    pub(crate) condition: Option<u64>,
    file: PathBuf,
    stored: u64,
    is_busy: bool,
    done: Option<Arc<Stored>>,
}

impl Session {
    pub(crate) fn is_done(&self) -> bool {
        self.done.is_some()
    }
}

/// What a `Content-Range` says.
#[derive(Debug, PartialEq)]
struct Chunk {
    range: Option<(u64, u64)>,
    total: Option<u64>,
}

impl Chunk {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let number = |text: &str| text.parse::<u64>().ok();
        let range = match range {
            "*" => None,
            range => {
                let (first, last) = range.split_once('-')?;
                let (first, last) = (number(first)?, number(last)?);
                Some((first, (last >= first).then_some(last + 1)?))
            }
        };
        Some(Self { range, total: if total == "*" { None } else { Some(number(total)?) } })
    }
}

impl Fake {
    /// Begins a session; its id.
    pub(crate) async fn begin_session(
        &self,
        bucket: &str,
        key: &str,
        described: Described,
        condition: Option<u64>,
    ) -> Result<String, Refusal> {
        let file = self.new_file();
        File::create(&file).await?;
        let mut state = self.state();
        state.check_generation(bucket, key, condition)?;
        let id = format!("session-{}", uuid::Uuid::new_v4().simple());
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        let session =
            Session { bucket, key, described, condition, file, stored: 0, is_busy: false, done: None };
        state.sessions.insert(id.clone(), session);
        Ok(id)
    }

    /// Forgets a session.
    pub(crate) fn cancel_session(&self, id: &str) -> Result<Answer, Refusal> {
        match self.state().sessions.remove(id) {
            Some(_) => Ok(empty(499)),
            None => Err(Refusal::no_such_upload()),
        }
    }

    /// Takes a chunk, or tells how far the upload is. The object, when this finished it.
    pub(crate) async fn continue_session(
        &self,
        asked: &Asked,
        id: &str,
        body: Incoming,
    ) -> Result<Result<(String, Arc<Stored>), Answer>, Refusal> {
        let length: u64 = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let chunk = match asked.header("content-range") {
            Some(text) => Chunk::parse(text).ok_or_else(|| Refusal::invalid("wrong Content-Range"))?,
            None => Chunk { range: (length > 0).then_some((0, length)), total: Some(length) },
        };
        let (file, stored) = {
            let mut state = self.state();
            let session = state.sessions.get_mut(id).ok_or_else(Refusal::no_such_upload)?;
            if let Some(done) = &session.done {
                return Ok(Ok((session.key.clone(), Arc::clone(done))));
            }
            if session.is_busy {
                return Err(Refusal::new(503, "ServiceUnavailable", "A chunk of this upload is on its way."));
            }
            session.is_busy = true;
            (session.file.clone(), session.stored)
        };
        let received = match chunk.range {
            Some((first, end)) => self.append(&file, stored, first, end, chunk.total, body).await,
            None => Ok(stored),
        };
        let stored = {
            let mut state = self.state();
            let session = state.sessions.get_mut(id).ok_or_else(Refusal::no_such_upload)?;
            session.is_busy = false;
            // A connection that broke leaves what came before.
            let (Ok(reached) | Err((_, reached))) = &received;
            session.stored = *reached;
            received.map_err(|(refusal, _)| refusal)?
        };
        match chunk.total {
            Some(total) if total == stored => self.finish_session(id, stored).await.map(Ok),
            Some(total) if total < stored => Err(Refusal::invalid("more bytes are stored than the total")),
            _ => {
                // What Google's clients for languages ask for that cannot tell this 308 from a redirect.
                let no_308 = asked.headers.contains_key("x-guploader-no-308");
                let mut answer = empty(if no_308 { 200 } else { 308 });
                if no_308 {
                    let status = HeaderValue::from_static("308");
                    answer.headers_mut().insert("x-http-status-code-override", status);
                }
                if stored > 0
                    && let Ok(range) = HeaderValue::from_str(&format!("bytes=0-{}", stored - 1))
                {
                    answer.headers_mut().insert(header::RANGE, range);
                }
                Ok(Err(answer))
            }
        }
    }

    /// Appends what is new of a chunk; how much is stored then, also after a failure.
    async fn append(
        &self,
        path: &PathBuf,
        stored: u64,
        first: u64,
        end: u64,
        total: Option<u64>,
        mut body: Incoming,
    ) -> Result<u64, (Refusal, u64)> {
        let failed = |error: std::io::Error| (Refusal::from(error), stored);
        if first > stored {
            let message =
                format!("The upload offset is {first}, which exceeds the uploaded size of {stored}.");
            return Err((Refusal::new(503, "ServiceUnavailable", message), stored));
        }
        let mut file = OpenOptions::new().append(true).open(path).await.map_err(failed)?;
        file.set_len(stored).await.map_err(failed)?;
        let (mut position, mut reached, mut refusal) = (first, stored, None);
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => {
                    refusal = Some(Refusal::new(400, "IncompleteBody", error.to_string()));
                    break;
                }
            };
            let Some(piece) = frame.data_ref() else { continue };
            let known = (stored.saturating_sub(position) as usize).min(piece.len());
            file.write_all(&piece[known..]).await.map_err(failed)?;
            position += piece.len() as u64;
            reached = reached.max(position);
        }
        file.flush().await.map_err(failed)?;
        if refusal.is_none() && position != end {
            refusal = Some(Refusal::new(400, "IncompleteBody", "The content is not as long as its range."));
        }
        if refusal.is_some() || total.is_none() {
            // Only whole multiples are kept before the end; never less than was promised before.
            reached = (reached / MULTIPLE * MULTIPLE).max(stored);
            file.set_len(reached).await.map_err(failed)?;
        }
        match refusal {
            Some(refusal) => Err((refusal, reached)),
            None => Ok(reached),
        }
    }

    async fn finish_session(&self, id: &str, size: u64) -> Result<(String, Arc<Stored>), Refusal> {
        let file = {
            let state = self.state();
            state.sessions.get(id).ok_or_else(Refusal::no_such_upload)?.file.clone()
        };
        let all = transfer::Range { file: &file, offset: 0, length: size };
        let content = transfer::join(&[all], self.new_file()).await?;
        let mut state = self.state();
        let session = state.sessions.get(id).ok_or_else(Refusal::no_such_upload)?;
        let (bucket, key, condition) = (session.bucket.clone(), session.key.clone(), session.condition);
        let described = session.described.clone();
        match state.insert(&bucket, &key, content, described, condition) {
            Ok(stored) => {
                if let Some(session) = state.sessions.get_mut(id) {
                    session.done = Some(Arc::clone(&stored));
                }
                Ok((key, stored))
            }
            Err(refusal) => {
                state.sessions.remove(id);
                Err(refusal)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read() {
        let chunk = |range, total| Some(Chunk { range, total });
        assert_eq!(Chunk::parse("bytes 0-9/*"), chunk(Some((0, 10)), None));
        assert_eq!(Chunk::parse("bytes 5-9/10"), chunk(Some((5, 10)), Some(10)));
        assert_eq!(Chunk::parse("bytes */10"), chunk(None, Some(10)));
        assert_eq!(Chunk::parse("bytes */*"), chunk(None, None));
        assert_eq!(Chunk::parse("bytes 9-5/10"), None);
        assert_eq!(Chunk::parse("0-9/10"), None);
    }
}
