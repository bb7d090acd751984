//! Notes: which repositories are to be looked at, because something was pushed or deleted.
//!
//! Leaving one takes a moment, whatever the index and the storage do. Their number has a bound; what does not fit,
//! and what could not be worked off, is made up for by looking at everything once more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::{
    indexer::{Failure, Indexer, Look, Reason},
    reconcile::{Counts, forget_gone, reconcile},
};
use crate::registry::digest::Digest;

/// Most repositories that wait to be looked at.
const MOST: usize = 4096;
/// Pauses between tries to look at everything.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// Longest pause when only some repositories cannot be looked at: each try looks at all the others as well.
const PAUSE_FOR_SOME: Duration = Duration::from_secs(60 * 60);
/// How often repositories that have been gone for long are forgotten, at least.
const FORGETTING: Duration = Duration::from_secs(60 * 60);

/// The notes that wait.
pub(super) struct Notes {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    missed: Notify,
    /// How many notes have been worked off, one way or the other.
    done: watch::Sender<u64>,
}

#[derive(Default)]
struct Waiting {
    repositories: HashMap<String, Option<Digest>>,
    left: u64,
}

impl Default for Notes {
    fn default() -> Self {
        let (arrived, missed) = (Notify::new(), Notify::new());
        Self { waiting: Mutex::default(), arrived, missed, done: watch::Sender::new(0) }
    }
}

impl Notes {
    /// Leaves a note; with the manifest that a tag was pointed to, if it was.
    pub(super) fn leave(&self, repository: String, tagged: Option<Digest>) {
        let mut waiting = self.lock();
        waiting.left += 1;
        let is_full = waiting.repositories.len() >= MOST;
        match waiting.repositories.get_mut(&repository) {
            Some(note) => *note = tagged.or_else(|| note.take()),
            None if is_full => self.missed.notify_one(),
            None => {
                waiting.repositories.insert(repository, tagged);
            }
        }
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Ready when all notes that were left before the call are worked off.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + Send + 'static {
        let (left, mut done) = (self.lock().left, self.done.subscribe());
        async move {
            // The sender is gone when the server ends.
            let _ = done.wait_for(|done| *done >= left).await;
        }
    }

    fn take(&self) -> (Vec<(String, Look)>, u64) {
        let mut waiting = self.lock();
        let notes = std::mem::take(&mut waiting.repositories);
        let look = |tagged: Option<Digest>| tagged.map_or(Look::Existence, Look::Tagged);
        (notes.into_iter().map(|(name, tagged)| (name, look(tagged))).collect(), waiting.left)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Works off notes for ever.
pub(super) async fn work_off(notes: Arc<Notes>, indexer: Arc<Indexer>) {
    let mut forgotten = Instant::now();
    loop {
        notes.arrived.notified().await;
        let (looks, left) = notes.take();
        let missing = match indexer.settle(looks, Reason::Note).await {
            Ok(settled) => settled.failures.sentence(),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = missing {
            tracing::debug!(error, "pushes and deletions are missing in the search index for now");
            notes.missed.notify_one();
        }
        notes.done.send_replace(left);
        if forgotten.elapsed() >= FORGETTING {
            forgotten = Instant::now();
            // The index has its own warning.
            let _ = forget_gone(&indexer).await;
        }
    }
}

/// Compares everything: now, when notes were missed, and when the database is new. The first time descriptions of
/// what is known are not read again; later they are: a note that was missed may have been of a new description.
pub(super) async fn keep_reconciled(notes: Arc<Notes>, indexer: Arc<Indexer>) {
    let (mut pause, mut everything, mut warned) = (PAUSES.0, false, false);
    loop {
        indexer.index.open().await;
        match reconcile(&indexer, everything, |_| ()).await {
            Ok((counts, failures)) => {
                let failed = failures.sentence();
                match &failed {
                    None => {
                        report(&counts);
                        (pause, warned) = (PAUSES.0, false);
                    }
                    Some(error) if !std::mem::replace(&mut warned, true) => {
                        tracing::warn!(error, "the search index is up to date but for some repositories");
                    }
                    Some(_) => {}
                }
                tokio::select! {
                    () = notes.missed.notified() => {
                        everything = true;
                        // Whatever made it miss something may last for a moment.
                        tokio::time::sleep(PAUSES.0).await;
                    }
                    () = indexer.index.found_new.notified() => everything = true,
                    () = tokio::time::sleep(pause), if failed.is_some() => {
                        pause = (pause * 2).min(PAUSE_FOR_SOME);
                    }
                }
            }
            Err(error) => {
                // The index has its own warning.
                if !matches!(error, Failure::Index(_)) && !std::mem::replace(&mut warned, true) {
                    tracing::warn!(%error, "the search index is not up to date; trying again");
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSES.1);
            }
        }
    }
}

fn report(counts: &Counts) {
    tracing::info!(
        v1 = counts.v1,
        v2 = counts.v2,
        added = counts.added,
        removed = counts.removed,
        "the search index is up to date"
    );
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn whoever_asks_waits_for_the_notes_that_were_left_before() {
        let notes = Notes::default();
        assert!(notes.settled().now_or_never().is_some());
        notes.leave("a/b".to_owned(), None);
        let mut before = Box::pin(notes.settled());
        let (looks, left) = notes.take();
        notes.leave("a/c".to_owned(), None);
        assert_eq!(looks.len(), 1);
        assert!(before.as_mut().now_or_never().is_none());
        notes.done.send_replace(left);
        assert!(before.now_or_never().is_some());
        assert!(notes.settled().now_or_never().is_none());
    }

    #[test]
    fn too_many_notes_become_one_look_at_everything() {
        let notes = Notes::default();
        for number in 0..=MOST {
            notes.leave(format!("a/{number}"), None);
        }
        assert!(notes.missed.notified().now_or_never().is_some());
        assert_eq!(notes.take().0.len(), MOST);
        notes.leave("a/b".to_owned(), None);
        assert!(notes.missed.notified().now_or_never().is_none());
    }
}
