//! `driver install` of a library: what is put where, what is kept, what is refused, what is printed.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use docker_registry_tests::artifacts;

use crate::place::{MEMORY, PREVIOUS, Place, digest, ended, memory, mode, path, version};

#[test]
fn a_library_is_put_into_the_driver_folder_under_its_name() {
    let place = Place::new();
    let file = place.download("1.0.0");
    mode(&file, 0o600);
    let output = place.install(&file).done();
    assert!(
        output.starts_with(&format!("memory 1.0.0 is installed: {}\n", place.installed().display())),
        "{output}"
    );
    assert_eq!(place.names(), [MEMORY]);
    assert_eq!(fs::read(place.installed()).unwrap(), memory("1.0.0"));
    let mode = place.installed().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "servers of other users read it as well");
    assert!(
        place
            .driver(&["list"])
            .done()
            .lines()
            .any(|line| line.starts_with("memory ") && line.contains("1.0.0"))
    );
}

#[test]
fn what_was_there_is_kept_as_the_previous_version_which_is_no_driver_for_a_search() {
    let place = Place::new();
    place.install(&place.download("1.0.0")).done();
    let output = place.install(&place.download("1.1.0")).done();
    assert!(output.contains("It replaces 1.0.0; `docker-registry driver rollback memory` brings it back."));
    assert!(
        output.contains("No running process that can be seen from here has the old file loaded."),
        "{output}"
    );
    assert_eq!(place.names(), [MEMORY, PREVIOUS]);
    assert_eq!((version(&place.installed()), version(&place.previous())), ("1.1.0".into(), "1.0.0".into()));
    let list: serde_json::Value = serde_json::from_str(&place.driver(&["list", "--json"]).done()).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    // A third one replaces the kept one.
    let output = place.install(&place.download("1.0.9")).done();
    assert!(output.contains("It is older than 1.1.0, which it replaces"), "{output}");
    assert_eq!((version(&place.installed()), version(&place.previous())), ("1.0.9".into(), "1.1.0".into()));
}

#[test]
fn the_same_file_again_changes_nothing_and_says_so() {
    let place = Place::new();
    let file = place.download("1.0.0");
    place.install(&place.download("0.9.0")).done();
    place.install(&file).done();
    let before = fs::metadata(place.installed()).unwrap().modified().unwrap();
    let output = place.install(&file).done();
    assert!(
        output.starts_with("memory 1.0.0 is installed already") && output.contains("Nothing was changed.")
    );
    assert_eq!(fs::metadata(place.installed()).unwrap().modified().unwrap(), before);
    assert_eq!(version(&place.previous()), "0.9.0");
    assert_eq!(place.names(), [MEMORY, PREVIOUS]);
}

#[test]
fn a_driver_under_the_name_of_its_package_is_replaced_there() {
    let place = Place::new();
    let dashed = place.drivers().join("docker-registry-driver-memory.so");
    fs::copy(place.download("1.0.0"), &dashed).unwrap();
    place.install(&place.download("1.1.0")).done();
    assert_eq!(version(&dashed), "1.1.0");
    assert_eq!(
        place.names(),
        ["docker-registry-driver-memory.so", "docker-registry-driver-memory.so.previous"]
    );
}

#[test]
fn a_damaged_driver_is_replaced_and_not_kept() {
    let place = Place::new();
    place.install(&place.download("0.8.0")).done();
    place.install(&place.download("0.9.0")).done();
    fs::remove_file(place.installed()).unwrap();
    fs::write(place.installed(), "half a download").unwrap();
    let output = place.install(&place.download("1.0.0")).done();
    assert!(output.contains("What was there could not be used, and is not kept:"), "{output}");
    assert_eq!((version(&place.installed()), version(&place.previous())), ("1.0.0".into(), "0.8.0".into()));
}

#[test]
fn a_digest_is_compared_before_anything_is_run_or_changed() {
    let place = Place::new();
    let file = place.download("1.0.0");
    let other = "0".repeat(64);
    let refused = place.driver(&["install", path(&file), "--sha256", &other]).refused();
    let right = digest(&file);
    assert_eq!(
        refused,
        format!(
            "{} is not the file that was expected: its SHA-256 is {right}, not {other}; download it again",
            file.display()
        )
    );
    assert_eq!(place.names(), [""; 0]);
    place.driver(&["install", path(&file), "--sha256", &right.to_uppercase()]).done();
    assert_eq!(place.driver(&["install", path(&file), "--sha256", "abc"]).code, 2);
}

#[test]
fn what_is_no_driver_is_refused_by_its_own_name_and_leaves_nothing() {
    let place = Place::new();
    let file = place.downloads().join("download.so");
    let library = memory("1.0.0");
    let mut other_machine = library.clone();
    let machine: u16 = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    other_machine[18..20].copy_from_slice(&machine.to_le_bytes());
    let mut other_api = library.clone();
    let at = library.windows(7).position(|bytes| bytes == b"api=1.2").unwrap();
    other_api[at..at + 7].copy_from_slice(b"api=2.0");
    for (content, sentence) in [
        (&b"hello"[..], "it is neither a shared library nor a tar archive"),
        (&b""[..], "the archive holds no shared library"),
        (&library[..library.len() / 2], "is cut off"),
        (&other_machine[..], "is built for"),
        (&other_api[..], "was built against driver API 2.0, this server speaks 1.2"),
    ] {
        fs::write(&file, content).unwrap();
        let refused = place.install(&file).refused();
        assert!(refused.starts_with(path(&file)) && refused.contains(sentence), "{refused}");
        assert!(!refused.contains('\n'), "{refused}");
        assert_eq!(place.names(), [""; 0]);
    }
    assert!(place.install(&place.downloads().join("missing.so")).refused().contains("cannot be read"));
    assert!(place.install(&place.downloads()).refused().ends_with("is not a file"));
}

/// A library with the driver note and nothing behind it, whose constructor ends the process.
#[test]
fn a_library_that_crashes_when_it_is_loaded_takes_only_the_child_with_it() {
    let place = Place::new();
    let (source, library) = (place.downloads().join("crash.c"), place.downloads().join("crash.so"));
    fs::write(
        &source,
        r#"
        #include <stdlib.h>
        __attribute__((section(".note.docker-registry-driver"), used, aligned(4)))
        static const struct { unsigned owner, content, type; char name[24]; char text[36]; } note =
            { 23, 36, 1, "docker-registry-driver", "name=memory\napi=1.0\nversion=6.6.6\n\n\n" };
        __attribute__((constructor)) static void run(void) { abort(); }
        "#,
    )
    .unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.expect("a C compiler is there, since Rust links with it").success());
    place.install(&place.download("1.0.0")).done();
    let refused = place.install(&library).refused();
    assert!(refused.starts_with(path(&library)) && refused.contains("it crashed: SIGABRT"), "{refused}");
    assert_eq!(place.names(), [MEMORY]);
    assert_eq!(version(&place.installed()), "1.0.0");
}

#[test]
fn the_printed_flavor_and_pin_make_a_configuration_that_is_checked() {
    let place = Place::new();
    let output = place.install(&place.download("1.0.0")).done();
    assert!(output.contains("No key must be set."), "{output}");
    let section: String = output
        .lines()
        .skip_while(|line| !line.starts_with("memory:"))
        .take_while(|line| !line.is_empty())
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(section.contains("    page_size: _env:MEMORY_PAGE_SIZE:1000\n"), "{output}");
    let pin = output.lines().last().unwrap();
    let file = place.root().join("config.yml");
    let sample = fs::read_to_string(artifacts::workspace().join("config/config_sample.yml")).unwrap();
    fs::write(&file, format!("{sample}\n{section}{pin}\n")).unwrap();
    let check = || ended(place.program().env("SETTINGS_FLAVOR", "memory").args(["config", "check"]));
    let checked = check().done();
    assert!(checked.contains("driver memory 1.0.0 at") && checked.contains("flavor `memory`"), "{checked}");
    // The pin holds: another build is not loaded, and installing one says so.
    let output = ended(
        place
            .program()
            .env("SETTINGS_FLAVOR", "memory")
            .args(["driver", "install"])
            .arg(place.download("1.1.0")),
    )
    .done();
    assert!(
        output.contains("no server starts with this file before its digest is written there"),
        "{output}"
    );
    let checked = check();
    assert_eq!(checked.code, 64);
    assert!(checked.output.contains("is not the file that `driver_sha256` allows"), "{}", checked.output);
}

#[test]
fn the_folder_is_the_first_that_can_be_written_to_or_the_one_that_is_named() {
    let place = Place::new();
    let (first, named) = (place.root().join("not there"), place.root().join("named"));
    let variable = std::env::join_paths([&first, &place.drivers()]).unwrap();
    let file = place.download("1.0.0");
    ended(place.program().env("DOCKER_REGISTRY_DRIVER_PATH", variable).args([
        "driver",
        "install",
        path(&file),
    ]))
    .done();
    assert_eq!(place.names(), [MEMORY]);

    let refused = place.driver(&["install", path(&file), "--folder", path(&named)]).refused();
    assert_eq!(refused, format!("{0} is not a folder; create it with `mkdir -p {0}`", named.display()));
    fs::create_dir(&named).unwrap();
    mode(&named, 0o755);
    let output = place.driver(&["install", path(&file), "--folder", path(&named)]).done();
    assert!(named.join(MEMORY).exists());
    let used = place.installed();
    assert!(
        output.contains(&format!("Note: {} comes first in the search order", used.display())),
        "{output}"
    );
    // A folder that no server looks into.
    fs::remove_file(used).unwrap();
    let output = place.driver(&["install", path(&file), "--folder", path(&named)]).done();
    assert!(
        output.contains(&format!("add `drivers: [{}]` to the configuration", named.display())),
        "{output}"
    );
}

#[test]
fn a_folder_that_others_can_write_to_is_refused_before_anything_is_put_there() {
    let place = Place::new();
    mode(&place.drivers(), 0o777);
    let refused = place.install(&place.download("1.0.0")).refused();
    assert!(
        refused.ends_with(&format!("run `chmod o-w {}`", place.drivers().display()))
            || refused.ends_with(&format!("run `chmod go-w {}`", place.drivers().display())),
        "{refused}"
    );
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn help_has_examples() {
    let place = Place::new();
    for command in ["install", "rollback", "remove"] {
        let help = place.driver(&[command, "--help"]).done();
        assert!(help.contains("Examples:") && help.contains("--folder"), "{help}");
    }
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_and_left_out_unless_it_was_asked_for() {
    let place = Place::new();
    fs::write(place.root().join("config.yml"), "dev: [\n").unwrap();
    let installed = place.install(&place.download("1.0.0"));
    assert_eq!(installed.code, 0, "{}", installed.errors);
    let note = "Note: the configuration is left out, its driver folders and pins too:\n./config.yml";
    assert!(installed.errors.starts_with(note), "{}", installed.errors);
    let inspected = place.driver(&["inspect", "memory", "--config", "config.yml"]);
    assert_eq!(inspected.code, 64, "{}", inspected.errors);
    assert!(inspected.errors.contains("config.yml"), "{}", inspected.errors);
}
