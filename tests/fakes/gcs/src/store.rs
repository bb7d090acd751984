//! What is stored: objects by name and generation, and sessions that are not finished.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Instant, SystemTime},
};

use crate::{answer::Refusal, sessions::Session, signature::hex};

/// One object as it is now.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) generation: u64,
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) crc32c: u32,
    pub(crate) described: Described,
    pub(crate) updated: SystemTime,
    pub(crate) file: PathBuf,
}

impl Stored {
    /// The entity tag of the XML API.
    pub(crate) fn etag(&self) -> String {
        format!("\"{}\"", hex(&self.md5))
    }
}

/// What a client says of the content.
#[derive(Debug, Clone, Default)]
pub(crate) struct Described {
    pub(crate) content_type: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// Content that arrived, in a file of its own.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) file: PathBuf,
    pub(crate) size: u64,
    pub(crate) md5: [u8; 16],
    pub(crate) crc32c: u32,
}

/// Everything that changes.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) objects: HashMap<String, BTreeMap<String, Arc<Stored>>>,
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) tokens: HashMap<String, Instant>,
    pub(crate) tokens_issued: u64,
    pub(crate) log: Vec<String>,
    generation: u64,
}

impl State {
    /// The objects of a bucket.
    pub(crate) fn bucket(&self, name: &str) -> Result<&BTreeMap<String, Arc<Stored>>, Refusal> {
        self.objects.get(name).ok_or_else(Refusal::no_such_bucket)
    }

    /// An object.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> Result<Arc<Stored>, Refusal> {
        self.bucket(bucket)?.get(key).cloned().ok_or_else(Refusal::no_such_key)
    }

    /// Whether the object has the wanted generation; 0 stands for none.
    pub(crate) fn check_generation(
        &self,
        bucket: &str,
        key: &str,
        wanted: Option<u64>,
    ) -> Result<(), Refusal> {
        let is = self.bucket(bucket)?.get(key).map_or(0, |object| object.generation);
        match wanted {
            Some(wanted) if wanted != is => Err(Refusal::condition_failed()),
            _ => Ok(()),
        }
    }

    /// Makes content an object, if the condition holds.
    pub(crate) fn insert(
        &mut self,
        bucket: &str,
        key: &str,
        content: Content,
        described: Described,
        wanted: Option<u64>,
    ) -> Result<Arc<Stored>, Refusal> {
        self.check_generation(bucket, key, wanted)?;
        self.generation = (self.generation + 1).max(micros(SystemTime::now()));
        let stored = Arc::new(Stored {
            generation: self.generation,
            size: content.size,
            md5: content.md5,
            crc32c: content.crc32c,
            described,
            updated: SystemTime::now(),
            file: content.file,
        });
        let objects = self.objects.get_mut(bucket).ok_or_else(Refusal::no_such_bucket)?;
        // The file of a replaced object stays until the end: somebody may be reading it.
        objects.insert(key.to_owned(), Arc::clone(&stored));
        Ok(stored)
    }

    /// Removes an object.
    pub(crate) fn remove(&mut self, bucket: &str, key: &str) -> Result<(), Refusal> {
        let objects = self.objects.get_mut(bucket).ok_or_else(Refusal::no_such_bucket)?;
        objects.remove(key).map(drop).ok_or_else(Refusal::no_such_key)
    }
}

fn micros(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
