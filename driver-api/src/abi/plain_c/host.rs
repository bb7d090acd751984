//! The server as a plain C driver sees it: its log and its counters.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    lent::{given_sentence, given_text},
    table::PlainHost,
    values::PlainText,
};
use crate::abi::host::Host;

/// Longest name of a counter.
const MAX_COUNTER_BYTES: usize = 128;

/// Makes the struct for a driver that is about to be opened. It is there as long as the process, like the driver.
pub(super) fn serve(host: Arc<dyn Host>) -> &'static PlainHost {
    let context: &'static Arc<dyn Host> = Box::leak(Box::new(host));
    Box::leak(Box::new(PlainHost {
        size: size_of::<PlainHost>(),
        context: std::ptr::from_ref(context).cast(),
        api_major: crate::API_VERSION.0,
        api_minor: crate::API_VERSION.1,
        log_level: Some(log_level),
        log: Some(log),
        count: Some(count),
    }))
}

/// Runs the server's own code for the driver. A panic in it cannot be reported to anybody and must not leave it.
///
/// # Safety
/// The pointer is null or was made by [`serve`].
unsafe fn with<T: Default>(host: *const PlainHost, code: impl FnOnce(&dyn Host) -> T) -> T {
    // SAFETY: passed on to the caller; both structs are never released.
    let Some(host) = (unsafe { host.as_ref().map(|host| &*host.context.cast::<Arc<dyn Host>>()) }) else {
        return T::default();
    };
    catch_unwind(AssertUnwindSafe(|| code(&**host))).unwrap_or_default()
}

unsafe extern "C" fn log_level(host: *const PlainHost) -> u32 {
    // SAFETY: the driver passes the pointer that it was given.
    unsafe { with(host, |host| host.log_level()) }
}

unsafe extern "C" fn log(host: *const PlainHost, level: u32, line: PlainText) {
    // SAFETY: as above; the text is lent for this call.
    unsafe {
        with(host, |host| {
            if level <= host.log_level() {
                host.log(level, "c", &given_sentence(line).unwrap_or_default());
            }
        });
    }
}

unsafe extern "C" fn count(host: *const PlainHost, counter: PlainText, amount: u64) {
    // SAFETY: as above.
    unsafe {
        with(host, |host| {
            if let Ok(Some(counter)) = given_text(counter, "a counter", MAX_COUNTER_BYTES) {
                host.count(counter, amount);
            }
        });
    }
}
