//! The password file on disk, read anew when it changes.
//!
//! A thread of its own looks once a second whether time, size or number of the file have changed, so that no
//! request waits for a disk. A changed file is read when it has rested from one look to the next, and what was read
//! counts when it has not changed meanwhile: some programs write it in place, and half of it would lock people out.
//! A file that vanishes, cannot be read or could be written by everybody keeps what was read last, with a warning. At
//! the start it is an error.

use std::{
    fs, io,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock, Weak},
    thread,
    time::Duration,
};

use super::htpasswd::Htpasswd;

const INTERVAL: Duration = Duration::from_secs(1);
/// Largest file, in bytes: some hundred thousand users.
const LARGEST: u64 = 16 << 20;
const OTHERS_WRITE: u32 = 0o002;

/// Why a password file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The system says no.
    #[error("the password file {0} cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// Everybody could let themselves in.
    #[error("every user of this machine may write to the password file {0}: change that with chmod o-w")]
    WritableByAll(PathBuf),
    /// No text, or far too much of it.
    #[error("{0} is not a password file: it must be text of at most 16 MiB")]
    NotText(PathBuf),
}

/// By what a change is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    size: u64,
    number: (u64, u64),
    mode: u32,
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            size: metadata.size(),
            number: (metadata.dev(), metadata.ino()),
            mode: metadata.mode(),
        }
    }
}

/// The file and what it last said.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    content: RwLock<Arc<Htpasswd>>,
}

impl WatchedFile {
    /// Reads the file and watches it for as long as the value lives.
    pub(super) fn open(path: &Path) -> Result<Arc<Self>, FileProblem> {
        let Content { users: content, before, .. } = read(path)?;
        report(path, &content);
        let file = Arc::new(Self { path: path.to_owned(), content: RwLock::new(Arc::new(content)) });
        let watched = Arc::downgrade(&file);
        let started = thread::Builder::new()
            .name("htpasswd".to_owned())
            .spawn(move || watch(&watched, Looks::new(before)));
        started.map_err(|error| FileProblem::Unreadable(path.to_owned(), error))?;
        Ok(file)
    }

    /// What the file says.
    pub(super) fn content(&self) -> Arc<Htpasswd> {
        Arc::clone(&self.content.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads a password file that nobody else can change.
///
/// # Errors
/// [`FileProblem`], a sentence.
pub(crate) fn read_once(path: &Path) -> Result<Htpasswd, FileProblem> {
    Ok(read(path)?.users)
}

/// What a file said, and its stamps around the reading.
struct Content {
    users: Htpasswd,
    before: Stamp,
    after: Stamp,
}

fn read(path: &Path) -> Result<Content, FileProblem> {
    let unreadable = |error| FileProblem::Unreadable(path.to_owned(), error);
    // Opening a pipe would wait for somebody to write to it.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(FileProblem::NotText(path.to_owned()));
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(FileProblem::WritableByAll(path.to_owned()));
    }
    let mut text = String::new();
    let read = (&file).take(LARGEST + 1).read_to_string(&mut text);
    match read {
        Ok(length) if length as u64 <= LARGEST => {
            let after = Stamp::of(&file.metadata().map_err(unreadable)?);
            Ok(Content { users: Htpasswd::parse(&text), before: Stamp::of(&metadata), after })
        }
        Err(error) if error.kind() != io::ErrorKind::InvalidData => Err(unreadable(error)),
        _ => Err(FileProblem::NotText(path.to_owned())),
    }
}

fn report(path: &Path, content: &Htpasswd) {
    for warning in &content.warnings {
        tracing::warn!("{}: {warning}", path.display());
    }
    tracing::info!(path = %path.display(), users = content.len(), "password file read");
}

/// What the looks at a file have shown.
#[derive(Debug)]
struct Looks {
    /// The file whose content counts.
    taken: Stamp,
    /// The file at the last look; `None` when there was none.
    last: Option<Stamp>,
}

impl Looks {
    fn new(taken: Stamp) -> Self {
        Self { taken, last: Some(taken) }
    }

    /// Notes what is there now. Returns whether it is another file than the one that counts, and has rested.
    fn is_another(&mut self, now: Option<Stamp>) -> bool {
        let has_rested = self.last == now;
        self.last = now;
        has_rested && now != Some(self.taken)
    }
}

fn watch(watched: &Weak<WatchedFile>, mut looks: Looks) {
    // What was wrong last time is said once, not every second.
    let mut said = String::new();
    loop {
        thread::sleep(INTERVAL);
        let Some(file) = watched.upgrade() else { return };
        let now = fs::metadata(&file.path).ok().map(|metadata| Stamp::of(&metadata));
        let is_as_it_was = now == Some(looks.taken) && looks.last == now;
        let is_wanted = looks.is_another(now) || (is_as_it_was && !said.is_empty());
        if !is_wanted {
            continue;
        }
        match read(&file.path) {
            // It is being written again: the next looks will show.
            Ok(Content { before, after, .. }) if Some(before) != now || before != after => {}
            Ok(Content { users, before, .. }) => {
                report(&file.path, &users);
                if users.len() == 0 && file.content().len() > 0 {
                    tracing::warn!("{} has no users any more: nobody can log in", file.path.display());
                }
                *file.content.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(users);
                looks.taken = before;
                said.clear();
            }
            Err(problem) if problem.to_string() != said => {
                said = problem.to_string();
                tracing::warn!("{said}; the users that were read before stay");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_counts_only_when_it_has_rested() {
        let stamp = |size| Stamp { modified: (1, 0), size, number: (1, 1), mode: 0o100_640 };
        let mut looks = Looks::new(stamp(9));
        assert!(!looks.is_another(Some(stamp(9))), "nothing has changed");
        for half_written in [0, 3, 6] {
            assert!(!looks.is_another(Some(stamp(half_written))), "{half_written} bytes");
        }
        assert!(looks.is_another(Some(stamp(6))), "it has rested");
        assert!(looks.is_another(Some(stamp(6))), "until it is taken");
        looks.taken = stamp(6);
        assert!(!looks.is_another(Some(stamp(6))), "it is taken");
        assert!(!looks.is_another(None), "it may come back at once");
        assert!(looks.is_another(None), "it has vanished");
    }
}
