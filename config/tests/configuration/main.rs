//! What the configuration promises to operators and to the host, subject by subject.

mod auth;
mod checking;
mod files;
mod flavors;
mod server;
mod showing;
mod support;
mod user_files;
