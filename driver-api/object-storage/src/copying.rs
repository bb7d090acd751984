//! Copies and moves, at the store as far as it can.
//!
//! Up to [`Limits::largest_copy`](crate::bucket::Limits::largest_copy) an object is copied in one request,
//! above that in parts at the store, several at once. Where the store cannot copy parts, the content streams
//! through this process in constant memory.

use std::sync::Arc;

use docker_registry_driver_api::{
    CallContext, Condition, Error, ErrorKind, ObjectPath, ReadRange, ReadingBody, Result,
};

use crate::{
    bucket::Facts,
    engine::{Engine, random_mark},
    retry::Effort,
    uploads::sending::{Sending, Target},
};

/// How many times quicker than content from the client the store moves its own.
const QUICKER: u64 = 16;

impl Engine {
    /// See [`Driver::copy`](docker_registry_driver_api::Driver::copy).
    ///
    /// # Errors
    /// `NotFound` for the source.
    pub async fn copy(
        self: &Arc<Self>,
        call: &CallContext,
        from: &ObjectPath,
        to: &ObjectPath,
    ) -> Result<()> {
        let (from, to) = (self.readable(from)?, self.writable(to)?);
        self.copy_key(call, &from, &to).await.map(drop)
    }

    /// See [`Driver::rename`](docker_registry_driver_api::Driver::rename).
    ///
    /// # Errors
    /// `NotFound` for the source.
    pub async fn rename(
        self: &Arc<Self>,
        call: &CallContext,
        from: &ObjectPath,
        to: &ObjectPath,
    ) -> Result<()> {
        let (from, to) = (self.readable(from)?, self.writable(to)?);
        let source = self.copy_key(call, &from, &to).await?;
        if from == to {
            return Ok(());
        }
        // From here on the target is there, whatever becomes of the source.
        let copy = self.attempt(call, false, || self.bucket.head(&to)).await.map_err(half_done)?;
        if copy.size != source.size {
            let message = format!("the copy has {} bytes and the source {}", copy.size, source.size);
            return Err(half_done(Error::new(ErrorKind::Corrupt, message)));
        }
        match self.attempt(call, true, || self.bucket.delete(&from)).await {
            Err(error) if !error.is_not_found() => Err(half_done(error)),
            _ => Ok(()),
        }
    }

    /// Copies an object and returns the facts of the source. Onto itself it only looks whether it is there.
    async fn copy_key(self: &Arc<Self>, call: &CallContext, from: &str, to: &str) -> Result<Facts> {
        let source = self.attempt(call, false, || self.bucket.head(from)).await?;
        if from == to {
            return Ok(source);
        }
        let (limits, size) = (self.limits(), source.size);
        let target = || Target { key: to.to_owned(), condition: Condition::Always, mark: random_mark() };
        if size <= limits.largest_copy {
            let effort = Effort::writing(size / QUICKER);
            self.attempts(call, effort, || self.bucket.copy(from, to, size)).await.result?;
        } else if limits.copied_parts {
            self.join_copies(call, target(), &[(from.to_owned(), size)]).await?;
        } else {
            self.stream_copy(call, from, size, target()).await?;
        }
        Ok(source)
    }

    /// Copies an object through this process.
    async fn stream_copy(
        self: &Arc<Self>,
        call: &CallContext,
        from: &str,
        size: u64,
        target: Target,
    ) -> Result<()> {
        let reading = self.read_key(call, from.to_owned(), ReadRange::Full).await?;
        let ReadingBody::Stream(mut body) = reading.body else {
            return Err(Error::new(ErrorKind::Internal, "an object store has no files"));
        };
        let mut sending = Sending::new(self, call, Some(size));
        if sending.first(&mut body).await? {
            let (content, _held) = sending.take();
            let Target { key, condition, mark } = target;
            self.put_marked(call, &key, &content, &condition, &mark).await?;
            return Ok(());
        }
        sending.begin(target, &[]).await?;
        let parts = sending.rest(&mut body).await?;
        self.finish(call, parts).await.map(drop)
    }
}

/// A move that failed after its copy was made: the object is at both paths.
fn half_done(error: Error) -> Error {
    error.outcome_unknown()
}
