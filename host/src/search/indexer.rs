//! A look at the storage for one repository, and what follows from it for the index.

use std::sync::Arc;

use docker_registry_config::IndexDatabase;
use docker_registry_driver_api::CallContext;
use futures::{StreamExt, TryStreamExt, stream};

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
    /// is looked at again.
    pub(super) async fn settle(&self, mut looks: Vec<(String, Look)>) -> Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::new();
        for _ in 0..ATTEMPTS {
            let changes: Vec<Change> = stream::iter(looks.clone())
                .map(|(name, look)| self.look(name, look))
                .buffered(LOOKS)
                .try_collect()
                .await?;
            let (changes, looks_of_changes): (Vec<_>, Vec<_>) =
                changes.into_iter().zip(looks).filter(|(change, _)| change.alters()).unzip();
            if changes.is_empty() {
                break;
            }
            let written = self.index.write(move |database| database.apply(&changes)).await?;
            looks = looks_of_changes
                .into_iter()
                .zip(&written)
                .filter_map(|(look, outcome)| (*outcome == Outcome::Overtaken).then_some(look))
                .collect();
            outcomes.extend(written.into_iter().filter(|outcome| *outcome != Outcome::Overtaken));
        }
        Ok(outcomes)
    }

    /// The index is read first: what it says there tells later whether the look was overtaken.
    async fn look(&self, name: String, look: Look) -> Result<Change, Failure> {
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
        Ok(Change { name, seen, in_v1, in_v2, description })
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
