//! Every storage path in the program, and nothing else.
//!
//! `kept` says what a cache may keep of them, `v1` is docker-registry 0.9.1's layout with its key encoding, `v2` is distribution's.

pub mod kept;
pub mod v1;
pub mod v2;
