//! Drivers of other versions of the driver API, built from source and loaded by today's host.
//!
//! Older ones come from the recordings in `api-1.0` and `plain-c-1.0`. A newer one and four that broke the rules
//! are made from today's sources by replacements, each of which must find its place.

mod calls;
mod changed;
mod layout;
mod newer;
mod recorded;
mod sources;

use std::{path::Path, sync::Arc};

use docker_registry::plugin::{LoadedDriver, PluginError, Search, load};
use docker_registry_tests::projects;

use sources::Sources;

/// Builds the driver `name` in the workspace that the sources make up, and loads it.
fn build_and_load(sources: &Sources, name: &str) -> Result<LoadedDriver, PluginError> {
    let project = projects::target().join("projects").join(name);
    sources.write(&project);
    let folder = tempfile::tempdir().expect("a folder");
    projects::build_driver(&project, name, folder.path());
    load(&search(folder.path()), name)
}

fn search(folder: &Path) -> Arc<Search> {
    Arc::new(Search::new(&[folder.to_owned()], None, None))
}
