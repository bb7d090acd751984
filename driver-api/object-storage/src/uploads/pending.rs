//! Finding the uploads that nobody finished.
//!
//! Three places are looked at: the objects of the staging area, the large objects that were begun there,
//! and those that were begun at final keys by [`write`](crate::Engine::write). An upload whose newest
//! object is the marker of a commit counts only when the marker is old: a crash has left it then.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::Arc,
    time::{Duration, SystemTime},
};

use docker_registry_driver_api::{CallContext, PendingUpload, Result, UploadPage};
use futures::{StreamExt, stream};
use uuid::Uuid;

use super::{
    known::End,
    names::{Kind, Mark, Nonce, Place},
    state::State,
};
use crate::{
    bucket::ListCall,
    engine::{Engine, is_own},
};

/// After this time a commit has crashed whose marker is still there.
const COMMITTING: Duration = Duration::from_secs(60 * 60);
/// Looks at once.
const LOOKS_AT_ONCE: usize = 8;

/// What may be a pending upload.
#[derive(Debug, Clone)]
struct Candidate {
    found: Found,
    touched: SystemTime,
}

#[derive(Debug, Clone)]
enum Found {
    /// Its objects with their sizes.
    Upload(Uuid, BTreeMap<Place, u64>),
    Write {
        key: String,
        id: String,
    },
}

impl Engine {
    /// See [`Driver::list_uploads`](docker_registry_driver_api::Driver::list_uploads).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list_uploads(
        self: &Arc<Self>,
        call: &CallContext,
        older_than: SystemTime,
        after: Option<&str>,
        limit: u32,
    ) -> Result<UploadPage> {
        let mut candidates = self.candidates(call).await?;
        candidates.retain(|_, candidate| candidate.touched < older_than);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = candidates.range::<str, _>((start, Bound::Unbounded));
        let looks = rest.map(|(cursor, candidate)| async move {
            (cursor.clone(), self.pending(call, candidate.clone()).await)
        });
        let looks: Vec<_> = looks.collect();
        let mut looks = stream::iter(looks).buffered(LOOKS_AT_ONCE);
        let limit = limit.max(1) as usize;
        let mut page = UploadPage::default();
        let mut last = None;
        while let Some((cursor, pending)) = looks.next().await {
            let Some(upload) = pending? else { continue };
            if page.uploads.len() == limit {
                page.next = last;
                break;
            }
            page.uploads.push(upload);
            last = Some(cursor);
        }
        Ok(page)
    }

    /// Everything that may be a pending upload, by its cursor.
    async fn candidates(&self, call: &CallContext) -> Result<BTreeMap<String, Candidate>> {
        let mut candidates = BTreeMap::new();
        let now = SystemTime::now();
        let mut list =
            ListCall { prefix: self.staging(), delimited: false, after: None, token: None, limit: 1_000 };
        loop {
            let page = self.attempt(call, false, || self.bucket.list(&list)).await?;
            for object in page.objects {
                let Some((upload, place)) = self.parse_segment_key(&object.key) else { continue };
                let modified = object.modified.unwrap_or(now);
                touch(&mut candidates, upload, modified, Some((place, object.size)));
            }
            match page.next {
                None => break,
                next => list.token = next,
            }
        }
        if self.limits().lists_begun {
            for begun in self.list_all_begun(call, &self.key("")).await? {
                if let Some((upload, _)) = self.parse_segment_key(&begun.key) {
                    touch(&mut candidates, upload, begun.begun, None);
                } else if self.path(&begun.key).is_some_and(|path| !is_own(path)) {
                    // Behind all uploads.
                    let cursor = format!("~{} {}", begun.key, begun.id);
                    let found = Found::Write { key: begun.key, id: begun.id };
                    candidates.insert(cursor, Candidate { found, touched: begun.begun });
                }
            }
        }
        Ok(candidates)
    }

    /// The upload, unless it has ended.
    async fn pending(&self, call: &CallContext, candidate: Candidate) -> Result<Option<PendingUpload>> {
        let touched = candidate.touched;
        let (upload, objects) = match candidate.found {
            Found::Write { key, id } => {
                let state = State::Begun { key, id }.pack()?;
                return Ok(Some(PendingUpload { state, touched, size: 0 }));
            }
            Found::Upload(upload, objects) => (upload, objects),
        };
        if self.known_uploads.end_of(upload) == Some(End::Committed) {
            return Ok(None);
        }
        let Some(size) = self.pending_size(call, upload, &objects, touched).await? else { return Ok(None) };
        Ok(Some(PendingUpload { state: State::Found(upload).pack()?, touched, size }))
    }

    /// Number of bytes of an upload, by the mark of its newest object; `None` when it has ended.
    async fn pending_size(
        &self,
        call: &CallContext,
        upload: Uuid,
        objects: &BTreeMap<Place, u64>,
        touched: SystemTime,
    ) -> Result<Option<u64>> {
        for (place, size) in objects.iter().rev() {
            let is_data = place.1.is_some() && objects.contains_key(&(place.0, None));
            if is_data {
                continue;
            }
            let key = self.segment_key(upload, place.0, place.1);
            let facts = match self.attempt(call, false, || self.bucket.head(&key)).await {
                Ok(facts) => facts,
                // It has ended since it was listed.
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            let Some(mark) = facts.mark.as_deref().and_then(Mark::parse) else { continue };
            return Ok(match mark.kind {
                Kind::Segment => Some(mark.begin.saturating_add(*size)),
                Kind::Claim => Some(mark.begin.saturating_add(data_size(objects, mark.nonce))),
                Kind::Commit => {
                    let age = SystemTime::now().duration_since(touched).unwrap_or_default();
                    (age > COMMITTING).then_some(mark.begin)
                }
                Kind::Withdrawn => continue,
            });
        }
        // Nothing but what an append has begun.
        Ok(Some(0))
    }
}

fn data_size(objects: &BTreeMap<Place, u64>, nonce: Nonce) -> u64 {
    let data = objects.iter().find(|((_, name), _)| *name == Some(nonce));
    data.map_or(0, |(_, size)| *size)
}

fn touch(
    candidates: &mut BTreeMap<String, Candidate>,
    upload: Uuid,
    when: SystemTime,
    object: Option<(Place, u64)>,
) {
    let candidate = candidates
        .entry(upload.simple().to_string())
        .or_insert_with(|| Candidate { found: Found::Upload(upload, BTreeMap::new()), touched: when });
    candidate.touched = candidate.touched.max(when);
    if let (Found::Upload(_, objects), Some((place, size))) = (&mut candidate.found, object) {
        objects.insert(place, size);
    }
}
