//! `driver check` of the drivers of this build, each case in a process that has the driver in another.

use std::{fs, process::Command};

use docker_registry_driver_conformance::cases;
use docker_registry_tests::artifacts;
use serde_json::Value;

/// Runs the suite and expects that nothing fails.
fn check(driver: &str, isolation: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(artifacts::folder().join("docker-registry"));
    command.env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder()).current_dir(folder.path()).args([
        "driver",
        "check",
        driver,
        "--json",
        "--isolation",
        isolation,
    ]);
    match driver {
        "local" => {
            let file = folder.path().join("file");
            fs::write(&file, "no folder").expect("a file can be written");
            command
                .args(["--set", &format!("storage_path={}", folder.path().join("root").display())])
                .args(["--dead", &format!("storage_path={}", file.display())])
        }
        _ => command.args(["--dead", "memory_limit=0"]),
    };
    let output = command.output().expect("the program starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{driver} {isolation}: {}\n{errors}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).expect("the report is JSON");
    let lines = report["cases"].as_array().expect("a list of cases");
    let ran: Vec<&str> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
    let expected: Vec<&str> = cases().filter(|case| !case.is_long()).map(|case| case.name()).collect();
    assert_eq!(ran, expected);
    let skipped = lines.iter().filter(|line| line["result"] == "skipped");
    let skipped: Vec<String> = skipped.map(|line| format!("{}: {}", line["name"], line["reason"])).collect();
    println!("{driver} {isolation}: {} passed, skipped: {skipped:#?}", report["passed"]);
    assert!(report["passed"].as_u64() > Some(0));
}

#[test]
fn local_passes_where_it_says_itself() {
    check("local", "declared");
}

#[test]
fn local_passes_in_a_process_of_its_own() {
    check("local", "process");
}

#[test]
fn memory_passes_where_it_says_itself() {
    check("memory", "declared");
}

#[test]
fn memory_passes_in_a_process_of_its_own() {
    check("memory", "process");
}

#[test]
fn a_driver_that_crashes_in_a_process_of_its_own_is_a_red_line_with_the_cases_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new(artifacts::folder().join("docker-registry"))
        .env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder())
        .current_dir(folder.path())
        .args(["driver", "check", "misbehaving", "--isolation", "process", "--only", "objects/what_was_put"])
        .args(["--set", "fault=segfault", "--set", "fault_in=put"])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("objects/what_was_put_is_there"), "{text}");
    assert!(text.contains("FAILED") && text.contains("the driver's process ended during the call"), "{text}");
}
