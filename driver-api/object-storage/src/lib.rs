//! What the drivers for object stores share, so that nothing is written twice.
//!
//! A driver for an object store implements [`Bucket`]: the calls that its store has, one HTTP request
//! each, no retries, no state. This crate makes a whole
//! [`Driver`](docker_registry_driver_api::Driver) of it: names and folders, pages in the right order,
//! uploads that stream in constant memory and go on in another process, fencing, copies of any size,
//! deletions in batches, retries with backoff, reads that survive a broken connection.
//!
//! Third-party drivers may use it as the ones of this project do.

pub mod adapter;
pub mod bucket;
mod copying;
mod deleting;
pub mod driver;
mod engine;
mod garbage;
pub mod http;
mod listing;
mod memory;
mod objects;
mod read_ahead;
mod reading;
mod renewed;
mod retry;
pub mod settings;
pub mod sums;
mod uploads;
mod write;
pub mod xml;

pub use adapter::StoreAdapter;
pub use bucket::Bucket;
pub use docker_registry_driver_api as driver_api;
pub use driver::{ObjectStorage, Opened, Renewal, Unchanging};
pub use engine::Engine;
pub use object_store;
pub use reading::{Resume, resumed};
pub use renewed::{Fresh, Renewed};
pub use retry::Attempts;
pub use settings::StoreSettings;
pub use uploads::sending::from_caller;

#[cfg(test)]
mod scripted;
