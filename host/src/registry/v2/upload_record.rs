//! This server's record of an upload in flight.
//!
//! The record is all that any process needs to go on: the driver's own state and the state of the hash,
//! both at the same offset. It changes only on condition that it is still the one that was read, so that
//! of two callers who go on from the same record one succeeds. The other learns it before its client
//! does.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Capability, Condition, ETag, ErrorKind, UploadState};
use serde::{Deserialize, Serialize};

use super::{Registry, RepositoryName, Result, UploadId};
use crate::{
    layout::v2 as layout,
    registry::{digest::Algorithm, hashing::Hasher},
};

/// Version of the format. A record of another version is none: its upload has to begin anew.
const VERSION: u32 = 1;
/// A record with the longest states that a driver may hand out fits well.
const MAX_RECORD_BYTES: u64 = 64 * 1024;

/// Where an upload stands.
#[derive(Clone)]
pub(super) struct UploadRecord {
    /// Number of durable bytes.
    pub(super) offset: u64,
    /// The driver's state; `None` before the first byte, when nothing is open at the driver yet.
    pub(super) state: Option<UploadState>,
    /// The algorithm that the content is hashed with as it arrives.
    pub(super) algorithm: Algorithm,
    /// The hash of all bytes so far; `None` when it is not known.
    pub(super) hasher: Option<Hasher>,
}

/// What was read, for the condition of the next write.
pub(super) struct Seen {
    content: Bytes,
    etag: Option<ETag>,
}

/// Whether a record could be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    /// It was still the one that had been read.
    Yes,
    /// Another caller was faster, and this one has lost.
    No,
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
}

impl UploadRecord {
    /// The record of an upload that has just begun.
    pub(super) fn new(algorithm: Algorithm) -> Self {
        Self { offset: 0, state: None, algorithm, hasher: Some(Hasher::new(algorithm)) }
    }

    fn write(&self) -> Bytes {
        let written = Written {
            version: VERSION,
            offset: self.offset,
            driver_state: self.state.as_ref().map(|state| STANDARD.encode(state.as_bytes())),
            algorithm: self.algorithm,
            hash_state: self.hasher.as_ref().map(|hasher| STANDARD.encode(hasher.save())),
        };
        serde_json::to_vec(&written).expect("a struct of numbers and texts is always JSON").into()
    }

    fn read(content: &[u8]) -> Option<Self> {
        let written: Written = serde_json::from_slice(content).ok()?;
        if written.version != VERSION {
            return None;
        }
        let state = match written.driver_state {
            Some(state) => Some(UploadState::new(STANDARD.decode(state).ok()?).ok()?),
            None => None,
        };
        // A hash that cannot be read is no loss of content: it is computed again at the end.
        let hasher = written
            .hash_state
            .and_then(|state| STANDARD.decode(state).ok())
            .and_then(|state| Hasher::restore(written.algorithm, &state));
        Some(Self { offset: written.offset, state, algorithm: written.algorithm, hasher })
    }
}

impl Registry {
    /// Writes the record of a new upload.
    pub(super) async fn create_upload_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        record: &UploadRecord,
    ) -> Result<()> {
        let path = layout::upload_record(name, id);
        self.storage.put(call, &path, record.write(), &Condition::Always).await?;
        Ok(())
    }

    /// The record of an upload, `None` when there is no such upload (any more).
    pub(super) async fn read_upload_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
    ) -> Result<Option<(UploadRecord, Seen)>> {
        let path = layout::upload_record(name, id);
        let object = match self.storage.get(call, &path, MAX_RECORD_BYTES).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let record = UploadRecord::read(&object.content);
        if record.is_none() {
            tracing::warn!(path = path.as_str(), "an upload record cannot be read; its upload is lost");
        }
        Ok(record.map(|record| (record, Seen { content: object.content, etag: object.info.etag })))
    }

    /// Replaces the record if it is still the one that was `seen`.
    ///
    /// A storage without conditional writes is asked to show the record again first. The driver's own
    /// fence on its upload state covers the moment in between.
    pub(super) async fn replace_upload_record(
        &self,
        call: &CallContext,
        name: &RepositoryName,
        id: &UploadId,
        seen: &Seen,
        record: &UploadRecord,
    ) -> Result<Replaced> {
        let path = layout::upload_record(name, id);
        let conditional = self.storage.capabilities().has(Capability::PutIfMatch);
        let condition = match &seen.etag {
            Some(etag) if conditional => Condition::IfMatch(etag.clone()),
            _ => {
                let now = self.read_upload_record(call, name, id).await?;
                if now.is_none_or(|(_, now)| now.content != seen.content) {
                    return Ok(Replaced::No);
                }
                Condition::Always
            }
        };
        match self.storage.put(call, &path, record.write(), &condition).await {
            Ok(_) => Ok(Replaced::Yes),
            Err(error) if matches!(error.kind, ErrorKind::ConditionFailed | ErrorKind::NotFound) => {
                Ok(Replaced::No)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes all that is known of an upload. A failure is logged and no more: what is left is garbage
    /// that the purge of old uploads finds.
    pub(super) async fn remove_upload_files(&self, call: &CallContext, name: &RepositoryName, id: &UploadId) {
        let paths = [
            layout::upload_record(name, id),
            layout::upload_data(name, id),
            layout::upload_started_at(name, id),
        ];
        match self.storage.delete_many(call, &paths).await {
            Ok(failed) => {
                for (path, error) in failed {
                    tracing::warn!(path = path.as_str(), %error, "a file of a finished upload is left behind");
                }
            }
            Err(error) => tracing::warn!(upload = %id, %error, "files of a finished upload are left behind"),
        }
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
        assert_eq!(read.state, record.state);
        assert_eq!(read.hasher.unwrap().finish(), record.hasher.unwrap().finish());
    }

    #[test]
    fn a_record_of_another_version_is_none_and_a_bad_hash_is_only_missing() {
        assert!(UploadRecord::read(br#"{"version":2,"offset":0,"algorithm":"sha256"}"#).is_none());
        assert!(UploadRecord::read(b"").is_none());
        let record = br#"{"version":1,"offset":3,"algorithm":"sha256","hash_state":"AAAA"}"#;
        assert!(UploadRecord::read(record).unwrap().hasher.is_none());
    }
}
