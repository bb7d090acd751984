//! Proxies in front of the registry: the configurations that people have had since 2014, and the samples of
//! `xtask/packaging/proxies`, each run by the real proxy, with real clients through it.
//!
//! A configuration is used as it stands. What must differ in a test (addresses, folders, users), and what today's
//! nginx knows no longer, is a list of replacements with a reason for each.

mod adapted;
mod believed;
mod clients;
mod front;
mod proxy;
mod samples;
mod user_files;
