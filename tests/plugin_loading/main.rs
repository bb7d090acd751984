//! The plug-in host against real libraries: the built drivers, and files that are none.

mod across;
mod faults;
mod refused;
mod untrusted;

use std::{path::PathBuf, sync::Arc};

use docker_registry::plugin::Search;
// Named so that cargo builds the libraries together with this test; they are loaded, never called.
use docker_registry_driver_memory as _;
use docker_registry_driver_misbehaving as _;

/// Folder of the driver libraries that cargo built together with this test: its own.
fn built_libraries() -> PathBuf {
    let executable = std::env::current_exe().expect("a test has a path");
    executable.parent().expect("an executable lies in a folder").to_owned()
}

fn search(folder: impl Into<PathBuf>) -> Arc<Search> {
    Arc::new(Search::new(&[folder.into()], None, None))
}
