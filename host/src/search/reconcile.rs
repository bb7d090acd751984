//! The index compared with the whole storage: at the start of a server, and by `search-index rebuild`.
//!
//! Repositories are settled some at a time, in transactions of their own. So searches go on meanwhile, never see an
//! empty index, and a push of the same moment wins.

use docker_registry_config::IndexDatabase;

pub use super::indexer::Failure;
use super::{
    Named,
    database::Outcome,
    indexer::{Indexer, Look},
};
use crate::storage::Storage;

/// Repositories that are settled in one transaction.
const BATCH: usize = 200;

/// What a comparison has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// V1 repositories in the storage.
    pub v1: usize,
    /// V2 repositories in the storage, those without a tag included.
    pub v2: usize,
    /// Repositories that were not in the index.
    pub added: usize,
    /// Repositories with another description now.
    pub changed: usize,
    /// Repositories in the index that are nowhere any more.
    pub removed: usize,
}

/// Compares everything, descriptions included, and reports after each batch. `store` as for
/// [`super::Search::start`].
///
/// # Errors
/// What is done by then stays so.
pub async fn rebuild(
    database: IndexDatabase,
    store: &str,
    storage: &Storage,
    progress: impl FnMut(&Counts),
) -> Result<Counts, Failure> {
    reconcile(&Indexer::new(database, store, storage), true, progress).await
}

pub(super) async fn reconcile(
    indexer: &Indexer,
    everything: bool,
    mut progress: impl FnMut(&Counts),
) -> Result<Counts, Failure> {
    let look = if everything { Look::Everything } else { Look::Existence };
    let mut counts = Counts::default();
    // Before the walk: what is pushed meanwhile is not taken for gone.
    let mut known = indexer.index.read(|database| database.names()).await?;
    for namespace in indexer.v1.namespaces(&indexer.call).await? {
        let mut after = None;
        loop {
            let page = indexer.v1.repositories_in(&indexer.call, &namespace, after).await?;
            let names: Vec<String> = page.repositories.iter().map(Named::indexed_name).collect();
            for name in &names {
                known.remove(name);
            }
            counts.v1 += names.len();
            counts.add(&settle(indexer, names, &look).await?);
            progress(&counts);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let mut after = None;
    loop {
        let page = indexer.v2.list_repositories(&indexer.call, after.as_ref(), BATCH).await?;
        let names: Vec<String> = page.repositories.iter().map(Named::indexed_name).collect();
        for name in &names {
            known.remove(name);
        }
        counts.v2 += names.len();
        counts.add(&settle(indexer, names, &look).await?);
        progress(&counts);
        after = page.repositories.into_iter().next_back();
        if !page.more {
            break;
        }
    }
    counts.add(&settle(indexer, known.into_iter().collect(), &look).await?);
    if indexer.index.read(|database| database.remembers_gone()).await? {
        indexer.index.write(|database| database.forget_gone()).await?;
    }
    Ok(counts)
}

async fn settle(indexer: &Indexer, names: Vec<String>, look: &Look) -> Result<Vec<Outcome>, Failure> {
    let mut outcomes = Vec::new();
    for names in names.chunks(BATCH) {
        let looks = names.iter().map(|name| (name.clone(), look.clone())).collect();
        outcomes.extend(indexer.settle(looks).await?);
    }
    Ok(outcomes)
}

impl Counts {
    fn add(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            match outcome {
                Outcome::Added => self.added += 1,
                Outcome::Changed => self.changed += 1,
                Outcome::Removed => self.removed += 1,
                Outcome::Unchanged | Outcome::Overtaken => {}
            }
        }
    }
}
