//! Whatever changes an object ends what was kept of it.

use std::sync::Arc;

use bytes::Bytes;
use docker_registry_driver_api::{CallContext, Condition, UploadHint, byte_stream};
use docker_registry_tests::redis::Redis;

use crate::{
    replicas::{BLOB, PATIENT, Replica, TAG, eventually, path, settings},
    storage::Storage,
};

/// Where copied and renamed content comes from or goes to; never read through a cache.
const ELSEWHERE: &str = "elsewhere";
/// What is there.
const NEW: &str = "new";

/// A way of changing an object.
#[derive(Debug, Clone, Copy)]
enum Change {
    Put,
    Write,
    Commit,
    CopyTo,
    RenameTo,
    RenameAway,
    Delete,
    DeleteMany,
}

const ALL: [Change; 8] = [
    Change::Put,
    Change::Write,
    Change::Commit,
    Change::CopyTo,
    Change::RenameTo,
    Change::RenameAway,
    Change::Delete,
    Change::DeleteMany,
];

impl Change {
    /// Makes it. The object then has the content [`NEW`], or is gone.
    async fn make(self, replica: &Replica, text: &str) {
        let (storage, call) = (&replica.cache.storage, CallContext::default());
        let (target, elsewhere) = (path(text), path(ELSEWHERE));
        let (content, always) = (Bytes::from_static(NEW.as_bytes()), Condition::Always);
        match self {
            Self::Put => drop(storage.put(&call, &target, content, &always).await.unwrap()),
            Self::Write => {
                let size = Some(content.len() as u64);
                drop(storage.write(&call, &target, size, byte_stream([content]), &always).await.unwrap());
            }
            Self::Commit => {
                let state = storage.open_upload(&call, &UploadHint::default()).await.unwrap();
                let sent = storage.append(&call, &state, 0, byte_stream([content])).await.unwrap();
                drop(storage.commit(&call, &sent.state, &target, &always).await.unwrap());
            }
            Self::CopyTo => storage.copy(&call, &elsewhere, &target).await.unwrap(),
            Self::RenameTo => storage.rename(&call, &elsewhere, &target).await.unwrap(),
            Self::RenameAway => storage.rename(&call, &target, &elsewhere).await.unwrap(),
            Self::Delete => storage.delete(&call, &target).await.unwrap(),
            Self::DeleteMany => {
                assert!(storage.delete_many(&call, &[target]).await.unwrap().is_empty());
            }
        }
    }

    fn expected(self) -> &'static str {
        if matches!(self, Self::RenameAway | Self::Delete | Self::DeleteMany) { "" } else { NEW }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_a_tag_is_seen_by_both_replicas() {
    let (redis, storage) = (Redis::start(), Arc::new(Storage::default()));
    let settings = settings(&redis.url(), PATIENT);
    let one = Replica::connected(&storage, &settings).await;
    let other = Replica::connected(&storage, &settings).await;
    for change in ALL {
        storage.set(TAG, "old");
        storage.set(ELSEWHERE, NEW);
        // It was changed behind the caches' back: their entries go with a write of the same content.
        one.put(TAG, "old").await.unwrap();
        for replica in [&one, &other] {
            eventually("it is kept", async || {
                let before = storage.reads(TAG);
                assert_eq!(replica.read(TAG).await, "old", "{change:?}");
                storage.reads(TAG) == before
            })
            .await;
        }
        change.make(&one, TAG).await;
        assert_eq!(one.read(TAG).await, change.expected(), "{change:?}");
        eventually("the other one sees it", async || other.read(TAG).await == change.expected()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_content_by_digest_ends_what_was_kept_of_it() {
    let (redis, storage) = (Redis::start(), Arc::new(Storage::default()));
    let one = Replica::connected(&storage, &settings(&redis.url(), PATIENT)).await;
    for change in ALL {
        storage.set(ELSEWHERE, NEW);
        one.put(BLOB, "blob").await.unwrap();
        eventually("it is kept here and in Redis", async || {
            let before = storage.reads(BLOB);
            assert_eq!(one.read(BLOB).await, "blob", "{change:?}");
            storage.reads(BLOB) == before && redis.letter("/data").as_deref() == Some("V")
        })
        .await;
        change.make(&one, BLOB).await;
        assert_eq!(one.read(BLOB).await, change.expected(), "{change:?}");
        eventually("it is gone from Redis", async || redis.letter("/data").is_none()).await;
    }
}
