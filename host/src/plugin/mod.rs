//! Everything that needs `unsafe` in the host: loading drivers, and addresses that stand for files.

pub mod region;
