//! Requests to all groups at once: each group is a replica of everything.
//!
//! A request goes to every group in parallel. As soon as enough groups have answered, the others have a moment more;
//! then their answers are not waited for, and writes go on behind the caller's back, as far as there is memory for that.
//! So a node that hangs slows a call down a little and does not stop it, and one that is slow for long makes writes wait.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use docker_registry_driver_api::{Error, ErrorKind, Result};
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::{Instant, timeout_at};

use crate::{
    cluster::Cluster,
    connection::{Failure, Packet, Reply},
    register::LARGEST_REGISTER,
    settings::EllipticsSettings,
    wire::{
        E2BIG, EBADFD, EILSEQ, ENOENT, ENOSPC, ENOTSUP, EROFS, FileInfo, Id, IoAttribute, Malformed,
        Timestamp,
        attribute::{ATTRIBUTE_SIZE, NO_CHECKSUM, Writing, delete, lookup, read, write},
        indexes,
    },
};

/// How long the other groups are waited for once enough have answered.
const GRACE: Duration = Duration::from_secs(1);
/// Bytes of an answer without content: an address, facts, the name of a file.
const SMALL_ANSWER: u64 = 64 << 10;
/// Bytes of what is found in a shard of an index of the original.
const LARGEST_INDEX: u64 = 48 << 20;
/// Bytes that a write without content counts for.
const LEAST_MEMORY: u64 = 4096;

/// Why a group did not do what it was asked.
#[derive(Debug, Clone)]
pub(crate) enum Problem {
    /// The node that keeps the object is away, or nobody serves the group.
    Unserved,
    /// No answer.
    Failed(Failure),
    /// The node refuses.
    Status(i32),
    /// The answer makes no sense.
    Malformed(Malformed),
}

impl Problem {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Status(ENOENT))
    }

    /// The comparison of a write did not hold.
    pub(crate) fn is_mismatch(&self) -> bool {
        matches!(self, Self::Status(EBADFD))
    }

    /// Whether a write may have happened all the same.
    pub(crate) fn may_have_happened(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.may_have_happened(),
            Self::Malformed(_) => true,
            Self::Unserved => false,
            // Said of the command itself. Others may come from a node on the way, which does not know.
            Self::Status(status) => ![EBADFD, ENOENT, ENOSPC, EROFS, ENOTSUP, E2BIG].contains(status),
        }
    }

    /// The error for the caller.
    pub(crate) fn error(&self, group: u32) -> Error {
        let (kind, retryable) = match self {
            Self::Unserved | Self::Failed(_) => (ErrorKind::Unavailable, true),
            Self::Malformed(_) | Self::Status(EILSEQ) => (ErrorKind::Corrupt, true),
            Self::Status(ENOENT | E2BIG) => (ErrorKind::NotFound, false),
            Self::Status(ENOSPC) => (ErrorKind::StorageFull, false),
            Self::Status(EROFS) => (ErrorKind::PermissionDenied, false),
            Self::Status(ENOTSUP) => (ErrorKind::Unsupported, false),
            Self::Status(_) => (ErrorKind::Unavailable, true),
        };
        Error::new(kind, format!("group {group} of elliptics_groups: {self}")).retryable(retryable)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unserved => formatter.write_str("the node that keeps the object is not connected"),
            Self::Failed(failure) => failure.fmt(formatter),
            Self::Status(ENOSPC) => formatter.write_str("the node has no room left"),
            Self::Status(EROFS) => formatter.write_str("the node takes no writes"),
            Self::Status(EILSEQ) => formatter.write_str("the content is not what its checksum says"),
            Self::Status(status) => write!(formatter, "the node answers with status {status}"),
            Self::Malformed(malformed) => malformed.fmt(formatter),
        }
    }
}

/// What one group says.
#[derive(Debug, Clone)]
pub(crate) struct Answer<T> {
    pub(crate) group: u32,
    pub(crate) result: std::result::Result<T, Problem>,
}

/// Content that was read.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) timestamp: Timestamp,
    /// Bytes of the whole object.
    pub(crate) total_size: u64,
    pub(crate) content: Bytes,
}

/// Content that is written, in pieces.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pieces(pub(crate) Vec<Bytes>);

impl Pieces {
    pub(crate) fn length(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }
}

impl From<Bytes> for Pieces {
    fn from(bytes: Bytes) -> Self {
        Self(vec![bytes])
    }
}

/// All groups.
#[derive(Clone)]
pub(crate) struct Replicas(pub(crate) Arc<Cluster>);

type Asked<T> = BoxFuture<'static, Answer<T>>;

impl Replicas {
    pub(crate) fn settings(&self) -> &EllipticsSettings {
        &self.0.settings
    }

    /// The id of a key in the namespace.
    pub(crate) fn id(&self, key: &str) -> Id {
        Id::of(&self.settings().namespace, key)
    }

    fn flags(&self) -> u32 {
        if self.settings().has_checksums { 0 } else { NO_CHECKSUM }
    }

    /// Sends one request to the node of a group that keeps the id.
    async fn exchange(
        self,
        group: u32,
        id: Id,
        packet: Packet,
        is_bulk: bool,
        most: u64,
    ) -> std::result::Result<Vec<Reply>, Problem> {
        let links = self.0.links(group, &id).ok_or(Problem::Unserved)?;
        let connection = if is_bulk { &links.bulk } else { &links.small };
        connection.request(packet, self.settings().wait_timeout, most).await.map_err(Problem::Failed)
    }

    /// Reads from one group; no size is all to the end.
    pub(crate) async fn read_one(
        &self,
        group: u32,
        id: Id,
        offset: u64,
        size: u64,
        is_bulk: bool,
    ) -> std::result::Result<Read, Problem> {
        let packet = vec![read(id, group, offset, size, self.flags()).freeze()];
        let most = ATTRIBUTE_SIZE as u64 + if size == 0 { LARGEST_REGISTER } else { size };
        let replies = self.clone().exchange(group, id, packet, is_bulk, most).await?;
        parse_read(&succeeded(replies)?, offset, size)
    }

    /// Reads from all groups. Ends early once `enough` have answered.
    pub(crate) async fn read_all(&self, id: Id, size: u64, enough: usize) -> Vec<Answer<Read>> {
        let ask = |group| {
            let replicas = self.clone();
            let asked: Asked<Read> = Box::pin(async move {
                Answer { group, result: replicas.read_one(group, id, 0, size, false).await }
            });
            asked
        };
        let asked = self.settings().groups.iter().copied().map(ask).collect();
        gather(asked, enough, |answer| answer.result.is_ok() || is_absent(answer), None).await
    }

    /// Writes to some groups, each what it is to have there, if what is there is as expected.
    pub(crate) async fn write_each(
        &self,
        writes: Vec<(u32, Writing, Pieces)>,
        enough: usize,
    ) -> Vec<Answer<()>> {
        let ask = |(group, mut writing, content): (u32, Writing, Pieces)| {
            let replicas = self.clone();
            writing.flags |= self.flags();
            let asked: Asked<()> = Box::pin(async move {
                let size = content.length();
                let is_bulk = size > 64 << 10;
                let mut packet = vec![write(group, &writing, size).freeze()];
                packet.extend(content.0.into_iter().filter(|piece| !piece.is_empty()));
                let replies = replicas.exchange(group, writing.id, packet, is_bulk, SMALL_ANSWER).await;
                Answer { group, result: replies.and_then(succeeded).map(drop) }
            });
            asked
        };
        // The groups share the memory of what they are sent.
        let size = writes.iter().map(|(_, _, content)| content.length() as u64).max().unwrap_or_default();
        let asked = writes.into_iter().map(ask).collect();
        gather(asked, enough, |answer| answer.result.is_ok(), Some(self.goes_on(size))).await
    }

    /// Writes whole content under a name that nobody else uses, to a majority of groups.
    ///
    /// # Errors
    /// When too few groups have taken it.
    pub(crate) async fn write_new(
        &self,
        id: Id,
        timestamp: Timestamp,
        flags: u64,
        content: Pieces,
    ) -> Result<()> {
        let writing = Writing { id, timestamp, user_flags: flags, flags: 0, expected: None };
        let groups = self.settings().groups.iter();
        let writes = groups.map(|group| (*group, writing, content.clone())).collect();
        let answers = self.write_each(writes, self.settings().quorum()).await;
        self.expect_quorum(&answers)
    }

    /// Deletes from all groups; absent ones are fine. Returns how many had it.
    ///
    /// # Errors
    /// When too few groups have answered.
    pub(crate) async fn delete(&self, id: Id) -> Result<usize> {
        let ask = |group| {
            let replicas = self.clone();
            let asked: Asked<bool> = Box::pin(async move {
                let packet = vec![delete(id, group).freeze()];
                let replies = replicas.exchange(group, id, packet, false, SMALL_ANSWER).await;
                let result = match replies.and_then(succeeded) {
                    Ok(_) => Ok(true),
                    Err(problem) if problem.is_absent() => Ok(false),
                    Err(problem) => Err(problem),
                };
                Answer { group, result }
            });
            asked
        };
        let asked = self.settings().groups.iter().copied().map(ask).collect();
        let goes_on = Some(self.goes_on(0));
        let answers = gather(asked, self.settings().quorum(), |answer| answer.result.is_ok(), goes_on).await;
        self.expect_quorum(&answers)?;
        Ok(answers.iter().filter(|answer| matches!(answer.result, Ok(true))).count())
    }

    /// The checksum that the node of a group has of the whole content.
    pub(crate) async fn checksum_one(&self, group: u32, id: Id) -> std::result::Result<Id, Problem> {
        let packet = vec![lookup(id, group, true).freeze()];
        let replies = self.clone().exchange(group, id, packet, true, SMALL_ANSWER).await?;
        let reply = succeeded(replies)?;
        FileInfo::parse(&reply.body).map(|info| info.checksum).map_err(Problem::Malformed)
    }

    /// What all groups find in a shard of several indexes: the data of the objects that have all of them.
    pub(crate) async fn find(&self, shards_of_indexes: &[Id]) -> Vec<Answer<Vec<Bytes>>> {
        let Some(first) = shards_of_indexes.first().copied() else { return Vec::new() };
        let ask = |group| {
            let (replicas, shards) = (self.clone(), shards_of_indexes.to_vec());
            let asked: Asked<Vec<Bytes>> = Box::pin(async move {
                let packet = vec![indexes::find(group, &shards).freeze()];
                let replies = replicas.exchange(group, first, packet, false, LARGEST_INDEX).await;
                let result = replies
                    .and_then(succeeded)
                    .and_then(|reply| indexes::parse_found(&reply.body).map_err(Problem::Malformed));
                Answer { group, result }
            });
            asked
        };
        let asked = self.settings().groups.iter().copied().map(ask).collect();
        gather(
            asked,
            self.settings().read_quorum(),
            |answer| answer.result.is_ok() || is_absent(answer),
            None,
        )
        .await
    }

    /// Takes an object out of all of its indexes, as far as the nodes have indexes.
    pub(crate) async fn clear_indexes(&self, object: Id) -> Vec<Answer<()>> {
        let table = indexes::object_table_id(&object);
        let ask = |group| {
            let replicas = self.clone();
            let asked: Asked<()> = Box::pin(async move {
                let packet = vec![indexes::clear(group, &object).freeze()];
                let replies = replicas.exchange(group, table, packet, false, SMALL_ANSWER).await;
                Answer { group, result: replies.and_then(succeeded).map(drop) }
            });
            asked
        };
        let asked = self.settings().groups.iter().copied().map(ask).collect();
        let goes_on = Some(self.goes_on(0));
        gather(asked, self.settings().quorum(), |answer| answer.result.is_ok(), goes_on).await
    }

    /// Requests that go on behind the caller's back, with the bytes that they hold.
    fn goes_on(&self, bytes: u64) -> GoesOn {
        GoesOn { cluster: Arc::clone(&self.0), bytes: bytes.max(LEAST_MEMORY) }
    }

    /// # Errors
    /// What kept a majority from doing it.
    fn expect_quorum<T>(&self, answers: &[Answer<T>]) -> Result<()> {
        let done = answers.iter().filter(|answer| answer.result.is_ok()).count();
        if done >= self.settings().quorum() {
            return Ok(());
        }
        let is_unknown = done > 0
            || answers
                .iter()
                .any(|answer| matches!(&answer.result, Err(problem) if problem.may_have_happened()));
        let error = worst(answers);
        Err(if is_unknown { error.outcome_unknown() } else { error })
    }
}

/// The error that says most of why too few groups did it.
pub(crate) fn worst<T>(answers: &[Answer<T>]) -> Error {
    let problems = answers.iter().filter_map(|answer| Some((answer.group, answer.result.as_ref().err()?)));
    // What does not pass comes before what may, and that before what one replica says of one object.
    let found = problems.min_by_key(|(group, problem)| {
        let rank = match problem {
            _ if problem.is_absent() || problem.is_mismatch() => 2,
            Problem::Unserved | Problem::Failed(_) => 1,
            _ => 0,
        };
        (rank, *group)
    });
    match found {
        Some((group, problem)) if !problem.is_absent() && !problem.is_mismatch() => {
            let error = problem.error(group);
            let kind = match error.kind {
                // One replica does not say what the store has.
                ErrorKind::NotFound | ErrorKind::Corrupt => ErrorKind::Unavailable,
                kind => kind,
            };
            Error { kind, ..error }
        }
        _ => Error::new(ErrorKind::Unavailable, "too few groups of elliptics_groups answer"),
    }
}

fn is_absent<T>(answer: &Answer<T>) -> bool {
    matches!(&answer.result, Err(problem) if problem.is_absent())
}

/// The reply that counts, if the node did what it was asked.
fn succeeded(replies: Vec<Reply>) -> std::result::Result<Reply, Problem> {
    if let Some(refused) = replies.iter().find(|reply| reply.header.status != 0) {
        return Err(Problem::Status(refused.header.status));
    }
    // An acknowledgement without content may follow.
    let place = replies.iter().position(|reply| !reply.body.is_empty()).unwrap_or(0);
    replies.into_iter().nth(place).ok_or(Problem::Malformed(Malformed("an answer is empty")))
}

fn parse_read(reply: &Reply, offset: u64, size: u64) -> std::result::Result<Read, Problem> {
    let body = &reply.body;
    let malformed = |what| Problem::Malformed(Malformed(what));
    if body.len() < ATTRIBUTE_SIZE {
        return Err(malformed("an answer to a read has no attribute"));
    }
    let attribute = IoAttribute::parse(body).map_err(Problem::Malformed)?;
    let content = body.slice(ATTRIBUTE_SIZE..);
    let left = attribute.total_size.saturating_sub(offset);
    let expected = if size == 0 { left } else { left.min(size) };
    if attribute.size != content.len() as u64 || content.len() as u64 != expected {
        return Err(malformed("an answer to a read has another length than it says"));
    }
    Ok(Read { timestamp: attribute.timestamp, total_size: attribute.total_size, content })
}

/// What becomes of requests that are not waited for.
struct GoesOn {
    cluster: Arc<Cluster>,
    bytes: u64,
}

/// Collects answers: all of them, or once enough count those that come within a moment. The other requests are dropped,
/// or go on when there is memory for that; until then they are waited for.
async fn gather<T: Send + 'static>(
    asked: FuturesUnordered<Asked<T>>,
    enough: usize,
    counts: impl Fn(&Answer<T>) -> bool,
    goes_on: Option<GoesOn>,
) -> Vec<Answer<T>> {
    let mut asked = asked;
    let mut answers = Vec::with_capacity(asked.len());
    let mut counted = 0;
    while counted < enough {
        let Some(answer) = asked.next().await else { return answers };
        counted += usize::from(counts(&answer));
        answers.push(answer);
    }
    let end = Instant::now() + GRACE;
    while let Ok(next) = timeout_at(end, asked.next()).await {
        let Some(answer) = next else { return answers };
        answers.push(answer);
    }
    let Some(GoesOn { cluster, bytes }) = goes_on else { return answers };
    let mut room = pin!(cluster.behind.room(bytes));
    loop {
        tokio::select! {
            biased;
            held = &mut room => {
                cluster.behind.spawn(async move {
                    let _held = held;
                    while asked.next().await.is_some() {}
                });
                return answers;
            }
            next = asked.next() => match next {
                Some(answer) => answers.push(answer),
                None => return answers,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use docker_registry_driver_api::Settings;
    use futures::FutureExt;
    use serde_json::json;
    use tokio::sync::oneshot;

    use super::*;
    use crate::fake_node::FakeNode;

    #[tokio::test]
    async fn writes_that_go_on_hold_no_more_memory_than_there_is() {
        let node = FakeNode::start(1, false, Arc::default()).await;
        let values = json!({ "elliptics_nodes": format!("{}:2", node.address), "part_size": 1 << 20,
            "upload_memory": 1 << 20 });
        let settings = Settings::new(values.as_object().cloned().unwrap());
        let cluster = Cluster::open(EllipticsSettings::read(&settings).unwrap()).await.unwrap();
        let write = |end: Option<oneshot::Receiver<()>>| {
            let answered: Asked<()> = std::future::ready(Answer { group: 1, result: Ok(()) }).boxed();
            let hangs: Asked<()> = async move {
                match end {
                    Some(end) => drop(end.await),
                    None => std::future::pending().await,
                }
                Answer { group: 2, result: Ok(()) }
            }
            .boxed();
            let goes_on = GoesOn { cluster: Arc::clone(&cluster), bytes: 150 << 10 };
            gather([answered, hangs].into_iter().collect(), 1, |_| true, Some(goes_on))
        };
        let (end, ended) = oneshot::channel();
        assert_eq!(write(Some(ended)).await.len(), 1, "the first one goes on behind");
        let mut second = pin!(write(None));
        let limit = GRACE * 2;
        assert!(tokio::time::timeout(limit, &mut second).await.is_err(), "there is no room for another");
        end.send(()).unwrap();
        assert_eq!(second.await.len(), 1);
    }
}
