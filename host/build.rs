//! Gathers the sources of the driver API for `driver new`, which writes them into new projects.
//!
//! They go into the program as text, so that an installed server can start a driver project on a machine
//! that has neither this tree nor a network. No path of the building machine gets into the program.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

/// Folders that hold nothing a driver is built from.
const LEFT_OUT: [&str; 4] = ["benches", "examples", "target", "tests"];
/// Endings of the files that are taken.
const TAKEN: [&str; 4] = ["h", "md", "rs", "toml"];

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../driver-api");
    println!("cargo::rerun-if-changed={}", root.display());
    let root = root.canonicalize()?;
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.strip_prefix(&root).expect("the file is below the root");
        writeln!(list, "({name:?}, include_str!({file:?})),").expect("text can be written");
    }
    list.push(']');
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("driver_api.rs");
    fs::write(target, list)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !LEFT_OUT.contains(&name) && !name.starts_with('.') {
                collect(&path, files)?;
            }
        } else if path.extension().and_then(|ending| ending.to_str()).is_some_and(|e| TAKEN.contains(&e)) {
            files.push(path);
        }
    }
    Ok(())
}
