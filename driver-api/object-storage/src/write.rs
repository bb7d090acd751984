//! Whole objects from a stream: an upload in one call, without the steps of one.
//!
//! Content of one part or less is one request. More is sent in parts to the final key itself, where nothing
//! shows before all of it is there: two requests besides the parts. What fails, or is dropped, is abandoned;
//! what a crash leaves is found by `list_uploads`.

use std::sync::Arc;

use docker_registry_driver_api::{
    ByteStream, CallContext, Capability, Condition, Error, ErrorKind, ObjectInfo, ObjectPath, Result,
};

use crate::{
    engine::Engine,
    uploads::{
        Nonce,
        sending::{Sending, Target, from_caller},
    },
};

impl Engine {
    /// See [`Driver::write`](docker_registry_driver_api::Driver::write).
    ///
    /// # Errors
    /// `BodyFailed` when the stream failed; `ConditionFailed`; `Unsupported` for a condition that the store
    /// cannot keep.
    pub async fn write(
        self: &Arc<Self>,
        call: &CallContext,
        path: &ObjectPath,
        size: Option<u64>,
        body: ByteStream,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let key = self.writable(path)?;
        self.offers(condition)?;
        let mark = Nonce::draw().to_string();
        let mut body = from_caller(body);
        let mut sending = Sending::new(self, call, size);
        if sending.first(&mut body).await? {
            let size = sending.size();
            let (content, _held) = sending.take();
            let content = if size == 0 { self.bucket.nothing() } else { content };
            let etag = self.put_marked(call, &key, &content, condition, &mark).await?;
            return Ok(ObjectInfo { size, modified: None, etag });
        }
        sending.begin(Target { key, condition: condition.clone(), mark }, &[]).await?;
        let parts = sending.rest(&mut body).await?;
        let size = parts.size;
        let etag = self.finish(call, parts).await.map_err(|error| match error.kind {
            // Somebody took the parts away: a purge, or in some stores another write of the same object.
            ErrorKind::NotFound => {
                Error::new(ErrorKind::Unavailable, "the parts of the object vanished on the way")
            }
            _ => error,
        })?;
        Ok(ObjectInfo { size, modified: None, etag })
    }

    /// # Errors
    /// `Unsupported` when the store cannot keep the condition.
    pub(crate) fn offers(&self, condition: &Condition) -> Result<()> {
        let needed = match condition {
            Condition::Always => return Ok(()),
            Condition::IfAbsent => Capability::PutIfAbsent,
            Condition::IfMatch(_) => Capability::PutIfMatch,
        };
        if self.capabilities().has(needed) {
            return Ok(());
        }
        let message = format!("this store cannot keep the condition of a write: it lacks {}", needed.name());
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}
