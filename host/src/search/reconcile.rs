//! The index compared with the whole storage: at the start of a server, and by `search-index rebuild`.
//!
//! Repositories are settled some at a time, in transactions of their own. So searches go on meanwhile, never see an
//! empty index, and a push of the same moment wins. What the storage does not let itself be looked at stays in the
//! index as it is; the others are compared all the same.

use docker_registry_config::IndexDatabase;

pub use super::indexer::Failure;
use super::{
    Named,
    database::Outcome,
    indexer::{Failures, Indexer, Look, Reason},
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
/// [`super::Search::start`]. The text says what could not be looked at, if anything.
///
/// # Errors
/// The index or the whole storage cannot be used. What is done by then stays so.
pub async fn rebuild(
    database: IndexDatabase,
    store: &str,
    storage: &Storage,
    progress: impl FnMut(&Counts),
) -> Result<(Counts, Option<String>), Failure> {
    let (counts, failures) = reconcile(&Indexer::new(database, store, storage), true, progress).await?;
    Ok((counts, failures.sentence()))
}

pub(super) async fn reconcile(
    indexer: &Indexer,
    everything: bool,
    mut progress: impl FnMut(&Counts),
) -> Result<(Counts, Failures), Failure> {
    let look = if everything { Look::Everything } else { Look::Existence };
    let (mut counts, mut failures) = (Counts::default(), Failures::default());
    // Before the walk: what is pushed meanwhile is not taken for gone.
    let mut known = indexer.index.read(|database| database.names()).await?;
    let namespaces = indexer.v1.namespaces(&indexer.call).await;
    let is_v1_listed = namespaces.is_ok();
    let namespaces = namespaces.or_else(|error| {
        failures.count("the list of V1 namespaces", error.into())?;
        Ok::<_, Failure>(Vec::new())
    })?;
    for namespace in namespaces {
        let mut after = None;
        loop {
            let page = match indexer.v1.repositories_in(&indexer.call, &namespace, after).await {
                Ok(page) => page,
                Err(error) => {
                    failures.count(&format!("the V1 namespace {}", namespace.start()), error.into())?;
                    break;
                }
            };
            let names: Vec<String> = page.repositories.iter().map(Named::indexed_name).collect();
            for name in &names {
                known.remove(name);
            }
            counts.v1 += names.len();
            settle(indexer, names, &look, &mut counts, &mut failures).await?;
            progress(&counts);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    let mut after = None;
    loop {
        let page = match indexer.v2.list_repositories(&indexer.call, after.as_ref(), BATCH).await {
            Ok(page) => page,
            // The storage as a whole fails: to look at each repository would take long and show nothing.
            Err(error) if !is_v1_listed && after.is_none() => return Err(error.into()),
            Err(error) => {
                failures.count("the list of V2 repositories", error.into())?;
                break;
            }
        };
        let names: Vec<String> = page.repositories.iter().map(Named::indexed_name).collect();
        for name in &names {
            known.remove(name);
        }
        counts.v2 += names.len();
        settle(indexer, names, &look, &mut counts, &mut failures).await?;
        progress(&counts);
        after = page.repositories.into_iter().next_back();
        if !page.more {
            break;
        }
    }
    settle(indexer, known.into_iter().collect(), &look, &mut counts, &mut failures).await?;
    forget_gone(indexer).await?;
    Ok((counts, failures))
}

/// Forgets repositories that have been gone for long.
pub(super) async fn forget_gone(indexer: &Indexer) -> Result<(), Failure> {
    if indexer.index.read(|database| database.remembers_gone()).await? {
        indexer.index.write(|database| database.forget_gone()).await?;
    }
    Ok(())
}

async fn settle(
    indexer: &Indexer,
    names: Vec<String>,
    look: &Look,
    counts: &mut Counts,
    failures: &mut Failures,
) -> Result<(), Failure> {
    for names in names.chunks(BATCH) {
        let looks = names.iter().map(|name| (name.clone(), look.clone())).collect();
        let settled = indexer.settle(looks, Reason::Comparison).await?;
        counts.add(&settled.outcomes);
        failures.add(settled.failures);
    }
    Ok(())
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
