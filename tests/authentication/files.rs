//! Password files as `htpasswd` and `openssl passwd` write them, and what happens when they change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use docker_registry_tests::artifacts;
use docker_registry_tests::process::run;

use crate::place::{Files, SECRET, htpasswd};

fn openssl(option: &str, password: &str) -> String {
    run(Command::new("openssl").args(["passwd", option, password])).trim().to_owned()
}

#[test]
fn every_scheme_of_htpasswd_and_openssl_lets_in_the_right_password_only() {
    let files = Files::new("");
    let mut users = Vec::new();
    for (user, option) in [("bcrypt", "-B"), ("apache-md5", "-m"), ("sha1", "-s"), ("des", "-d")] {
        htpasswd(&[option], &files.passwords(), user, "pass w\u{f6}");
        users.push((user.to_owned(), "pass w\u{f6}"));
    }
    for option in ["-1", "-5", "-6", "-apr1"] {
        for password in ["x", "a password of more than sixteen bytes, and then of more than sixty-four bytes"]
        {
            let user = format!("openssl{option}-{}", password.len());
            files.add_line(&format!("{user}:{}", openssl(option, password)));
            users.push((user, password));
        }
    }
    let registry = files.start();
    for (user, password) in &users {
        assert!(registry.lets_in(user, password), "{user}");
        // A fresh server for each would be fairer to its limits; one wrong try for each user stays below them.
        assert!(!registry.lets_in(user, &format!("x{password}")), "{user} with a wrong password");
    }
}

#[test]
fn a_line_in_plain_text_or_an_unknown_scheme_is_named_and_lets_nobody_in() {
    let files = Files::new("");
    files.add_line("plain:password");
    files.add_line("argon:$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaA");
    let registry = files.start();
    assert!(!registry.lets_in("plain", "password") && !registry.lets_in("argon", ""));
    assert!(registry.lets_in("ann", SECRET));
    let log = registry.server.process().log();
    assert!(log.contains("line 2: the password of `plain`") && log.contains("line 3:"), "{log}");
    assert!(!log.contains("plain:password") && !log.contains(SECRET), "{log}");
}

#[test]
fn a_changed_file_counts_without_a_restart() {
    let registry = Files::new("").start();
    assert!(registry.lets_in("ann", SECRET), "remembered from now on");
    registry.files.set("ann", "another");
    registry.wait_until("the old password is refused", |registry| {
        // A new server answer, not the limit: few failures are made here.
        registry.ask_as("ann", SECRET, "GET", "/v2/").status != 200
    });
    assert!(registry.lets_in("ann", "another"));
    registry.files.set("bob", "b");
    registry.wait_until("a new user gets in", |registry| {
        registry.ask_as("bob", "b", "GET", "/v2/").status == 200
    });
    fs::write(registry.files.passwords(), "").expect("the file can be written");
    registry.wait_until("nobody is left", |registry| {
        registry.ask_as("ann", "another", "GET", "/v2/").status != 200
    });
}

#[test]
fn a_file_that_vanishes_or_is_open_to_all_keeps_what_was_read() {
    let registry = Files::new("").start();
    let path = registry.files.passwords();
    let kept = path.with_extension("kept");
    fs::rename(&path, &kept).expect("a file can be renamed");
    registry.wait_until("the server notices", |registry| {
        registry.server.process().log().contains("the users that were read before stay")
    });
    assert!(registry.lets_in("ann", SECRET) && !registry.lets_in("ann", "other"));

    // Everybody could have written it.
    fs::write(&kept, "mallory:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n").expect("a file");
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o666)).expect("a mode");
    fs::rename(&kept, &path).expect("a file can be renamed");
    registry
        .wait_until("the server notices", |registry| registry.server.process().log().contains("chmod o-w"));
    assert!(!registry.lets_in("mallory", "password") && registry.lets_in("ann", SECRET));

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");
    registry.wait_until("the new file counts", |registry| {
        registry.ask_as("mallory", "password", "GET", "/v2/").status == 200
    });
}

#[test]
fn without_a_usable_file_the_server_does_not_start() {
    for (what, prepare) in [
        ("cannot be read", (|files| fs::remove_file(files.passwords()).expect("a file")) as fn(&Files)),
        ("may write", |files| {
            fs::set_permissions(files.passwords(), fs::Permissions::from_mode(0o666)).expect("a mode");
        }),
        ("is not a password file", |files| {
            fs::write(files.passwords(), b"ann:\xff\xfe").expect("a file");
        }),
    ] {
        let files = Files::new("");
        prepare(&files);
        let mut command = Command::new(artifacts::folder().join("docker-registry"));
        command.arg("serve").arg(files.configuration()).args(["--bind", "127.0.0.1:0"]);
        command.env("STORAGE_PATH", files.passwords().with_extension("storage")).env("REGISTRY_ADMIN", "off");
        command.env("DOCKER_REGISTRY_DRIVER_PATH", artifacts::folder()).env_remove("SETTINGS_FLAVOR");
        let output = command.output().expect("the server starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{what}: {text}");
        assert!(text.contains(what), "{text}");
    }
}
