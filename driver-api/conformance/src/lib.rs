//! The behaviour that every storage driver must show, as cases that run against any driver.
//!
//! A [`Case`] has a name, needs certain capabilities, and runs against whatever an [`Opener`] opens:
//! a driver that is linked in, or one that a server has loaded from a library. It works under a random
//! folder of the store, demands what the documentation of
//! [`Driver`](docker_registry_driver_api::Driver) promises and nothing else, and fails as well when it
//! leaves anything behind. Objects of others in the same store are not touched.
#![doc = concat!("\n\n", include_str!("../README.md"))]
#![deny(missing_docs)]

mod bodies;
mod case;
mod cases;
mod checks;
mod content;
mod failure;
pub mod forwarding;
mod listing;
mod opener;
mod pieces;
mod promise;
mod remains;
mod store;
mod tasks;
mod writes;

pub use case::{Case, Outcome, cases};
pub use opener::Opener;
