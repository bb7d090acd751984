//! Payload checksums: SHA-256 over an image's JSON, a line break, and its layer.

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, Result};
use serde_json::Value;

use crate::registry::{
    digest::Algorithm,
    hashing::{Ending, Hasher, OnBreak, Receipt, intake},
};

/// Up to this size hashing is cheaper than handing it to another thread.
const HASHED_IN_PLACE: usize = 64 << 10;

/// The checksum that will be known when the layer's stream has been read to its end.
pub(super) struct PendingChecksum(Receipt);

impl PendingChecksum {
    /// The checksum, `sha256:` and 64 digits.
    ///
    /// # Errors
    /// `Internal` when the stream was not read to its end.
    pub(super) fn take(self) -> Result<String> {
        match self.0.take() {
            Some(received) if received.ending == Ending::Complete => received.hasher,
            _ => None,
        }
        .map(|hasher| hasher.finish().to_string())
        .ok_or_else(|| Error::new(ErrorKind::Internal, "the driver took a layer without reading all of it"))
    }
}

/// Passes a layer of the announced `size` on and hashes `json`, a line break and the layer on the way.
///
/// # Errors
/// `Internal` when the hashing thread died.
pub(super) async fn hashed(
    json: Bytes,
    layer: ByteStream,
    size: Option<u64>,
) -> Result<(ByteStream, PendingChecksum)> {
    let large = json.len() > HASHED_IN_PLACE;
    let begin = move || {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        hasher.update(&json);
        hasher.update(b"\n");
        hasher
    };
    let hasher = if large {
        tokio::task::spawn_blocking(begin)
            .await
            .map_err(|error| Error::new(ErrorKind::Internal, "hashing failed").caused_by(&error))?
    } else {
        begin()
    };
    let (layer, receipt) = intake(layer, Some(hasher), size, OnBreak::Fail);
    Ok((layer, PendingChecksum(receipt)))
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
    use sha2::{Digest as _, Sha256};

    use super::*;

    async fn checksum(json: &str, chunks: Vec<Bytes>) -> String {
        let whole: Vec<u8> = chunks.concat();
        let json = Bytes::from(json.to_owned());
        let (layer, checksum) = hashed(json, byte_stream(chunks), Some(whole.len() as u64)).await.unwrap();
        assert_eq!(collect(layer, whole.len()).await.unwrap(), whole);
        checksum.take().unwrap()
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
    async fn json_and_layers_of_every_size_are_hashed_in_order() {
        let chunk = |size: usize| Bytes::from((0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>());
        for json in ["{}", &"x".repeat(100_000)] {
            for chunks in [vec![chunk(5)], vec![chunk(1); 1000], vec![chunk(700_000); 5]] {
                assert_eq!(checksum(json, chunks.clone()).await, expected(json, &chunks.concat()));
            }
        }
    }

    #[tokio::test]
    async fn a_layer_that_is_not_read_to_its_end_has_no_checksum() {
        let (layer, checksum) = hashed(Bytes::new(), byte_stream([Bytes::from("x")]), None).await.unwrap();
        drop(layer);
        assert_eq!(checksum.take().unwrap_err().kind, ErrorKind::Internal);
    }

    #[tokio::test]
    async fn a_layer_that_is_shorter_or_longer_than_announced_fails() {
        for announced in [0, 2] {
            let chunks = byte_stream([Bytes::from("x")]);
            let (layer, checksum) = hashed(Bytes::new(), chunks, Some(announced)).await.unwrap();
            assert_eq!(collect(layer, 9).await.unwrap_err().kind, ErrorKind::BodyFailed);
            assert!(checksum.take().is_err());
        }
    }

    #[test]
    fn old_and_new_forms_of_stored_checksums_are_read() {
        assert_eq!(stored_checksums(br#"["sha256:1", "tarsum:2"]"#), ["sha256:1", "tarsum:2"]);
        assert_eq!(stored_checksums(b"tarsum+sha256:ab"), ["tarsum+sha256:ab"]);
        assert_eq!(stored_checksums(b"\"sha256:1\""), ["sha256:1"]);
    }
}
