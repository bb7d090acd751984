//! The search index: which repositories there are and what they are for, in an SQLite database that
//! docker-registry 0.9.1 can read and write as well.
//!
//! # How it stays true
//! The storage decides, the index follows. A push or a deletion leaves nothing but a note with the repository's
//! name ([`Search::note_when_done`]); whoever works off the notes looks at the storage and writes down what is there. So
//! the order of notes does not matter, a lost note is mended by looking at everything ([`reconcile`]), and that
//! happens at each start.
//!
//! # Guarantees
//! - A push never waits for the index and never fails because of it.
//! - A search sees every push of this process that was answered before it, unless the index lags by more than two
//!   seconds.
//! - Many processes may share a database: what one has seen never overwrites what another one saw later.
//! - The runtime never waits for SQLite, and at most one thread of this process does.
//! - An index that cannot be used is one warning. Searching fails meanwhile, and nothing else does.
//!
//! # Names
//! V1 repositories have a namespace always (`library/centos`), V2 repositories the name that they are pulled by
//! (`centos`). When the V2 repository `centos` exists beside the V1 repository `library/centos`, today's clients can
//! pull the first name only, and older ones mean both by it: only `centos` is found.

mod database;
mod index;
mod indexer;
mod notes;
mod query;
pub mod reconcile;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use docker_registry_config::IndexDatabase;
use tokio::task::JoinHandle;

pub use self::{
    index::Unavailable,
    query::{Found, Hit, Query},
};
use self::{indexer::Indexer, notes::Notes};
use crate::{
    registry::{digest::Digest, v1, v2},
    storage::Storage,
};

/// How long a search waits for notes that were left before it.
const LAG: Duration = Duration::from_secs(2);

/// The index of this server, or none. Clones share it.
#[derive(Clone, Default)]
pub struct Search(Option<Arc<Running>>);

struct Running {
    indexer: Arc<Indexer>,
    notes: Arc<Notes>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Search {
    /// No index: nothing is found.
    pub fn off() -> Self {
        Self(None)
    }

    /// Opens the index and brings it up to date, both in the background. `store` is a text that differs between
    /// storages: those that share a database do not see each other's repositories. Must be called inside a tokio
    /// runtime.
    pub fn start(database: IndexDatabase, store: &str, storage: &Storage) -> Self {
        if database == IndexDatabase::Memory {
            tracing::warn!(
                "the search index is in memory: it is made anew at each start; \
                 sqlite:////var/lib/docker-registry/search.db would keep it"
            );
        }
        let indexer = Arc::new(Indexer::new(database, store, storage));
        let notes = Arc::new(Notes::default());
        let tasks = vec![
            tokio::spawn(notes::work_off(Arc::clone(&notes), Arc::clone(&indexer))),
            tokio::spawn(notes::keep_reconciled(Arc::clone(&notes), Arc::clone(&indexer))),
        ];
        Self(Some(Arc::new(Running { indexer, notes, tasks: Mutex::new(tasks) })))
    }

    /// Something is about to be pushed to a repository or deleted from it. The note is left when what this returns is
    /// dropped: after success, after a failure halfway, and when the client went away meanwhile.
    #[must_use = "dropped at once, it leaves its note before anything has changed"]
    pub fn note_when_done(&self, repository: &impl Named) -> Note {
        Note { search: self.clone(), repository: repository.indexed_name(), tagged: None }
    }

    /// Looks for repositories. Those for whose names `visible` is false are neither found nor counted.
    ///
    /// # Errors
    /// [`Unavailable`] as long as the index cannot be used.
    pub async fn find(
        &self,
        query: Query,
        visible: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Found, Unavailable> {
        let Some(running) = &self.0 else { return Ok(Found::default()) };
        let settled = running.notes.settled();
        // The index as it is is better than no answer.
        let _ = tokio::time::timeout(LAG, settled).await;
        running.indexer.index.search(move |database| database.find(&query, &visible)).await
    }

    /// Works off the notes that are left, for a short while, and ends.
    pub async fn finish(&self) {
        let Some(running) = &self.0 else { return };
        let _ = tokio::time::timeout(LAG, running.notes.settled()).await;
        for task in running.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// A note that is left when it is dropped.
pub struct Note {
    search: Search,
    repository: String,
    tagged: Option<Digest>,
}

impl Note {
    /// A tag was pointed to this manifest, which may describe the repository anew.
    pub fn tagged(&mut self, digest: &Digest) {
        self.tagged = Some(digest.clone());
    }
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(running) = &self.search.0 {
            running.notes.leave(std::mem::take(&mut self.repository), self.tagged.take());
        }
    }
}

/// A repository that has a name in the index.
pub trait Named {
    /// The name that is found and shown.
    fn indexed_name(&self) -> String;
}

impl Named for v1::names::RepositoryName {
    fn indexed_name(&self) -> String {
        self.plain()
    }
}

impl Named for v2::RepositoryName {
    fn indexed_name(&self) -> String {
        self.to_string()
    }
}
