//! The fence: of all that go on from one state, one gets the next generation.
//!
//! How that is decided depends on what the store can do:
//!
//! - **Whole**: the object of the generation is written with "only if absent", whatever its size.
//! - **Claimed**: only small writes have conditions. Large content goes to a name of its own, and a small
//!   claim with its name takes the generation.
//! - **Listed**: no conditions at all. Everyone writes under a name of his own and then looks who else is
//!   there. Who is not alone goes away again, so that both may lose, and never both win.
//!
//! An object that took a generation is not deleted while the upload lives, because a deletion that the
//! store carries out late would hit the next owner of the name. A commit that does not come about turns its
//! marker into a *withdrawn* one instead, and whoever goes on takes the generation behind it.

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{CallContext, Condition, ETag, Error, ErrorKind, Result};
use uuid::Uuid;

use super::{
    known::{gone, stale},
    names::{Kind, Mark, Nonce, Place},
};
use crate::{
    bucket::{Content, ListCall},
    engine::Engine,
    retry::{Effort, Tried},
};

/// Time for cleaning up after a call whose own deadline has passed.
pub(super) const AFTERWARDS: Duration = Duration::from_secs(60);
/// Time for a look at what a write has done.
const LOOKING: Duration = Duration::from_secs(10);
/// More withdrawn generations in a row than anybody makes.
const MOST_WITHDRAWN: u64 = 1_000;

/// How generations are taken in this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fencing {
    Whole,
    Claimed,
    Listed,
}

/// A generation that is this caller's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) generation: u64,
    /// In the name of the object, in stores without conditions.
    pub(super) nonce: Option<Nonce>,
    mark: Mark,
}

/// Who has a generation.
enum Holder {
    /// This caller, after all.
    Ours,
    /// A commit that was withdrawn.
    Withdrawn,
    /// Nobody any more: its object has gone.
    Nobody,
    /// Somebody else; the error for this caller.
    Other(Error),
}

/// Objects that are deleted in the background unless somebody says that they are to stay.
pub(super) struct Undo {
    engine: Arc<Engine>,
    keys: Vec<String>,
}

impl Undo {
    pub(super) fn new(engine: &Arc<Engine>, key: String) -> Self {
        Self { engine: Arc::clone(engine), keys: vec![key] }
    }

    /// The objects stay.
    pub(super) fn keep(mut self) {
        self.keys.clear();
    }

    /// Deletes them now.
    pub(super) async fn now(mut self) {
        let keys = std::mem::take(&mut self.keys);
        self.engine.remove_afterwards(keys).await;
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        let keys = std::mem::take(&mut self.keys);
        if !keys.is_empty()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let engine = Arc::clone(&self.engine);
            runtime.spawn(async move { engine.remove_afterwards(keys).await });
        }
    }
}

impl Engine {
    pub(super) fn fencing(&self) -> Fencing {
        let limits = self.limits();
        match (limits.put_if_absent, limits.finish_if_absent) {
            (true, true) => Fencing::Whole,
            (true, false) => Fencing::Claimed,
            (false, _) => Fencing::Listed,
        }
    }

    /// Takes the first free generation behind `behind` by one small write.
    ///
    /// # Errors
    /// `Conflict` when somebody else has it; `NotFound` when the upload has ended.
    pub(super) async fn take(
        self: &Arc<Self>,
        call: &CallContext,
        upload: Uuid,
        behind: u64,
        mark: Mark,
        content: Content,
    ) -> Result<Taken> {
        if self.fencing() == Fencing::Listed {
            let generation = behind.saturating_add(1);
            let key = self.segment_key(upload, generation, Some(mark.nonce));
            let undo = Undo::new(self, key.clone());
            self.put_marked(call, &key, &content, &Condition::Always, &mark.to_string()).await?;
            self.stay_if_alone(call, upload, (generation, mark.nonce), undo).await?;
            return Ok(Taken { generation, nonce: Some(mark.nonce), mark });
        }
        for generation in (1..MOST_WITHDRAWN).map(|step| behind.saturating_add(step)) {
            let key = self.segment_key(upload, generation, None);
            let text = mark.to_string();
            let put = self.put_marked(call, &key, &content, &Condition::IfAbsent, &text).await;
            let taken = Taken { generation, nonce: None, mark };
            match put {
                Ok(_) => return Ok(taken),
                Err(error) if error.kind == ErrorKind::ConditionFailed => {
                    match self.holder(call, upload, (generation, None), &mark).await? {
                        Holder::Ours => return Ok(taken),
                        Holder::Withdrawn => self.known_uploads.withdrew(upload, generation),
                        // So the upload is being cleared away.
                        Holder::Nobody => return Err(gone()),
                        Holder::Other(error) => return Err(error),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Err(stale())
    }

    /// Why a generation could not be taken.
    ///
    /// # Errors
    /// `Conflict` or `NotFound`, always.
    pub(super) async fn lost(
        &self,
        call: &CallContext,
        upload: Uuid,
        generation: u64,
        mark: &Mark,
    ) -> Result<()> {
        match self.holder(call, upload, (generation, None), mark).await? {
            Holder::Ours => Ok(()),
            Holder::Withdrawn => {
                self.known_uploads.withdrew(upload, generation);
                Err(stale())
            }
            Holder::Nobody => Err(gone()),
            Holder::Other(error) => Err(error),
        }
    }

    /// The generation behind which the next one is free, as far as a look can tell. For those who are about
    /// to send much: it finds early that somebody else has gone on.
    ///
    /// # Errors
    /// `Conflict` when somebody has; `NotFound` when the upload has ended.
    pub(super) async fn free_behind(&self, call: &CallContext, upload: Uuid, behind: u64) -> Result<u64> {
        if self.fencing() == Fencing::Listed {
            return Ok(behind);
        }
        for generation in (0..MOST_WITHDRAWN).map(|step| behind.saturating_add(step)) {
            let key = self.segment_key(upload, generation.saturating_add(1), None);
            match self.attempt(call, false, || self.bucket.head(&key)).await {
                Err(error) if error.is_not_found() => return Ok(generation),
                Err(error) => return Err(error),
                Ok(facts) => match facts.mark.as_deref().and_then(Mark::parse).map(|mark| mark.kind) {
                    Some(Kind::Withdrawn) => {
                        self.known_uploads.withdrew(upload, generation.saturating_add(1))
                    }
                    Some(Kind::Commit) => return Err(gone()),
                    _ => return Err(stale()),
                },
            }
        }
        Err(stale())
    }

    /// In a store without conditions: the object stays if nobody else has written one of its generation.
    ///
    /// # Errors
    /// `Conflict` or `NotFound` otherwise.
    pub(super) async fn stay_if_alone(
        &self,
        call: &CallContext,
        upload: Uuid,
        (generation, own): (u64, Nonce),
        undo: Undo,
    ) -> Result<()> {
        let prefix = self.segment_key(upload, generation, None);
        let list = ListCall { prefix, delimited: false, after: None, token: None, limit: 1_000 };
        let listed = self.attempt(call, false, || self.bucket.list(&list)).await;
        let others = listed.map(|listing| {
            let places = listing.objects.iter().filter_map(|object| self.parse_segment_key(&object.key));
            places.map(|(_, place)| place).find(|place| *place != (generation, Some(own)))
        });
        match others {
            Ok(None) => {
                undo.keep();
                Ok(())
            }
            Ok(Some(other)) => {
                undo.now().await;
                let nobody = Mark { kind: Kind::Segment, begin: 0, nonce: own };
                match self.holder(call, upload, other, &nobody).await {
                    Ok(Holder::Other(error)) => Err(error),
                    // It may have looked as well and gone away.
                    _ => Err(stale()),
                }
            }
            Err(error) => {
                undo.now().await;
                Err(error)
            }
        }
    }

    async fn holder(&self, call: &CallContext, upload: Uuid, place: Place, own: &Mark) -> Result<Holder> {
        let key = self.segment_key(upload, place.0, place.1);
        let facts = match self.attempt(call, false, || self.bucket.head(&key)).await {
            Ok(facts) => facts,
            Err(error) if error.is_not_found() => return Ok(Holder::Nobody),
            Err(error) => return Err(error),
        };
        Ok(match facts.mark.as_deref().and_then(Mark::parse) {
            Some(mark) if mark == *own => Holder::Ours,
            Some(Mark { kind: Kind::Withdrawn, .. }) => Holder::Withdrawn,
            Some(Mark { kind: Kind::Commit, .. }) => Holder::Other(gone()),
            _ => Holder::Other(stale()),
        })
    }

    /// Gives a generation back that a commit has taken in vain. The state before it is good again.
    pub(super) async fn withdraw(&self, upload: Uuid, taken: Taken) {
        let key = self.segment_key(upload, taken.generation, taken.nonce);
        let call = CallContext::with_timeout(AFTERWARDS);
        let withdrawn = match taken.nonce {
            // The name is nobody else's, so that it can be deleted.
            Some(_) => self.delete_all_keys(&call, vec![key]).await,
            None => {
                let mark = Mark { kind: Kind::Withdrawn, ..taken.mark }.to_string();
                let content = Content::from(mark.clone());
                let put = self.put_marked(&call, &key, &content, &Condition::Always, &mark).await;
                put.map(|_| self.known_uploads.withdrew(upload, taken.generation))
            }
        };
        if let Err(error) = withdrawn {
            tracing::warn!(%upload, %error, "an upload cannot go on: the marker of its commit stays");
        }
    }

    /// Deletes objects after a call that went wrong.
    pub(super) async fn remove_afterwards(&self, keys: Vec<String>) {
        let call = CallContext::with_timeout(AFTERWARDS);
        if let Err(error) = self.delete_all_keys(&call, keys).await {
            tracing::debug!(%error, "an object of an upload stays until the upload ends");
        }
    }

    /// Writes a small object with a mark. Retries are not mistaken for others: the mark tells.
    ///
    /// # Errors
    /// `ConditionFailed` when it was not this call that made the object.
    pub(crate) async fn put_marked(
        &self,
        call: &CallContext,
        key: &str,
        content: &Content,
        condition: &Condition,
        mark: &str,
    ) -> Result<Option<ETag>> {
        let effort = Effort::writing(content.content_length() as u64);
        let put = || self.bucket.put(key, content.clone(), condition, Some(mark));
        let tried = self.attempts(call, effort, put).await;
        self.settle(tried, key, mark, condition).await
    }

    /// Finds out whether a write that failed has happened all the same: then the object has its mark.
    ///
    /// # Errors
    /// That of the write, unless it has happened; `outcome_unknown` where that cannot be found out.
    pub(crate) async fn settle(
        &self,
        tried: Tried<Option<ETag>>,
        key: &str,
        mark: &str,
        condition: &Condition,
    ) -> Result<Option<ETag>> {
        let error = match tried.result {
            Ok(etag) => return Ok(etag),
            Err(error) if error.kind == ErrorKind::ConditionFailed && !tried.repeated => return Err(error),
            Err(error) => error,
        };
        let is_refusal =
            matches!(error.kind, ErrorKind::ConditionFailed | ErrorKind::NotFound | ErrorKind::Conflict);
        if !error.outcome_unknown && !is_refusal {
            return Err(error);
        }
        // The call's own time may be over.
        let call = CallContext::with_timeout(LOOKING);
        match self.attempt(&call, false, || self.bucket.head(key)).await {
            Ok(facts) if facts.mark.as_deref() == Some(mark) => Ok(facts.etag),
            // The refusal of a later attempt says nothing of an earlier one, whose answer got lost. Somebody who saw
            // what it wrote may have replaced it.
            Ok(_)
                if tried.uncertain
                    && matches!(condition, Condition::IfMatch(_))
                    && error.kind == ErrorKind::ConditionFailed =>
            {
                Err(unknown())
            }
            // What was deleted since is as if the deletion had come first.
            Ok(_) => Err(error),
            Err(look) if look.is_not_found() => Err(error),
            Err(_) if tried.uncertain => Err(unknown()),
            Err(_) => Err(error),
        }
    }
}

/// The error of a write of which nobody can tell whether it happened.
pub(super) fn unknown() -> Error {
    let message = "the object may have been written: the answer was lost, and others wrote it since or it cannot be seen";
    Error::new(ErrorKind::Unavailable, message).retryable(false).outcome_unknown()
}
