//! What a registry means, without HTTP and without storage paths in handlers.
//!
//! `registry::v2` knows repositories, blobs, uploads, manifests, tags; `registry::v1` knows images,
//! ancestries, repositories and tags of the legacy API. Both stand on one storage.

pub mod abandoned;
mod addresses;
pub mod checked_body;
pub mod digest;
mod gathering;
mod hash_backlog;
pub mod hashing;
mod large_bodies;
mod recent;
pub mod v1;
pub mod v2;
