//! Making an upload an object.
//!
//! First a marker takes the next generation, so that nobody else goes on from the state. Then the store
//! makes the object of the segments: by one copy, or part by part, or, where it cannot copy parts, by
//! streaming them through this process in constant memory. When that fails, the marker is withdrawn and
//! the upload is open as before. Once the marker is there, the commit runs to its end even when its caller
//! has gone: an upload is never left half committed, save by a crash.

use std::sync::Arc;

use docker_registry_driver_api::{
    CallContext, Condition, ETag, Error, ErrorKind, ObjectInfo, ObjectPath, Result, UploadState, collect,
};
use tracing::Instrument;
use uuid::Uuid;

use super::{
    fence::{Fencing, Taken},
    known::{End, gone},
    names::{Kind, Mark, Nonce},
    sending::{Copied, Sending, Target},
    state::{Standing, State},
};
use crate::{
    bucket::{Content, ListCall},
    engine::Engine,
    retry::Effort,
};

/// How often the object is begun anew when its parts vanish on the way: in some stores another writer of
/// the same object takes them away.
const MOST_BEGINNINGS: u32 = 3;
/// Content of up to this size is read and written again where a condition asks for it, which is one request
/// less than making it of a copied part.
const READ_AGAIN: u64 = 8 << 20;

impl Engine {
    /// See [`Driver::commit`](docker_registry_driver_api::Driver::commit).
    ///
    /// # Errors
    /// `Conflict` for a stale state; `NotFound` when the upload is gone; `ConditionFailed` and `Unsupported`
    /// for the condition, and the upload stays open.
    pub async fn commit(
        self: &Arc<Self>,
        call: &CallContext,
        state: &UploadState,
        final_path: &ObjectPath,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let State::Standing(standing) = State::unpack(state)? else {
            return Err(Error::new(ErrorKind::Conflict, "this state can only be aborted"));
        };
        let key = self.writable(final_path)?;
        self.offers(condition)?;
        self.known_uploads.expect_open(standing.upload)?;
        let (engine, call, condition) = (Arc::clone(self), call.clone(), condition.clone());
        let commit = async move {
            let turn =
                (engine.fencing() == Fencing::Listed).then(|| engine.known_uploads.turn(standing.upload));
            // A commit whose caller has gone goes on, and would take both down.
            let _turn = match &turn {
                Some(turn) => Some(turn.lock().await),
                None => None,
            };
            engine.known_uploads.expect_open(standing.upload)?;
            engine.commit_to(&call, &standing, &key, &condition).await
        };
        let done = tokio::spawn(commit.in_current_span()).await;
        done.unwrap_or_else(|failure| {
            let error = Error::new(ErrorKind::Internal, "the commit ended early").outcome_unknown();
            Err(error.caused_by(&failure))
        })
    }

    async fn commit_to(
        self: &Arc<Self>,
        call: &CallContext,
        standing: &Standing,
        key: &str,
        condition: &Condition,
    ) -> Result<ObjectInfo> {
        let upload = standing.upload;
        let size = standing.offset();
        let mark = Mark { kind: Kind::Commit, begin: size, nonce: Nonce::draw() };
        let behind = self.known_uploads.behind(upload, standing.generation);
        let content = Content::from(mark.to_string());
        let taken = self.take(call, upload, behind, mark, content).await?;
        self.known_uploads.overtaken(upload, standing.generation);
        match self.make_object(call, standing, key, condition).await {
            Ok(etag) => {
                self.known_uploads.ended(upload, End::Committed);
                self.bury_upload(standing, taken).await;
                Ok(ObjectInfo { size, modified: None, etag })
            }
            Err(error) if error.is_not_found() => {
                // Segments are gone. What else is left of it is found by `list_uploads`.
                self.known_uploads.ended(upload, End::Aborted);
                self.bury(Vec::new(), vec![self.segment_key(upload, taken.generation, taken.nonce)]);
                Err(gone())
            }
            Err(error) => {
                self.withdraw(upload, taken).await;
                Err(error)
            }
        }
    }

    /// # Errors
    /// `NotFound` when segments are missing.
    async fn make_object(
        self: &Arc<Self>,
        call: &CallContext,
        standing: &Standing,
        key: &str,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        for _ in 0..MOST_BEGINNINGS {
            match self.join(call, standing, key, condition).await {
                Err(error) if error.is_not_found() => self.expect_segments(call, standing).await?,
                other => return other,
            }
        }
        Err(Error::new(ErrorKind::Unavailable, "the parts of the object vanish on the way").outcome_unknown())
    }

    async fn join(
        self: &Arc<Self>,
        call: &CallContext,
        standing: &Standing,
        key: &str,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let limits = self.limits();
        let size = standing.offset();
        let mark = Nonce::draw().to_string();
        let row: Vec<_> = standing.row.iter().filter(|segment| segment.size > 0).copied().collect();
        if row.is_empty() {
            // Nothing else looks whether the upload is still there.
            self.is_standing(call, standing).await?;
            return self.put_marked(call, key, &self.bucket.nothing(), condition, &mark).await;
        }
        if let ([segment], Condition::Always) = (&row[..], condition)
            && size <= limits.largest_copy
        {
            let from = self.copied(standing.upload, segment).0;
            let effort = Effort::writing(size / 16);
            let copy = || self.bucket.copy(&from, key, size);
            return self.attempts(call, effort, copy).await.result.map(|()| None);
        }
        if *condition != Condition::Always && size <= READ_AGAIN.min(limits.largest_put) {
            let _held = self.memory.hold(size).await;
            let stored = self.stored(call, standing.upload, &row);
            let content = collect(stored, READ_AGAIN as usize).await?;
            return self.put_marked(call, key, &Content::from(content), condition, &mark).await;
        }
        let target = Target { key: key.to_owned(), condition: condition.clone(), mark };
        if self.joins_copies() {
            let copied: Vec<Copied> =
                row.iter().map(|segment| self.copied(standing.upload, segment)).collect();
            return self.join_copies(call, target, &copied).await;
        }
        let mut stored = self.stored(call, standing.upload, &row);
        let mut sending = Sending::new(self, call, Some(size));
        if sending.first(&mut stored).await? {
            let (content, _held) = sending.take();
            return self.put_marked(call, key, &content, condition, &target.mark).await;
        }
        sending.begin(target, &[]).await?;
        let parts = sending.rest(&mut stored).await?;
        self.finish(call, parts).await
    }

    /// # Errors
    /// `NotFound` when a segment is missing.
    async fn expect_segments(&self, call: &CallContext, standing: &Standing) -> Result<()> {
        self.is_standing(call, standing).await?;
        for segment in &standing.row {
            let key = self.copied(standing.upload, segment).0;
            match self.attempt(call, false, || self.bucket.head(&key)).await {
                Ok(_) => {}
                Err(error) if error.is_not_found() => return Err(gone()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has the objects of an upload deleted that has ended: the marker after everything else.
    async fn bury_upload(self: &Arc<Self>, standing: &Standing, marker: Taken) {
        let upload = standing.upload;
        let marker_key = self.segment_key(upload, marker.generation, marker.nonce);
        if self.fencing() == Fencing::Listed {
            // Names have nonces, and not all of them are in the state.
            return self.bury_listed(upload, marker_key).await;
        }
        let fences = (1..marker.generation).map(|generation| self.segment_key(upload, generation, None));
        let data = standing.row.iter().filter(|segment| segment.nonce.is_some());
        let data = data.map(|segment| self.copied(upload, segment).0);
        self.bury(data.chain(fences).collect(), vec![marker_key]);
    }

    async fn bury_listed(self: &Arc<Self>, upload: Uuid, marker: String) {
        let call = CallContext { background: true, ..CallContext::with_timeout(super::fence::AFTERWARDS) };
        match self.upload_objects(&call, upload).await {
            Ok(mut keys) => {
                keys.retain(|key| *key != marker);
                self.bury(keys, vec![marker]);
            }
            Err(error) => tracing::debug!(%upload, %error, "the segments of a committed upload stay for now"),
        }
    }

    /// The keys of all objects of an upload.
    pub(super) async fn upload_objects(&self, call: &CallContext, upload: Uuid) -> Result<Vec<String>> {
        let prefix = self.upload_folder(upload);
        let mut list = ListCall { prefix, delimited: false, after: None, token: None, limit: 1_000 };
        let mut keys = Vec::new();
        loop {
            let page = self.attempt(call, false, || self.bucket.list(&list)).await?;
            keys.extend(page.objects.into_iter().map(|object| object.key));
            match page.next {
                None => return Ok(keys),
                next => list.token = next,
            }
        }
    }
}
