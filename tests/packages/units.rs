//! The unit of systemd, judged by systemd.

use std::{fs, process::Command};

use docker_registry_tests::{artifacts, process::run};

#[test]
fn systemd_finds_nothing_to_say_against_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let package = artifacts::dist_file("docker-registry-server_", ".deb");
    run(Command::new("dpkg-deb").arg("--extract").arg(package).arg(folder.path()));
    let name = "docker-registry-server.service";
    let unit = fs::read_to_string(folder.path().join("lib/systemd/system").join(name)).unwrap();
    for line in [
        "User=docker-registry",
        "ProtectSystem=strict",
        "StateDirectory=docker-registry",
        "RuntimeDirectory=docker-registry",
        "LogsDirectory=docker-registry",
        "NoNewPrivileges=yes",
        "Restart=on-failure",
    ] {
        assert!(unit.lines().any(|found| found == line), "{line} is missing:\n{unit}");
    }
    // The program has to exist for the check, and does so here only.
    let here = folder.path().join("usr/bin/docker-registry");
    let unit = unit.replace("ExecStart=/usr/bin/docker-registry", &format!("ExecStart={}", here.display()));
    let file = folder.path().join(name);
    fs::write(&file, unit).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(&file).env("SYSTEMD_LOG_LEVEL", "warning");
    let output = verify.output().expect("systemd-analyze is installed");
    let text = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<&str> = text.lines().filter(|line| line.contains(name)).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{text}");
}
