//! Drivers in plain C: a table of blocking functions, and the adapter that makes a [`Driver`](crate::Driver) of it.
//!
//! `driver-api/include/docker_registry_driver.h` is generated from [`codes`], [`values`] and [`table`] with
//! `cargo xtask header`; its macros and inline functions are in `macros.h` beside this file. What an author has to
//! know stands there. This is what the adapter guarantees:
//!
//! # Memory
//! There is one rule: nobody frees what the other side allocated. The server lends texts and bytes for the length
//! of a call; the driver answers through functions of the server that copy what they are given. The one thing that
//! changes its owner is the descriptor of an open file.
//!
//! # Execution
//! A function may block. It runs on a thread of the library's own pool, whose size is bounded: calls wait for a
//! place in it, and calls that wait for a client (`append`) have places of their own, so that slow clients never
//! keep the others out. `health` has its own as well, and `close` and `read_close` wait for none. A caller that gives up leaves the queue at once; a function that runs already goes on to
//! its end on its thread, finds out through `docker_registry_is_cancelled`, and its answer is dropped.
//!
//! # Trust
//! A library runs with the server's rights, and no check can help against one that means harm. Mistakes are
//! found: missing functions, numbers that mean nothing, texts that are too long or not UTF-8, lengths that cannot
//! be, answers that do not belong to the function. They cost one call, which fails with a sentence that names them.
//!
//! # Growth
//! As everywhere in [`super`]: structs that begin with their size may get fields at their end, all others are
//! frozen.

mod answers;
mod call;
pub mod codes;
mod host;
mod instance;
mod lent;
mod library;
mod opened;
mod reading;
pub mod table;
mod threads;
pub mod values;

pub use library::PlainLibrary;
