//! How the server behaves towards clients, well-meaning and not, whatever the registry APIs answer.
//!
//! Each test runs the server of the host's library in its own process, with handlers that do one thing; those in `writes`
//! start the whole server.

mod access_log;
mod admin;
mod content;
mod lifecycle;
mod limits;
mod server;
mod wire;
mod writes;
