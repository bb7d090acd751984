//! The V1 API, called without a server: its handler over the memory driver, or over the local driver
//! where the bytes on disk matter.
//!
//! - `recorded`: 170 requests and what docker-registry 0.9.1 answered. Every difference has a name.
//! - `client`: docker 1.x pushes and pulls, over any transport.
//! - `push`: the states of a push, ranges, and what happens when two push at once.
//! - `old_store`: a store as 0.9.1 leaves it on disk.
//! - `bad_input`: mistakes and malice of clients.
//! - `crash`: the storage fails at every single write.

mod bad_input;
mod client;
mod crash;
mod interposed;
mod old_store;
mod push;
mod recorded;
mod registry;
mod transport;
