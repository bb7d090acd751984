//! Which processes have a library mapped, so that an operator knows what to restart.
//!
//! A process keeps the file that it loaded, also when another one has taken its name. With `isolation: process`
//! that process is the driver's, and one that crashes is followed by one with the new file. What `/proc` does not
//! show to this user is reported as not known, never as "none".

use std::{fmt, fs, os::unix::fs::MetadataExt, path::Path, path::PathBuf};

/// A library as it was before it was replaced.
pub(super) struct Mapped {
    path: PathBuf,
    inode: Option<u64>,
}

/// The processes that use a library.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RunningServers {
    /// They have it mapped.
    pub(super) using: Vec<u32>,
    /// Servers of other users, who may have it mapped.
    unknown: Vec<u32>,
    /// `/proc` cannot be read.
    blind: bool,
}

impl Mapped {
    /// The file that lies there now.
    pub(super) fn now(library: &Path) -> Self {
        // In /proc the file has the name behind all links.
        let path = library.canonicalize().unwrap_or_else(|_| library.to_owned());
        Self { inode: path.metadata().ok().map(|facts| facts.ino()), path }
    }

    /// Whether a line of `/proc/PID/maps` is about it, or about an earlier file of the same name.
    fn is_in(&self, line: &str) -> bool {
        // address, rights, offset, device, inode, path: see proc_pid_maps(5). Devices are not compared: overlay
        // and btrfs show others here than stat(2) does.
        let mut fields = line.split_ascii_whitespace();
        let Some(inode) = fields.nth(4).and_then(|inode| inode.parse::<u64>().ok()) else { return false };
        let Some(start) = line.find('/') else { return false };
        let shown = Path::new(line[start..].trim_end_matches(" (deleted)"));
        shown == self.path || (Some(inode) == self.inode && shown.file_name() == self.path.file_name())
    }

    /// Looks through all processes.
    pub(super) fn servers(&self) -> RunningServers {
        let mut found = RunningServers::default();
        let own = std::process::id();
        let Ok(processes) = fs::read_dir("/proc") else {
            return RunningServers { blind: true, ..found };
        };
        let own_name = fs::read_to_string("/proc/self/comm").unwrap_or_default();
        let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        for id in ids.filter(|id| *id != own) {
            match fs::read(format!("/proc/{id}/maps")) {
                Ok(maps) => {
                    if String::from_utf8_lossy(&maps).lines().any(|line| self.is_in(line)) {
                        found.using.push(id);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                    if fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name == own_name) {
                        found.unknown.push(id);
                    }
                }
                // It has ended.
                Err(_) => {}
            }
        }
        found.using.sort_unstable();
        found.unknown.sort_unstable();
        found
    }
}

/// What to restart, each line a sentence.
impl fmt::Display for RunningServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        if self.blind {
            return f.write_str("Servers that run, or the processes of their drivers, go on with the old file until they are restarted.");
        }
        if self.using.is_empty() && self.unknown.is_empty() {
            return f.write_str("No running process that can be seen from here has the old file loaded.");
        }
        if !self.using.is_empty() {
            write!(f, "A restart is due: process {} goes on with the old file.", list(&self.using))?;
        }
        if !self.unknown.is_empty() {
            let separator = if self.using.is_empty() { "" } else { "\n" };
            write!(
                f,
                "{separator}A restart may be due: process {} belongs to another user; if it has the old file \
                 loaded, it goes on with it.",
                list(&self.unknown)
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_known_by_its_path_or_by_its_inode_and_name() {
        let library = Mapped { path: "/opt/my drivers/x.so".into(), inode: Some(77) };
        let line = |inode: u64, path: &str| {
            format!("7f00-7f10 r-xp 00000000 fd:01 {inode}                     {path}")
        };
        assert!(library.is_in(&line(77, "/opt/my drivers/x.so")));
        assert!(library.is_in(&line(5, "/opt/my drivers/x.so (deleted)")), "an earlier version");
        assert!(library.is_in(&line(77, "/in/a/container/x.so")), "another mount of the same file");
        assert!(!library.is_in(&line(77, "/opt/other.so")), "a number of another file system");
        assert!(!library.is_in(&line(5, "/elsewhere/x.so")));
        assert!(!library.is_in("7f00-7f10 rw-p 00000000 00:00 0                  [heap]"));
    }

    #[test]
    fn a_process_that_has_a_file_mapped_is_not_this_one() {
        let own = std::env::current_exe().unwrap();
        assert!(!Mapped::now(&own).servers().using.contains(&std::process::id()));
    }
}
