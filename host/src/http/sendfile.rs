//! Files that leave by `sendfile(2)` below an HTTP library that only knows memory.
//!
//! A response body is cut into *windows*: slices of reserved addresses ([`ReservedAddresses`]), each of
//! which stands for a part of a file. The library queues the slice, the connection finds the window by
//! its address ([`Windows::find`]) and tells the kernel to send the file part. Guarantees:
//!
//! - no byte of a large file that is in the page cache (a warm one) passes through user space, except
//!   for the probes below and when every window is in use; nobody can read the slice by mistake;
//! - a window is known exactly as long as its slice lives, and its addresses serve another one only
//!   after that;
//! - a part that is not in the page cache is fetched on the blocking pool before its window is handed
//!   out, so that a disk does not hold up a worker of the runtime. This is a probe at every
//!   [`PROBE_DISTANCE`], not a promise: the kernel may drop a page in between.

use std::{
    fs::File,
    io::{self, IoSliceMut},
    num::NonZeroU64,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use futures::Stream;
use rustix::{
    fs::{Advice, fadvise},
    io::{Errno, ReadWriteFlags, preadv2},
};
use tokio::task::JoinHandle;

use super::file_body::{SharedRegion, is_memory_file, read_piece, too_short};
use crate::plugin::region::ReservedAddresses;

/// Largest part of a file that one window stands for, and so the most that one `sendfile` call sends,
/// in bytes.
pub(crate) const WINDOW: u64 = 2 * 1024 * 1024;

/// Windows that can be on their way at once; with none left, a part is read and copied instead.
const SLOTS: usize = 8192;

/// Distance of the probes for pages that are not in memory, in bytes: the kernel's usual read-ahead.
const PROBE_DISTANCE: u64 = 128 * 1024;

/// All windows of the process.
#[derive(Debug)]
pub struct Windows {
    addresses: ReservedAddresses,
    /// What each slot of [`WINDOW`] addresses stands for now.
    parts: Vec<Mutex<Option<FilePart>>>,
    free: Mutex<Vec<usize>>,
    sent: metrics::Counter,
}

/// A place in a file.
#[derive(Debug, Clone)]
pub(crate) struct FilePart {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
}

impl Windows {
    /// Reserves the addresses; no memory is used by them.
    ///
    /// # Errors
    /// The kernel's, when the address space of the process is limited.
    pub fn reserve() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            addresses: ReservedAddresses::reserve(SLOTS * WINDOW as usize)?,
            parts: (0..SLOTS).map(|_| Mutex::new(None)).collect(),
            free: Mutex::new((0..SLOTS).rev().collect()),
            sent: metrics::counter!(crate::telemetry::names::SENDFILE_BYTES),
        }))
    }

    /// Where in which file a slice lies, if it is (the rest of) a window.
    pub(crate) fn find(&self, slice: &[u8]) -> Option<FilePart> {
        let offset = self.addresses.offset_of(slice)?;
        let part = lock(&self.parts[offset / WINDOW as usize]).clone()?;
        Some(FilePart { offset: part.offset + offset as u64 % WINDOW, ..part })
    }

    /// Whether a slice is (the rest of) a window.
    pub(crate) fn holds(&self, slice: &[u8]) -> bool {
        self.addresses.offset_of(slice).is_some()
    }

    /// Counts bytes that the kernel took.
    pub(crate) fn count_sent(&self, bytes: usize) {
        self.sent.increment(bytes as u64);
    }

    /// A slice that stands for `part`, or `None` when every slot is in use.
    fn open(self: &Arc<Self>, part: &SharedRegion) -> Option<Bytes> {
        let length = usize::try_from(part.length).ok().filter(|length| *length as u64 <= WINDOW)?;
        let slot = lock(&self.free).pop()?;
        *lock(&self.parts[slot]) = Some(FilePart { file: Arc::clone(&part.file), offset: part.offset });
        Some(Bytes::from_owner(Window { windows: Arc::clone(self), slot, length }))
    }
}

/// One window; dropping it forgets the file part and only then frees the addresses for another.
struct Window {
    windows: Arc<Windows>,
    slot: usize,
    length: usize,
}

impl AsRef<[u8]> for Window {
    fn as_ref(&self) -> &[u8] {
        self.windows.addresses.addresses(self.slot * WINDOW as usize, self.length)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        lock(&self.windows.parts[self.slot]).take();
        lock(&self.windows.free).push(self.slot);
    }
}

/// Nothing is left half-done under these locks, so a panic elsewhere leaves them usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The region as a stream of windows.
pub(crate) fn windows(windows: Arc<Windows>, region: SharedRegion) -> WindowStream {
    WindowStream { windows, rest: region, fetching: None }
}

/// See [`windows`].
pub(crate) struct WindowStream {
    windows: Arc<Windows>,
    rest: SharedRegion,
    fetching: Option<JoinHandle<Result<Bytes>>>,
}

impl Stream for WindowStream {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.fetching.is_none() {
            if self.rest.length == 0 {
                return Poll::Ready(None);
            }
            let part = self.rest.split_to(WINDOW);
            let window = self.windows.open(&part);
            if let Some(window) = window.clone().filter(|_| is_in_memory(&part)) {
                return Poll::Ready(Some(Ok(window)));
            }
            let next = self.rest.clone().split_to(WINDOW);
            self.fetching = Some(tokio::task::spawn_blocking(move || match window {
                Some(window) => fetch(&part, &next).map(|()| window),
                None => read_piece(&part),
            }));
        }
        let Some(fetching) = &mut self.fetching else { return Poll::Ready(None) };
        let fetched = ready!(Pin::new(fetching).poll(cx)).unwrap_or_else(|error| {
            Err(Error::new(ErrorKind::Internal, "reading a file was cut short").caused_by(&error))
        });
        self.fetching = None;
        if fetched.is_err() {
            self.rest.length = 0;
        }
        Poll::Ready(Some(fetched))
    }
}

/// Whether the part seems to be in the page cache. `false` also when the file system
/// has a disk and cannot tell.
fn is_in_memory(part: &SharedRegion) -> bool {
    let last = part.offset + part.length.saturating_sub(1);
    (part.offset..last).step_by(PROBE_DISTANCE as usize).chain([last]).all(|offset| {
        let mut byte = [0];
        match preadv2(&part.file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT) {
            // At the end of the file nothing is read, and nothing waited for: the connection finds out that
            // the file is too short.
            Ok(_) => true,
            Err(Errno::OPNOTSUPP) => is_memory_file(&part.file),
            Err(_) => false,
        }
    })
}

/// Brings the part into the page cache and asks for the next one. Blocks the thread.
fn fetch(part: &SharedRegion, next: &SharedRegion) -> Result<()> {
    for ahead in [part, next] {
        if let Some(length) = NonZeroU64::new(ahead.length) {
            // Advice only: where it is not taken, the reads below do the work.
            let _ = fadvise(&ahead.file, ahead.offset, Some(length), Advice::WillNeed);
        }
    }
    let mut scratch = [0; 64 * 1024];
    let end = part.offset + part.length;
    let mut offset = part.offset;
    while offset < end {
        let wanted = (end - offset).min(scratch.len() as u64) as usize;
        match rustix::io::pread(&part.file, &mut scratch[..wanted], offset) {
            Ok(0) => return Err(too_short(offset)),
            Ok(read) => offset += read as u64,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::from(io::Error::from(errno))),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use docker_registry_driver_api::FileRegion;
    use futures::{StreamExt, TryStreamExt};

    use super::*;

    fn region(length: usize, offset: u64, wanted: u64) -> SharedRegion {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; length]).unwrap();
        FileRegion { file, offset, length: wanted }.into()
    }

    #[tokio::test]
    async fn windows_stand_for_consecutive_parts_of_the_file() {
        let all = Windows::reserve().unwrap();
        let region = region(5 << 20, 100, (5 << 20) - 100);
        let slices: Vec<Bytes> = windows(Arc::clone(&all), region).try_collect().await.unwrap();
        let mut expected = 100;
        for slice in &slices {
            assert_eq!(all.find(slice).unwrap().offset, expected);
            assert_eq!(all.find(&slice[10..]).unwrap().offset, expected + 10);
            expected += slice.len() as u64;
        }
        assert_eq!(expected, 5 << 20);
        assert!(!all.holds(b"an ordinary slice"));
    }

    #[tokio::test]
    async fn a_window_is_known_as_long_as_a_part_of_its_slice_lives() {
        let all = Windows::reserve().unwrap();
        let slice = windows(Arc::clone(&all), region(100, 0, 100)).next().await.unwrap().unwrap();
        let tail = slice.slice(60..);
        drop(slice);
        assert_eq!(all.find(&tail).unwrap().offset, 60);
        assert_eq!(lock(&all.free).len(), SLOTS - 1);
        drop(tail);
        assert_eq!(lock(&all.free).len(), SLOTS);
        assert!(all.parts.iter().all(|part| lock(part).is_none()));
    }

    #[tokio::test]
    async fn with_no_slot_left_the_bytes_themselves_are_sent() {
        let all = Windows::reserve().unwrap();
        lock(&all.free).clear();
        let chunk = windows(Arc::clone(&all), region(300, 0, 300)).next().await.unwrap().unwrap();
        assert!(!all.holds(&chunk));
        assert_eq!(chunk, vec![7; 300]);
    }

    #[test]
    fn what_is_fetched_is_in_memory_and_a_short_file_is_an_error() {
        let part = region(3 << 20, 0, 3 << 20);
        fetch(&part, &region(0, 0, 0)).unwrap();
        let too_long = region(10, 0, 20);
        assert_eq!(fetch(&too_long, &region(0, 0, 0)).unwrap_err().kind, ErrorKind::Corrupt);
    }
}
