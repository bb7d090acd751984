//! `docker-registry htpasswd`: adds, removes and checks.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use docker_registry_tests::artifacts;

use crate::place::htpasswd;

/// Runs `docker-registry htpasswd` with a line of input.
fn run(arguments: &[&str], file: &Path, more: &[&str], input: &str) -> Output {
    let mut child = Command::new(artifacts::folder().join("docker-registry"))
        .arg("htpasswd")
        .args(arguments)
        .arg(file)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // It may end without reading.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

#[test]
fn users_are_added_changed_checked_and_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("htpasswd");
    let added = run(&["add"], &file, &["ann", "--stdin"], "one\n");
    assert_eq!(code(&added), 0, "{added:?}");
    assert_eq!(fs::metadata(&file).expect("a file").mode() & 0o777, 0o640);
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.starts_with("ann:$2y$10$") && !text.contains("one"), "{text}");
    assert_eq!(code(&run(&["check"], &file, &["ann", "--stdin"], "one\n")), 0);
    assert_eq!(code(&run(&["check"], &file, &["ann", "--stdin"], "two\n")), 1);
    assert_eq!(code(&run(&["check"], &file, &["bob", "--stdin"], "one\n")), 1);

    assert_eq!(code(&run(&["add", "--stdin"], &file, &["ann"], "two\n")), 0);
    assert_eq!(code(&run(&["check", "--stdin"], &file, &["ann"], "two\n")), 0);
    // Apache's program reads what ours wrote.
    let verified = Command::new("htpasswd").args(["-v", "-b"]).arg(&file).args(["ann", "two"]).output();
    assert!(verified.expect("htpasswd runs").status.success());

    assert_eq!(code(&run(&["remove"], &file, &["ann"], "")), 0);
    assert_eq!(fs::read_to_string(&file).expect("a file"), "");
    assert_eq!(code(&run(&["remove"], &file, &["ann"], "")), 1);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left there");
}

#[test]
fn commands_at_once_lose_nobody() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("htpasswd");
    let users: Vec<String> = (0..12).map(|number| format!("user{number}")).collect();
    std::thread::scope(|scope| {
        for user in &users {
            let file = &file;
            scope.spawn(move || {
                assert_eq!(code(&run(&["add", "--stdin"], file, &[user], "one\n")), 0, "{user}")
            });
        }
    });
    let text = fs::read_to_string(&file).expect("a file");
    let mut lines: Vec<&str> = text.lines().map(|line| line.split(':').next().expect("a name")).collect();
    lines.sort_unstable();
    let mut expected: Vec<&str> = users.iter().map(String::as_str).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left there");
}

#[test]
fn the_rest_of_the_file_its_mode_and_a_link_to_it_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, link) = (folder.path().join("passwords"), folder.path().join("htpasswd"));
    fs::write(&file, "# the team\nbob:plain\n\n").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o604)).expect("a mode");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    assert_eq!(code(&run(&["add", "--stdin"], &link, &["ann"], "one\n")), 0);
    let text = fs::read_to_string(&file).expect("a file");
    assert!(text.starts_with("# the team\nbob:plain\n\nann:$2y$"), "{text}");
    assert_eq!(fs::metadata(&file).expect("a file").mode() & 0o777, 0o604);
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
}

#[test]
fn names_and_passwords_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("htpasswd");
    let long = "x".repeat(73);
    for (user, password) in
        [("a:b", "p"), ("", "p"), ("#ann", "p"), ("ann ", "p"), ("ann", ""), ("ann", "a\tb"), ("ann", &long)]
    {
        let output = run(&["add", "--stdin"], &file, &[user], &format!("{password}\n"));
        assert_eq!(code(&output), 1, "{user} {password}: {output:?}");
    }
    // A password is no argument, and a cost that is too low is none.
    assert_eq!(code(&run(&["add"], &file, &["ann", "password"], "")), 2);
    assert_eq!(code(&run(&["add", "--cost", "4", "--stdin"], &file, &["ann"], "p\n")), 2);
    assert!(!file.exists());
}

#[test]
fn check_says_what_every_line_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("htpasswd");
    htpasswd(&["-c", "-m"], &file, "ann", "secret");
    htpasswd(&["-B"], &file, "bob", "secret");
    let output = run(&["check"], &file, &[], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(code(&output), 0, "{text}");
    assert!(
        text.contains("line 1: ann: Apache MD5 (apr1); weak") && text.contains("line 2: bob: bcrypt\n"),
        "{text}"
    );
    fs::write(&file, "ann:secret\n").expect("a file");
    let output = run(&["check"], &file, &[], "");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(code(&output), 1, "{text}");
    assert!(text.contains("line 1: the password of `ann`") && !text.contains("secret"), "{text}");
}
