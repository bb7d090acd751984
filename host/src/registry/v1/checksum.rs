//! Payload checksums: SHA-256 over an image's JSON, a line break, and its layer.
//!
//! The digest is taken beside the stream that the storage reads. Nothing of it needs more memory than
//! two batches, and no batch is hashed on the async runtime.

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::{runtime::Handle, sync::oneshot, task::JoinHandle};

/// Chunks are gathered up to this size before they are hashed.
const BATCH_BYTES: usize = 1 << 20;
/// Chunks are gathered up to this number, so that a body of tiny ones cannot pile up.
const BATCH_CHUNKS: usize = 256;
/// Up to this size hashing is cheaper than handing it to another thread.
const HASHED_IN_PLACE: usize = 64 << 10;

/// The checksum that will be known when the stream has been read to its end.
pub(super) struct PendingChecksum(oneshot::Receiver<Sha256>);

impl PendingChecksum {
    /// The checksum, `sha256:` and 64 digits.
    ///
    /// # Errors
    /// `Internal` when the stream was not read to its end.
    pub(super) async fn wait(self) -> Result<String> {
        let digest = self.0.await.map_err(|_| {
            Error::new(ErrorKind::Internal, "the driver accepted a layer without reading it to its end")
        })?;
        Ok(format!("sha256:{:x}", HexDigest(digest)))
    }
}

struct HexDigest(Sha256);

impl std::fmt::LowerHex for HexDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.clone().finalize().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Passes `body` on unchanged and hashes `json`, a line break and the body on the way.
pub(super) fn hashed(json: Bytes, body: ByteStream) -> (ByteStream, PendingChecksum) {
    let (done, receiver) = oneshot::channel();
    let mut hashing = Hashing {
        // The stream may be read on a driver's own runtime, which knows nothing of this one.
        runtime: Handle::current(),
        digest: Ongoing::Here(Sha256::new()),
        batch: Vec::new(),
        batch_bytes: 0,
    };
    hashing.gather(json);
    hashing.gather(Bytes::from_static(b"\n"));
    let body = stream::try_unfold((body, hashing, done), |(mut body, mut hashing, done)| async move {
        match body.try_next().await? {
            Some(chunk) => {
                hashing.gather(chunk.clone());
                hashing.hash_full_batch().await?;
                Ok(Some((chunk, (body, hashing, done))))
            }
            None => {
                // Nobody waits any more when the request was given up; that is no error.
                let _ = done.send(hashing.finish().await?);
                Ok(None)
            }
        }
    });
    (body.boxed(), PendingChecksum(receiver))
}

struct Hashing {
    runtime: Handle,
    digest: Ongoing,
    batch: Vec<Bytes>,
    batch_bytes: usize,
}

enum Ongoing {
    Here(Sha256),
    Elsewhere(JoinHandle<Sha256>),
}

impl Hashing {
    fn gather(&mut self, chunk: Bytes) {
        self.batch_bytes += chunk.len();
        self.batch.push(chunk);
    }

    async fn hash_full_batch(&mut self) -> Result<()> {
        if self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_CHUNKS {
            self.hash_batch().await?;
        }
        Ok(())
    }

    /// Waits for the batch before, and begins with this one.
    async fn hash_batch(&mut self) -> Result<()> {
        let mut digest = self.take_digest().await?;
        let batch = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes);
        let hash = move || {
            batch.iter().for_each(|chunk| digest.update(chunk));
            digest
        };
        self.digest = if bytes <= HASHED_IN_PLACE {
            Ongoing::Here(hash())
        } else {
            Ongoing::Elsewhere(self.runtime.spawn_blocking(hash))
        };
        Ok(())
    }

    async fn finish(mut self) -> Result<Sha256> {
        self.hash_batch().await?;
        self.take_digest().await
    }

    async fn take_digest(&mut self) -> Result<Sha256> {
        match std::mem::replace(&mut self.digest, Ongoing::Here(Sha256::new())) {
            Ongoing::Here(digest) => Ok(digest),
            Ongoing::Elsewhere(task) => task
                .await
                .map_err(|error| Error::new(ErrorKind::Internal, "hashing a layer failed").caused_by(&error)),
        }
    }
}

/// The checksums of a stored `_checksum`: a JSON list, or one bare text as old versions wrote it.
pub(super) fn stored_checksums(content: &[u8]) -> Vec<String> {
    match serde_json::from_slice(content) {
        Ok(Value::Array(checksums)) => checksums
            .into_iter()
            .filter_map(|checksum| match checksum {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        Ok(Value::String(text)) => vec![text],
        _ => vec![String::from_utf8_lossy(content).trim().to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::{byte_stream, collect};

    use super::*;

    async fn checksum(json: &'static str, chunks: Vec<Bytes>) -> String {
        let whole: Vec<u8> = chunks.concat();
        let (body, checksum) = hashed(Bytes::from(json), byte_stream(chunks));
        assert_eq!(collect(body, whole.len()).await.unwrap(), whole);
        checksum.wait().await.unwrap()
    }

    fn expected(json: &str, layer: &[u8]) -> String {
        let digest = Sha256::digest([json.as_bytes(), b"\n", layer].concat());
        digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}"))
    }

    #[tokio::test]
    async fn the_vectors_of_the_original_hold() {
        assert!(checksum("", vec![]).await.starts_with("sha256:01ba4719"));
        assert!(checksum("test", vec![]).await.starts_with("sha256:f2ca1bb6"));
    }

    #[tokio::test]
    async fn batches_of_every_kind_are_hashed_in_order() {
        let chunk = |size: usize| Bytes::from((0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>());
        for chunks in
            [vec![chunk(5)], vec![chunk(1); 1000], vec![chunk(700_000); 5], vec![chunk(3_000_000), chunk(1)]]
        {
            assert_eq!(checksum("{}", chunks.clone()).await, expected("{}", &chunks.concat()));
        }
    }

    #[tokio::test]
    async fn a_body_that_is_not_read_to_its_end_has_no_checksum() {
        let (body, checksum) = hashed(Bytes::new(), byte_stream([Bytes::from("x")]));
        drop(body);
        assert_eq!(checksum.wait().await.unwrap_err().kind, ErrorKind::Internal);
    }

    #[test]
    fn old_and_new_forms_of_stored_checksums_are_read() {
        assert_eq!(stored_checksums(br#"["sha256:1", "tarsum:2"]"#), ["sha256:1", "tarsum:2"]);
        assert_eq!(stored_checksums(b"tarsum+sha256:ab"), ["tarsum+sha256:ab"]);
        assert_eq!(stored_checksums(b"\"sha256:1\""), ["sha256:1"]);
    }
}
