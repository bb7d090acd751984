//! Files that lines are appended to, each by a thread of its own.
//!
//! Who logs never waits for a disk: a line is handed over whole, into memory of a limited size. Guarantees: lines
//! stand in the file in their order, whole or not at all; after [`LogFile::reopen`] the lines that were handed over
//! before are in the old file, the others in the new one; a write that fails is tried again until it succeeds, with
//! one line on standard error, and what finds no room meanwhile is counted and reported.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use docker_registry_config::LogFile as Destination;
use tracing_subscriber::fmt::MakeWriter;

/// Bytes that may wait for the disk.
const MOST_WAITING: usize = 4 << 20;
/// Pause between two tries to write.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The same where the other end only does not read fast enough.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long the end of the server waits for its last lines.
const FLUSH_PATIENCE: Duration = Duration::from_secs(5);
/// What a new file may be used for: its owner writes, its group reads.
const MODE: u32 = 0o640;

/// One destination. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct LogFile(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    destination: Destination,
    state: Mutex<State>,
    /// Something is to do for the thread.
    work: Condvar,
    /// The thread has done something.
    done: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    lost: u64,
    writing: bool,
    troubled: bool,
    /// The file is to be opened anew once so many bytes of what waits are written.
    reopen_after: Option<usize>,
}

impl LogFile {
    /// Opens the file and starts its thread.
    ///
    /// # Errors
    /// When it cannot be opened or created.
    pub(super) fn open(destination: &Destination) -> io::Result<Self> {
        let file = open(destination)?;
        let shared = Arc::new(Shared {
            destination: destination.clone(),
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || of_thread.write_for_ever(file))?;
        Ok(Self(shared))
    }

    pub(super) fn destination(&self) -> &Destination {
        &self.0.destination
    }

    /// Lines from now on go to the file that has the name now; it is made when there is none.
    pub(super) fn reopen(&self) {
        let mut state = self.0.lock();
        state.reopen_after = Some(state.waiting.len());
        drop(state);
        self.0.work.notify_all();
    }

    /// Waits until everything is written, a while at most and not at all where writing fails.
    pub(super) fn flush(&self) {
        let end = Instant::now() + FLUSH_PATIENCE;
        let mut state = self.0.lock();
        while (state.writing || !state.waiting.is_empty()) && !state.troubled {
            let Some(left) = end.checked_duration_since(Instant::now()) else { return };
            state = self.0.done.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn hand_over(&self, lines: &[u8]) {
        let mut state = self.0.lock();
        if state.waiting.len() + lines.len() > MOST_WAITING {
            state.lost += 1;
            return;
        }
        state.waiting.extend_from_slice(lines);
        drop(state);
        self.0.work.notify_one();
    }
}

impl Write for LogFile {
    /// Takes the whole of it: the formats write each line with one call.
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.hand_over(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut file: File) {
        let mut lines = Vec::new();
        loop {
            let (reopen_after, lost) = self.next(&mut lines);
            let (before, after) = lines.split_at(reopen_after.unwrap_or(0));
            self.write(&mut file, before);
            if reopen_after.is_some() {
                self.reopen(&mut file);
            }
            self.write(&mut file, after);
            lines.clear();
            if lost > 0 {
                tracing::warn!(lost, log = %self.destination, "lines of a log were lost: it could not be written");
            }
        }
    }

    /// Takes what waits into `lines`, which is empty.
    fn next(&self, lines: &mut Vec<u8>) -> (Option<usize>, u64) {
        let mut state = self.lock();
        state.writing = false;
        self.done.notify_all();
        while state.waiting.is_empty() && state.reopen_after.is_none() && state.lost == 0 {
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writing = true;
        std::mem::swap(&mut state.waiting, lines);
        (state.reopen_after.take(), std::mem::take(&mut state.lost))
    }

    /// Writes to the end, however long that takes.
    fn write(&self, file: &mut File, lines: &[u8]) {
        let mut written = 0;
        while written < lines.len() {
            match file.write(&lines[written..]) {
                Ok(0) => self.wait(file, lines, &mut written, &io::ErrorKind::WriteZero.into()),
                Ok(more) => {
                    written += more;
                    self.set_troubled(None);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(BUSY_PAUSE),
                Err(error) => self.wait(file, lines, &mut written, &error),
            }
        }
    }

    /// Waits before the next try. When the file is to be opened anew meanwhile, the line that was begun begins
    /// again in the new one.
    fn wait(&self, file: &mut File, lines: &[u8], written: &mut usize, error: &io::Error) {
        self.set_troubled(Some(error));
        let state = self.lock();
        let waited = self.work.wait_timeout_while(state, RETRY_PAUSE, |state| state.reopen_after.is_none());
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.reopen_after.take().is_some() {
            drop(state);
            if self.reopen(file) {
                *written = lines[..*written].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            }
        }
    }

    /// Tells on standard error when trouble begins and when it ends; not where that is what is in trouble.
    fn set_troubled(&self, error: Option<&io::Error>) {
        let mut state = self.lock();
        if state.troubled == error.is_some() {
            return;
        }
        state.troubled = error.is_some();
        drop(state);
        self.done.notify_all();
        match error {
            Some(error) => self.say(&format!("cannot be written, and is tried again: {error}")),
            None => self.say("can be written again"),
        }
    }

    fn say(&self, what: &str) {
        if self.destination != Destination::StandardError {
            // Nothing is left to do when even standard error is gone.
            let _ = writeln!(io::stderr(), "docker-registry: WARNING: the log {} {what}", self.destination);
        }
    }

    /// Whether there is a new file now. Where there cannot be one, the old one is used further.
    fn reopen(&self, file: &mut File) -> bool {
        if !matches!(self.destination, Destination::File(_)) {
            return false;
        }
        match open(&self.destination) {
            Ok(new) => {
                *file = new;
                true
            }
            Err(error) => {
                self.say(&format!("cannot be opened anew, the old file is used further: {error}"));
                false
            }
        }
    }
}

fn open(destination: &Destination) -> io::Result<File> {
    match destination {
        Destination::StandardOutput => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Destination::StandardError => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        Destination::File(path) => OpenOptions::new().append(true).create(true).mode(MODE).open(path),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write};

    use super::*;

    /// Before a rename and the signal, after the rename, after the signal: nothing is lost, nothing is halved.
    #[test]
    fn lines_before_the_reopening_are_in_the_old_file_and_the_others_in_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let mut log = LogFile::open(&Destination::File(path.clone())).unwrap();
        for number in 0..10_000 {
            log.write_all(format!("before {number}\n").as_bytes()).unwrap();
            if number == 5_000 {
                fs::rename(&path, &old).unwrap();
            }
        }
        LogFile::flush(&log);
        log.reopen();
        // The thread has seen the wish when it has made the file.
        while !path.exists() {
            thread::sleep(BUSY_PAUSE);
        }
        log.write_all(b"after\n").unwrap();
        LogFile::flush(&log);
        assert_eq!(fs::read_to_string(&path).unwrap(), "after\n");
        let expected: String = (0..10_000).map(|number| format!("before {number}\n")).collect();
        assert_eq!(fs::read_to_string(&old).unwrap(), expected);
    }

    /// The system's own full disk.
    #[test]
    fn a_full_disk_holds_nobody_up_and_what_finds_no_room_is_counted() {
        let mut log = LogFile::open(&Destination::File("/dev/full".into())).unwrap();
        log.write_all(b"the line that the thread tries to write\n").unwrap();
        while !log.0.lock().troubled {
            thread::sleep(BUSY_PAUSE);
        }
        let line = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            log.write_all(&line).unwrap();
        }
        LogFile::flush(&log);
        let state = log.0.lock();
        assert_eq!((state.waiting.len(), state.lost), (MOST_WAITING, 16));
    }

    #[test]
    fn a_line_that_was_begun_on_a_full_disk_begins_again_in_the_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("error.log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut log = LogFile::open(&Destination::File(path.clone())).unwrap();
        log.write_all(b"one line\n").unwrap();
        while !log.0.lock().troubled {
            thread::sleep(BUSY_PAUSE);
        }
        fs::remove_file(&path).unwrap();
        log.reopen();
        while fs::read_to_string(&path).unwrap_or_default() != "one line\n" {
            thread::sleep(BUSY_PAUSE);
        }
    }
}
