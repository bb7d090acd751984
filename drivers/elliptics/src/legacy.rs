//! Data of the original driver: found, read, and cleared away when it is replaced or deleted.
//!
//! The original keeps a file under its path, `EMPTY` for an empty one and `DIRECTORY` for a folder, and tags it with two
//! secondary indexes, `docker` and the folder, whose data is the path. Groups may differ: the newest time counts.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::{ByteStream, Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{sync::Mutex, time::Instant};

use crate::{
    gather::Wanted,
    hedge::first_good,
    names,
    problem::Problem,
    replicas::{Replicas, worst},
    wire::{ENOTSUP, Id, Timestamp, indexes},
};

const EMPTY: &[u8] = b"EMPTY";
const DIRECTORY: &[u8] = b"DIRECTORY";
/// The index that every file has.
const TAG: &str = "docker";
/// Bytes that tell an empty file and a folder from others.
const BEGINNING: u64 = 16;
/// Bytes of one read.
const STEP: u64 = 1 << 20;
/// After this time the next group is asked for the same bytes as well.
const LATE: Duration = Duration::from_secs(2);
/// How long it is not looked again whether there is anything where there was nothing.
const NOTHING: Duration = Duration::from_secs(10);
/// Shards that are asked for at once, and names that are looked at.
const AT_ONCE: usize = 32;

/// A file of the original.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegacyFile {
    id: Id,
    /// Groups that have the newest content.
    groups: Vec<u32>,
    pub(crate) size: u64,
    pub(crate) timestamp: Timestamp,
    is_folder: bool,
}

impl LegacyFile {
    /// A text that changes with the content.
    pub(crate) fn tag(&self) -> String {
        format!("\"{:x}.{:x}.{:x}\"", self.timestamp.seconds, self.timestamp.nanoseconds, self.size)
    }
}

/// What the original has left.
#[derive(Clone)]
pub(crate) struct Legacy {
    replicas: Replicas,
    /// Whether the nodes answer about secondary indexes.
    has_indexes: bool,
    seen: Arc<Mutex<Seen>>,
}

/// What was seen of it in the root.
#[derive(Debug, Clone, Copy)]
enum Seen {
    /// Nobody has looked.
    Unknown,
    Nothing(Instant),
    /// This does not change.
    Something,
}

impl Legacy {
    /// Finds out whether the nodes have secondary indexes.
    ///
    /// # Errors
    /// When no group answers.
    pub(crate) async fn open(replicas: Replicas) -> Result<Self> {
        let shards = replicas.0.index_shards();
        let shard = indexes::shard_id(&replicas.id(TAG), 0, shards);
        let answers = replicas.find(&[shard]).await;
        let knows = |problem: &Problem| problem.is_absent();
        let has_indexes = answers.iter().any(|answer| answer.result.as_ref().map_or_else(knows, |_| true));
        let refuses = answers.iter().any(|answer| matches!(&answer.result, Err(Problem::Status(ENOTSUP))));
        if !has_indexes && !refuses {
            return Err(worst(&answers, replicas.may_fail_to_read()));
        }
        tracing::debug!(has_indexes, "whether the nodes have secondary indexes");
        Ok(Self { replicas, has_indexes, seen: Arc::new(Mutex::new(Seen::Unknown)) })
    }

    /// The file at a path, by the newest of all groups.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn file(&self, path: &str) -> Result<Option<LegacyFile>> {
        Ok(self.look(path).await?.filter(|file| !file.is_folder))
    }

    async fn look(&self, path: &str) -> Result<Option<LegacyFile>> {
        if names::is_own(path) {
            return Ok(None);
        }
        let id = self.replicas.id(path);
        let least = self.replicas.settings().read_quorum();
        let wanted = Wanted { least, ..self.replicas.to_read() };
        let answers = self.replicas.read_all(id, BEGINNING, |_| false, wanted).await;
        let says = |answer: &&crate::replicas::Answer<_>| match &answer.result {
            Ok(_) => true,
            Err(problem) => problem.is_absent(),
        };
        if answers.iter().filter(says).count() < least {
            return Err(worst(&answers, self.replicas.may_fail_to_read()));
        }
        let found = answers.into_iter().filter_map(|answer| Some((answer.group, answer.result.ok()?)));
        let found: Vec<_> = found.collect();
        let Some((_, newest)) = found.iter().max_by_key(|(_, read)| (read.timestamp, read.total_size)) else {
            return Ok(None);
        };
        let is_same = |read: &crate::replicas::Read| {
            (read.timestamp, read.total_size) == (newest.timestamp, newest.total_size)
        };
        let groups = found.iter().filter(|(_, read)| is_same(read)).map(|(group, _)| *group).collect();
        let size = if newest.content == EMPTY { 0 } else { newest.total_size };
        let is_folder = newest.content == DIRECTORY;
        Ok(Some(LegacyFile { id, groups, size, timestamp: newest.timestamp, is_folder }))
    }

    /// Bytes of a file.
    pub(crate) fn read(&self, file: &LegacyFile, offset: u64, length: u64) -> ByteStream {
        let end = offset + length;
        let (legacy, file) = (self.clone(), file.clone());
        let steps = (offset..end).step_by(STEP as usize);
        stream::iter(steps)
            .then(move |at| {
                let (legacy, file) = (legacy.clone(), file.clone());
                async move { legacy.read_step(&file, at, STEP.min(end - at)).await }
            })
            .boxed()
    }

    async fn read_step(&self, file: &LegacyFile, offset: u64, length: u64) -> Result<Bytes> {
        let ask =
            async |group: &u32| match self.replicas.read_one(*group, file.id, offset, length, true).await {
                Ok(read) if read.timestamp == file.timestamp && read.content.len() as u64 == length => {
                    Ok(read.content)
                }
                Ok(_) => Err(None),
                Err(problem) if problem.is_absent() => Err(None),
                Err(problem) => Err(Some(problem.error(*group))),
            };
        let error = match first_good(file.groups.iter().map(ask), LATE).await {
            Ok(content) => return Ok(content),
            Err(errors) => errors.into_iter().flatten().next_back(),
        };
        let replaced =
            || Error::new(ErrorKind::Unavailable, "the object was replaced or deleted while it was read");
        Err(error.unwrap_or_else(replaced).retryable(true))
    }

    /// Deletes what the original had at a path, out of its indexes as well.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn clear(&self, path: &str) -> Result<()> {
        let id = self.replicas.id(path);
        if self.has_indexes {
            for answer in self.replicas.clear_indexes(id).await {
                if let Err(problem) = answer.result {
                    tracing::debug!(path, group = answer.group, %problem, "an index keeps a path that is gone");
                }
            }
        }
        self.replicas.delete(id).await
    }

    /// The names in a folder of the original, those of folders with `/` at the end. None where the nodes have no
    /// secondary indexes.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn names(&self, folder: &str) -> Result<BTreeSet<String>> {
        if !self.has_indexes || names::is_own(folder) {
            return Ok(BTreeSet::new());
        }
        if !self.is_there().await? {
            return Ok(BTreeSet::new());
        }
        let found = self.tagged(folder).await?;
        let paths: BTreeSet<String> = found
            .into_iter()
            .filter_map(|path| String::from_utf8(path.into()).ok())
            .filter(|path| !path.is_empty() && names::split(path).0 == folder)
            .collect();
        let looks: Vec<_> = paths
            .into_iter()
            .map(|path| async move {
                let name = names::split(&path).1.to_owned();
                Ok::<_, Error>(match self.look(&path).await? {
                    None => None,
                    Some(file) if file.is_folder => Some(name + "/"),
                    Some(_) => Some(name),
                })
            })
            .collect();
        let names: Vec<Option<String>> = stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(names.into_iter().flatten().collect())
    }

    /// Whether the original has left anything: something is in the root then. A folder costs a request for each shard and
    /// group, which is saved where there is nothing.
    async fn is_there(&self) -> Result<bool> {
        let mut seen = self.seen.lock().await;
        match *seen {
            Seen::Something => return Ok(true),
            Seen::Nothing(when) if when.elapsed() < NOTHING => return Ok(false),
            _ => {}
        }
        let when = Instant::now();
        let is_there = !self.tagged("").await?.is_empty();
        *seen = if is_there { Seen::Something } else { Seen::Nothing(when) };
        Ok(is_there)
    }

    /// The paths that the indexes have for a folder.
    async fn tagged(&self, folder: &str) -> Result<Vec<Bytes>> {
        let shards = self.replicas.0.index_shards();
        let of_index = [self.replicas.id(TAG), self.replicas.id(folder.trim_end_matches('/'))];
        let finds = (0..shards).map(|shard| {
            let (replicas, ids) =
                (self.replicas.clone(), of_index.map(|id| indexes::shard_id(&id, shard, shards)));
            async move {
                let answers = replicas.find(&ids).await;
                let says = answers.iter().filter(|answer| match &answer.result {
                    Ok(_) => true,
                    Err(problem) => problem.is_absent(),
                });
                if says.count() < replicas.settings().read_quorum() {
                    return Err(worst(&answers, replicas.may_fail_to_read()));
                }
                Ok(answers.into_iter().filter_map(|answer| answer.result.ok()).flatten().collect::<Vec<_>>())
            }
        });
        let finds: Vec<_> = finds.collect();
        let found: Vec<Vec<Bytes>> = stream::iter(finds).buffer_unordered(AT_ONCE).try_collect().await?;
        Ok(found.concat())
    }
}
