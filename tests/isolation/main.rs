//! `isolation: process` from outside and from inside: the real server with the misbehaving driver in a process
//! of its own, and the host library's isolated drivers under the conformance suite. The faults that a process
//! survives are tried without one too.

mod bodies;
mod check;
mod conformance;
mod deaths;
mod descriptors;
mod ends;
mod faults;
mod opened;
mod registry;
mod restarts;
mod starts;

// Named so that cargo builds the libraries together with this test; they are loaded, never called.
use docker_registry_driver_local as _;
use docker_registry_driver_memory as _;
use docker_registry_driver_misbehaving as _;
