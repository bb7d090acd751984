//! Logs in files, and what logrotate does to them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use docker_registry_tests::process::{PATIENCE, wait_for};
use rustix::process::Signal;

use crate::running::{CONFIGURATION, Folder};

/// A server that logs into `access.log` and `error.log`.
fn logging(folder: &Folder) -> Command {
    folder.program(&["serve", "--access-log", "access.log", "--error-log", "error.log"])
}

fn assert_combined(line: &str, target: &str) {
    let rest = line.strip_prefix("127.0.0.1 - - [").unwrap_or_else(|| panic!("{line}"));
    let (time, rest) = rest.split_once("] ").unwrap_or_else(|| panic!("{line}"));
    assert_eq!(time.len(), "27/Nov/2026:08:38:05 +0000".len(), "{line}");
    assert!(rest.starts_with(&format!("\"GET {target} HTTP/1.1\" 200 ")), "{line}");
    assert!(rest.ends_with('"'), "{line}");
}

#[test]
fn files_are_appended_to_and_belong_to_owner_and_group() {
    let folder = Folder::with(CONFIGURATION);
    fs::write(folder.path("access.log"), "a line of yesterday\n").expect("a file");
    let server = folder.serve(&mut logging(&folder), "error.log");
    server
        .client()
        .send("GET", "/v1/_ping", &[("User-Agent", "docker/1.9.1"), ("Referer", "http://a/")], b"")
        .expect(200);
    server.stop();
    let access = folder.text("access.log");
    let lines: Vec<&str> = access.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "a line of yesterday"), "{access}");
    assert_combined(lines[1], "/v1/_ping");
    assert!(lines[1].ends_with("200 2 \"http://a/\" \"docker/1.9.1\""), "{access}");
    let mode = fs::metadata(folder.path("error.log")).expect("a file").permissions().mode() & 0o777;
    assert_eq!((mode & 0o600, mode & 0o137), (0o600, 0), "{mode:o}");
}

#[test]
fn requests_are_in_their_file_whatever_the_level() {
    let folder = Folder::with(CONFIGURATION);
    // Told by the error log that it listens, then silent.
    let server = folder.serve(logging(&folder).env("LOGLEVEL", "info"), "error.log");
    server.stop();
    let address = docker_registry_tests::server::free_address();
    let mut command = logging(&folder);
    command.env("LOGLEVEL", "error").env("REGISTRY_PORT", address.port().to_string());
    let process =
        docker_registry_tests::process::Process::start("docker-registry", &mut command, &folder.path("out"));
    let client = docker_registry_tests::http::Client::new(address);
    wait_for("the server answers", PATIENCE, || client.try_send("GET", "/v1/_ping", &[], b"").ok());
    assert!(process.terminate().success());
    assert!(folder.text("access.log").contains("GET /v1/_ping"));
}

/// logrotate renames and sends SIGUSR1, again and again, under load: each request is one whole line in one of the files.
#[test]
fn no_line_is_lost_or_halved_when_the_logs_are_rotated() {
    let folder = Folder::with(CONFIGURATION);
    let server = folder.serve(&mut logging(&folder), "error.log");
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    server.client().get("/v1/_ping").expect(200);
                    sent.fetch_add(1, Relaxed);
                }
            });
        }
        for number in 1..=5 {
            let before = sent.load(Relaxed);
            wait_for("requests go on", PATIENCE, || (sent.load(Relaxed) > before + 20).then_some(()));
            for log in ["access.log", "error.log"] {
                fs::rename(folder.path(log), folder.path(&format!("{log}.{number}"))).expect("a rename");
            }
            server.signal(Signal::USR1);
            wait_for("new files", PATIENCE, || {
                (folder.path("access.log").exists() && folder.path("error.log").exists()).then_some(())
            });
        }
        over.store(true, Relaxed);
    });
    server.stop();
    let mut lines = 0;
    for number in 0..=5 {
        let name = if number == 0 { "access.log".to_owned() } else { format!("access.log.{number}") };
        let text = folder.text(&name);
        assert!(text.is_empty() || text.ends_with('\n'), "{name} ends in the middle of a line");
        text.lines().for_each(|line| assert_combined(line, "/v1/_ping"));
        lines += text.lines().count();
    }
    assert_eq!(lines, sent.load(Relaxed));
    assert!(folder.text("error.log").contains("stopped"), "the end stands in the newest file");
}

#[test]
fn both_logs_may_have_the_same_file() {
    let folder = Folder::with(CONFIGURATION);
    let mut command = folder.program(&["serve", "--access-log", "one.log", "--error-log", "one.log"]);
    let server = folder.serve(&mut command, "one.log");
    server.client().get("/v1/_ping").expect(200);
    fs::rename(folder.path("one.log"), folder.path("one.log.1")).expect("a rename");
    server.signal(Signal::USR1);
    wait_for("a new file", PATIENCE, || folder.path("one.log").exists().then_some(()));
    server.client().get("/v1/_ping").expect(200);
    server.stop();
    for log in ["one.log.1", "one.log"] {
        assert_eq!(folder.text(log).matches("\"GET /v1/_ping").count(), 1, "{log}: {}", folder.text(log));
    }
}

/// The device of the system that is always full.
#[test]
fn a_full_disk_does_not_stop_the_server_and_is_one_warning() {
    let folder = Folder::with(CONFIGURATION);
    symlink("/dev/full", folder.path("access.log")).expect("a link");
    let arguments = ["serve", "--access-log", "access.log"];
    let server = folder.serve(&mut folder.program(&arguments), "server.log");
    for _ in 0..50 {
        server.client().get("/v1/_ping").expect(200);
    }
    let warning =
        "docker-registry: WARNING: the log access.log cannot be written, and is tried again: No space left";
    wait_for("the warning", PATIENCE, || server.log().contains(warning).then_some(()));
    // There is room again under that name, as after a clean-up: what waited is written, and nothing is missing.
    fs::remove_file(folder.path("access.log")).expect("the link");
    server.signal(Signal::USR1);
    wait_for("all lines", PATIENCE, || (folder.text("access.log").lines().count() == 50).then_some(()));
    assert_eq!(server.log().matches("cannot be written").count(), 1, "{}", server.log());
    server.client().get("/v1/_ping").expect(200);
    server.stop();
    assert_eq!(folder.text("access.log").lines().count(), 51);
    assert!(folder.text("server.log").contains("can be written again"));
}

#[test]
fn a_folder_that_vanished_leaves_the_old_file_in_use() {
    let folder = Folder::with(CONFIGURATION);
    fs::create_dir(folder.path("logs")).expect("a folder");
    let arguments = ["serve", "--access-log", "logs/access.log"];
    let server = folder.serve(&mut folder.program(&arguments), "server.log");
    fs::rename(folder.path("logs"), folder.path("elsewhere")).expect("a rename");
    server.signal(Signal::USR1);
    wait_for("the warning", PATIENCE, || server.log().contains("the old file is used further").then_some(()));
    server.client().get("/v1/_ping").expect(200);
    server.stop();
    assert!(folder.text("elsewhere/access.log").contains("GET /v1/_ping"));
    assert!(!Path::new(&folder.path("logs")).exists());
}
