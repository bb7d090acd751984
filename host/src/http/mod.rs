//! Everything that speaks HTTP: the server loop, the two registry APIs and the admin listener.

pub mod exchange;
pub mod v1;
pub mod v2;
