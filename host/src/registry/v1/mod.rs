//! Images, ancestries, repositories and tags of the V1 registry.
//!
//! # Guarantees
//! - An image whose push has not ended is never readable: its mark is written before anything else of
//!   it, and looked for *after* what a reader wants was found.
//! - Every change is ordered so that a crash between two storage calls leaves the old state or the new
//!   one. What is left over is never visible.
//! - Names reach the storage through [`crate::layout::v1`] only.

mod archive;
mod checksum;
mod files;
mod images;
mod index;
pub mod json;
mod locks;
pub mod names;
mod properties;
mod push;
mod repositories;
mod tags;

use bytes::Bytes;
use docker_registry_driver_api as driver;
use docker_registry_driver_api::{CallContext, Capability, Condition, ErrorKind, ObjectInfo, ObjectPath};

pub use images::{Image, Layer};
pub use repositories::RepositoryPage;
pub use tags::PushedBy;

use crate::{registry::gathering::Room, storage::Storage};

/// Largest small object that is read whole, in bytes. What 0.9.1 keeps in them is bounded by what a
/// client sends in one JSON body.
const MAX_SMALL_OBJECT: u64 = 64 << 20;

/// Why a request could not be done. `Display` is the text of 0.9.1, which clients compare.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The id is not 16 or 64 hexadecimal digits.
    #[error("Invalid image ID")]
    InvalidImageId,
    /// There is no such image.
    #[error("Image not found")]
    ImageNotFound,
    /// The push of the image has not ended.
    #[error("Image is being uploaded, retry later")]
    ImageInProgress,
    /// The image is complete and cannot be changed. Docker matches the text.
    #[error("Image already exists")]
    ImageExists,
    /// Another push of the same image changed its JSON while this layer came in.
    #[error("Image was changed by another push, retry")]
    ImageChanged,
    /// The image's JSON is not an object, or an empty one.
    #[error("Invalid JSON")]
    InvalidJson,
    /// The image's JSON lacks its id.
    #[error("Missing key `id' in JSON")]
    MissingId,
    /// The image's JSON is that of another image.
    #[error("JSON data contains invalid id")]
    OtherId,
    /// The parent is not there.
    #[error("Image depends on a non existing parent")]
    NoParent,
    /// The checksum header is empty.
    #[error("Missing Image's checksum")]
    EmptyChecksum,
    /// The image is complete already.
    #[error("Cannot set this image checksum")]
    NotInProgress,
    /// The checksum came before the layer.
    #[error("Image's layer was not uploaded")]
    NoLayer,
    /// The checksum is not that of the image.
    #[error("Checksum mismatch")]
    ChecksumMismatch,
    /// The layer is no tar archive.
    #[error("Layer format not supported")]
    NotAnArchive,
    /// The layer holds more files than a list of them may have.
    #[error("Layer has too many files to list")]
    TooManyFiles,
    /// A body is JSON, but not of the shape that is wanted.
    #[error("Invalid data")]
    InvalidData,
    /// A body is not JSON.
    #[error("Error Decoding JSON")]
    NotJson,
    /// The repository has no list of images.
    #[error("images not found")]
    NoImagesList,
    /// The repository is not there.
    #[error("Repository not found")]
    RepositoryNotFound,
    /// There is no such tag.
    #[error("Tag not found")]
    TagNotFound,
    /// There is no such tag to delete.
    #[error("Tag not found: {0}")]
    NoTagToDelete(String),
    /// Too many others changed the same thing at the same time.
    #[error("Too many concurrent changes, retry later")]
    Contended,
    /// The storage, or the client's body on its way there, failed.
    #[error(transparent)]
    Storage(#[from] driver::Error),
}

/// The result of a registry call.
pub type Result<T> = std::result::Result<T, Error>;

/// The V1 registry over one storage.
pub struct Registry {
    storage: Storage,
    /// Where small objects are read from that clients ask for. What decides about a change is read from the storage.
    reads: Storage,
    locks: locks::Locks,
    listing_turns: files::Turns,
    room: Room,
}

impl Registry {
    /// The registry that this storage holds.
    pub fn new(storage: Storage) -> Self {
        Self {
            reads: storage.clone(),
            storage,
            locks: locks::Locks::new(),
            listing_turns: files::Turns::new(),
            room: Room::new(),
        }
    }

    /// The same registry, which answers clients from `reads`: the same storage behind a cache.
    pub fn with_reads(self, reads: Storage) -> Self {
        Self { reads, ..self }
    }

    /// Reads a small object for a client that asks for it; `None` when it is absent.
    async fn get_for_client(&self, call: &CallContext, path: &ObjectPath) -> Result<Option<driver::Object>> {
        present(self.reads.get(call, path, MAX_SMALL_OBJECT).await)
    }

    /// Reads a small object; `None` when it is absent.
    async fn get(&self, call: &CallContext, path: &ObjectPath) -> Result<Option<driver::Object>> {
        present(self.storage.get(call, path, MAX_SMALL_OBJECT).await)
    }

    /// Facts of an object; `None` when it is absent.
    async fn head(&self, call: &CallContext, path: &ObjectPath) -> Result<Option<ObjectInfo>> {
        present(self.storage.head(call, path).await)
    }

    async fn put(&self, call: &CallContext, path: &ObjectPath, content: impl Into<Bytes>) -> Result<()> {
        self.storage.put(call, path, content.into(), &Condition::Always).await?;
        Ok(())
    }

    /// Deletes an object. One that is gone already is fine.
    async fn delete(&self, call: &CallContext, path: &ObjectPath) -> Result<()> {
        present(self.storage.delete(call, path).await)?;
        Ok(())
    }

    /// The condition "as long as nobody has changed what was seen", as far as the storage can check it.
    fn unchanged(&self, seen: Option<&ObjectInfo>) -> Condition {
        let capabilities = self.storage.capabilities();
        match seen {
            None if capabilities.has(Capability::PutIfAbsent) => Condition::IfAbsent,
            Some(ObjectInfo { etag: Some(etag), .. }) if capabilities.has(Capability::PutIfMatch) => {
                Condition::IfMatch(etag.clone())
            }
            _ => Condition::Always,
        }
    }
}

/// `None` for an object that is not there.
fn present<T>(result: driver::Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An error for stored data that cannot be what the registry once wrote.
fn corrupt(path: &ObjectPath, what: &str) -> Error {
    driver::Error::new(ErrorKind::Corrupt, what).at(path).into()
}
