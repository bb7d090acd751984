//! Readings that survive what happens to their connection.
//!
//! A reading begins with one request. When its connection breaks, falls silent or ends early, the rest is
//! asked for from where it stopped, as long as the object is the same, and the caller notices nothing.
//! When the object was replaced, the reading ends with an error: it is never a mixture.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{
    ByteStream, Bytes, CallContext, ETag, Error, ErrorKind, ObjectPath, ReadRange, Reading, ReadingBody,
    Result,
};
use futures::{StreamExt, stream};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::{
    bucket::{Facts, Opened},
    engine::Engine,
    retry::{Attempts, Effort},
};

/// How often a reading begins anew when the object is replaced between the look at it and the request.
const MOST_BEGINNINGS: u32 = 5;
/// What came since the last failure is progress from this many bytes on.
const PROGRESS: u64 = 1 << 20;
/// How long the end of a complete body is waited for.
const ENDING: Duration = Duration::from_secs(1);

impl Engine {
    /// See [`Driver::read`](docker_registry_driver_api::Driver::read).
    ///
    /// # Errors
    /// `NotFound`, `InvalidRange`.
    pub async fn read(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        range: ReadRange,
    ) -> Result<Reading> {
        let key = self.readable(path)?;
        self.read_key(call, key, range).await
    }

    /// Like [`Engine::read`], by the key.
    ///
    /// # Errors
    /// `NotFound`, `InvalidRange`.
    pub(crate) async fn read_key(
        self: &Arc<Self>,
        call: &CallContext,
        key: String,
        range: ReadRange,
    ) -> Result<Reading> {
        let (facts, body) = self.open_key(call, key, range).await?;
        let (offset, length) = range.resolve(facts.size)?;
        let body = ReadingBody::Stream(self.read_ahead.of(body, length));
        Ok(Reading { total_size: facts.size, offset, length, etag: facts.etag, body })
    }

    /// Opens the object of a key: its facts, and the bytes of the range.
    ///
    /// # Errors
    /// `NotFound`, `InvalidRange`.
    pub(crate) async fn open_key(
        self: &Arc<Self>,
        call: &CallContext,
        key: String,
        range: ReadRange,
    ) -> Result<(Facts, ByteStream)> {
        let Opened { facts, offset, length, body } = match range {
            ReadRange::Last { .. } if !self.limits().suffix_ranges => {
                self.open_end(call, &key, range).await?
            }
            ReadRange::Last { .. } => {
                match self.attempt(call, false, || self.bucket.get(&key, range, None)).await {
                    // MinIO says "bytes 0--1/0" of the end of an empty object.
                    Err(error) if error.kind == ErrorKind::Corrupt => {
                        self.open_end(call, &key, range).await?
                    }
                    opened => opened?,
                }
            }
            _ => self.attempt(call, false, || self.bucket.get(&key, range, None)).await?,
        };
        if range.resolve(facts.size)? != (offset, length) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the store sends another range than it was asked for",
            ));
        }
        let source = Source {
            engine: Arc::clone(self),
            call: CallContext { deadline: None, ..call.clone() },
            key,
            size: facts.size,
            etag: facts.etag.clone(),
            modified: facts.modified,
        };
        Ok((facts, resumed(source, body, offset, length)))
    }

    /// Opens the end of an object where the store must be told the offset.
    async fn open_end(&self, call: &CallContext, key: &str, range: ReadRange) -> Result<Opened> {
        let mut beginnings = 0;
        loop {
            beginnings += 1;
            let facts = self.attempt(call, false, || self.bucket.head(key)).await?;
            let (offset, length) = range.resolve(facts.size)?;
            let window = ReadRange::Window { offset, length };
            match self.attempt(call, false, || self.bucket.get(key, window, facts.etag.as_ref())).await {
                Ok(opened) if opened.facts.size == facts.size => return Ok(opened),
                Ok(_) if beginnings < MOST_BEGINNINGS => {}
                Err(error) if error.kind == ErrorKind::ConditionFailed && beginnings < MOST_BEGINNINGS => {}
                Ok(_) => return Err(replaced()),
                Err(error) if error.kind == ErrorKind::ConditionFailed => return Err(replaced()),
                Err(error) => return Err(error),
            }
        }
    }
}

/// What a reading that broke off goes on from.
#[docker_registry_driver_api::async_trait]
pub trait Resume: Send + Sync + 'static {
    /// Asks for the bytes from `at` up to `end`.
    ///
    /// # Errors
    /// `Conflict` when the object is another one by now.
    async fn open_again(&self, at: u64, end: u64) -> Result<ByteStream>;

    /// Who says how often and after which pauses.
    fn attempts(&self) -> &Attempts;

    /// The call that the reading is of, without its deadline: how long the caller takes to read is his affair.
    fn call(&self) -> &CallContext;
}

/// The bytes of an open body of `length` bytes from `offset` on, whatever happens to its connection.
pub fn resumed(source: impl Resume, body: ByteStream, offset: u64, length: u64) -> ByteStream {
    let (at, end) = (offset, offset + length);
    let rest = Rest { source, at, end, body: Some(body), failures: 0, since_failure: 0 };
    stream::try_unfold(rest, Rest::next).boxed()
}

/// The object that is read, and the facts that it must keep.
struct Source {
    engine: Arc<Engine>,
    call: CallContext,
    key: String,
    size: u64,
    etag: Option<ETag>,
    modified: Option<SystemTime>,
}

#[docker_registry_driver_api::async_trait]
impl Resume for Source {
    fn attempts(&self) -> &Attempts {
        &self.engine.retries
    }

    fn call(&self) -> &CallContext {
        &self.call
    }

    async fn open_again(&self, at: u64, end: u64) -> Result<ByteStream> {
        let range = ReadRange::Window { offset: at, length: end - at };
        let get = || self.engine.bucket.get(&self.key, range, self.etag.as_ref());
        let opened = match self.engine.attempts(&self.call, Effort::READ, get).await.result {
            Ok(opened) => opened,
            Err(error) => {
                return Err(match error.kind {
                    ErrorKind::NotFound | ErrorKind::ConditionFailed | ErrorKind::InvalidRange => {
                        replaced().caused_by(&error)
                    }
                    _ => error,
                });
            }
        };
        let facts = &opened.facts;
        // The time counts where there is no tag to compare.
        let is_same = facts.size == self.size
            && facts.etag == self.etag
            && (self.etag.is_some() || facts.modified == self.modified);
        if !is_same {
            return Err(replaced());
        }
        if (opened.offset, opened.length) != (at, end - at) {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the store sends another range than it was asked for",
            ));
        }
        Ok(opened.body)
    }
}

/// What is still to be read of an object.
struct Rest<S> {
    source: S,
    /// Offset of the next byte.
    at: u64,
    /// Offset behind the last one.
    end: u64,
    /// The open connection; `None` after it has failed.
    body: Option<ByteStream>,
    /// Failures without progress between them.
    failures: u32,
    since_failure: u64,
}

impl<S: Resume> Rest<S> {
    /// The next chunk, and the rest after it.
    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        while self.at < self.end {
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let body = self.source.open_again(self.at, self.end).await?;
                    self.body.insert(body)
                }
            };
            let silence = self.source.attempts().silence();
            let failure = match timeout(silence, body.next()).await {
                Ok(Some(Ok(chunk))) if chunk.is_empty() => continue,
                Ok(Some(Ok(chunk))) => return self.take(chunk).map(Some),
                Ok(Some(Err(error))) if !error.retryable => return Err(error),
                Ok(Some(Err(error))) => error,
                Ok(None) => Error::new(ErrorKind::Unavailable, "the body ended early"),
                Err(_) => {
                    let message = format!("nothing came for {:.1} seconds", silence.as_secs_f64());
                    Error::new(ErrorKind::Timeout, message)
                }
            };
            self.failed(failure).await?;
        }
        self.expect_end().await?;
        Ok(None)
    }

    fn take(mut self, chunk: Bytes) -> Result<(Bytes, Self)> {
        let length = chunk.len() as u64;
        if length > self.end - self.at {
            return Err(too_much());
        }
        self.at += length;
        self.since_failure += length;
        if self.since_failure >= PROGRESS {
            self.failures = 0;
        }
        Ok((chunk, self))
    }

    /// Notes a failure of the connection, and waits before the next one is opened.
    ///
    /// # Errors
    /// The failure, when there were too many of them, or the store fails too much altogether.
    async fn failed(&mut self, failure: Error) -> Result<()> {
        self.failures += 1;
        self.since_failure = 0;
        self.body = None;
        debug!(at = self.at, end = self.end, failures = self.failures, error = %failure, "a reading stopped");
        let again = self.source.attempts().again(self.source.call(), &failure, self.failures);
        let Some(pause) = again else { return Err(failure) };
        sleep(pause).await;
        Ok(())
    }

    /// Looks whether the body ends where it should, which also gives its connection back.
    async fn expect_end(&mut self) -> Result<()> {
        let Some(body) = &mut self.body else { return Ok(()) };
        match timeout(ENDING, body.next()).await {
            Ok(Some(Ok(chunk))) if !chunk.is_empty() => Err(too_much()),
            // Everything is here, whatever becomes of the connection.
            _ => Ok(()),
        }
    }
}

fn too_much() -> Error {
    Error::new(ErrorKind::Corrupt, "the store sends more bytes than it announced")
}

fn replaced() -> Error {
    Error::new(ErrorKind::Conflict, "the object was replaced or deleted while it was read")
}
