//! `search-index rebuild`: the search index compared with everything in the storage.

use std::{io::Write, path::PathBuf, time::Duration};

use clap::Subcommand;
use docker_registry_config::IndexDatabase;
use tokio::runtime::Builder;

use super::{
    Failure,
    prepare::{Prepared, identity_of_storage, load_configuration},
};
use crate::{
    search::reconcile::{self, Counts},
    storage,
};

/// Repositories between two lines of progress.
const STEP: usize = 1000;
/// How long the driver may take to let go of its storage.
const CLOSE_GRACE: Duration = Duration::from_secs(10);

const HELP: &str = "\
Looks at every repository of the storage, V1 and V2, adds to the index what is missing, removes from it what is
gone and reads the descriptions again. Servers may run meanwhile: they are searched in the index as far as it
is, which is never empty, and pushes of the same moment win. It may be broken off and started again.";

/// What can be done with the search index.
#[derive(Debug, Subcommand)]
pub(super) enum SearchIndexCommand {
    /// Bring the index up to date with the storage, beside running servers too.
    #[command(after_help = HELP)]
    Rebuild {
        /// Configuration file; without it the usual places are searched.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// Runs one command.
pub(super) fn run(command: SearchIndexCommand, output: &mut impl Write) -> Result<(), Failure> {
    let SearchIndexCommand::Rebuild { config } = command;
    let prepared = Prepared::new(load_configuration(config)?);
    let problems = prepared.problems();
    if problems.has_errors() {
        return Err(problems.into());
    }
    let Prepared { loaded, driver, keys, .. } = prepared;
    let driver = driver?;
    let settings = &loaded.settings;
    let database = match &settings.search {
        None => {
            return Err(Failure::Configuration(format!(
                "flavor `{}` of {} has no search index: write `search_backend: sqlalchemy`",
                settings.flavor, settings.source
            )));
        }
        Some(IndexDatabase::Memory) => {
            return Err(Failure::Configuration(
                "the search index is in the memory of the server, which makes it at each start".to_owned(),
            ));
        }
        Some(database) => database.clone(),
    };
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let (counts, failed) = runtime.block_on(async {
        let opened = driver.open(&loaded, &keys).await?;
        let limits = &settings.limits;
        let storage = storage::decorate(opened, driver.name(), limits.driver_calls, limits.driver_timeout);
        let mut shown = 0;
        let store = identity_of_storage(&loaded, &keys);
        let rebuilt = reconcile::rebuild(database, &store, &storage, |counts| {
            let looked_at = counts.v1 + counts.v2;
            if looked_at >= shown + STEP {
                shown = looked_at;
                eprintln!("{looked_at} repositories looked at");
            }
        });
        let rebuilt = rebuilt.await.map_err(Failure::failed);
        storage.close(CLOSE_GRACE).await;
        rebuilt
    })?;
    let Counts { v1, v2, added, changed, removed } = counts;
    writeln!(
        output,
        "{v1} V1 and {v2} V2 repositories in the storage; {added} added to the index, {changed} changed, \
         {removed} removed"
    )?;
    failed.map_or(Ok(()), |sentence| Err(Failure::failed(sentence)))
}
