//! `kill -9` in the middle of every kind of push, then a start on the same storage.
//!
//! What must hold afterwards: everything that was acknowledged is there and matches its digest, nothing
//! half-written can be seen, and the push that was broken off is resumed or simply made again.

mod crash_v1;
mod crash_v2;
