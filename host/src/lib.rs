//! docker-registry: a container registry whose storage drivers are shared libraries.
//!
//! `ARCHITECTURE.md` maps the modules.

pub mod auth;
pub mod certificates;
pub mod cli;
pub mod http;
pub mod isolation;
pub mod layout;
mod pauses;
pub mod plugin;
pub mod registry;
pub mod search;
pub mod storage;
pub mod telemetry;
