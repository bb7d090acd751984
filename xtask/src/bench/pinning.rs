//! Which processors the server and the load run on, so that neither takes the other's.

use std::fs;
use std::thread::available_parallelism;

use anyhow::{Context, Result};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

/// The processors of this machine in two halves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Halves {
    processors: usize,
}

impl Halves {
    /// Two halves, or `None` on a machine with one processor.
    pub(super) fn of_this_machine() -> Option<Halves> {
        let processors = available_parallelism().ok()?.get();
        (processors > 1).then_some(Halves { processors })
    }

    /// Keeps all threads of these processes, and those that they will start, on the first half.
    pub(super) fn serve(self, processes: &[u32]) -> Result<()> {
        processes.iter().try_for_each(|process| self.move_threads(*process, 0..self.processors / 2))
    }

    /// Lets processes run everywhere again.
    pub(super) fn release(self, processes: &[u32]) -> Result<()> {
        processes.iter().try_for_each(|process| self.move_threads(*process, 0..self.processors))
    }

    /// Keeps the calling thread, and those that it will start, on the second half.
    pub(super) fn load(self) -> Result<()> {
        sched_setaffinity(None, &set(self.processors / 2..self.processors))
            .context("the load cannot be pinned")
    }

    /// Lets the calling thread run everywhere again.
    pub(super) fn release_load(self) -> Result<()> {
        sched_setaffinity(None, &set(0..self.processors)).context("the load cannot be let go")
    }

    fn move_threads(self, process: u32, processors: std::ops::Range<usize>) -> Result<()> {
        let set = set(processors);
        // Workers may end meanwhile. A server that does shows in the measurement.
        for entry in fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten() {
            let thread: i32 = entry.file_name().to_string_lossy().parse().context("a thread has a number")?;
            // A thread may end meanwhile.
            let _ = sched_setaffinity(Pid::from_raw(thread), &set);
        }
        Ok(())
    }
}

fn set(processors: std::ops::Range<usize>) -> CpuSet {
    let mut set = CpuSet::new();
    for processor in processors {
        set.set(processor);
    }
    set
}
