//! Hashing content while it passes through.
//!
//! A [`Hasher`] can be saved and restored, so that an upload goes on in another process without a look
//! back at its bytes. [`intake`] puts one beside a request's body: the body goes to the storage, the
//! hash is there when it has ended. When and where it is hashed, `hash_backlog.rs` decides.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, FileRegion, Result};
use futures::{Stream, StreamExt};
use sha2::{
    Digest as _, Sha256, Sha512,
    digest::common::hazmat::{SerializableState, SerializedState},
};
use tokio::runtime::Handle;

use super::{
    digest::{Algorithm, Digest},
    hash_backlog::{BACKLOG_BYTES, HashBacklog, INLINE_BYTES, off_runtime, thread_died},
};

/// A hash in the making.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-512.
    Sha512(Sha512),
}

impl Hasher {
    /// The hash of nothing so far.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// Adds bytes. Blocks for as long as that takes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest of all bytes that were added.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::from_output(Algorithm::Sha256, &hasher.finalize()),
            Self::Sha512(hasher) => Digest::from_output(Algorithm::Sha512, &hasher.finalize()),
        }
    }

    /// The state as bytes, a few hundred at most. It holds the last, unfinished block of the content.
    pub fn save(&self) -> Vec<u8> {
        match self {
            Self::Sha256(hasher) => hasher.serialize().to_vec(),
            Self::Sha512(hasher) => hasher.serialize().to_vec(),
        }
    }

    /// The state that [`Hasher::save`] made, or `None` when it is not one.
    pub fn restore(algorithm: Algorithm, state: &[u8]) -> Option<Self> {
        fn from<H: SerializableState>(state: &[u8]) -> Option<H> {
            let state: SerializedState<H> = state.try_into().ok()?;
            H::deserialize(&state).ok()
        }
        match algorithm {
            Algorithm::Sha256 => from(state).map(Self::Sha256),
            Algorithm::Sha512 => from(state).map(Self::Sha512),
        }
    }
}

/// The digest of bytes in memory.
pub async fn digest_of(algorithm: Algorithm, content: &Bytes) -> Result<Digest> {
    Ok(hasher_over(algorithm, content).await?.finish())
}

/// The hash of bytes in memory, to which more can be added.
pub async fn hasher_over(algorithm: Algorithm, content: &Bytes) -> Result<Hasher> {
    let mut hasher = Hasher::new(algorithm);
    if content.len() <= INLINE_BYTES {
        hasher.update(content);
    } else {
        let content = content.clone();
        hasher = off_runtime(&Handle::current(), move || {
            hasher.update(&content);
            Ok(hasher)
        })
        .await
        .unwrap_or_else(|error| Err(thread_died(&error)))?;
    }
    Ok(hasher)
}

/// The digest of part of a file, read with large preads on a blocking thread.
pub async fn digest_of_file(algorithm: Algorithm, region: FileRegion) -> Result<Digest> {
    use std::os::unix::fs::FileExt;
    off_runtime(&Handle::current(), move || {
        let mut hasher = Hasher::new(algorithm);
        let mut buffer = vec![0; BACKLOG_BYTES];
        let (mut offset, mut left) = (region.offset, region.length);
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = region.file.read_at(&mut buffer[..wanted], offset)?;
            if read == 0 {
                return Err(Error::new(ErrorKind::Corrupt, "the file ends before its announced length"));
            }
            hasher.update(&buffer[..read]);
            offset += read as u64;
            left -= read as u64;
        }
        Ok(hasher)
    })
    .await
    .unwrap_or_else(|error| Err(thread_died(&error)))
    .map(Hasher::finish)
}

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Whole, and of the announced length if one was announced.
    Complete,
    /// Before its end: the client broke off, or it sent fewer bytes than it announced.
    Broken,
    /// With more bytes than were announced.
    TooLong,
}

/// What came in.
pub struct Received {
    /// The hash, the new bytes included; `None` when none was asked for.
    pub hasher: Option<Hasher>,
    /// Number of bytes that were passed on.
    pub bytes: u64,
    /// How the body ended.
    pub ending: Ending,
}

/// Where [`Received`] appears when the stream has ended.
pub struct Receipt(Arc<Mutex<Option<Received>>>);

impl Receipt {
    /// A receipt for what has come in already.
    pub fn of(received: Received) -> Self {
        Self(Arc::new(Mutex::new(Some(received))))
    }

    /// What came in, if the stream was read to its end.
    pub fn take(&self) -> Option<Received> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What to do with a body that breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBreak {
    /// The stream fails, and the upload stays as it was.
    Fail,
    /// The stream ends, and the storage keeps what arrived.
    Keep,
}

/// Passes `body` on and hashes it on the way.
///
/// `announced` is the length that the body must have. A longer one always makes the stream fail: what a
/// client sends beyond its own word is not kept. Must be called inside a tokio runtime with timers, which then runs
/// the hashing, wherever the stream itself is polled.
pub fn intake(
    body: ByteStream,
    hasher: Option<Hasher>,
    announced: Option<u64>,
    on_break: OnBreak,
) -> (ByteStream, Receipt) {
    let receipt = Arc::new(Mutex::new(None));
    let stream = Intake {
        body,
        backlog: hasher.map(|hasher| HashBacklog::new(hasher, Handle::current())),
        announced,
        on_break,
        bytes: 0,
        ended: None,
        receipt: Some(Arc::clone(&receipt)),
    };
    (stream.boxed(), Receipt(receipt))
}

struct Intake {
    body: ByteStream,
    backlog: Option<HashBacklog>,
    announced: Option<u64>,
    on_break: OnBreak,
    bytes: u64,
    /// Set when the body has ended and only the hash is waited for.
    ended: Option<(Ending, Option<Error>)>,
    /// Gone when the end was reported.
    receipt: Option<Arc<Mutex<Option<Received>>>>,
}

impl Stream for Intake {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.receipt.is_none() {
            return Poll::Ready(None);
        }
        if this.ended.is_none() {
            if let Some(backlog) = &mut this.backlog {
                ready!(backlog.poll_ready(context))?;
            }
            match this.body.as_mut().poll_next(context) {
                Poll::Pending => {
                    if let Some(backlog) = &mut this.backlog {
                        backlog.pause(this.bytes, context);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(chunk))) => {
                    let bytes = this.bytes + chunk.len() as u64;
                    if this.announced.is_none_or(|announced| bytes <= announced) {
                        this.bytes = bytes;
                        if let Some(backlog) = &mut this.backlog {
                            backlog.push(chunk.clone());
                        }
                        return Poll::Ready(Some(Ok(chunk)));
                    }
                    let message = "the body is longer than announced";
                    this.ended = Some((Ending::TooLong, Some(Error::new(ErrorKind::BodyFailed, message))));
                }
                Poll::Ready(Some(Err(error))) => this.ended = Some((Ending::Broken, Some(error))),
                Poll::Ready(None) if this.announced.is_some_and(|announced| this.bytes < announced) => {
                    let message = "the body is shorter than announced";
                    this.ended = Some((Ending::Broken, Some(Error::new(ErrorKind::BodyFailed, message))));
                }
                Poll::Ready(None) => this.ended = Some((Ending::Complete, None)),
            }
        }
        let hasher = match &mut this.backlog {
            Some(backlog) => Some(ready!(backlog.poll_finish(context))?),
            None => None,
        };
        let (ending, error) = this.ended.take().unwrap_or((Ending::Complete, None));
        if let Some(receipt) = this.receipt.take() {
            let received = Received { hasher, bytes: this.bytes, ending };
            *receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(received);
        }
        let keep = ending == Ending::Broken && this.on_break == OnBreak::Keep;
        Poll::Ready(error.filter(|_| !keep).map(Err))
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::byte_stream;
    use futures::stream;

    use super::*;

    fn pieces(count: usize, size: usize) -> Vec<Bytes> {
        (0..count).map(|index| Bytes::from(vec![index as u8; size])).collect()
    }

    fn plainly(algorithm: Algorithm, pieces: &[Bytes]) -> Digest {
        let mut hasher = Hasher::new(algorithm);
        pieces.iter().for_each(|piece| hasher.update(piece));
        hasher.finish()
    }

    #[test]
    fn known_answers() {
        // FIPS 180-4 example "abc".
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(b"abc");
        assert_eq!(
            hasher.finish().to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(Hasher::new(Algorithm::Sha512).finish().hex().starts_with("cf83e1357eefb8bd"));
    }

    #[test]
    fn a_saved_state_goes_on_where_it_was() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for cut in [0, 1, 63, 64, 65, 127, 128, 1000] {
                let content = vec![7; 1000];
                let mut first = Hasher::new(algorithm);
                first.update(&content[..cut]);
                let mut second = Hasher::restore(algorithm, &first.save()).unwrap();
                second.update(&content[cut..]);
                assert_eq!(second.finish(), plainly(algorithm, &[content.into()]));
            }
            assert!(Hasher::restore(algorithm, b"junk").is_none());
        }
    }

    #[tokio::test]
    async fn chunks_of_every_size_give_the_same_digest() {
        for (count, size) in [(0, 1), (1, 1), (5000, 1), (300, 1000), (40, 65_537), (12, 1_500_000)] {
            let pieces = pieces(count, size);
            let expected = plainly(Algorithm::Sha256, &pieces);
            let hasher = Hasher::new(Algorithm::Sha256);
            let (stream, receipt) =
                intake(byte_stream(pieces), Some(hasher), Some((count * size) as u64), OnBreak::Fail);
            let passed: Vec<_> = stream.collect().await;
            assert_eq!(passed.len(), count);
            let received = receipt.take().unwrap();
            assert_eq!((received.ending, received.bytes), (Ending::Complete, (count * size) as u64));
            assert_eq!(received.hasher.unwrap().finish(), expected);
        }
    }

    #[tokio::test]
    async fn a_broken_body_is_kept_or_refused_as_asked() {
        let broken = || {
            let error = Error::new(ErrorKind::BodyFailed, "gone");
            stream::iter([Ok(Bytes::from("abc")), Err(error)]).boxed()
        };
        let hasher = || Some(Hasher::new(Algorithm::Sha256));
        let (stream, receipt) = intake(broken(), hasher(), None, OnBreak::Keep);
        assert!(stream.collect::<Vec<_>>().await.iter().all(Result::is_ok));
        let received = receipt.take().unwrap();
        assert_eq!((received.ending, received.bytes), (Ending::Broken, 3));
        assert_eq!(received.hasher.unwrap().finish(), plainly(Algorithm::Sha256, &["abc".into()]));

        let (stream, receipt) = intake(broken(), hasher(), None, OnBreak::Fail);
        assert!(stream.collect::<Vec<_>>().await.last().unwrap().is_err());
        assert_eq!(receipt.take().unwrap().ending, Ending::Broken);
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_whose_client_is_idle_holds_no_bytes() {
        struct Owner(Vec<u8>, #[expect(dead_code, reason = "counted")] Arc<()>);
        impl AsRef<[u8]> for Owner {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        let held = Arc::new(());
        let chunks: Vec<_> =
            (0..9).map(|_| Ok(Bytes::from_owner(Owner(vec![7; 40_000], Arc::clone(&held))))).collect();
        let body = stream::iter(chunks).chain(stream::pending()).boxed();
        let (stream, _) = intake(body, Some(Hasher::new(Algorithm::Sha256)), None, OnBreak::Fail);
        let reading = tokio::spawn(stream.for_each(|_| async {}));
        tokio::time::timeout(std::time::Duration::from_secs(5), async {
            while Arc::strong_count(&held) > 1 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        })
        .await
        .expect("what has come is hashed and let go");
        reading.abort();
    }

    #[tokio::test]
    async fn the_announced_length_is_binding() {
        for (announced, ending) in [(2, Ending::TooLong), (3, Ending::Complete), (4, Ending::Broken)] {
            let (stream, receipt) =
                intake(byte_stream([Bytes::from("abc")]), None, Some(announced), OnBreak::Fail);
            let items: Vec<_> = stream.collect().await;
            assert_eq!(items.iter().all(Result::is_ok), ending == Ending::Complete);
            assert_eq!(receipt.take().unwrap().ending, ending);
        }
    }
}
