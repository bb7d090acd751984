//! The database as the rest of the server uses it: without blocking, opened when it is needed, opened again when its
//! file was replaced.
//!
//! One thread at a time works on it; the others wait without holding a thread. After a failure the next second is
//! answered with it, so that callers who come meanwhile do not all wait for a locked database in turn.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use docker_registry_config::IndexDatabase;
use futures::FutureExt;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

use super::database::{Database, Error};

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
    /// Told when a database was opened that nobody has indexed anything in.
    pub(super) found_new: Notify,
}

#[derive(Default)]
struct State {
    database: Option<Database>,
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
        Self { place, store: store.into(), state: Arc::default(), found_new: Notify::new() }
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
        let mut state = turn.map_err(|_| Unavailable("others have been at it for too long".into()))?;
        if let Some((at, failure)) = &state.trouble(kind).failed
            && at.elapsed() < REPEATED
        {
            return Err(failure.clone());
        }
        let (place, store) = (self.place.clone(), Arc::clone(&self.store));
        let task = tokio::task::spawn_blocking(move || {
            let done = on_database(&mut state, &place, &store, work);
            (state, done)
        });
        match task.await {
            Ok((state, done)) => self.ended(state, kind, done),
            Err(error) => Err(Unavailable(error.to_string().into())),
        }
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
        done: Result<(T, bool), Error>,
    ) -> Result<T, Unavailable> {
        let trouble = state.trouble(kind);
        match done {
            Ok((value, is_new)) => {
                trouble.failed = None;
                if std::mem::take(&mut trouble.warned) {
                    tracing::info!("the search index can be used again");
                }
                if is_new {
                    self.found_new.notify_one();
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

/// Opens the database where that is needed. The result says as well whether it is a new one.
fn on_database<T>(
    state: &mut State,
    place: &IndexDatabase,
    store: &str,
    work: impl FnOnce(&mut Database) -> Result<T, Error>,
) -> Result<(T, bool), Error> {
    if state.database.as_ref().is_some_and(|database| !database.is_current()) {
        state.database = None;
    }
    let database = match &mut state.database {
        Some(database) => database,
        closed => closed.insert(Database::open(place, store)?),
    };
    let is_new = std::mem::take(&mut database.is_new);
    let value = work(database)?;
    Ok((value, is_new))
}
