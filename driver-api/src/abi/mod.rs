//! The binary boundary under the trait. Authors of drivers need nothing in here.
//!
//! # Shape
//! A driver library exports one static, named `docker_registry_driver_NAME` after itself: an
//! abi_stable library header, whose root module ([`module::DriverModule`]) describes the driver and
//! opens it. An open driver is a pair of an opaque instance and a [`table::DriverTable`] of functions.
//! The same pair goes the other way when the server opens another driver for a driver.
//!
//! Every method has one signature: instance, call context, request in; a future of an answer out.
//! Requests, answers and the call context are plain `repr(C)` structs ([`messages`]) that begin with
//! their own size, so each side reads the part that both know. abi_stable checks the tables, the size
//! fields govern the messages, and constants in [`messages`] pin the offsets of what is released.
//!
//! # Memory
//! Bytes cross as owner-carried regions ([`memory::Region`]): pointer, length, and how the owner wants
//! them released. Nothing is copied. Each side frees what it allocated, through the function that came
//! along.
//!
//! # Execution
//! Futures and streams are polled by the other side and enter the runtime of their own side on every
//! poll and drop ([`guard`]). Panics stop there. In spawned mode the work moves to the driver's own
//! runtime.
//!
//! # Growth
//! Append only: fields at the end of messages, functions at the end of tables, bits in sets, numbers
//! of kinds. An *owned* field (a region, a stream, a file, a driver) is never appended to a message: a
//! side that does not know it would not release it. Such a thing comes with a new function instead.

#![allow(unsafe_code)]

mod documents;
mod export;
mod fault;
pub mod guard;
pub mod host;
pub mod import;
pub mod layout;
mod log;
pub mod memory;
pub mod messages;
pub mod module;
pub mod note;
pub mod plain_c;
pub mod stream;
pub mod table;

pub use abi_stable;
