//! How a driver's process ends with its server, and what it is told in secret.

use std::{fs, process::Command, thread, time::Duration};

use docker_registry_tests::{
    artifacts,
    process::{PATIENCE, Process, wait_for},
};
use rustix::process::{Pid, Signal, kill_process};

use crate::registry::{Files, Registry, driver_processes, expect_end, is_alive};

#[test]
fn a_server_that_is_told_to_stop_closes_the_driver_and_leaves_no_process() {
    let registry = Registry::start();
    registry.push(b"something");
    let process = registry.driver_process();
    let (status, _place, files) = registry.stop();
    assert!(status.success(), "{status}");
    assert!(!is_alive(process), "the server has waited for it");
    assert_eq!(files.recorded("close ", ""), 1);
}

#[test]
fn a_crash_while_the_driver_is_closed_or_dropped_does_not_keep_the_server_from_stopping_well() {
    for operation in ["close", "drop"] {
        for crash in ["abort", "segfault"] {
            let registry = Registry::start();
            registry.push(b"something");
            let process = registry.driver_process();
            registry.throw(&format!("{operation} {crash}\n"));
            let log = registry.server.process().log_file().to_owned();
            let (status, _place, files) = registry.stop();
            assert!(status.success(), "{operation} {crash}: {status}");
            assert!(!is_alive(process));
            assert_eq!(files.recorded("close ", ""), 1);
            let log = fs::read_to_string(log).expect("the log is there");
            // What is dropped is dropped beside the end of the process, which may be faster.
            let told = log.matches("while it closed the driver").count();
            assert!(told == 1 || operation == "drop" && told == 0, "{operation} {crash}: {log}");
            assert!(log.contains("stopped"), "{log}");
            assert_eq!(driver_processes(&log).len(), 1, "no other process was started");
        }
    }
}

#[test]
fn the_process_ends_when_the_server_is_killed_even_if_the_driver_blocks() {
    for fault in ["none", "block", "hang"] {
        let registry = Registry::start();
        let blob = registry.push(b"something");
        let process = registry.driver_process();
        let mut connection = registry.client().connect().expect("the server accepts");
        if fault != "none" {
            registry.throw(&format!("read {fault}\n"));
            let length = docker_registry_tests::http::Length::Known(0);
            connection.begin("GET", &blob.target, &[], length).expect("the request is sent");
            wait_for("the call begins", PATIENCE, || {
                (registry.recorded("read ", &blob.hex) == 1).then_some(())
            });
        }
        assert!(is_alive(process));
        // The switch stays thrown until the process is gone.
        let _files = registry.kill();
        expect_end(process);
    }
}

#[test]
fn a_server_that_is_killed_before_it_has_read_an_answer_leaves_nothing() {
    let registry = Registry::start();
    let spawned = registry.spawn_process();
    let blob = registry.push(b"something");
    let process = registry.driver_process();
    registry.throw(&format!("read block {}\n", blob.hex));
    let mut connection = registry.client().connect().expect("the server accepts");
    let length = docker_registry_tests::http::Length::Known(0);
    connection.begin("GET", &blob.target, &[], length).expect("the request is sent");
    wait_for("the call blocks", PATIENCE, || {
        (registry.metric("registry_driver_events_total", "event=\"blocked\"") >= 1.0).then_some(())
    });
    let server = Pid::from_raw(registry.server.process().id().cast_signed()).expect("a process id is not 0");
    kill_process(server, Signal::STOP).expect("it runs");
    registry.throw("");
    // Nobody can see when the answer has come to the socket. Too soon is a server that is killed amid a call.
    thread::sleep(Duration::from_millis(300));
    let _files = registry.kill();
    expect_end(process);
    expect_end(spawned);
}

#[test]
fn what_the_driver_has_started_ends_with_its_process_however_that_ends() {
    let registry = Registry::start();
    let spawned = registry.spawn_process();
    kill_process(registry.driver_process(), Signal::KILL).expect("it runs");
    expect_end(spawned);

    let spawned = registry.spawn_process();
    let (status, _place, _files) = registry.stop();
    assert!(status.success(), "{status}");
    expect_end(spawned);
}

/// The command of a server that is started by hand.
fn serve(files: &Files, more: &str) -> Command {
    // Fewer open files than it may have, as systems start processes.
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", "ulimit -S -n 512 && exec \"$0\" \"$@\""])
        .arg(artifacts::folder().join("docker-registry"))
        .env_clear()
        .env("SETTINGS_FLAVOR", "test")
        .env("STORAGE_PATH", "unused")
        .env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder())
        .env("REGISTRY_ADMIN", "off")
        .arg("serve")
        .arg(files.configuration("process", more))
        .args(["--bind", "127.0.0.1:0"]);
    command
}

#[test]
fn the_process_ends_when_the_server_is_killed_while_it_starts() {
    for fault in ["hang", "block"] {
        let files = Files::new();
        files.throw(&format!("open {fault}\n"));
        let mut command = serve(&files, "  below: memory\n");
        let server = Process::start("docker-registry", &mut command, &files.file("log"));
        let process = wait_for("the driver is being opened", PATIENCE, || files.opening_process());
        assert!(is_alive(process));
        server.kill();
        expect_end(process);
    }
}

#[test]
fn a_terminals_signals_to_the_driver_do_not_end_it() {
    let registry = Registry::start();
    let blob = registry.push(b"something");
    let process = registry.driver_process();
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2] {
        kill_process(process, signal).expect("it runs");
    }
    registry.expect(&blob);
    assert_eq!((registry.driver_process(), is_alive(process)), (process, true));
}

#[test]
fn the_first_process_may_open_as_many_files_as_the_server() {
    let files = Files::new();
    let server =
        Process::start("docker-registry", &mut serve(&files, "  below: memory\n"), &files.file("log"));
    let process = wait_for("the driver's process runs", PATIENCE, || driver_processes(&server.log()).pop());
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.as_raw_nonzero())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("it has a limit");
    let mut numbers = line.split_whitespace().skip(3);
    assert_eq!(numbers.next(), numbers.next(), "{line}");
    assert!(server.terminate().success());
}

/// Every file of `/proc` that shows what a process was started with.
fn told(process: Pid) -> Vec<(String, String)> {
    let file = |name: &str| {
        let path = format!("/proc/{}/{name}", process.as_raw_nonzero());
        let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        (name.to_owned(), String::from_utf8_lossy(&bytes).replace('\0', "\n"))
    };
    ["cmdline", "environ"].map(file).into()
}

#[test]
fn secrets_reach_the_driver_and_are_in_no_argument_and_no_environment() {
    const SECRET: &str = "kept-between-the-two-of-us";
    const ANOTHER: &str = "of-the-server-and-nobody-else";
    let files = Files::new();
    let more = "  below: memory\n  token: _env:REGISTRY_TOKEN\n  cache:\n    password: _env:REDIS_WORD\n";
    let mut command = serve(&files, more);
    command
        .env("REGISTRY_TOKEN", SECRET)
        .env("REDIS_WORD", ANOTHER)
        .env("NOT_A_SECRET", "inherited")
        // The process that only describes the driver is too short-lived to be looked at.
        .env("MISBEHAVING_DESCRIBE", "abort_if_told_secrets");
    let server = Process::start("docker-registry", &mut command, &files.file("log"));
    let process = wait_for("the driver's process runs", PATIENCE, || driver_processes(&server.log()).pop());
    assert_eq!(files.recorded(&format!("open with a token of {} bytes", SECRET.len()), ""), 1);
    let told = told(process);
    assert!(told.iter().any(|(_, text)| text.contains("NOT_A_SECRET=inherited")), "{told:?}");
    for (name, text) in told {
        assert!(!text.is_empty(), "{name} cannot be read");
        assert!(!text.contains(SECRET) && !text.contains(ANOTHER), "a secret is in {name}: {text}");
    }
    // Before that a signal ends it as it ends any program.
    wait_for("the server listens", PATIENCE, || server.log().contains("Listening at").then_some(()));
    assert!(!server.log().contains(SECRET) && !server.log().contains(ANOTHER));
    assert!(server.terminate().success());
    expect_end(process);
}
