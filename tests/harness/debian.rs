//! Debian 12 in a folder, from nothing but Debian's mirror, and a small machine that runs in such a folder.
//!
//! The system is unpacked once, by debootstrap, and kept as an archive in the user's cache. A machine has
//! processes of its own: whatever runs in it ends with it, and nothing that is mounted in it stays. The network is
//! that of the tests, so that they can talk to servers in it. Only root can do all of this.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::process::{PATIENCE, Process, run, wait_for};

const RELEASE: &str = "bookworm";

/// The archive of a minimal system with certificate authorities and time zones.
///
/// The first call on a machine makes it, which takes a minute or two; others wait for it.
pub fn base() -> PathBuf {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env::var_os("HOME").expect("XDG_CACHE_HOME or HOME is set")).join(".cache"),
    }
    .join("docker-registry-tests");
    fs::create_dir_all(&cache).expect("the cache folder can be made");
    let archive = cache.join(format!("debian-{RELEASE}.tar"));
    let lock = File::create(cache.join("debian.lock")).expect("the lock file can be made");
    lock.lock().expect("the lock can be waited for");
    if !archive.exists() {
        let folder = tempfile::tempdir_in(&cache).expect("a folder in the cache");
        let root = folder.path().join("root");
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=minbase", "--include=ca-certificates,tzdata", RELEASE]);
        debootstrap.arg(&root).env("PATH", SYSTEM_PATH);
        let output = debootstrap.output().expect("debootstrap is installed");
        let log = fs::read_to_string(root.join("debootstrap/debootstrap.log")).unwrap_or_default();
        assert!(output.status.success(), "{}{log}", String::from_utf8_lossy(&output.stdout));
        let fresh = folder.path().join("base.tar");
        run(Command::new("tar")
            .args(["--create", "--numeric-owner", "--exclude=./var/cache/apt/archives/*.deb"])
            .args(["--exclude=./var/lib/apt/lists/*", "--exclude=./proc/*", "--exclude=./sys/*"])
            .arg("--file")
            .arg(&fresh)
            .arg("--directory")
            .arg(&root)
            .arg("."));
        fs::rename(fresh, &archive).expect("the archive can be put in its place");
    }
    archive
}

/// Where a system has its programs, those for its administrator included.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A running system in a folder. Dropping it ends every process in it and deletes the folder.
#[derive(Debug)]
pub struct Machine {
    // Kills the first process of the system when dropped, and with it all others.
    outside: Option<Process>,
    first: u32,
    root: TempDir,
}

impl Machine {
    /// A fresh system. Services are not started when their packages are installed.
    pub fn start() -> Machine {
        let root = tempfile::Builder::new().prefix("debian-").tempdir().expect("a temporary folder");
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).expect("a mode can be set");
        run(Command::new("tar")
            .args(["--extract", "--preserve-permissions", "--numeric-owner", "--file"])
            .arg(base())
            .arg("--directory")
            .arg(root.path()));
        let policy = root.path().join("usr/sbin/policy-rc.d");
        fs::write(&policy, "#!/bin/sh\nexit 101\n").expect("a file in it");
        fs::set_permissions(&policy, fs::Permissions::from_mode(0o755)).expect("a mode can be set");

        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--propagation=private", "chroot"]);
        // The first process waits for children all the time, as init does for those that lost their parent.
        let init = "mount -t proc proc /proc && echo ready; while :; do sleep 1000 & wait; done";
        unshare.arg(root.path()).args(["/bin/sh", "-c", init]).env_clear().env("PATH", SYSTEM_PATH);
        let log = root.path().join("init.log");
        let mut outside = Process::start("a machine", &mut unshare, &log);
        let children = format!("/proc/{0}/task/{0}/children", outside.id());
        let first = wait_for("the machine is ready", PATIENCE, || {
            if !outside.is_running() {
                outside.fail("it ended at its start");
            }
            let first = fs::read_to_string(&children).ok()?.trim().parse().ok()?;
            outside.log().contains("ready").then_some(first)
        });
        Machine { outside: Some(outside), first, root }
    }

    /// A file of the machine, as seen from here. `path` begins with `/`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// Puts a file of this machine into the root folder of that one. Returns its path there.
    pub fn receive(&self, file: &Path) -> String {
        let name = file.file_name().and_then(|name| name.to_str()).expect("a file has a name");
        fs::copy(file, self.root.path().join(name)).expect("the file can be copied");
        format!("/{name}")
    }

    /// Runs a program in the machine, as its root.
    pub fn output(&self, program: &str, arguments: &[&str]) -> Output {
        let mut enter = Command::new("nsenter");
        enter.arg("--target").arg(self.first.to_string());
        enter.args(["--mount", "--pid", "--root", "--wd", "--", program]).args(arguments);
        enter
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C");
        enter.stdin(std::process::Stdio::null()).output().expect("nsenter is there")
    }

    /// Like [`Machine::output`], for a program that must succeed. Returns everything that it wrote.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {}\n{text}", output.status);
        text.into_owned()
    }

    /// Installs, upgrades or downgrades packages from their files, all at once.
    #[track_caller]
    pub fn install(&self, packages: &[&Path]) -> String {
        let files: Vec<String> = packages.iter().map(|package| self.receive(package)).collect();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        self.run("dpkg", &[&["--install", "--force-confdef", "--force-confold"], &files[..]].concat())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.outside.take());
        // The folder can only be deleted when nobody writes to it any more.
        let first = PathBuf::from(format!("/proc/{}", self.first));
        for _ in 0..500 {
            if !first.exists() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
