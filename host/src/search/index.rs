//! The database as the rest of the server uses it: without blocking, opened when it is needed, opened again when its
//! file was replaced.
//!
//! One thread at a time works on it; the others wait without holding a thread. After a failure the next second is
//! answered with it, so that callers who come meanwhile do not all wait for a locked database in turn. Searches wait for
//! each other first: however many there are, a change of the index waits for one of them at most.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docker_registry_config::IndexDatabase;
use futures::FutureExt;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::database::{Database, Error};
use crate::telemetry::seldom::Seldom;

/// How long somebody waits for those before him.
const TURN: Duration = Duration::from_secs(10);
/// How long a failure is repeated without another try.
const REPEATED: Duration = Duration::from_secs(1);

/// The index cannot be used now. The text is for the operator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the search index cannot be used: {0}")]
pub struct Unavailable(pub(super) Arc<str>);

/// The index of a server or a command.
pub(super) struct Index {
    place: IndexDatabase,
    store: Arc<str>,
    state: Arc<Mutex<State>>,
    /// Held by the search whose turn comes next.
    searching: Mutex<()>,
    /// Says that the turn of somebody did not come.
    crowded: Seldom,
    /// Told when a database was opened that nobody has indexed anything in, or another one than before.
    pub(super) found_new: Arc<Notify>,
}

#[derive(Default)]
struct State {
    database: Option<Database>,
    /// Whether the file was replaced and the one in its place has not been opened yet.
    replaced: bool,
    /// Of searches and other looks into it.
    reading: Trouble,
    /// Of changes. A database may let itself be read and not be written.
    writing: Trouble,
}

/// What went wrong the last time, if it did.
#[derive(Default)]
struct Trouble {
    failed: Option<(Instant, Unavailable)>,
    warned: bool,
}

/// What is done with the database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Work {
    Reading,
    Writing,
}

impl Index {
    pub(super) fn new(place: IndexDatabase, store: &str) -> Self {
        Self {
            place,
            store: store.into(),
            state: Arc::default(),
            searching: Mutex::default(),
            crowded: Seldom::new(),
            found_new: Arc::default(),
        }
    }

    /// As [`Index::read`], for clients, of whom there may be many at the same time.
    pub(super) async fn search<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let turn = tokio::time::timeout(TURN, self.searching.lock()).await;
        let _turn = turn.map_err(|_| self.too_crowded())?;
        self.read(work).await
    }

    /// Looks something up in the database, on a thread for blocking work.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.with(Work::Reading, work).await
    }

    /// Changes something in the database, on a thread for blocking work.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.with(Work::Writing, work).await
    }

    async fn with<T: Send + 'static>(
        &self,
        kind: Work,
        work: impl FnOnce(&mut Database) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.state).lock_owned()).await;
        let mut state = turn.map_err(|_| self.too_crowded())?;
        if let Some((at, failure)) = &state.trouble(kind).failed
            && at.elapsed() < REPEATED
        {
            return Err(failure.clone());
        }
        let (place, store) = (self.place.clone(), Arc::clone(&self.store));
        let found_new = Arc::clone(&self.found_new);
        let task = tokio::task::spawn_blocking(move || {
            let done = on_database(&mut state, &place, &store, &found_new, work);
            (state, done)
        });
        match task.await {
            Ok((state, done)) => self.ended(state, kind, done),
            Err(error) => Err(Unavailable(error.to_string().into())),
        }
    }

    fn too_crowded(&self) -> Unavailable {
        let failure = Unavailable("others have been at it for too long".into());
        if let Some(held_back) = self.crowded.now() {
            let error = &failure.0;
            tracing::warn!(%error, held_back, "the search index is too busy: a search or a change was given up");
        }
        failure
    }

    /// Opens the database for somebody who is about to index everything in it, and needs not be told that it is new.
    pub(super) async fn open(&self) {
        // A failure shows at the next use as well.
        let _ = self.read(|_| Ok(())).await;
        let _ = self.found_new.notified().now_or_never();
    }

    fn ended<T>(
        &self,
        mut state: OwnedMutexGuard<State>,
        kind: Work,
        done: Result<T, Error>,
    ) -> Result<T, Unavailable> {
        let trouble = state.trouble(kind);
        match done {
            Ok(value) => {
                trouble.failed = None;
                if std::mem::take(&mut trouble.warned) {
                    tracing::info!("the search index can be used again");
                }
                Ok(value)
            }
            Err(error) => {
                let failure = Unavailable(error.to_string().into());
                if !std::mem::replace(&mut trouble.warned, true) {
                    let error = &failure.0;
                    match kind {
                        Work::Reading => tracing::warn!(
                            %error,
                            "the search index cannot be used: searching answers 503, everything else goes on"
                        ),
                        Work::Writing => tracing::warn!(
                            %error,
                            "the search index cannot be changed: it is searched as it is, everything else goes on"
                        ),
                    }
                }
                trouble.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }
}

impl State {
    fn trouble(&mut self, kind: Work) -> &mut Trouble {
        match kind {
            Work::Reading => &mut self.reading,
            Work::Writing => &mut self.writing,
        }
    }
}

/// Opens the database where that is needed. That it is a new one is told at once: the caller may be gone by the end,
/// and the work may fail.
fn on_database<T>(
    state: &mut State,
    place: &IndexDatabase,
    store: &str,
    found_new: &Notify,
    work: impl FnOnce(&mut Database) -> Result<T, Error>,
) -> Result<T, Error> {
    if state.database.as_ref().is_some_and(|database| !database.is_current()) {
        state.database = None;
        state.replaced = true;
    }
    let database = match &mut state.database {
        Some(database) => database,
        closed => {
            let opened = closed.insert(Database::open(place, store)?);
            if std::mem::take(&mut state.replaced) || opened.is_new {
                found_new.notify_one();
            }
            opened
        }
    };
    work(database)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_replaced_database_is_found_new_even_when_the_work_that_opened_it_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x.db");
        let index = Index::new(IndexDatabase::File(file.clone()), "s");
        let other = folder.path().join("other.db");
        drop(Database::open(&IndexDatabase::File(other.clone()), "s").expect("it opens"));
        index.open().await;
        assert!(index.found_new.notified().now_or_never().is_none());
        // Not new in itself: somebody has opened it before.
        std::fs::rename(other, file).expect("it is replaced");
        let failed = index.read(|_| Err::<(), _>(Error::Version(2))).await;
        assert!(failed.is_err());
        assert!(index.found_new.notified().now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_change_waits_for_few_of_many_searches() {
        const SEARCHES: usize = 50;
        let index = Arc::new(Index::new(IndexDatabase::Memory, "s"));
        let done = Arc::new(AtomicUsize::new(0));
        let (begun, first) = std::sync::mpsc::channel();
        let searches: Vec<_> = (0..SEARCHES)
            .map(|_| {
                let (index, done, begun) = (Arc::clone(&index), Arc::clone(&done), begun.clone());
                tokio::spawn(async move {
                    let search = index.search(move |_| {
                        let _ = begun.send(());
                        std::thread::sleep(Duration::from_millis(5));
                        done.fetch_add(1, Ordering::SeqCst);
                        Ok(())
                    });
                    search.await.expect("it is searched");
                })
            })
            .collect();
        while first.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let counted = Arc::clone(&done);
        let before = index.write(move |_| Ok(counted.load(Ordering::SeqCst))).await.expect("it is changed");
        assert!(before < SEARCHES / 2, "{before} searches came first");
        for search in searches {
            search.await.expect("it ends");
        }
        assert_eq!(done.load(Ordering::SeqCst), SEARCHES);
    }
}
