//! The functions of an open driver.

use abi_stable::StableAbi;
use async_ffi::FfiFuture;

use super::{
    memory::{Answer, Message},
    messages::RawCall,
};

/// An open driver, known to its own side only.
pub type Instance = *const ();

/// One asynchronous method: instance, call context and request in, a future of the answer out.
///
/// The context and the request are lent until the function returns; what the future needs of them is
/// copied before. Regions and streams in a request pass to the callee in any case.
#[repr(transparent)]
#[derive(Clone, Copy, StableAbi)]
pub struct Method {
    /// The function.
    pub function: unsafe extern "C" fn(Instance, *const RawCallPointer, *const ()) -> FfiFuture<Answer>,
}

/// Stands for [`RawCall`] in signatures: the call context may grow, so the layout check must not look
/// into it.
#[repr(C)]
#[derive(StableAbi)]
pub struct RawCallPointer {
    pub(super) size: usize,
}

impl RawCallPointer {
    /// The pointer for a call context.
    pub fn of(call: &RawCall) -> *const Self {
        std::ptr::from_ref(call).cast()
    }

    /// The context behind the pointer.
    ///
    /// # Safety
    /// The pointer came from [`Self::of`] of some version and the context is still lent.
    pub unsafe fn read(pointer: *const Self) -> crate::CallContext {
        // SAFETY: passed on to the caller.
        unsafe { RawCall::take(pointer.cast()) }.to_context()
    }
}

/// Functions of an open driver. New ones are appended after the last, which moves the attribute
/// `last_prefix_field` never: a driver of an older version lacks them.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = DriverTableRef, prefix_fields = DriverTablePrefix)))]
#[sabi(missing_field(option))]
#[allow(missing_docs)] // each is the trait method of the same name
pub struct DriverTable {
    /// Gives the instance back. No call may be under way.
    pub release: unsafe extern "C" fn(Instance),
    pub capabilities: unsafe extern "C" fn(Instance) -> u64,
    pub get: Method,
    pub put: Method,
    pub head: Method,
    pub stat: Method,
    pub read: Method,
    pub list: Method,
    pub open_upload: Method,
    pub append: Method,
    pub commit: Method,
    pub abort: Method,
    pub list_uploads: Method,
    pub copy: Method,
    pub rename: Method,
    pub delete: Method,
    pub delete_many: Method,
    pub delete_tree: Method,
    pub redirect_url: Method,
    pub health: Method,
    #[sabi(last_prefix_field)]
    pub close: Method,
    /// Since 1.1.
    pub write: Method,
}

/// An open driver on its way to the other side. All zero means "absent".
#[repr(C)]
pub struct RawDriver {
    pub(super) instance: Instance,
    pub(super) table: Option<DriverTableRef>,
}

// SAFETY: the instance is a boxed `Arc<dyn Driver>` with its runtime, all `Send + Sync`; the table is
// static.
unsafe impl Send for RawDriver {}
// SAFETY: as above.
unsafe impl Sync for RawDriver {}

impl RawDriver {
    /// Absent.
    pub const NONE: Self = Self { instance: std::ptr::null(), table: None };

    pub(super) fn new(instance: Instance, table: DriverTableRef) -> Self {
        Self { instance, table: Some(table) }
    }

    /// Instance and table, or `None` when absent.
    pub(super) fn parts(&self) -> Option<(Instance, DriverTableRef)> {
        self.table.map(|table| (self.instance, table))
    }
}

impl Drop for RawDriver {
    fn drop(&mut self) {
        if let Some(table) = self.table.take() {
            // SAFETY: the table belongs to the instance, `take` makes this the only release, and the
            // owner of `self` holds no call.
            unsafe { table.release()(self.instance) }
        }
    }
}

/// The order of 1.1. A function that moves would be called in another's place.
const _: () = {
    use std::mem::offset_of;
    assert!(offset_of!(DriverTable, release) == 0 && offset_of!(DriverTable, capabilities) == 8);
    assert!(offset_of!(DriverTable, get) == 16 && offset_of!(DriverTable, put) == 24);
    assert!(offset_of!(DriverTable, head) == 32 && offset_of!(DriverTable, stat) == 40);
    assert!(offset_of!(DriverTable, read) == 48 && offset_of!(DriverTable, list) == 56);
    assert!(offset_of!(DriverTable, open_upload) == 64 && offset_of!(DriverTable, append) == 72);
    assert!(offset_of!(DriverTable, commit) == 80 && offset_of!(DriverTable, abort) == 88);
    assert!(offset_of!(DriverTable, list_uploads) == 96 && offset_of!(DriverTable, copy) == 104);
    assert!(offset_of!(DriverTable, rename) == 112 && offset_of!(DriverTable, delete) == 120);
    assert!(offset_of!(DriverTable, delete_many) == 128 && offset_of!(DriverTable, delete_tree) == 136);
    assert!(offset_of!(DriverTable, redirect_url) == 144 && offset_of!(DriverTable, health) == 152);
    assert!(offset_of!(DriverTable, close) == 160 && offset_of!(DriverTable, write) == 168);
};
