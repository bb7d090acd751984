//! Commands that are killed: under a driver's name lies the old library or the new one, and what is left over is
//! no driver and goes with the next command.

use std::{
    fs,
    io::Write,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use docker_registry_tests::process::{PATIENCE, wait_for};

use crate::place::{MEMORY, PREVIOUS, Place, digest, path, version};

fn start(place: &Place, arguments: &[&str]) -> Child {
    place
        .program()
        .arg("driver")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Something that takes long to copy: a library of many zeros, packed.
fn endless(place: &Place) -> std::path::PathBuf {
    let pack = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let (mut bytes, zeros) = (pack(b"\x7fELF"), pack(&vec![0; 16 << 20]));
    for _ in 0..60 {
        bytes.extend_from_slice(&zeros);
    }
    let path = place.downloads().join("endless.so.gz");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn what_a_killed_installation_leaves_is_no_driver_and_goes_with_the_next_command() {
    let place = Place::new();
    let child = start(&place, &["install", path(&endless(&place))]);
    let left = wait_for("a temporary file appears", PATIENCE, || place.names().pop());
    kill(child);
    assert!(left.starts_with('.') && !left.ends_with(".so"), "{left}");
    assert_eq!(place.names(), [left]);
    assert!(place.driver(&["list"]).done().starts_with("there is no driver in"));
    place.install(&place.download("1.0.0")).done();
    assert_eq!(place.names(), [MEMORY]);
}

#[test]
fn two_commands_do_not_work_in_one_folder() {
    let place = Place::new();
    // As the other command has it.
    let folder = fs::File::open(place.drivers()).unwrap();
    folder.lock().unwrap();
    let refused = place.install(&place.download("1.0.0")).refused();
    drop(folder);
    assert_eq!(
        refused,
        format!(
            "another driver command is at work in {}; try again when it has ended",
            place.drivers().display()
        )
    );
    place.install(&place.download("1.0.0")).done();
}

#[test]
fn a_command_killed_at_any_moment_leaves_the_old_library_or_the_new_one() {
    let place = Place::new();
    let (old, new) = (place.download("1.0.0"), place.download("2.0.0"));
    place.install(&old).done();
    let digests = [digest(&old), digest(&new)];
    for round in 0..24_u64 {
        let command: &[&str] = match round % 3 {
            0 => &["install", path(&new)],
            1 => &["install", path(&old)],
            _ => &["rollback", "memory"],
        };
        let child = start(&place, command);
        thread::sleep(Duration::from_millis(round * 12));
        kill(child);
        assert!(digests.contains(&digest(&place.installed())), "round {round}");
        let strangers: Vec<_> = place.names().into_iter().filter(|name| !name.starts_with('.')).collect();
        assert!(strangers.iter().all(|name| name == MEMORY || name == PREVIOUS), "{strangers:?}");
    }
    place.install(&place.download("3.0.0")).done();
    assert_eq!(version(&place.installed()), "3.0.0");
    assert_eq!(place.names(), [MEMORY, PREVIOUS]);
}
