//! Index objects: which names may be in a folder. Elliptics itself lists nothing.
//!
//! The index of a folder is a register with the names in it. It always has **at least** the names of all objects: a name
//! goes in, with the names of the folders above it, before the record of the object is written. Listings look at every
//! record, so that a name too much costs a look and is never shown.
//!
//! # Names that go
//! A deletion marks the name. It is dropped when it has been marked for an hour and the record is still of nothing. A
//! writer who saw the name without a mark has [`TRUST`] for his write, far less than that hour, so that no name is
//! dropped under him. Clocks of servers may differ by less than the rest of the hour.
//!
//! # Large folders
//! When a shard has too many names, new ones go to sixteen times as many shards, chosen by the hash of the name. What
//! is in the shards before stays there, and listings read them all.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use docker_registry_driver_api::{Error, ErrorKind, Result};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    change::Change,
    names,
    record::Record,
    register::Registers,
    shard::{Edit, Shard},
};

/// How long a name counts as there after it was seen so, for a write.
pub(crate) const TRUST: Duration = Duration::from_secs(5 * 60);
/// How long it is not looked for again.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How long a name stays that was marked.
const MARKED: u64 = 60 * 60;
/// Names in one shard.
const MOST_NAMES: usize = 1_000;
/// Bytes in one shard.
const MOST_BYTES: usize = 128 << 10;
/// Most times that a folder is cut finer.
const DEEPEST: u8 = 3;
/// Shards that are read at once.
const READ_AT_ONCE: usize = 16;
/// How long a folder is not tidied up again.
const TIDY_AGAIN: Duration = Duration::from_secs(10 * 60);
/// Names that are looked at in one tidying of a folder.
const TIDIED_AT_MOST: usize = 10_000;
/// Names that a process remembers.
const MOST_REMEMBERED: usize = 50_000;

/// All indexes.
#[derive(Clone)]
pub(crate) struct Index(Arc<Inner>);

struct Inner {
    registers: Registers,
    /// Seconds that a name stays that was marked.
    patience: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Changes that wait for whoever changes the folder's index now.
    waiting: HashMap<String, Vec<Waiting>>,
    turns: HashMap<String, Weak<tokio::sync::Mutex<()>>>,
    depths: HashMap<String, u8>,
    /// When a path was last seen in the index of its folder.
    seen: HashMap<String, Instant>,
    tidied: HashMap<String, Instant>,
}

/// What became of changes of a shard.
enum Applied {
    /// They were made, or there was nothing to change. The depth is the one that the shard tells, which counts if it is
    /// the first one. With `grown` new names go to that depth from now on.
    Done { is_deserted: bool, depth: u8, grown: Option<u8> },
    /// Nothing was changed: the folder was cut finer, and names go to this depth.
    Elsewhere(u8),
}

struct Waiting {
    edit: Edit,
    done: oneshot::Sender<Result<bool>>,
}

impl Index {
    pub(crate) fn new(registers: Registers) -> Self {
        Self::with_patience(registers, MARKED)
    }

    /// Like [`Index::new`], with another time that marked names stay.
    pub(crate) fn with_patience(registers: Registers, patience: u64) -> Self {
        Self(Arc::new(Inner { registers, patience, state: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a path into the index of its folder, and the folders above into theirs. Returns since when that is so.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn ensure(&self, path: &str) -> Result<Instant> {
        let begun = Instant::now();
        let mut missing = Vec::new();
        let mut rest = path;
        while !rest.is_empty() {
            if let Some(seen) = self.seen(rest) {
                if missing.is_empty() {
                    return Ok(seen);
                }
                break;
            }
            let (folder, name) = names::split(rest);
            if self.has(folder, name).await? {
                break;
            }
            missing.push(rest);
            rest = folder;
        }
        // From above, so that nothing is listed in a folder that is not.
        for path in missing.into_iter().rev() {
            let (folder, name) = names::split(path);
            self.edit(folder, Edit::Insert(name.to_owned())).await?;
            self.see(path, begun);
        }
        self.see(path, begun);
        Ok(begun)
    }

    /// Marks a path as gone, and the folders above that nothing is left in.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn mark(&self, path: &str) -> Result<()> {
        let mut rest = path;
        while !rest.is_empty() {
            self.lock().seen.remove(rest);
            let (folder, name) = names::split(rest);
            let is_deserted = self.edit(folder, Edit::Mark(name.to_owned())).await?;
            if !is_deserted {
                break;
            }
            rest = folder;
        }
        Ok(())
    }

    /// All names of a folder, marked ones included.
    ///
    /// # Errors
    /// When too few groups answer.
    pub(crate) async fn names(&self, folder: &str) -> Result<BTreeMap<String, u64>> {
        let Shard { depth, names } = self.first_shard(folder).await?;
        let depth = depth.max(self.depth(folder));
        let mut all = names;
        let shards =
            (1..=depth.min(DEEPEST)).flat_map(|depth| (0..shards(depth)).map(move |shard| (depth, shard)));
        let reads: Vec<_> = shards.map(|(depth, shard)| self.shard(folder, depth, shard)).collect();
        let read: Vec<Shard> = stream::iter(reads).buffered(READ_AT_ONCE).try_collect().await?;
        for (name, mark) in read.into_iter().flat_map(|shard| shard.names) {
            // A name without a mark counts more.
            all.entry(name).and_modify(|known| *known = (*known).min(mark)).or_insert(mark);
        }
        Ok(all)
    }

    fn see(&self, path: &str, when: Instant) {
        let mut state = self.lock();
        if state.seen.len() >= MOST_REMEMBERED {
            state.seen.retain(|_, seen| seen.elapsed() < REMEMBERED);
            if state.seen.len() >= MOST_REMEMBERED {
                state.seen.clear();
            }
        }
        state.seen.insert(path.to_owned(), when);
    }

    fn seen(&self, path: &str) -> Option<Instant> {
        self.lock().seen.get(path).copied().filter(|seen| seen.elapsed() < REMEMBERED)
    }

    async fn shard(&self, folder: &str, depth: u8, shard: u32) -> Result<Shard> {
        let id = self.0.registers.replicas.id(&names::index(folder, depth, shard));
        match self.0.registers.get(id).await? {
            Some(current) => Shard::unpack(&current.content),
            None => Ok(Shard::default()),
        }
    }

    /// The first shard of a folder. Its depth is remembered when a majority has it: names that are put where somebody
    /// has begun to cut the folder, and has not, would not be found.
    async fn first_shard(&self, folder: &str) -> Result<Shard> {
        let id = self.0.registers.replicas.id(&names::index(folder, 0, 0));
        let (current, is_settled) = self.0.registers.read(id).await?;
        let shard = current.map_or_else(|| Ok(Shard::default()), |now| Shard::unpack(&now.content))?;
        if is_settled && shard.depth > self.depth(folder) {
            self.deepen(folder, shard.depth);
        }
        Ok(shard)
    }

    /// Whether a name is there without a mark.
    async fn has(&self, folder: &str, name: &str) -> Result<bool> {
        let depth = match self.depth(folder) {
            0 => {
                let first = self.first_shard(folder).await?;
                if first.has(name) || first.depth == 0 {
                    return Ok(first.has(name));
                }
                first.depth.min(DEEPEST)
            }
            depth => depth,
        };
        Ok(self.shard(folder, depth, place(name, depth)).await?.has(name))
    }

    fn depth(&self, folder: &str) -> u8 {
        self.lock().depths.get(folder).copied().unwrap_or_default()
    }

    fn deepen(&self, folder: &str, depth: u8) {
        self.lock().depths.insert(folder.to_owned(), depth.min(DEEPEST));
    }

    /// Changes the index of a folder. Changes of this process that come at the same time are made in one step.
    /// Returns whether nothing is left there.
    async fn edit(&self, folder: &str, edit: Edit) -> Result<bool> {
        loop {
            let (done, mut told) = oneshot::channel();
            let turn = {
                let mut state = self.lock();
                let waiting = Waiting { edit: edit.clone(), done };
                state.waiting.entry(folder.to_owned()).or_default().push(waiting);
                state.turn(folder)
            };
            tokio::select! {
                biased;
                result = &mut told => match result {
                    Ok(result) => return result,
                    // Who was to do it has been dropped.
                    Err(_) => continue,
                },
                _turn = turn.lock() => {
                    let waiting = self.lock().waiting.remove(folder).unwrap_or_default();
                    if !waiting.is_empty() {
                        let edits: Vec<Edit> = waiting.iter().map(|one| one.edit.clone()).collect();
                        let result = self.apply(folder, &edits).await;
                        for one in waiting {
                            // Its caller may have gone.
                            let _ = one.done.send(result.clone());
                        }
                    }
                }
            }
            if let Ok(result) = told.await {
                return result;
            }
        }
    }

    /// Makes changes, each in the shards that it concerns. Returns whether nothing is left in the folder.
    async fn apply(&self, folder: &str, edits: &[Edit]) -> Result<bool> {
        let mut depth = self.depth(folder);
        if depth == 0 {
            match self.apply_to(folder, 0, 0, edits, true).await? {
                Applied::Done { is_deserted, grown, .. } => {
                    if let Some(grown) = grown {
                        // It was written to the first shard, for the last time.
                        self.deepen(folder, grown);
                    }
                    return Ok(is_deserted);
                }
                Applied::Elsewhere(first_depth) => {
                    self.deepen(folder, first_depth);
                    depth = self.depth(folder);
                }
            }
        }
        // What is not new may be in any of them. The first one is changed first, because it tells whether another process
        // has cut the folder finer meanwhile: what was put into the shards of that is found from then on.
        let is_new = |edit: &&Edit| matches!(edit, Edit::Insert(_));
        let others: Vec<Edit> = edits.iter().filter(|edit| !is_new(edit)).cloned().collect();
        if !others.is_empty()
            && let Applied::Done { depth: told, .. } = self.apply_to(folder, 0, 0, &others, false).await?
            && told > depth
        {
            self.deepen(folder, told);
            depth = self.depth(folder);
        }
        let mut by_shard: BTreeMap<(u8, u32), Vec<Edit>> = BTreeMap::new();
        for edit in edits {
            let first = if is_new(&edit) { depth } else { 1 };
            for depth in first..=depth {
                by_shard.entry((depth, place(edit.name(), depth))).or_default().push(edit.clone());
            }
        }
        for ((shard_depth, shard), edits) in by_shard {
            let applied = self.apply_to(folder, shard_depth, shard, &edits, false).await?;
            if let Applied::Done { grown: Some(grown), .. } = applied
                && shard_depth == depth
            {
                self.grow(folder, grown).await?;
            }
        }
        // Looking into all shards would cost more than a folder too much in a listing's looks.
        Ok(false)
    }

    /// Changes one shard; with `only_if_first` only while there are no others.
    async fn apply_to(
        &self,
        folder: &str,
        depth: u8,
        number: u32,
        edits: &[Edit],
        only_if_first: bool,
    ) -> Result<Applied> {
        let now = names::now() / 1_000_000_000;
        let mut is_stale = false;
        let id = self.0.registers.replicas.id(&names::index(folder, depth, number));
        let change = self.0.registers.change(id, |current| {
            let mut shard =
                current.map_or_else(|| Ok(Shard::default()), |now| Shard::unpack(&now.content))?;
            if only_if_first && shard.depth > 0 {
                return Ok(Change::Keep(Applied::Elsewhere(shard.depth)));
            }
            let changes = edits.iter().filter(|edit| shard.apply(edit, now)).count();
            is_stale = shard.names.values().any(|mark| self.is_over(*mark, now));
            let is_deserted = shard.is_deserted();
            let mut applied = Applied::Done { is_deserted, depth: shard.depth, grown: None };
            if changes == 0 {
                return Ok(Change::Keep(applied));
            }
            let mut content = shard.pack();
            if (shard.names.len() > MOST_NAMES || content.len() > MOST_BYTES) && depth < DEEPEST {
                applied = Applied::Done { is_deserted, depth: shard.depth, grown: Some(depth + 1) };
                if depth == 0 && shard.depth == 0 {
                    shard.depth = 1;
                    content = shard.pack();
                }
            }
            Ok(Change::Write(content, applied))
        });
        let applied = change.await?.outcome;
        if is_stale {
            self.tidy_later(folder);
        }
        Ok(applied)
    }

    /// Notes in the first shard that there are more.
    async fn grow(&self, folder: &str, depth: u8) -> Result<()> {
        let id = self.0.registers.replicas.id(&names::index(folder, 0, 0));
        let change = self.0.registers.change(id, |current| {
            let mut shard =
                current.map_or_else(|| Ok(Shard::default()), |now| Shard::unpack(&now.content))?;
            if shard.depth >= depth {
                return Ok(Change::Keep(()));
            }
            shard.depth = depth;
            Ok(Change::Write(shard.pack(), ()))
        });
        change.await?;
        self.deepen(folder, depth);
        Ok(())
    }

    /// Drops the names of a folder that are gone for long, some time.
    fn tidy_later(&self, folder: &str) {
        {
            let mut state = self.lock();
            if state.tidied.get(folder).is_some_and(|when| when.elapsed() < TIDY_AGAIN) {
                return;
            }
            state.tidied.retain(|_, when| when.elapsed() < TIDY_AGAIN);
            state.tidied.insert(folder.to_owned(), Instant::now());
        }
        let (index, folder) = (self.clone(), folder.to_owned());
        tokio::spawn(async move {
            if let Err(error) = index.tidy(&folder).await {
                tracing::debug!(folder, %error, "the index of a folder is not tidied up for now");
            }
        });
    }

    /// Drops the names of a folder that are gone for long. Returns whether nothing is left.
    pub(crate) async fn tidy(&self, folder: &str) -> Result<bool> {
        let now = names::now() / 1_000_000_000;
        let known = self.names(folder).await?;
        let total = known.len();
        let over = known.into_iter().filter(|(_, mark)| self.is_over(*mark, now)).take(TIDIED_AT_MOST);
        let (folders, others): (Vec<_>, Vec<_>) = over.partition(|(name, _)| name.ends_with('/'));
        let settle = |is_gone, name, mark| if is_gone { Edit::Drop(name, mark) } else { Edit::Insert(name) };
        let looks = others.into_iter().map(|(name, mark)| async move {
            let is_gone = self.is_gone(&format!("{folder}{name}")).await?;
            Ok::<_, Error>(settle(is_gone, name, mark))
        });
        let looks: Vec<_> = looks.collect();
        let mut edits: Vec<Edit> = stream::iter(looks).buffer_unordered(READ_AT_ONCE).try_collect().await?;
        // One after the other: each of them looks at many.
        for (name, mark) in folders {
            let is_gone = Box::pin(self.tidy(&format!("{folder}{name}"))).await?;
            edits.push(settle(is_gone, name, mark));
        }
        let dropped = edits.iter().filter(|edit| matches!(edit, Edit::Drop(..))).count();
        if !edits.is_empty() {
            self.apply(folder, &edits).await?;
        }
        let is_empty = dropped == total;
        if is_empty && names::is_of_one_upload(folder) {
            self.0.registers.forget(self.0.registers.replicas.id(&names::index(folder, 0, 0))).await?;
        }
        Ok(is_empty)
    }

    fn is_over(&self, mark: u64, now: u64) -> bool {
        mark != 0 && now.saturating_sub(mark) >= self.0.patience
    }

    async fn is_gone(&self, path: &str) -> Result<bool> {
        let id = self.0.registers.replicas.id(&names::record(path));
        match self.0.registers.get(id).await? {
            None => Ok(true),
            Some(current) => Ok(Record::unpack(&current.content)?.is_deleted()),
        }
    }
}

impl State {
    fn turn(&mut self, folder: &str) -> Arc<tokio::sync::Mutex<()>> {
        if let Some(turn) = self.turns.get(folder).and_then(Weak::upgrade) {
            return turn;
        }
        if self.turns.len() >= 1024 {
            self.turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::default();
        self.turns.insert(folder.to_owned(), Arc::downgrade(&turn));
        turn
    }
}

/// # Errors
/// When a write comes so late that the name may have been dropped meanwhile.
pub(crate) fn expect_trusted(ensured: Instant) -> Result<()> {
    if ensured.elapsed() < TRUST {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unavailable, "the write took too long to be sure of the index of its folder"))
}

/// Shards of a depth.
fn shards(depth: u8) -> u32 {
    16_u32.pow(depth.into())
}

/// The shard of a name at a depth.
fn place(name: &str, depth: u8) -> u32 {
    crc32fast::hash(name.as_bytes()) % shards(depth)
}
