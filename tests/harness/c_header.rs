//! The header for drivers in plain C, as it follows from the Rust definitions.
//!
//! `cargo xtask header` writes it and a test compares it with the committed one, so that neither can go without the
//! other. The generator is cbindgen, which takes over structs, numbers and comments; what C wants besides, an
//! introduction, a macro and inline functions, stands in two files beside the definitions.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

use crate::artifacts;

/// The definitions, in the order in which they appear in the header.
const DEFINITIONS: [&str; 3] = ["codes.rs", "values.rs", "table.rs"];

/// Where the header lies.
pub fn path() -> PathBuf {
    artifacts::workspace().join("driver-api/include/docker_registry_driver.h")
}

/// The text of the header.
///
/// # Panics
/// When the definitions cannot be read or turned into C.
pub fn text() -> String {
    let folder = artifacts::workspace().join("driver-api/src/abi/plain_c");
    let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a readable definition");
    let mut config = Config {
        language: Language::C,
        style: Style::Tag,
        header: Some(read("introduction.h")),
        trailer: Some(read("macros.h")),
        no_includes: true,
        after_includes: Some(
            "#ifndef DOCKER_REGISTRY_DRIVER_H\n#define DOCKER_REGISTRY_DRIVER_H\n\n\
             #include <stddef.h>\n#include <stdint.h>\n#include <string.h>\n\nstruct docker_registry_call;"
                .to_owned(),
        ),
        documentation_style: DocumentationStyle::C99,
        usize_is_size_t: true,
        line_length: 110,
        tab_width: 4,
        ..Config::default()
    };
    config.export.include = DEFINITIONS.iter().flat_map(|name| structs(&read(name))).collect();
    config.export.rename = DEFINITIONS.iter().flat_map(|name| names(&read(name))).collect::<HashMap<_, _>>();
    let mut builder = Builder::new().with_config(config);
    for name in DEFINITIONS {
        builder = builder.with_src(folder.join(name));
    }
    let mut text = Vec::new();
    builder.generate().expect("the definitions can be written in C").write(&mut text);
    String::from_utf8(text).expect("the sources are UTF-8")
}

/// Writes the header. Returns where.
pub fn write() -> PathBuf {
    let path = path();
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).expect("a folder for the header");
    fs::write(&path, text()).expect("the header can be written");
    path
}

/// Names of the structs in a source.
fn structs(source: &str) -> Vec<String> {
    declared(source, "pub struct ").collect()
}

/// Each name of a source with the one that it has in C.
fn names(source: &str) -> Vec<(String, String)> {
    let structs = declared(source, "pub struct ").map(|name| {
        let mut c_name = "docker_registry".to_owned();
        for letter in name.trim_start_matches("Plain").chars() {
            if letter.is_ascii_uppercase() {
                c_name.push('_');
            }
            c_name.push(letter.to_ascii_lowercase());
        }
        (name, c_name)
    });
    let numbers = declared(source, "pub const ").map(|name| {
        let c_name = format!("DOCKER_REGISTRY_{name}");
        (name, c_name)
    });
    structs.chain(numbers).collect()
}

fn declared(source: &str, keyword: &str) -> impl Iterator<Item = String> {
    source.lines().filter_map(move |line| {
        let name = line.strip_prefix(keyword)?;
        Some(name.split(|c: char| !c.is_alphanumeric() && c != '_').next()?.to_owned())
    })
}
