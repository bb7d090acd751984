//! An open instance of a driver in plain C, and its end: whoever lets go of it last, it is closed once, after its last
//! call, on a thread that may block.

use std::{
    ffi::c_void,
    sync::{Mutex, PoisonError},
};

use tokio::sync::oneshot;

use super::{
    reading::Opaque,
    table::{PlainDriver, PlainHost},
    threads::Threads,
};

/// An open instance, with the table that it belongs to. The last owner closes it, on a thread of the library.
pub(super) struct Instance {
    pointer: Opaque,
    pub(super) table: PlainDriver,
    pub(super) threads: &'static Threads,
    pub(super) host: &'static PlainHost,
    closed: Mutex<Option<oneshot::Sender<()>>>,
}

impl Instance {
    pub(super) fn new(
        pointer: *mut c_void,
        table: PlainDriver,
        threads: &'static Threads,
        host: &'static PlainHost,
    ) -> Self {
        Self { pointer: Opaque(pointer), table, threads, host, closed: Mutex::new(None) }
    }

    /// What is sent when `close` has returned.
    pub(super) fn tell_when_closed(&self) -> oneshot::Receiver<()> {
        let (sender, closed) = oneshot::channel();
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        closed
    }

    pub(super) fn pointer(&self) -> *mut c_void {
        self.pointer.0
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let (pointer, close) = (self.pointer, self.table.close);
        let closed = self.closed.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // The last owner may be dropped on a thread of the server that polls, and `close` may block.
        self.threads.finish(move || {
            let pointer = pointer;
            if let Some(close) = close {
                // SAFETY: the instance is open, and with its last owner every call of it is over.
                unsafe { close(pointer.0) }
            }
            if let Some(closed) = closed {
                // Nobody may be waiting any more.
                let _ = closed.send(());
            }
        });
    }
}
