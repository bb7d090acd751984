//! A driver's package upgraded by dpkg under a running server: nothing happens before the restart.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use docker_registry_tests::{debian::Machine, http::Client, process::run};
use tempfile::TempDir;

use crate::{
    installed::{LOG, SERVICE, choose_ports, packages},
    serving::{has, keeps},
};

/// A package in two versions; the second is the first with another number and some change.
pub(crate) struct Versions {
    first: String,
    second: String,
    pub(crate) package: PathBuf,
    _folder: TempDir,
}

/// Packs a package anew under a higher version. `change` gets the unpacked files and both versions.
pub(crate) fn later(package: &Path, change: impl FnOnce(&Path, &str, &str)) -> Versions {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    run(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&root));
    let control = fs::read_to_string(root.join("DEBIAN/control")).unwrap();
    let version = control.lines().find_map(|line| line.strip_prefix("Version: ")).unwrap();
    let first = version.split('-').next().unwrap().to_owned();
    // As long as the first, so that the note keeps its size.
    let second = format!("9{}", &first[1..]);
    let changed = control.replace(&format!("Version: {first}"), &format!("Version: {second}"));
    fs::write(root.join("DEBIAN/control"), changed).unwrap();
    change(&root, &first, &second);
    let package = folder.path().join("later.deb");
    run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&root).arg(&package));
    Versions { first, second, package, _folder: folder }
}

/// Gives the driver in an unpacked package the second version in its note.
fn renumber(root: &Path, first: &str, second: &str) {
    let library = root.join("usr/lib/docker-registry/drivers/libdocker_registry_driver_local.so");
    let mut content = fs::read(&library).unwrap();
    let note = format!("version={first}\n");
    let at = content.windows(note.len()).position(|bytes| bytes == note.as_bytes()).expect("the note");
    content[at..at + note.len()].copy_from_slice(format!("version={second}\n").as_bytes());
    fs::write(&library, content).unwrap();
}

#[test]
fn a_driver_package_upgraded_under_a_running_server_counts_from_the_restart_on() {
    let machine = Machine::start();
    let [server, driver] = packages();
    machine.install(&[&server, &driver]);
    let (registry, admin) = choose_ports(&machine);
    machine.run(SERVICE, &["start"]);
    let (client, admin) = (Client::new(registry), Client::new(admin));
    keeps(&client, 1);
    let Versions { first, second, package, _folder } = later(&driver, renumber);
    let runs = |version: &str| {
        let metrics = admin.get("/metrics").expect(200).text();
        metrics.contains(&format!("driver_version=\"{version}\""))
    };
    assert!(runs(&first));
    let id = || fs::read_to_string(machine.path("/run/docker-registry-server.pid")).unwrap();
    let before = id();

    machine.install(&[&package]);
    let listed = machine.run("docker-registry", &["driver", "list"]);
    assert!(listed.contains(&second), "the new file is in place: {listed}");
    assert!(runs(&first) && !runs(&second), "the server has the old one");
    has(&client, 1);
    keeps(&client, 2);
    assert_eq!(id(), before, "it is the same process");
    assert!(machine.output(SERVICE, &["status"]).status.success());

    machine.run(SERVICE, &["restart"]);
    assert!(runs(&second) && !runs(&first));
    has(&client, 1);
    has(&client, 2);
    let log = fs::read_to_string(machine.path(LOG)).unwrap();
    let loaded = |version: &str| {
        log.contains(&format!("version={version}")) || log.contains(&format!("version=\"{version}\""))
    };
    assert!(loaded(&first) && loaded(&second), "{log}");
    machine.run(SERVICE, &["stop"]);
}
