//! Objects that a driver has opened for reading: an open file, or bytes that are asked for piece by piece.

use std::{
    ffi::c_void,
    fs::File,
    os::fd::{FromRawFd, OwnedFd},
    ptr,
    sync::Arc,
};

use bytes::Bytes;
use futures::{StreamExt, stream};

use super::{answers::misused, call::Calling, instance::Instance, threads::Kind, values::PlainReading};
use crate::{ByteStream, CallContext, Error, ErrorKind, FileRegion, ReadingBody, Result};

/// Most bytes that are asked for at once.
const CHUNK: u64 = 256 * 1024;

/// An empty reading for the driver to fill in.
pub(super) fn unfilled() -> PlainReading {
    PlainReading {
        size: size_of::<PlainReading>(),
        offset: 0,
        length: 0,
        file: -1,
        file_offset: 0,
        handle: ptr::null_mut(),
    }
}

/// What the driver opened. Whatever becomes of the call, it is ended once.
pub(super) enum Source {
    File(FileRegion),
    Handle(Handle),
}

impl Source {
    /// Takes over what the driver filled in.
    ///
    /// # Errors
    /// `Internal` when the file is none or does not hold the bytes.
    ///
    /// # Safety
    /// The driver has filled `reading` in and returned without a failure.
    pub(super) unsafe fn taken(reading: PlainReading, instance: &Arc<Instance>) -> Result<Self> {
        if reading.file < 0 {
            let handle = Handle { instance: Arc::clone(instance), handle: Opaque(reading.handle) };
            return if instance.table.read_next.is_none() && reading.length > 0 {
                Err(misused(
                    "the driver opened an object without a file, and its function `read_next` is null",
                ))
            } else {
                Ok(Self::Handle(handle))
            };
        }
        if !is_open(reading.file) {
            return Err(misused("the driver handed over a descriptor that is not open"));
        }
        // SAFETY: the descriptor is open and passes to the server with the success of the call.
        let file = File::from(unsafe { OwnedFd::from_raw_fd(reading.file) });
        let metadata = file.metadata()?;
        let end = reading.file_offset.checked_add(reading.length);
        if !metadata.is_file() || end.is_none_or(|end| end > metadata.len()) {
            return Err(misused("the driver handed over a file that does not hold the bytes it speaks of"));
        }
        Ok(Self::File(FileRegion { file, offset: reading.file_offset, length: reading.length }))
    }

    /// The bytes of the reading, `length` of them.
    pub(super) fn into_body(self, length: u64) -> ReadingBody {
        match self {
            Self::File(region) => ReadingBody::File(region),
            Self::Handle(handle) => ReadingBody::Stream(handle.into_stream(length)),
        }
    }
}

/// Whether the descriptor is open: taking over one that is not would end somebody else's file later.
fn is_open(descriptor: i32) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{descriptor}")).is_ok()
}

/// A pointer that only the driver looks behind.
#[derive(Clone, Copy)]
pub(super) struct Opaque(pub(super) *mut c_void);

// SAFETY: the pointer is handed to the driver's functions and nothing else, and the header says that these are
// called on any thread.
unsafe impl Send for Opaque {}
// SAFETY: as above; nothing is done with a shared one but to copy it.
unsafe impl Sync for Opaque {}

/// An open handle of the driver.
pub(super) struct Handle {
    instance: Arc<Instance>,
    handle: Opaque,
}

impl Handle {
    fn into_stream(self, length: u64) -> ByteStream {
        stream::try_unfold((Arc::new(self), length), |(handle, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let chunk = handle.read(left).await?;
            let left = left - chunk.len() as u64;
            Ok(Some((chunk, (handle, left))))
        })
        .boxed()
    }

    async fn read(self: &Arc<Self>, left: u64) -> Result<Bytes> {
        let reading = Arc::clone(self);
        let (calling, _cancel) = Calling::new(&CallContext::default(), self.instance.host, "read_next");
        let read = move || reading.read_now(calling, left);
        self.instance.threads.run(Kind::Storage, read).await.map_err(|mut error| {
            "read".clone_into(&mut error.operation);
            error
        })
    }

    fn read_now(&self, calling: Calling, left: u64) -> Result<Bytes> {
        let Some(read_next) = self.instance.table.read_next else { return Err(Error::unsupported("read")) };
        // At most 256 KiB, which every usize can count.
        let capacity = left.min(CHUNK) as usize;
        let mut buffer = vec![0_u8; capacity];
        let mut filled = 0;
        calling.run(|call| {
            // SAFETY: instance and handle are the driver's own and open; the buffer is as long as it is said to be.
            unsafe {
                let buffer = buffer.as_mut_ptr().cast();
                read_next(call, self.instance.pointer(), self.handle.0, buffer, capacity, &raw mut filled)
            }
        })?;
        if filled > capacity {
            return Err(misused("the driver read more bytes than the buffer holds"));
        }
        if filled == 0 {
            let message = format!("the driver's reading ended {left} bytes early");
            return Err(Error::new(ErrorKind::Corrupt, message));
        }
        buffer.truncate(filled);
        Ok(buffer.into())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let Some(read_close) = self.instance.table.read_close else { return };
        let (instance, handle) = (Arc::clone(&self.instance), self.handle);
        self.instance.threads.finish(move || {
            let handle = handle;
            // SAFETY: the last owner of the handle is gone, and the instance is still open.
            unsafe { read_close(instance.pointer(), handle.0) }
        });
    }
}
