//! The engine: one bucket, and what all calls to it share.
//!
//! The methods of a driver are spread over the modules of this crate by subject, all as methods of
//! [`Engine`].

use std::{sync::Arc, time::Duration};

use docker_registry_driver_api::{
    CallContext, Capabilities, Capability, Error, ErrorKind, ObjectInfo, ObjectPath, Result,
};

use crate::{
    bucket::{Bucket, Facts, Limits},
    driver::Opened,
    garbage::Garbage,
    listing::Cursors,
    memory::Memory,
    read_ahead::ReadAhead,
    retry::Attempts,
    settings::StoreSettings,
    uploads::Known,
};

/// What every path of the driver's own begins with. Such names are never listed and cannot be addressed.
pub(crate) const OWN: &str = ".docker-registry";
/// How long opening may take.
const OPENING: Duration = Duration::from_secs(30);

/// A driver over one bucket.
pub struct Engine {
    pub(crate) bucket: Arc<dyn Bucket>,
    /// Prefix of every key, without `/` at either end; empty for the whole bucket.
    pub(crate) root: String,
    pub(crate) settings: StoreSettings,
    pub(crate) retries: Attempts,
    pub(crate) memory: Memory,
    pub(crate) garbage: Garbage,
    pub(crate) known_uploads: Known,
    pub(crate) cursors: Cursors,
    pub(crate) read_ahead: ReadAhead,
}

impl Engine {
    /// Takes the bucket over after it has answered.
    ///
    /// # Errors
    /// Those of [`Bucket::probe`], after retries where they make sense.
    pub async fn open(opened: Opened, settings: StoreSettings) -> Result<Arc<Self>> {
        let engine = Arc::new(Self {
            bucket: opened.bucket,
            root: opened.root,
            memory: Memory::new(settings.upload_memory),
            retries: Attempts::new(&settings, opened.renewal),
            settings,
            garbage: Garbage::default(),
            known_uploads: Known::default(),
            cursors: Cursors::default(),
            read_ahead: ReadAhead::default(),
        });
        let call = CallContext::with_timeout(OPENING);
        engine.attempt(&call, false, || engine.bucket.probe(&engine.root)).await?;
        Ok(engine)
    }

    /// See [`Driver::capabilities`](docker_registry_driver_api::Driver::capabilities). A condition counts
    /// only where both ways of writing hold it.
    pub fn capabilities(&self) -> Capabilities {
        let limits = self.limits();
        let offered = [
            (Capability::PutIfAbsent, limits.put_if_absent && limits.finish_if_absent),
            (Capability::PutIfMatch, limits.put_if_match && limits.finish_if_match),
            (Capability::Redirects, limits.signs),
            (Capability::StrongConsistency, limits.strongly_consistent),
            (Capability::ResumableUploads, true),
            (Capability::ListUploads, true),
        ];
        offered.into_iter().filter(|(_, is_offered)| *is_offered).map(|(capability, _)| capability).collect()
    }

    /// See [`Driver::health`](docker_registry_driver_api::Driver::health).
    ///
    /// # Errors
    /// The reason why the store cannot be used.
    pub async fn health(&self, call: &CallContext) -> Result<()> {
        self.attempt(call, false, || self.bucket.probe(&self.root)).await
    }

    /// See [`Driver::close`](docker_registry_driver_api::Driver::close).
    pub async fn close(self: &Arc<Self>, grace: Duration) {
        // What stays is found by `list_uploads`.
        let all = async {
            self.flush_garbage().await;
            self.bucket.close().await;
        };
        let _ = tokio::time::timeout(grace, all).await;
    }

    pub(crate) fn limits(&self) -> &Limits {
        self.bucket.limits()
    }

    /// The key of a path, or of any text that keys below the root begin with.
    pub(crate) fn key(&self, path: &str) -> String {
        if self.root.is_empty() { path.to_owned() } else { format!("{}/{path}", self.root) }
    }

    /// The path of a key below the root.
    pub(crate) fn path<'a>(&self, key: &'a str) -> Option<&'a str> {
        if self.root.is_empty() {
            return Some(key);
        }
        key.strip_prefix(self.root.as_str())?.strip_prefix('/')
    }

    /// The key of an object that may be looked for.
    ///
    /// # Errors
    /// `NotFound` for the driver's own names.
    pub(crate) fn readable(&self, path: &ObjectPath) -> Result<String> {
        if is_own(path.as_str()) { Err(Error::not_found(path)) } else { Ok(self.key(path.as_str())) }
    }

    /// The key of an object that may be written.
    ///
    /// # Errors
    /// `InvalidPath` for the driver's own names.
    pub(crate) fn writable(&self, path: &ObjectPath) -> Result<String> {
        if is_own(path.as_str()) {
            let message = "names that begin with .docker-registry are the driver's own";
            return Err(Error::new(ErrorKind::InvalidPath, message).at(path));
        }
        Ok(self.key(path.as_str()))
    }
}

/// Whether a path, or a part of one from the storage root, is the driver's own.
pub(crate) fn is_own(path: &str) -> bool {
    path.starts_with(OWN)
}

/// Facts as the driver API has them.
pub(crate) fn info(facts: Facts) -> ObjectInfo {
    ObjectInfo { size: facts.size, modified: facts.modified, etag: facts.etag }
}

/// A text that nobody else gives to a write.
pub(crate) fn random_mark() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
