//! Files that are refused, each with its sentence, before any of their code runs.

use std::{fs, path::Path, process::Command};

use docker_registry::plugin::{LibraryFile, PluginError, load};

use crate::{built_libraries, search};

const MEMORY: &str = "libdocker_registry_driver_memory.so";

fn refusal(file: &Path) -> String {
    LibraryFile::open(file).expect_err("the file must be refused").to_string()
}

#[test]
fn a_text_file_and_an_empty_one_are_no_drivers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(MEMORY);
    fs::write(&file, "#!/bin/sh\necho hello\n").unwrap();
    assert_eq!(
        refusal(&file),
        format!("{} is not a docker-registry driver: it is not an ELF shared library", file.display())
    );
    fs::write(&file, "").unwrap();
    assert!(refusal(&file).ends_with("the file is empty"));
}

#[test]
fn a_library_cut_at_any_place_is_refused() {
    let whole = fs::read(built_libraries().join(MEMORY)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(MEMORY);
    for part in 1..20 {
        let cut = whole.len() * part / 20;
        fs::write(&file, &whole[..cut]).unwrap();
        let error = LibraryFile::open(&file).unwrap_err();
        assert!(matches!(error, PluginError::Truncated { .. }), "cut at {cut}: {error}");
    }
    fs::write(&file, &whole[..whole.len() - 1]).unwrap();
    assert!(refusal(&file).contains("is cut off"));
    fs::write(&file, &whole[..40]).unwrap();
    assert!(LibraryFile::open(&file).is_err());
}

#[test]
fn another_architecture_is_named() {
    let mut library = fs::read(built_libraries().join(MEMORY)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(MEMORY);
    let other: u16 = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    library[18..20].copy_from_slice(&other.to_le_bytes());
    fs::write(&file, &library).unwrap();
    let name = if cfg!(target_arch = "x86_64") { "aarch64" } else { "x86_64" };
    assert!(
        refusal(&file).contains(&format!("is built for {name}, this server runs on")),
        "{}",
        refusal(&file)
    );
}

#[test]
fn a_foreign_library_never_runs_its_constructor() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("foreign.c"), folder.path().join(MEMORY));
    let witness = folder.path().join("witness");
    fs::write(
        &source,
        format!(
            "#include <stdio.h>\n__attribute__((constructor)) static void run(void) {{ fclose(fopen(\"{}\", \"w\")); }}\n",
            witness.display()
        ),
    )
    .unwrap();
    let status = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(status.expect("a C compiler is there, since Rust links with it").success());
    let Err(error) = load(&search(folder.path()), "memory") else { panic!("a foreign library was loaded") };
    assert!(error.to_string().ends_with("it is a shared library without the driver note"), "{error}");
    assert!(!witness.exists(), "the constructor ran");
}

#[test]
fn a_driver_under_another_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(built_libraries().join(MEMORY), folder.path().join("libdocker_registry_driver_s3.so")).unwrap();
    let Err(error) = load(&search(folder.path()), "s3") else { panic!("the wrong driver was loaded") };
    assert!(error.to_string().contains("holds the driver `memory`, not `s3`"), "{error}");
}

#[test]
fn another_major_api_version_is_named_with_both_versions() {
    let mut library = fs::read(built_libraries().join(MEMORY)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(MEMORY);
    let place = library.windows(7).position(|bytes| bytes == b"api=1.2").unwrap();
    library[place..place + 7].copy_from_slice(b"api=2.0");
    fs::write(&file, &library).unwrap();
    assert!(
        refusal(&file).contains(
            "was built against driver API 2.0, this server speaks 1.2; rebuild the driver against 1.x"
        ),
        "{}",
        refusal(&file)
    );
}

/// The number under which the loader knows the name of a symbol version.
fn loader_hash(name: &[u8]) -> u32 {
    name.iter().fold(0u32, |hash, byte| {
        let hash = (hash << 4).wrapping_add(u32::from(*byte));
        let high = hash & 0xf000_0000;
        (hash ^ (high >> 24)) & !high
    })
}

/// Puts other bytes in the place of those, wherever they are.
fn replace(content: &mut [u8], old: &[u8], new: &[u8]) {
    assert_eq!(old.len(), new.len());
    let places: Vec<usize> =
        content.windows(old.len()).enumerate().filter(|(_, bytes)| *bytes == old).map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "the library has what is replaced");
    for at in places {
        content[at..at + new.len()].copy_from_slice(new);
    }
}

#[test]
fn a_driver_that_needs_a_newer_glibc_is_refused_with_both_versions() {
    let needed = LibraryFile::open(&built_libraries().join(MEMORY)).unwrap().needed_glibc();
    let needed = needed.expect("a library in Rust needs glibc").to_string();
    let (old, new) = (format!("GLIBC_{needed}"), b"GLIBC_9.99");
    assert_eq!(old.len(), new.len(), "{old}");
    let mut library = fs::read(built_libraries().join(MEMORY)).unwrap();
    replace(&mut library, old.as_bytes(), new);
    replace(&mut library, &loader_hash(old.as_bytes()).to_le_bytes(), &loader_hash(new).to_le_bytes());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(MEMORY);
    fs::write(&file, &library).unwrap();

    let system = Command::new("getconf").arg("GNU_LIBC_VERSION").output().expect("getconf is part of glibc");
    let system = String::from_utf8(system.stdout).unwrap();
    let system = system.trim().strip_prefix("glibc ").expect("a version");
    let sentence = refusal(&file);
    let expected =
        format!("{} needs glibc 9.99 and this system has {system}; install a build", file.display());
    assert!(sentence.starts_with(&expected), "{sentence}");
    // A server that is to run it says the same, and no word of the loader.
    let Err(error) = load(&search(folder.path()), "memory") else { panic!("it was loaded") };
    assert_eq!(error.to_string(), sentence);
}
