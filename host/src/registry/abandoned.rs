//! Uploads that nobody will finish: found at the driver and discarded.
//!
//! A client that dies leaves the bytes it has sent. They are invisible and cost room. Every upload that
//! was last touched longer ago than the configured age goes, whichever API or process opened it. A client
//! that comes back later is told that its upload is unknown and starts again.

use std::time::{Duration, SystemTime};

use docker_registry_driver_api::{CallContext, Capability, Result};

use crate::storage::Storage;

/// Uploads in one page.
const PAGE: u32 = 500;

/// Discards every upload that was last touched more than `age` ago, and returns how many those were.
///
/// An upload that cannot be discarded is logged and keeps no other one from it. A driver that does not
/// list uploads keeps all of them.
///
/// # Errors
/// The first of the storage's; what was discarded before or after stays so.
pub async fn purge(storage: &Storage, age: Duration) -> Result<u64> {
    if !storage.capabilities().has(Capability::ListUploads) {
        return Ok(0);
    }
    let call = CallContext { background: true, ..CallContext::default() };
    // An age beyond the beginning of time means that nothing is old enough.
    let Some(older_than) = SystemTime::now().checked_sub(age) else { return Ok(0) };
    let (mut discarded, mut after, mut failed) = (0, None, None);
    loop {
        let page = match storage.list_uploads(&call, older_than, after.as_deref(), PAGE).await {
            Ok(page) => page,
            Err(error) => return Err(failed.unwrap_or(error)),
        };
        for upload in &page.uploads {
            match storage.abort(&call, &upload.state).await {
                Ok(()) => discarded += 1,
                Err(error) => {
                    tracing::warn!(%error, "an abandoned upload could not be discarded");
                    failed.get_or_insert(error);
                }
            }
        }
        // A cursor that stands still would bring the same uploads for ever.
        if page.next.is_none() || page.next == after {
            return failed.map_or(Ok(discarded), Err);
        }
        after = page.next;
    }
}
