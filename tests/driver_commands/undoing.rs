//! `driver rollback` and `driver remove`.

use std::fs;

use crate::place::{MEMORY, PREVIOUS, Place, digest, ended, mode, path, version};

#[test]
fn rollback_exchanges_the_present_and_the_previous_version_and_back() {
    let place = Place::new();
    place.install(&place.download("1.0.0")).done();
    place.install(&place.download("2.0.0")).done();
    let output = place.driver(&["rollback", "memory"]).done();
    assert!(output.starts_with("memory 1.0.0 is installed:"), "{output}");
    assert!(output.contains("It replaces 2.0.0, which is kept as the previous version."), "{output}");
    assert_eq!((version(&place.installed()), version(&place.previous())), ("1.0.0".into(), "2.0.0".into()));
    place.driver(&["rollback", "memory", "--folder", path(&place.drivers())]).done();
    assert_eq!((version(&place.installed()), version(&place.previous())), ("2.0.0".into(), "1.0.0".into()));
    assert_eq!(place.names(), [MEMORY, PREVIOUS]);
}

#[test]
fn rollback_brings_back_a_driver_that_somebody_deleted() {
    let place = Place::new();
    place.install(&place.download("1.0.0")).done();
    place.install(&place.download("2.0.0")).done();
    fs::remove_file(place.installed()).unwrap();
    place.driver(&["rollback", "memory"]).done();
    assert_eq!(version(&place.installed()), "1.0.0");
    assert_eq!(place.names(), [MEMORY]);
}

#[test]
fn rollback_without_a_usable_previous_version_is_a_sentence() {
    let place = Place::new();
    let missing = place.driver(&["rollback", "memory"]).refused();
    assert!(missing.starts_with("no driver named `memory`: looked for"), "{missing}");
    let missing = place.driver(&["rollback", "memory", "--folder", path(&place.drivers())]).refused();
    assert_eq!(missing, format!("there is no driver named `memory` in {}", place.drivers().display()));
    place.install(&place.download("1.0.0")).done();
    let none = place.driver(&["rollback", "memory"]).refused();
    assert!(none.starts_with("there is no previous version of memory:"), "{none}");
    fs::write(place.previous(), "not a driver").unwrap();
    assert!(place.driver(&["rollback", "memory"]).refused().contains("is not a docker-registry driver"));
    fs::copy(place.installed(), place.previous()).unwrap();
    assert!(place.driver(&["rollback", "memory"]).refused().contains("are the same file"));
    assert_eq!(version(&place.installed()), "1.0.0");
    for name in ["../memory", "a/b", ""] {
        let refused = place.driver(&["rollback", name]).refused();
        assert!(refused.contains("cannot be a driver's name"), "{refused}");
    }
}

#[test]
fn remove_deletes_the_driver_and_its_previous_version_and_nothing_else() {
    let place = Place::new();
    place.install(&place.download("1.0.0")).done();
    place.install(&place.download("2.0.0")).done();
    fs::write(place.drivers().join("README"), "mine").unwrap();
    let output = place.driver(&["remove", "memory"]).done();
    assert!(output.contains(&format!("{} is deleted.", place.installed().display())), "{output}");
    assert_eq!(place.names(), ["README"]);
    let again = place.driver(&["remove", "memory"]).refused();
    assert!(again.starts_with("no driver named `memory`"), "{again}");
    assert!(place.driver(&["remove", "../x"]).refused().contains("cannot be a driver's name"));
}

#[test]
fn remove_says_which_flavor_still_names_the_driver() {
    let place = Place::new();
    place.install(&place.download("1.0.0")).done();
    fs::write(place.root().join("config.yml"), "dev:\n  storage: memory\n").unwrap();
    let output = place.driver(&["remove", "memory"]).done();
    assert!(
        output.contains("Note: flavor `dev` of") && output.contains("still says `storage: memory`"),
        "{output}"
    );
}

#[test]
fn of_several_folders_the_one_to_remove_from_must_be_named() {
    let place = Place::new();
    let second = place.root().join("second");
    fs::create_dir(&second).unwrap();
    mode(&second, 0o755);
    let file = place.download("1.0.0");
    place.install(&file).done();
    fs::copy(&file, second.join(MEMORY)).unwrap();
    let remove = |folder: Option<&str>| {
        let both = std::env::join_paths([&place.drivers(), &second]).unwrap();
        let mut command = place.program();
        command.env("DOCKER_REGISTRY_DRIVER_PATH", both).args(["driver", "remove", "memory"]);
        ended(command.args(folder.map(|folder| format!("--folder={folder}"))))
    };
    let refused = remove(None).refused();
    assert_eq!(
        refused,
        format!(
            "memory is in 2 folders, {} and {}; say which with --folder",
            place.drivers().display(),
            second.display()
        )
    );
    let output = remove(Some(path(&place.drivers()))).done();
    let left = second.join(MEMORY);
    assert!(
        output.contains(&format!("Note: from now on {} is the one that is used.", left.display())),
        "{output}"
    );
    assert!(place.names().is_empty() && digest(&left) == digest(&file));
}
