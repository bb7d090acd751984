//! Uploads: content that becomes an object in steps, by any number of processes.
//!
//! An upload is a row of **segments**, immutable objects under `.docker-registry/uploads/UUID/`, named by
//! their generation. Each append makes one, and whoever makes a generation first is the one who has gone
//! on (`fence.rs`). The state that a caller carries lists the segments, so that nothing is looked up and
//! nothing that is in the store already is sent again. A commit has the store join them (`committing.rs`).
//!
//! What an upload costs, besides its parts: nothing to open it; one request for the first append if it is small, two
//! if it is large, and a look with each later small one or two with a large one; two for a commit of one segment, three and the copied
//! parts for one of several. A small segment
//! at the end is read and written again by the next append, because it cannot be an inner part. What is left
//! of an upload goes with other deletions (`garbage.rs`).
//!
//! Where the store cannot copy parts (`Limits::copied_parts`), segments are streamed through this process
//! when they are joined, in constant memory.
//!
//! The longest content of one append is what fits into the store's number of parts; parts grow with it up to
//! half of `upload_memory`. With 10,000 parts and the defaults that is about 370 GiB.

mod appending;
mod committing;
mod ending;
mod fence;
mod known;
mod names;
mod pending;
pub(crate) mod sending;
mod sizes;
mod state;

use std::sync::Arc;

use docker_registry_driver_api::{CallContext, Result, UploadHint, UploadState};

pub(crate) use known::Known;
pub(crate) use names::Nonce;
use state::{Standing, State};

use crate::engine::Engine;

impl Engine {
    /// See [`Driver::open_upload`](docker_registry_driver_api::Driver::open_upload). Nothing is asked of the
    /// store: an upload without bytes is its name.
    ///
    /// # Errors
    /// None.
    pub async fn open_upload(self: &Arc<Self>, _: &CallContext, _: &UploadHint) -> Result<UploadState> {
        State::Standing(Standing::new()).pack()
    }
}
