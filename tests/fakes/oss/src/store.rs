//! What the store knows: its buckets, their objects, the uploads that are going on.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::accounts::Accounts;
use crate::call::Call;
use crate::content::{Content, Digests};
use crate::fault::Fault;

/// How an object came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Multipart,
    Appendable,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Multipart => "Multipart",
            Self::Appendable => "Appendable",
        }
    }
}

/// One object.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) content: Content,
    pub(crate) kind: Kind,
    pub(crate) etag: String,
    pub(crate) crc64: u64,
    /// In seconds since 1970.
    pub(crate) modified: i64,
    /// Headers that come back with it: type, disposition, the user's own, storage class, encryption.
    pub(crate) headers: Vec<(String, String)>,
}

/// One part of an upload.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) content: Content,
    pub(crate) digests: Digests,
    pub(crate) modified: i64,
}

/// An object that is uploaded in parts.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) begun: i64,
    pub(crate) parts: BTreeMap<u32, Part>,
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    pub(crate) region: String,
    /// Such a bucket ignores that an overwrite is forbidden, as the real one does.
    pub(crate) keeps_versions: bool,
    pub(crate) objects: BTreeMap<String, Arc<Object>>,
    /// By key and id.
    pub(crate) uploads: BTreeMap<(String, String), Upload>,
}

impl Bucket {
    pub(crate) fn new(name: &str, region: &str) -> Self {
        Self {
            name: name.to_owned(),
            region: region.to_owned(),
            keeps_versions: false,
            objects: BTreeMap::new(),
            uploads: BTreeMap::new(),
        }
    }

    /// Whether the call may write this key.
    ///
    /// # Errors
    /// When there is an object that it must not overwrite.
    pub(crate) fn may_write(&self, call: &Call) -> Result<(), Fault> {
        let forbidden = call.forbids_overwrite() && !self.keeps_versions;
        if forbidden && self.objects.contains_key(&call.key) { Err(Fault::exists(&call.key)) } else { Ok(()) }
    }

    /// The object of the call.
    pub(crate) fn object(&self, key: &str) -> Result<Arc<Object>, Fault> {
        self.objects.get(key).cloned().ok_or_else(|| Fault::no_key(key))
    }
}

/// The whole store.
pub(crate) struct Store {
    pub(crate) region: &'static str,
    pub(crate) folder: PathBuf,
    pub(crate) accounts: Arc<Accounts>,
    log: Mutex<File>,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Store {
    pub(crate) fn new(
        region: &'static str,
        folder: PathBuf,
        accounts: Arc<Accounts>,
        log: File,
        buckets: impl IntoIterator<Item = Bucket>,
    ) -> Self {
        let buckets = buckets.into_iter().map(|bucket| (bucket.name.clone(), bucket)).collect();
        Self { region, folder, accounts, log: Mutex::new(log), buckets: Mutex::new(buckets) }
    }

    /// Does something to the bucket of a call while nobody else does.
    ///
    /// # Errors
    /// When there is no such bucket, and those of the work.
    pub(crate) fn with<T>(
        &self,
        call: &Call,
        work: impl FnOnce(&mut Bucket) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.bucket(call.bucket.as_deref().unwrap_or_default(), work)
    }

    /// Does something to a bucket while nobody else does.
    ///
    /// # Errors
    /// When there is no such bucket, and those of the work.
    pub(crate) fn bucket<T>(
        &self,
        name: &str,
        work: impl FnOnce(&mut Bucket) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut buckets = self.buckets.lock().expect("no holder panics");
        let bucket = buckets.get_mut(name).ok_or_else(|| {
            Fault::new(404, "NoSuchBucket", "The specified bucket does not exist.").detail("BucketName", name)
        })?;
        work(bucket)
    }

    /// Names of the buckets, with their regions.
    pub(crate) fn names(&self) -> Vec<(String, String)> {
        let buckets = self.buckets.lock().expect("no holder panics");
        let mut names: Vec<_> =
            buckets.values().map(|bucket| (bucket.name.clone(), bucket.region.clone())).collect();
        names.sort();
        names
    }

    /// Adds a line to the access log.
    pub(crate) fn log(&self, line: &str) {
        let _ = writeln!(self.log.lock().expect("no holder panics"), "{line}");
    }
}

/// The time as this server sees it, in whole seconds.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
