//! Searching: what is found, in which words, and what becomes of the index whatever happens to its database.

mod answers;
mod changes;
mod damaged;
mod docker_client;
mod processes;
mod rebuild;
mod schema;
mod slashes;
mod support;
