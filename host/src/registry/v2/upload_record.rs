//! This server's record of an upload in flight.
//!
//! The record is all that any process needs to go on: the driver's own state and the state of the hash,
//! both at the same offset, or the content itself as long as it is small. It changes only on condition that it is
//! still the one that was read, so that of two callers who go on from the same record one succeeds. The other
//! learns it before its client does.
//!
//! A first chunk may have no record at all: see [`super::lone_content`].
//!
//! # What it survives
//! The end of this process, as everything that was acknowledged. As long as the content is small, not always a power
//! cut: nothing is a blob before its client has come to the end, and until then it can begin anew, so nobody waits for
//! a disk here. A record that is missing or cut off after one is no record, and its upload is unknown. The hash beside
//! content shows whether it is the content. (One exception is known: what is left of a record that was cut off within
//! its content is the client's own text, and a client can write one that reads as a record.) An older record that came
//! back is an earlier step of the upload: whoever goes on from a later one is told another offset, or at the end that
//! the digest is wrong. A record that leads to an upload of the driver's is on disk when it is acknowledged, as that
//! is.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use docker_registry_driver_api::UploadState;
use serde::{Deserialize, Serialize};

use super::{Result, Shown, names::Revision};
use crate::registry::{
    digest::Algorithm,
    hashing::{self, Hasher},
};

/// Version of the format without content, which the first releases read as well.
const WITHOUT_CONTENT: u32 = 1;
/// Version of the format in which the content and a line break come first, so that what was gathered is written from where
/// it is. A record of any other version is none: its upload has to begin anew.
const WITH_CONTENT: u32 = 3;

/// Where an upload stands.
#[derive(Clone)]
pub(super) struct UploadRecord {
    /// Number of bytes that were acknowledged.
    pub(super) offset: u64,
    /// The driver's state; `None` as long as nothing is open at the driver.
    pub(super) state: Option<UploadState>,
    /// All bytes so far, as long as nothing is open at the driver; then empty.
    pub(super) content: Bytes,
    /// The algorithm that the content is hashed with as it arrives.
    pub(super) algorithm: Algorithm,
    /// The hash of all bytes so far; `None` when it is not known.
    pub(super) hasher: Option<Hasher>,
    /// Tells this record from those before and after it; `None` in one that an older server wrote, and before the
    /// first one.
    pub(super) revision: Option<Revision>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    offset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    driver_state: Option<String>,
    algorithm: Algorithm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hash_state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revision: Option<Revision>,
}

impl UploadRecord {
    /// What the record of an upload that has just begun would hold.
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self {
            offset: 0,
            state: None,
            content: Bytes::new(),
            algorithm,
            hasher: Some(Hasher::new(algorithm)),
            revision: None,
        }
    }

    /// What a client is shown of it.
    pub(super) fn shown(&self) -> Shown {
        match self.revision {
            Some(revision) => Shown::Record(revision),
            None if self.offset == 0 && self.state.is_none() => Shown::New(self.algorithm),
            None => Shown::Nothing,
        }
    }

    /// Whether the content is the one that was written. Nobody has hashed it since.
    pub(super) async fn is_whole(&self) -> Result<bool> {
        let Some(hasher) = self.hasher.as_ref().filter(|_| !self.content.is_empty()) else { return Ok(true) };
        let written = hasher.clone().finish();
        Ok(hashing::digest_of(self.algorithm, &self.content).await? == written)
    }

    /// The text of the record. The content is a part of it from now on, so that its bytes are in memory once.
    pub(super) fn write(&mut self) -> Bytes {
        let written = Written {
            version: if self.content.is_empty() { WITHOUT_CONTENT } else { WITH_CONTENT },
            offset: self.offset,
            driver_state: self.state.as_ref().map(|state| STANDARD.encode(state.as_bytes())),
            algorithm: self.algorithm,
            hash_state: self.hasher.as_ref().map(|hasher| STANDARD.encode(hasher.save())),
            revision: self.revision,
        };
        let line = serde_json::to_vec(&written).expect("a struct of numbers and texts is always JSON");
        if self.content.is_empty() {
            return line.into();
        }
        let size = self.content.len();
        let exact_copy = |content: &[u8]| {
            let mut text = BytesMut::with_capacity(size + 1 + line.len());
            text.put_slice(content);
            text
        };
        let mut text = match std::mem::take(&mut self.content).try_into_mut() {
            // Nobody else has it, and there is space behind it.
            Ok(text) if text.capacity() - size > line.len() => text,
            Ok(full) => exact_copy(&full),
            Err(shared) => exact_copy(&shared),
        };
        text.put_u8(b'\n');
        text.put_slice(&line);
        let text = text.freeze();
        self.content = text.slice(..size);
        text
    }

    pub(super) fn read(text: &Bytes) -> Option<Self> {
        // JSON of one line, so the last line break is before it.
        let end = text.iter().rposition(|byte| *byte == b'\n');
        let (line, content) = match end {
            Some(end) => (text.slice(end + 1..), text.slice(..end)),
            None => (text.clone(), Bytes::new()),
        };
        let written: Written = serde_json::from_slice(&line).ok()?;
        let state = match written.driver_state {
            Some(state) => Some(UploadState::new(STANDARD.decode(state).ok()?).ok()?),
            None => None,
        };
        match written.version {
            WITHOUT_CONTENT if content.is_empty() && (state.is_some() || written.offset == 0) => {}
            WITH_CONTENT if state.is_none() && content.len() as u64 == written.offset => {}
            _ => return None,
        }
        // A hash that cannot be read is no loss of content: it is computed again at the end.
        let hasher = written
            .hash_state
            .and_then(|state| STANDARD.decode(state).ok())
            .and_then(|state| Hasher::restore(written.algorithm, &state));
        let (offset, algorithm, revision) = (written.offset, written.algorithm, written.revision);
        Some(Self { offset, state, content, algorithm, hasher, revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_being_written_down() {
        let mut record = UploadRecord::new(Algorithm::Sha512);
        record.offset = 5;
        record.state = Some(UploadState::new(*b"\x00driver\xff").unwrap());
        if let Some(hasher) = &mut record.hasher {
            hasher.update(b"hello");
        }
        let read = UploadRecord::read(&record.write()).unwrap();
        assert_eq!((read.offset, read.algorithm), (5, Algorithm::Sha512));
        assert_eq!((read.state, read.revision), (record.state, record.revision));
        assert_eq!(read.hasher.unwrap().finish(), record.hasher.unwrap().finish());
    }

    #[test]
    fn content_of_any_bytes_survives_being_written_down() {
        for content in ["x", "\n", "{\"version\":1}\nmore\n"] {
            let mut record = UploadRecord::new(Algorithm::Sha256);
            (record.offset, record.content) = (content.len() as u64, Bytes::from(content));
            let read = UploadRecord::read(&record.write()).unwrap();
            assert_eq!((read.offset, read.content), (record.offset, record.content));
        }
    }

    #[tokio::test]
    async fn content_that_is_not_what_was_written_is_found_out() {
        let mut record = UploadRecord::new(Algorithm::Sha256);
        record.content = Bytes::from_static(b"acknowledged");
        record.offset = record.content.len() as u64;
        record.hasher.as_mut().unwrap().update(&record.content);
        let written = record.write();
        assert!(UploadRecord::read(&written).unwrap().is_whole().await.unwrap());
        // The length came to the disk and the bytes did not.
        let mut zeros = written.to_vec();
        zeros[..record.content.len()].fill(0);
        let read = UploadRecord::read(&zeros.into()).unwrap();
        assert!(!read.is_whole().await.unwrap());
    }

    #[test]
    fn content_with_space_behind_it_is_written_from_where_it_is() {
        let mut gathered = BytesMut::with_capacity(10_000);
        gathered.put_bytes(b'x', 9000);
        let place = gathered.as_ptr();
        let mut record = UploadRecord::new(Algorithm::Sha256);
        (record.offset, record.content) = (9000, gathered.freeze());
        let text = record.write();
        assert_eq!((text.as_ptr(), record.content.as_ptr()), (place, place));
        assert_eq!(record.content.len(), 9000);
        // Now somebody else has it.
        let again = record.write();
        assert_eq!((again.as_ref(), record.content.len()), (text.as_ref(), 9000));
    }

    #[test]
    fn a_record_of_another_version_is_none_and_a_bad_hash_is_only_missing() {
        let read = |text: &'static str| UploadRecord::read(&Bytes::from(text));
        let without_hash = "{\"version\":3,\"offset\":3,\"algorithm\":\"sha256\"}";
        assert!(read(r#"{"version":4,"offset":0,"algorithm":"sha256"}"#).is_none());
        let read_text = |text: String| UploadRecord::read(&Bytes::from(text));
        assert_eq!(read_text(format!("a\nb\n{without_hash}")).unwrap().content, "a\nb");
        assert!(read_text(format!("ab\n{without_hash}")).is_none(), "not all of the content");
        assert!(read_text(format!("abc\n{}", &without_hash[..20])).is_none(), "cut off");
        assert!(read("abc").is_none(), "cut off");
        assert!(read("").is_none());
        assert!(read(r#"{"version":1,"offset":3,"algorithm":"sha256"}"#).is_none(), "its content is nowhere");
        let old =
            r#"{"version":1,"offset":3,"driver_state":"AA==","algorithm":"sha256","hash_state":"AAAA"}"#;
        let old = read(old).unwrap();
        assert!(old.hasher.is_none() && old.revision.is_none());
    }
}
