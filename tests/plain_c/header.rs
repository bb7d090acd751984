//! The committed header: made from the definitions, and taken by strict compilers of both languages.

use std::{fs, path::Path, process::Command};

use docker_registry_tests::c_header;

use crate::building::{include, run};

const SMALLEST: &str = "#include \"docker_registry_driver.h\"\n\
    static const struct docker_registry_driver driver = {0};\n\
    DOCKER_REGISTRY_DRIVER(smallest, \"0.1.0\", driver);\n";

#[test]
fn the_header_is_the_one_that_the_definitions_make() {
    let committed = fs::read_to_string(c_header::path()).expect("the committed header");
    assert!(committed == c_header::text(), "the definitions have changed: run `cargo xtask header`");
}

#[test]
fn nothing_that_an_author_needs_is_missing() {
    let text = c_header::text();
    // Names that the comments speak of must be there, as they are written.
    let mut checked = 0;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for word in text.split(|c: char| !is_part(c)) {
        let is_name = word.starts_with("DOCKER_REGISTRY_") || word.starts_with("docker_registry_");
        if is_name && !word.ends_with('_') && word != "docker_registry_driver" {
            let used = text.match_indices(word).any(|(at, _)| {
                let line = text[..at].rsplit('\n').next().unwrap_or_default();
                let is_comment = line.trim_start().starts_with("//") || line.trim_start().starts_with('*');
                let ends = text[at + word.len()..].chars().next().is_none_or(|c| !is_part(c));
                !is_comment && ends
            });
            assert!(used, "{word} stands in comments only");
            checked += 1;
        }
    }
    assert!(checked > 300, "only {checked} names were found");
    assert!(!text.contains("Plain"), "a Rust name is in the header");
}

fn compiles(compiler: &str, file: &Path, arguments: &[&str]) {
    let mut command = Command::new(compiler);
    command.args(arguments).args(["-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]);
    command.arg("-Wno-missing-field-initializers").arg("-I").arg(include()).arg(file);
    let output = run(&mut command);
    assert!(
        output.status.success(),
        "{compiler} {arguments:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn strict_compilers_of_c_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("smallest.c");
    fs::write(&file, SMALLEST).unwrap();
    for standard in ["-std=c99", "-std=c11", "-std=c17", "-std=gnu11"] {
        compiles("cc", &file, &[standard]);
    }
}

#[test]
fn a_compiler_of_cpp_takes_it_where_there_is_one() {
    if Command::new("g++").arg("--version").output().is_err() {
        println!("there is no g++ on this machine, so nothing was compiled");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("smallest.cc");
    fs::write(&file, SMALLEST.replace("{0}", "{}")).unwrap();
    for standard in ["-std=c++11", "-std=c++20"] {
        compiles("g++", &file, &[standard]);
    }
}
