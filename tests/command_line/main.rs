//! The program as an operator types it: what it prints and how it ends.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use docker_registry_tests::artifacts;

/// The program without any of the caller's settings, in an empty folder.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(artifacts::folder().join("docker-registry"));
    command
        .env_clear()
        .env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder())
        .env("STORAGE_PATH", folder.join("storage"))
        .env("REGISTRY_ADMIN", "off")
        .current_dir(folder);
    command
}

fn folder_with(configuration: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("config.yml"), configuration).expect("a file");
    folder
}

/// Exit code, standard output, standard error.
fn ended(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    ended(program(folder).args(arguments).output().expect("the program runs"))
}

const LOCAL: &str = "dev:\n  storage: local\n  storage_path: /srv/registry\n";

#[test]
fn help_names_commands_variables_and_exit_codes() {
    let folder = folder_with(LOCAL);
    let (code, help, _) = run(folder.path(), &["--help"]);
    assert_eq!(code, 0);
    for word in
        ["serve", "config", "driver", "SETTINGS_FLAVOR", "DOCKER_REGISTRY_CONFIG", "REGISTRY_PORT", "64"]
    {
        assert!(help.contains(word), "{word} is not in the help:\n{help}");
    }
    assert_eq!(run(folder.path(), &["serve", "--help"]).0, 0);
    assert!(run(folder.path(), &["--version"]).1.starts_with("docker-registry "));
}

#[test]
fn a_wrong_command_line_is_2() {
    let folder = folder_with(LOCAL);
    for arguments in [&["nonsense"][..], &["serve", "--bind", "nowhere"], &["driver", "inspect"]] {
        assert_eq!(run(folder.path(), arguments).0, 2, "{arguments:?}");
    }
}

#[test]
fn a_wrong_configuration_is_64_with_every_problem_at_once() {
    let folder = folder_with("dev:\n  storage: local\n  storage_pth: /x\n  port: many\n  loglevel: loud\n");
    let (code, output, _) = run(folder.path(), &["config", "check"]);
    assert_eq!(code, 64);
    for problem in [
        "config.yml:3: storage_pth: unknown key (did you mean storage_path?)",
        "config.yml:4: port",
        "config.yml:5: loglevel",
    ] {
        assert!(output.contains(problem), "{problem} is not in:\n{output}");
    }
    let (code, _, errors) = run(folder.path(), &["serve"]);
    assert_eq!(code, 64);
    assert!(errors.contains("config.yml:4: port") && errors.contains("config.yml:5: loglevel"), "{errors}");
    let (code, _, errors) =
        ended(program(folder.path()).env("SETTINGS_FLAVOR", "prod").arg("serve").output().expect("runs"));
    assert_eq!(code, 64);
    assert!(errors.contains("prod") && errors.contains("dev"), "{errors}");
    let (code, _, errors) = run(folder.path(), &["serve", "missing.yml"]);
    assert_eq!(code, 64);
    assert!(errors.contains("missing.yml"), "{errors}");
}

#[test]
fn a_good_configuration_is_0_and_names_driver_flavor_and_file() {
    let folder = folder_with(LOCAL);
    let (code, output, errors) = run(folder.path(), &["config", "check"]);
    assert_eq!(code, 0, "{output}{errors}");
    assert!(
        output.contains("driver local") && output.contains("flavor `dev`") && output.contains("config.yml"),
        "{output}"
    );
}

#[test]
fn show_tells_where_each_value_came_from_and_masks_secrets() {
    let folder = folder_with(
        "dev:\n  storage: local\n  storage_path: _env:PLACE:/srv\n  cache:\n    host: redis\n    port: 6379\n    password: _env:PASSWORD\n",
    );
    let output = program(folder.path())
        .env("PLACE", "/mnt/registry")
        .env("PASSWORD", "hunter2")
        .args(["config", "show"])
        .output()
        .expect("the program runs");
    let (code, output, errors) = ended(output);
    assert_eq!(code, 0, "{errors}");
    let line = |key: &str| {
        output.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("{key}:\n{output}"))
    };
    assert!(line("storage_path ").contains("/mnt/registry") && line("storage_path ").contains("PLACE"));
    assert!(line("storage ").contains("config.yml:2"));
    assert!(line("cache.password ").contains("********"));
    assert!(!output.contains("hunter2") && !errors.contains("hunter2"));
}

#[test]
fn a_missing_driver_is_one_sentence_with_what_is_there() {
    let folder = folder_with("dev:\n  storage: tape\n");
    let (code, _, errors) = run(folder.path(), &["serve"]);
    assert_eq!(code, 1, "{errors}");
    let sentence = errors.lines().last().expect("an error");
    for part in ["no driver named `tape`", "libdocker_registry_driver_tape.so", "local ("] {
        assert!(sentence.contains(part), "{part} is not in: {sentence}");
    }
    assert_eq!(run(folder.path(), &["driver", "inspect", "tape"]).0, 1);
}

#[test]
fn what_is_wrong_with_the_driver_that_another_one_stands_on_is_found_before_anything_is_opened() {
    let said = |alternate: &str, more: &str| {
        let text = format!("dev:\n  storage: misbehaving\n  storage_alternate: {alternate}\n{more}");
        let folder = folder_with(&text);
        let (code, output, errors) = run(folder.path(), &["config", "check"]);
        (code, output + &errors)
    };
    let (code, output) = said("tape", "");
    assert_eq!(code, 64, "{output}");
    assert!(output.contains("storage_alternate: no driver named `tape`"), "{output}");
    let (code, output) = said("misbehaving", "");
    assert_eq!(code, 64, "{output}");
    assert!(output.contains("driver `misbehaving` cannot stand on itself"), "{output}");
    // Its keys are keys of this flavor.
    let (code, output) = said("memory", "  page_size: many\n");
    assert_eq!(code, 64, "{output}");
    assert!(output.contains("page_size: `many` is not a whole number"), "{output}");
    let (code, output) = said("memory", "  page_size: 2\n");
    assert_eq!(code, 0, "{output}");
    assert!(!output.contains("unknown key"), "{output}");
}

#[test]
fn drivers_are_listed_and_inspected() {
    let folder = folder_with(LOCAL);
    let (code, output, _) = run(folder.path(), &["driver", "list"]);
    assert_eq!(code, 0);
    assert!(output.lines().any(|line| line.starts_with("local ") && line.contains("API 1.2")), "{output}");
    let (_, output, _) = run(folder.path(), &["driver", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    assert!(list.as_array().expect("a list").iter().any(|driver| driver["name"] == "memory"));
    let (code, output, _) = run(folder.path(), &["driver", "inspect", "local"]);
    assert_eq!(code, 0);
    assert!(output.contains("storage_path") && output.contains("STORAGE_PATH"), "{output}");
    let (_, output, _) = run(folder.path(), &["driver", "inspect", "local", "--json"]);
    let driver: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!(driver["keys"][0]["name"], "storage_path");
}

#[test]
fn an_address_that_is_taken_is_1() {
    let folder = folder_with(LOCAL);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let configuration = LOCAL.replace("/srv/registry", &folder.path().join("storage").display().to_string());
    fs::write(folder.path().join("config.yml"), configuration).expect("a file");
    let (code, _, errors) = run(folder.path(), &["serve", "--bind", &address]);
    assert_eq!(code, 1);
    assert!(
        errors.lines().last().expect("an error").contains(&format!("cannot listen at {address}")),
        "{errors}"
    );
}

#[test]
fn a_storage_that_cannot_be_opened_is_named() {
    let folder = folder_with("dev:\n  storage: local\n  storage_path: /dev/null/registry\n");
    let (code, _, errors) = run(folder.path(), &["serve", "--bind", "127.0.0.1:0"]);
    // The driver says that its setting is wrong, so the configuration is.
    assert_eq!(code, 64, "{errors}");
    assert!(errors.lines().last().expect("an error").contains("driver `local`"), "{errors}");
}

/// Kubernetes and `docker --link` set this for a service that is called "registry".
#[test]
fn an_injected_registry_port_is_ignored_with_a_notice_and_sigterm_ends_with_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = artifacts::workspace().join("config/config_sample.yml");
    let mut child = program(folder.path())
        .arg("serve")
        .arg(sample)
        .args(["--bind", "127.0.0.1:0"])
        .env("REGISTRY_PORT", "tcp://10.0.0.1:5000")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut errors = child.stderr.take().expect("standard error");
    let (mut log, mut buffer) = (String::new(), [0; 4096]);
    while !log.contains(" Listening at: http://127.0.0.1:") {
        let read = errors.read(&mut buffer).expect("standard error can be read");
        assert!(read > 0, "the server ended:\n{log}");
        log.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
    assert!(log.contains("REGISTRY_PORT") || log.contains("port"), "{log}");
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::TERM).expect("a signal");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
}
