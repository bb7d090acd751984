//! Everything that speaks HTTP: the server loop, the two registry APIs and the admin listener.

mod access_log;
pub mod admin;
pub mod authentication;
mod connection;
mod crowding;
pub mod exchange;
mod file_body;
mod forwarded;
pub mod health;
mod identity;
pub mod listener;
mod request_body;
mod respond;
mod response_watch;
mod retry_after;
mod route_class;
pub mod routes;
pub mod sendfile;
pub mod server;
mod service;
pub mod socket;
pub mod v1;
pub mod v2;
