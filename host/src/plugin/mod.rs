//! Drivers as shared libraries: finding, checking, loading and opening them.
//!
//! The host knows no driver by name. [`Search`] finds a library by the name in `storage:`,
//! [`LibraryFile`] proves that it is a driver for this machine before any of its code runs, [`load()`]
//! maps exactly the file that was checked and compares the API's layouts, and [`LoadedDriver::open`]
//! yields a [`Storage`](crate::storage::Storage).
//!
//! Guarantees: a file that is no driver never runs a constructor; a truncated file never reaches the
//! loader, which would die of it; every refusal is one sentence that says what to do; several different
//! drivers live in one process; a library is never unloaded.

mod compatibility;
mod configuration;
mod library_file;
#[allow(unsafe_code)]
mod load;
mod problem;
pub mod region;
mod search;
mod services;

pub use configuration::configuration_keys;
pub use library_file::LibraryFile;
pub(crate) use load::canonical_name;
pub use load::{Execution, LoadedDriver, load, load_file};
pub use problem::PluginError;
pub use search::{Installed, PATH_VARIABLE, Search};
