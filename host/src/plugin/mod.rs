//! Drivers as shared libraries: finding, checking, loading and opening them.
//!
//! The host knows no driver by name. [`Search`] finds a library by the name in `storage:`,
//! [`LibraryFile`] proves that nobody untrusted could have put it there and that it is a driver for this
//! machine, before any of its code runs, [`load()`] compares its digest with the configured one, maps
//! exactly the file that was checked and compares the API's layouts, and [`LoadedDriver::open`] yields a
//! [`Storage`](crate::storage::Storage).
//!
//! Guarantees: a file that is no driver, or that others could replace, never runs a constructor; a truncated file never reaches the
//! loader, which would die of it; every refusal is one sentence that says what to do; several different
//! drivers live in one process; a library is never unloaded.

mod alternate;
mod compatibility;
mod configuration;
mod glibc;
mod library_file;
#[allow(unsafe_code)]
mod load;
mod privileges;
mod problem;
pub mod region;
mod search;
mod services;
mod trust;

pub use configuration::configuration_keys;
pub use glibc::GlibcVersion;
pub use library_file::LibraryFile;
pub(crate) use load::canonical_name;
pub use load::{Execution, LoadedDriver, load, load_file};
pub use problem::PluginError;
pub(crate) use search::file_names;
pub use search::{Installed, PATH_VARIABLE, Search};
pub(crate) use services::{DRIVER_EVENTS, count_event, log_event, log_level};
