//! Drivers in plain C: the header, the example in `driver-api/examples/c`, and libraries that do things wrong.
//!
//! They are compiled here with the machine's own C compiler, as an author would.

mod building;
mod example;
mod header;
mod mistakes;
mod refused;
mod running;
