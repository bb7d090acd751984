//! Repositories, blobs, uploads, manifests and tags of the V2/OCI registry.
//!
//! No HTTP and no storage paths: callers pass checked names, and every path comes from
//! [`crate::layout::v2`]. A [`Registry`] is the whole of it on one storage. Every change is made of
//! steps in an order that leaves, when the process dies between any two, the old state or the new one,
//! with garbage at worst; a method that returns `Ok` has made its change durable.

mod blobs;
mod catalog;
mod descriptions;
mod failure;
mod finishing;
mod links;
mod lone_content;
mod manifests;
pub mod media_types;
mod names;
mod recorded_uploads;
mod references;
mod stale_uploads;
mod tags;
mod upload_record;
mod uploads;

pub use blobs::{BlobFacts, Mount};
pub use catalog::Catalog;
pub use failure::{Failure, Result};
pub use manifests::{Manifest, PutManifest};
pub use names::{RepositoryName, Revision, Shown, Tag, UploadId, UploadLocation};
pub use references::MissingReference;
pub use tags::TagPage;
pub use uploads::{Chunk, UploadStatus};

use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::Arc,
    time::Instant,
};

use tokio::sync::RwLock;

use self::{media_types::MediaTypes, recorded_uploads::Remembered};
use crate::{
    registry::{digest::Digest, gathering::Room, recent::Recent},
    storage::Storage,
};

/// Storage calls that one request makes at a time.
const PARALLEL_CALLS: usize = 16;
/// Uploads that are remembered at most, new and ended ones too, and the bytes of content in their records.
const REMEMBERED_UPLOADS: (usize, usize) = (1024, 16 << 20);
/// Contents that are remembered at most as being there.
const REMEMBERED_CONTENTS: usize = 4096;
/// Tags that are remembered at most with what they pointed to.
const REMEMBERED_TAGS: usize = 4096;

/// The V2 registry on one storage. Clones share everything.
#[derive(Clone)]
pub struct Registry {
    storage: Storage,
    /// Where small objects are read from that clients ask for. What decides about a change is read from the storage.
    reads: Storage,
    /// By repository and digest: keeps a deletion of a manifest from taking one that gets a tag in the same
    /// moment. Taken before a lock of [`Self::tag_locks`], never after.
    revision_locks: Arc<Locks>,
    /// By repository and tag: keeps a deletion of a tag from taking one that is pushed in the same moment.
    tag_locks: Arc<Locks>,
    /// By repository and upload: keeps two that go on with an upload apart where the storage cannot.
    upload_locks: Arc<Locks>,
    /// Where the uploads stand that this process had to do with last.
    recent_uploads: Arc<Recent<(RepositoryName, UploadId), Remembered>>,
    /// Contents that this process has written or seen, and when; see `Registry::has_content`.
    recent_contents: Arc<Recent<Digest, Instant>>,
    /// What tags pointed to when this process last read or wrote them; see `Registry::get_tagged_manifest`.
    recent_tags: Arc<Recent<(RepositoryName, Tag), Digest>>,
    media_types: Arc<MediaTypes>,
    room: Room,
}

impl Registry {
    /// The registry on `storage`.
    pub fn new(storage: Storage) -> Self {
        Self {
            reads: Arc::clone(&storage),
            storage,
            revision_locks: Arc::default(),
            tag_locks: Arc::default(),
            upload_locks: Arc::default(),
            recent_uploads: Arc::new(Recent::new(REMEMBERED_UPLOADS.0, REMEMBERED_UPLOADS.1)),
            recent_contents: Arc::new(Recent::new(REMEMBERED_CONTENTS, 0)),
            recent_tags: Arc::new(Recent::new(REMEMBERED_TAGS, 0)),
            media_types: Arc::new(MediaTypes::new()),
            room: Room::new(),
        }
    }

    /// The same registry, which answers clients from `reads`: the same storage behind a cache.
    pub fn with_reads(self, reads: Storage) -> Self {
        Self { reads, ..self }
    }
}

/// Locks by name, a fixed number of them that all names share.
///
/// Storages cannot delete on a condition, so a deletion looks at a link and then removes it; a push
/// between the two would be lost. Within one process pushes share a lock that deletions hold alone.
/// Between processes the gap remains.
struct Locks {
    locks: [RwLock<()>; 256],
    hasher: RandomState,
}

impl Default for Locks {
    fn default() -> Self {
        Self { locks: std::array::from_fn(|_| RwLock::new(())), hasher: RandomState::new() }
    }
}

impl Locks {
    /// The lock of a key. No two of the same set may be held at once: their keys may share a lock.
    fn of(&self, key: &impl Hash) -> &RwLock<()> {
        let index = self.hasher.hash_one(key) % self.locks.len() as u64;
        &self.locks[index as usize]
    }
}
