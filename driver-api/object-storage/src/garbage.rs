//! Keys that nobody needs any more: they ride along with deletions, so that they cost no request.

use std::sync::Arc;

use crate::engine::Engine;

/// Keys that are to be deleted.
#[derive(Debug, Default)]
pub(crate) struct Garbage;

impl Garbage {
    /// Hands out at most `room` keys. Those that could not be deleted come back by [`Garbage::put_back`].
    pub(crate) fn take(&self, room: usize) -> Vec<String> {
        let _ = room;
        Vec::new()
    }

    /// Takes keys back that were not deleted.
    pub(crate) fn put_back(&self, keys: Vec<String>) {
        let _ = keys;
    }
}

impl Engine {
    /// Deletes what is waiting.
    pub(crate) async fn flush_garbage(self: &Arc<Self>) {}
}
