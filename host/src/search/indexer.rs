//! A look at the storage for one repository, and what follows from it for the index.

use std::sync::Arc;

use docker_registry_config::IndexDatabase;
use docker_registry_driver_api::CallContext;
use futures::{StreamExt, stream};

use super::{
    database::{Change, Outcome},
    index::{Index, Unavailable},
};
use crate::{
    registry::{digest::Digest, v1, v2},
    storage::Storage,
};

/// Repositories that are looked at at the same time.
const LOOKS: usize = 8;
/// How often a look is repeated when others change the same row.
const ATTEMPTS: usize = 5;

/// Why the index could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The index is the reason.
    #[error(transparent)]
    Index(#[from] Unavailable),
    /// The storage is, for V1 repositories.
    #[error("the storage fails: {0}")]
    V1(#[from] v1::Error),
    /// The storage is, for V2 repositories.
    #[error("the storage fails: {0}")]
    V2(#[from] v2::Failure),
}

/// What of a repository is to be looked at.
#[derive(Debug, Clone)]
pub(super) enum Look {
    /// Whether it is there; what its image says only when it is new.
    Existence,
    /// What its image says as well.
    Everything,
    /// A tag was pointed to this manifest.
    Tagged(Digest),
}

/// Why a look happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Something was pushed or deleted: whoever began to look before may have missed it, and must not write later.
    Note,
    /// Everything is compared. What is as the index says is not written.
    Comparison,
}

/// What came of looks.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) outcomes: Vec<Outcome>,
    pub(super) failures: Failures,
}

/// Looks at which the storage failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: usize,
    /// The first one: which repositories, and why.
    example: Option<(String, Failure)>,
}

impl Failures {
    /// Counts a failure of the storage.
    ///
    /// # Errors
    /// The failure, if it is the index's: nothing can go on without it.
    pub(super) fn count(&mut self, what: &str, failure: Failure) -> Result<(), Failure> {
        if matches!(failure, Failure::Index(_)) {
            return Err(failure);
        }
        self.count += 1;
        self.example.get_or_insert_with(|| (what.to_owned(), failure));
        Ok(())
    }

    /// What to tell the operator, if there is anything.
    pub(super) fn sentence(&self) -> Option<String> {
        let (what, failure) = self.example.as_ref()?;
        let others = match self.count {
            1 => String::new(),
            count => format!(", and {} more like it", count - 1),
        };
        Some(format!("{what} could not be looked at: {failure}{others}"))
    }

    pub(super) fn add(&mut self, others: Failures) {
        self.count += others.count;
        self.example = self.example.take().or(others.example);
    }
}

/// Looks at the storage and writes into the index.
pub(super) struct Indexer {
    pub(super) index: Index,
    pub(super) v1: v1::Registry,
    pub(super) v2: v2::Registry,
    pub(super) call: CallContext,
}

impl Indexer {
    pub(super) fn new(place: IndexDatabase, store: &str, storage: &Storage) -> Self {
        Self {
            index: Index::new(place, store),
            v1: v1::Registry::new(Arc::clone(storage)),
            v2: v2::Registry::new(Arc::clone(storage)),
            call: CallContext { background: true, ..CallContext::default() },
        }
    }

    /// Looks at repositories and writes what was seen in one transaction. A row that somebody else changes meanwhile
    /// is looked at again. One that the storage does not let itself be looked at is left as the index has it.
    pub(super) async fn settle(
        &self,
        mut looks: Vec<(String, Look)>,
        reason: Reason,
    ) -> Result<Settled, Failure> {
        let mut settled = Settled::default();
        for _ in 0..ATTEMPTS {
            let looked: Vec<Result<Change, Failure>> = stream::iter(looks.clone())
                .map(|(name, look)| self.look(name, look, reason))
                .buffered(LOOKS)
                .collect()
                .await;
            let (mut changes, mut looks_of_changes) = (Vec::new(), Vec::new());
            for (look, looked) in looks.into_iter().zip(looked) {
                match looked {
                    Ok(change) if change.is_written() => {
                        changes.push(change);
                        looks_of_changes.push(look);
                    }
                    Ok(_) => {}
                    Err(failure) => settled.failures.count(&look.0, failure)?,
                }
            }
            if changes.is_empty() {
                break;
            }
            let written = self.index.write(move |database| database.apply(&changes)).await?;
            looks = looks_of_changes
                .into_iter()
                .zip(&written)
                .filter_map(|(look, outcome)| (*outcome == Outcome::Overtaken).then_some(look))
                .collect();
            let written = written.into_iter().filter(|outcome| *outcome != Outcome::Overtaken);
            settled.outcomes.extend(written);
        }
        Ok(settled)
    }

    /// The index is read first: what it says there tells later whether the look was overtaken.
    async fn look(&self, name: String, look: Look, reason: Reason) -> Result<Change, Failure> {
        let owned = name.clone();
        let seen = self.index.read(move |database| database.read(&owned)).await?;
        let v2_name = v2::RepositoryName::parse(&name);
        let (in_v1, in_v2) = futures::try_join!(self.is_in_v1(&name), self.is_in_v2(v2_name.as_ref()))?;
        let description = match (v2_name.filter(|_| in_v2), look) {
            (None, _) => Some(None),
            (Some(_), Look::Existence) if seen.in_v2 => None,
            (Some(name), Look::Tagged(digest)) => {
                Some(self.v2.description(&self.call, &name, &digest).await?)
            }
            (Some(name), _) => Some(match self.v2.newest_manifest(&self.call, &name).await? {
                Some(digest) => self.v2.description(&self.call, &name, &digest).await?,
                None => None,
            }),
        };
        Ok(Change { name, seen, in_v1, in_v2, description, overtakes: reason == Reason::Note })
    }

    async fn is_in_v1(&self, name: &str) -> Result<bool, Failure> {
        // Without a namespace it is a name of V2 only.
        match v1::names::RepositoryName::from_path(name).filter(|_| name.contains('/')) {
            Some(name) => Ok(self.v1.repository_exists(&self.call, &name).await?),
            None => Ok(false),
        }
    }

    /// A V2 repository counts as long as it has a tag: without one there is nothing to pull by name.
    async fn is_in_v2(&self, name: Option<&v2::RepositoryName>) -> Result<bool, Failure> {
        let Some(name) = name else { return Ok(false) };
        match self.v2.list_tags(&self.call, name, None, 1).await {
            Ok(page) => Ok(!page.tags.is_empty()),
            Err(v2::Failure::RepositoryUnknown) => Ok(false),
            Err(failure) => Err(failure.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::database::Database;

    fn look(database: &Database, in_v1: bool, overtakes: bool) -> [Change; 1] {
        let name = "a/b".to_owned();
        let seen = database.read(&name).expect("it is read");
        [Change { name, seen, in_v1, in_v2: false, description: Some(None), overtakes }]
    }

    fn apply(database: &mut Database, look: &[Change; 1]) -> Outcome {
        database.apply(look).expect("it is written")[0]
    }

    #[test]
    fn a_look_for_a_note_overtakes_earlier_ones_even_when_it_only_confirms_the_index() {
        let mut database = Database::open(&IndexDatabase::Memory, "s").expect("it opens");
        // First with nothing there, then with a repository that is there.
        for there in [false, true] {
            let now = look(&database, there, false);
            apply(&mut database, &now);
            let earlier = look(&database, !there, false);
            let confirms = look(&database, there, true);
            assert_eq!(apply(&mut database, &confirms), Outcome::Unchanged);
            assert_eq!(apply(&mut database, &earlier), Outcome::Overtaken);
            assert_eq!(database.names().expect("names").contains("a/b"), there);
        }
    }

    #[test]
    fn a_comparison_that_only_confirms_writes_nothing() {
        let mut database = Database::open(&IndexDatabase::Memory, "s").expect("it opens");
        let pushed = look(&database, true, true);
        assert_eq!(apply(&mut database, &pushed), Outcome::Added);
        let (note, compared) = (look(&database, false, true), look(&database, true, false));
        assert!(note[0].is_written() && !compared[0].is_written());
        assert_eq!(apply(&mut database, &compared), Outcome::Unchanged);
        assert_eq!(apply(&mut database, &note), Outcome::Removed);
    }
}
