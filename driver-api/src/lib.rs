//! The contract between docker-registry and its storage drivers.
//!
//! A driver is a shared library that the server loads at run time. Its author implements [`Driver`]
//! with ordinary async Rust, names the type in [`export_driver!`], and is done: no `unsafe`, no ABI
//! types. Everything that crosses the boundary is built from the trait by [`abi`].
//!
//! # Versions
//! This crate is 1.x for good. A driver built against any 1.x runs under any server of 1.x: methods,
//! fields and capabilities are only ever appended.
//!
//! # Where to start
//! `docs/write-a-driver.md` beside these sources goes from nothing to a driver that passes the conformance
//! suite; `docs/driver-methods.md` says of every method what it owes. `tests/drivers/memory` in the source
//! tree is a complete driver with a comment on every decision.

#![deny(missing_docs)]

pub mod abi;
mod body;
mod capability;
mod context;
mod description;
mod driver;
mod error;
mod export;
mod listing;
mod object;
mod path;
mod services;
mod settings;
mod upload;

pub use async_trait::async_trait;
pub use body::{ByteStream, FileRegion, ReadRange, Reading, ReadingBody, byte_stream, collect, empty_stream};
pub use bytes::Bytes;
pub use capability::{Capabilities, Capability};
pub use context::{CallContext, Traceparent};
pub use description::{ConfigurationKey, Description, ValueKind};
pub use driver::Driver;
pub use error::{Error, ErrorKind, Result};
pub use futures;
pub use listing::{Entry, ListPage, ListRequest, MAX_PAGE};
pub use object::{Condition, ETag, Object, ObjectInfo, RedirectRequest, Stat};
pub use path::{MAX_PATH_BYTES, MAX_SEGMENT_BYTES, ObjectPath, Prefix};
pub use services::{HostServices, SharedDriver};
pub use settings::Settings;
pub use upload::{
    MAX_UPLOAD_STATE_BYTES, PendingUpload, UploadHint, UploadPage, UploadProgress, UploadState,
};

/// Version of the driver API that this crate defines, `major.minor`.
pub const API_VERSION: (u32, u32) = (1, 2);
