//! Addresses that stand for bytes of files and hold no bytes themselves.
//!
//! HTTP libraries hand the connection slices of memory. To send a file with `sendfile(2)` below such a
//! library, the response body is a slice of *reserved addresses*, and the connection recognises it by
//! its address. Guarantees:
//!
//! - the addresses are inaccessible for the life of the process: whoever reads one of them by mistake
//!   ends the process with a fault instead of sending wrong bytes, and no file is ever mapped, so that
//!   a truncated file or a disk error cannot raise `SIGBUS`;
//! - the reservation costs no memory and is never given back, so that no other mapping can take the
//!   place of an address that somebody still holds.

#![allow(unsafe_code)]

use std::{io, ptr, ptr::NonNull, slice};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// A range of inaccessible addresses, reserved for the life of the process.
#[derive(Debug)]
pub struct ReservedAddresses {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the value is an address and a length; nothing behind the address is ever read or written, so
// there is nothing that two threads could race for.
unsafe impl Send for ReservedAddresses {}
// SAFETY: as above.
unsafe impl Sync for ReservedAddresses {}

impl ReservedAddresses {
    /// Reserves `length` bytes of address space, above zero.
    ///
    /// # Errors
    /// The kernel's, when the address space is limited (`ulimit -v`) or `length` is zero.
    pub fn reserve(length: usize) -> io::Result<Self> {
        // SAFETY: a null hint without MAP_FIXED lets the kernel choose unused addresses, so that no
        // existing mapping changes.
        let start = unsafe {
            mmap_anonymous(
                ptr::null_mut(),
                length,
                ProtFlags::empty(),
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )
        }?;
        let start = NonNull::new(start.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, length })
    }

    /// `length` addresses from `offset` on, in the shape of a slice. Only its address and its length
    /// may be looked at: reading an element ends the process.
    ///
    /// # Panics
    /// When the addresses are not inside the reservation.
    pub fn addresses(&self, offset: usize, length: usize) -> &[u8] {
        assert!(
            offset.checked_add(length).is_some_and(|end| end <= self.length),
            "the addresses are inside the reservation"
        );
        // SAFETY: the range is inside one mapping that is never unmapped (the type has no Drop), is not
        // null, needs no alignment and is below isize::MAX. Its pages are inaccessible: no byte of it can
        // be read or written at all, by this slice or by anybody else, so aliasing rules cannot be broken,
        // and a load through the slice is a fault of the process, not a wrong value. The compiler does
        // not invent loads through slices: it knows their length at run time only.
        unsafe { slice::from_raw_parts(self.start.as_ptr().add(offset), length) }
    }

    /// How far from the start of the reservation `slice` begins, when it does so inside it.
    pub fn offset_of(&self, slice: &[u8]) -> Option<usize> {
        let offset = slice.as_ptr().addr().checked_sub(self.start.as_ptr().addr())?;
        (offset < self.length).then_some(offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_again_and_others_are_not() {
        let reserved = ReservedAddresses::reserve(1 << 20).unwrap();
        assert_eq!(reserved.offset_of(reserved.addresses(4096, 10)), Some(4096));
        assert_eq!(reserved.offset_of(&reserved.addresses(4096, 10)[3..]), Some(4099));
        assert_eq!(reserved.offset_of(b"elsewhere"), None);
        assert!(std::panic::catch_unwind(|| reserved.addresses(1 << 20, 1).len()).is_err());
    }

    #[test]
    fn nothing_to_reserve_is_an_error() {
        assert!(ReservedAddresses::reserve(0).is_err());
    }
}
