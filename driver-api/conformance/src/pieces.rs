//! The bytes of a reading, piece by piece, whatever form the driver gives them.

use std::{os::unix::fs::FileExt, panic::Location, sync::Arc};

use bytes::Bytes;
use docker_registry_driver_api::{Error, FileRegion, Reading, ReadingBody, Result};
use futures::StreamExt;

use crate::{
    content::Pattern,
    failure::{broken, shown},
    promise::{self, Promise},
};

/// Bytes that are read from a file region at a time.
const PIECE: u64 = 1024 * 1024;

/// An open reading.
pub(crate) struct Pieces {
    body: ReadingBody,
    announced: u64,
    given: u64,
    /// Nobody asks a stream again that has ended: it may panic then.
    is_over: bool,
}

impl Pieces {
    pub(crate) fn of(reading: Reading) -> Self {
        Self { body: reading.body, announced: reading.length, given: 0, is_over: false }
    }

    /// The next bytes; `None` at the end. Fewer or more bytes than announced end the case.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes>> {
        if self.is_over {
            return None;
        }
        let next = match &mut self.body {
            ReadingBody::Stream(stream) => stream.next().await,
            ReadingBody::File(region) => from_file(region).await,
        };
        if let Some(Ok(piece)) = &next {
            self.given += piece.len() as u64;
        }
        self.is_over = !matches!(next, Some(Ok(_)));
        if self.given > self.announced || next.is_none() && self.given < self.announced {
            broken(
                format_args!("a reading yields the {} bytes that it announced", self.announced),
                format_args!("{} bytes", self.given),
                promise::READING_LENGTH,
                Location::caller(),
            );
        }
        next
    }

    /// All that is left.
    ///
    /// # Errors
    /// The one that the reading ended with.
    pub(crate) async fn rest(mut self) -> Result<Bytes> {
        let mut whole = Vec::new();
        while let Some(piece) = self.next().await {
            whole.extend_from_slice(&piece?);
        }
        Ok(whole.into())
    }
}

async fn from_file(region: &mut FileRegion) -> Option<Result<Bytes>> {
    if region.length == 0 {
        return None;
    }
    let file = match region.file.try_clone() {
        Ok(file) => Arc::new(file),
        Err(error) => return Some(Err(error.into())),
    };
    let (offset, length) = (region.offset, region.length.min(PIECE));
    let read = tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; length as usize];
        file.read_exact_at(&mut piece, offset).map(|()| Bytes::from(piece)).map_err(Error::from)
    });
    region.offset += length;
    region.length -= length;
    Some(read.await.expect("reading a piece does not panic"))
}

/// Expects that a reading yields the pattern from its own offset on; only a piece of it is held at a time.
#[track_caller]
pub(crate) fn expect_pattern(
    reading: Reading,
    pattern: &Pattern,
    promise: Promise,
) -> impl Future<Output = ()> {
    let (pattern, place) = (pattern.clone(), Location::caller());
    async move {
        let mut at = reading.offset;
        let mut pieces = Pieces::of(reading);
        while let Some(piece) = pieces.next().await {
            match piece {
                Ok(piece) => {
                    if let Some(difference) = pattern.difference(at, &piece) {
                        let expected = format_args!("the bytes from {at} on are those that were written");
                        broken(expected, format_args!("another byte at {difference}"), promise, place);
                    }
                    at += piece.len() as u64;
                }
                Err(error) => broken("a reading comes to its end", shown(&error), promise, place),
            }
        }
    }
}
