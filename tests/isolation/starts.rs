//! A driver that fails while the server starts: the server ends with one clear sentence, and leaves nothing.

use std::process::{Command, Output};

use docker_registry_tests::artifacts;

use crate::registry::Files;

/// Starts a server that must end by itself.
fn start(files: &Files, isolation: &str, describing: Option<&str>) -> Output {
    let configuration = files.configuration(isolation, "  below: memory\n");
    let mut command = Command::new(artifacts::folder().join("docker-registry"));
    command
        .env_clear()
        .env("SETTINGS_FLAVOR", "test")
        .env("STORAGE_PATH", configuration.parent().expect("it lies in a folder"))
        .env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder())
        .env("REGISTRY_ADMIN", "off")
        .envs(describing.map(|fault| ("MISBEHAVING_DESCRIBE", fault)))
        .arg("serve")
        .arg(configuration)
        .args(["--bind", "127.0.0.1:0"]);
    command.output().expect("the program starts")
}

#[track_caller]
fn expect_sentence(output: &Output, sentence: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{}\n{said}", output.status);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("docker-registry: ") && last.contains(sentence), "{said}");
}

#[test]
fn a_driver_that_crashes_in_open_is_an_exit_code_and_a_sentence() {
    for (crash, signal) in [("abort", "signal: 6 (SIGABRT)"), ("segfault", "signal: 11 (SIGSEGV)")] {
        let files = Files::new();
        files.throw(&format!("open {crash}\n"));
        let output = start(&files, "process", None);
        expect_sentence(&output, &format!("ended with {signal}"));
        expect_sentence(&output, "before it had opened the driver");
        assert_eq!(files.recorded("open ", ""), 1, "a server that does not start tries once");
    }
}

#[test]
fn a_driver_that_panics_or_fails_in_open_is_an_exit_code_and_a_sentence() {
    for isolation in ["declared", "spawned", "process"] {
        let files = Files::new();
        files.throw("open panic\n");
        expect_sentence(&start(&files, isolation, None), "the driver panicked (a panic on purpose)");
        files.throw("open error\n");
        expect_sentence(&start(&files, isolation, None), "an error on purpose");
    }
}

#[test]
fn a_driver_that_crashes_before_it_is_opened_is_an_exit_code_and_a_sentence() {
    let output = start(&Files::new(), "process", Some("abort"));
    expect_sentence(&output, "ended with signal: 6 (SIGABRT)");
    expect_sentence(&output, "before it had loaded the library");
}
