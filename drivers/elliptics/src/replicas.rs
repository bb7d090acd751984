//! Requests to all groups at once: each group is a replica of everything.
//!
//! A request goes to every group in parallel. As soon as enough groups have answered, the others have a moment more;
//! then their answers are not waited for, and writes go on behind the caller's back, as far as there is memory for that.
//! So a node that hangs slows a call down a little and does not stop it, and one that is slow for long makes writes wait.
//!
//! When too few have answered, those whose connection broke are asked again, some times: reads, deletions, and writes of
//! what is the same each time. A write that compares is made once; what repeats it is a round of a register.
//!
//! Where the number of groups is even, half of them have every write that was acknowledged. That is enough to read, but
//! not to know which of two values is to stay. So the other half is waited for, and asked again, for [`PATIENT`], but
//! for nodes that are known to be away.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use docker_registry_driver_api::{Error, ErrorKind, Result};
use tokio::time::Instant;

use crate::{
    cluster::Cluster,
    connection::{Packet, Reply},
    gather::{Asked, GoesOn, Late, Wanted, gather},
    patience::Patience,
    problem::Problem,
    register::LARGEST_REGISTER,
    settings::EllipticsSettings,
    wire::{
        FileInfo, Id, IoAttribute, Malformed, Timestamp,
        attribute::{ATTRIBUTE_SIZE, NO_CHECKSUM, Writing, delete, lookup, read, write},
        indexes,
    },
};

/// Bytes of an answer without content: an address, facts, the name of a file.
const SMALL_ANSWER: u64 = 64 << 10;
/// Bytes of what is found in a shard of an index of the original.
const LARGEST_INDEX: u64 = 48 << 20;
/// Bytes that a write without content counts for.
const LEAST_MEMORY: u64 = 4096;
/// How long a read is not content with half of the groups, and for how long a node must have been away to be known so.
const PATIENT: Duration = Duration::from_secs(3);

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
        let links = self.0.links(group, &id).map_err(|since| Problem::Unserved {
            // Whom nobody has met was waited for when the driver was opened.
            for_long: since.is_none_or(|since| since.elapsed() >= PATIENT),
        })?;
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
        parse_read(&succeeded(replies).map_err(Problem::of_object)?, offset, size)
    }

    /// How many groups a read wants that begins now. Nobody is asked again when too few answer.
    pub(crate) fn to_read(&self) -> Wanted {
        let (quorum, half) = (self.settings().quorum(), self.settings().read_quorum());
        let late = Late { enough: half, until: Instant::now() + PATIENT };
        Wanted { late: (half < quorum).then_some(late), ..Wanted::new(quorum, 0) }
    }

    /// Reads from all groups: so many bytes, and all where that is too little.
    pub(crate) async fn read_all(
        &self,
        id: Id,
        size: u64,
        is_too_little: impl Fn(&Read) -> bool + Copy + Send + 'static,
        wanted: Wanted,
    ) -> Vec<Answer<Read>> {
        let ask = |group| {
            let replicas = self.clone();
            let asked: Asked<Read> = Box::pin(async move {
                let result = match replicas.read_one(group, id, 0, size, false).await {
                    Ok(read) if is_too_little(&read) => replicas.read_one(group, id, 0, 0, true).await,
                    other => other,
                };
                Answer { group, result }
            });
            asked
        };
        self.ask_all(wanted, says, None, ask).await
    }

    /// Writes to some groups once, each what it is to have there, if what is there is as expected.
    pub(crate) async fn write_each(
        &self,
        writes: Vec<(u32, Writing, Pieces)>,
        enough: usize,
    ) -> Vec<Answer<()>> {
        // The groups share the memory of what they are sent.
        let size = writes.iter().map(|(_, _, content)| content.length() as u64).max().unwrap_or_default();
        let asked =
            writes.into_iter().map(|(group, writing, content)| self.write_one(group, writing, content));
        gather(asked.collect(), Wanted::new(enough, 0), 0, is_done, Some(self.goes_on(size))).await
    }

    fn write_one(&self, group: u32, mut writing: Writing, content: Pieces) -> Asked<()> {
        let replicas = self.clone();
        writing.flags |= self.flags();
        Box::pin(async move {
            let size = content.length();
            let is_bulk = size > 64 << 10;
            let mut packet = vec![write(group, &writing, size).freeze()];
            packet.extend(content.0.into_iter().filter(|piece| !piece.is_empty()));
            let replies = replicas.exchange(group, writing.id, packet, is_bulk, SMALL_ANSWER).await;
            Answer { group, result: replies.and_then(succeeded).map(drop).map_err(Problem::of_object) }
        })
    }

    /// Writes whole content under a name that nobody else uses, to a majority of groups. Done twice, it is as if it were
    /// done once, so that it is asked for again where it failed for now.
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
        let (quorum, size) = (self.settings().quorum(), content.length() as u64);
        let ask = |group| self.write_one(group, writing, content.clone());
        let answers = self.ask_all(Wanted::new(quorum, quorum), is_done, Some(size), ask).await;
        self.expect_quorum(&answers)
    }

    /// Deletes from all groups; absent ones are fine.
    ///
    /// # Errors
    /// When too few groups have answered.
    pub(crate) async fn delete(&self, id: Id) -> Result<()> {
        let ask = |group| self.ask_one(group, id, delete(id, group));
        let quorum = self.settings().quorum();
        let answers = self.ask_all(Wanted::new(quorum, quorum), is_done, Some(0), ask).await;
        self.expect_quorum(&answers)
    }

    /// Whether any of the groups that answer has an object.
    ///
    /// # Errors
    /// When too few groups have answered.
    pub(crate) async fn is_there(&self, id: Id) -> Result<bool> {
        let ask = |group| self.ask_one(group, id, lookup(id, group, false));
        let quorum = self.settings().quorum();
        let answers = self.ask_all(Wanted::new(quorum, quorum), is_done, None, ask).await;
        self.expect_quorum(&answers).map_err(|error| Error { outcome_unknown: false, ..error })?;
        Ok(answers.iter().any(|answer| matches!(answer.result, Ok(true))))
    }

    /// Asks a group something of an object, which it may not have; the answer is whether it has.
    fn ask_one(&self, group: u32, id: Id, packet: BytesMut) -> Asked<bool> {
        let replicas = self.clone();
        Box::pin(async move {
            let packet = vec![packet.freeze()];
            let replies = replicas.exchange(group, id, packet, false, SMALL_ANSWER).await;
            let result = match replies.and_then(succeeded) {
                Ok(_) => Ok(true),
                Err(problem) if problem.is_absent() => Ok(false),
                Err(problem) => Err(problem.of_object()),
            };
            Answer { group, result }
        })
    }

    /// Asks all groups, and those again that failed for now, which must do no harm, as long as fewer count than are
    /// wanted. Returns what each said last, or before that where the last says less.
    async fn ask_all<T: Send + 'static>(
        &self,
        wanted: Wanted,
        counts: impl Fn(&Answer<T>) -> bool,
        goes_on: Option<u64>,
        ask: impl Fn(u32) -> Asked<T>,
    ) -> Vec<Answer<T>> {
        let mut groups = self.settings().groups.clone();
        let (mut counted, mut told) = (Vec::new(), HashMap::new());
        // What those have said that are not asked again.
        let mut refused = Vec::new();
        let mut patience = Patience::default();
        loop {
            let asked = groups.iter().map(|group| ask(*group)).collect();
            let goes_on = goes_on.map(|bytes| self.goes_on(bytes));
            let answers = gather(asked, wanted, counted.len(), &counts, goes_on).await;
            let (good, mut bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(&counts);
            counted.extend(good);
            let is_too_few = counted.len() < wanted.least;
            groups.clear();
            for Answer { group, result } in &mut bad {
                let Err(problem) = result else { continue };
                // Who is known to be away is passed by as soon as it goes without him.
                if problem.may_pass()
                    && (is_too_few || !matches!(problem, Problem::Unserved { for_long: true }))
                {
                    groups.push(*group);
                }
                let told = told.entry(*group).or_insert_with(|| problem.clone());
                if problem.may_have_happened() {
                    *told = problem.clone();
                }
                // That a node or its backend is away says less than how it went.
                if matches!(problem, Problem::Unserved { .. } | Problem::NoBackend) {
                    *problem = told.clone();
                }
            }
            let (again, over): (Vec<_>, Vec<_>) =
                bad.into_iter().partition(|answer| groups.contains(&answer.group));
            refused.extend(over);
            let is_again = match wanted.late {
                _ if groups.is_empty() => false,
                _ if is_too_few => patience.again().await,
                Some(late) if counted.len() < wanted.enough => patience.again_until(late.until).await,
                _ => false,
            };
            if !is_again {
                counted.extend(refused);
                counted.extend(again);
                return counted;
            }
        }
    }

    /// The checksum that the node of a group has of the whole content.
    pub(crate) async fn checksum_one(&self, group: u32, id: Id) -> std::result::Result<Id, Problem> {
        let packet = vec![lookup(id, group, true).freeze()];
        let replies = self.clone().exchange(group, id, packet, true, SMALL_ANSWER).await?;
        let reply = succeeded(replies).map_err(Problem::of_object)?;
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
        let wanted = Wanted { least: self.settings().read_quorum(), ..self.to_read() };
        let has_said = |answer: &Answer<Vec<Bytes>>| match &answer.result {
            Ok(_) => true,
            Err(problem) => !problem.may_pass(),
        };
        self.ask_all(wanted, has_said, None, ask).await
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
        let quorum = self.settings().quorum();
        self.ask_all(Wanted::new(quorum, quorum), is_done, Some(0), ask).await
    }

    /// Requests that go on behind the caller's back, with the bytes that they hold.
    fn goes_on(&self, bytes: u64) -> GoesOn {
        GoesOn { cluster: Arc::clone(&self.0), bytes: bytes.max(LEAST_MEMORY) }
    }

    /// How many groups may fail without keeping others from being enough for a write.
    pub(crate) fn may_fail_to_write(&self) -> usize {
        self.settings().groups.len() - self.settings().quorum()
    }

    /// The same for a read.
    pub(crate) fn may_fail_to_read(&self) -> usize {
        self.settings().groups.len() - self.settings().read_quorum()
    }

    /// # Errors
    /// What kept a majority from doing it.
    pub(crate) fn expect_quorum<T>(&self, answers: &[Answer<T>]) -> Result<()> {
        let done = answers.iter().filter(|answer| answer.result.is_ok()).count();
        if done >= self.settings().quorum() {
            return Ok(());
        }
        let is_unknown = done > 0
            || answers
                .iter()
                .any(|answer| matches!(&answer.result, Err(problem) if problem.may_have_happened()));
        let error = worst(answers, self.may_fail_to_write());
        Err(if is_unknown { error.outcome_unknown() } else { error })
    }
}

/// The error that says most of why too few groups did it, where so many `may_fail`.
pub(crate) fn worst<T>(answers: &[Answer<T>], may_fail: usize) -> Error {
    let problems = || answers.iter().filter_map(|answer| Some((answer.group, answer.result.as_ref().err()?)));
    let says_no_more = |problem: &Problem| problem.is_absent() || problem.is_mismatch();
    let stays = |problem: &Problem| !problem.may_pass() && !says_no_more(problem);
    // Without those whose problem stays there may be enough, once the problems of others have passed.
    let are_few = problems().filter(|(_, problem)| stays(problem)).count() <= may_fail;
    // What stays comes before what may pass, unless it hinders nobody, and that before what one replica says of one
    // object.
    let found = problems().min_by_key(|(group, problem)| {
        let rank = match problem {
            _ if says_no_more(problem) => 3,
            _ if stays(problem) && are_few => 2,
            Problem::Unserved { .. } | Problem::NoBackend | Problem::Failed(_) => 1,
            _ => 0,
        };
        (rank, *group)
    });
    match found {
        Some((group, problem)) if !says_no_more(problem) => {
            let mut error = problem.error(group);
            error.retryable |= stays(problem) && are_few;
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

fn is_done<T>(answer: &Answer<T>) -> bool {
    answer.result.is_ok()
}

/// Whether a group has said what it has, be it nothing.
fn says<T>(answer: &Answer<T>) -> bool {
    answer.result.as_ref().map_or_else(Problem::is_absent, |_| true)
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

#[cfg(test)]
#[path = "replicas_tests.rs"]
mod tests;
