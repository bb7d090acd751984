//! `driver install` of archives: packed in every way, hostile, too large.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use tar::{Builder, EntryType, Header};

use crate::place::{MEMORY, Place, memory, version};

/// An archive of these members.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A member as no well-behaved program writes it.
fn odd_member(kind: EntryType, name: &str, link: &Path, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    if kind != EntryType::Regular {
        header.set_link_name(link).unwrap();
    }
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn download(place: &Place, name: &str, bytes: &[u8]) -> PathBuf {
    let path = place.downloads().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn the_one_driver_in_an_archive_is_installed_however_it_is_packed() {
    let plain = |version: &str| {
        archive(&[
            ("driver-1/README.md", b"Read me."),
            ("driver-1/LICENSE", b"Apache-2.0"),
            ("driver-1/lib/whatever.so", &memory(version)),
        ])
    };
    let place = Place::new();
    let install = |name: &str, bytes: &[u8], expected: &str| {
        place.install(&download(&place, name, bytes)).done();
        assert_eq!(version(&place.installed()), expected, "{name}");
    };
    install("driver.tar", &plain("1.0.0"), "1.0.0");
    install("driver.tar.gz", &gzip(&plain("1.0.1")), "1.0.1");
    // By the bytes, not by the name.
    install("driver.zip", &gzip(&plain("1.0.2")), "1.0.2");
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(&plain("1.0.3")).unwrap();
    install("driver.tar.bz2", &encoder.finish().unwrap(), "1.0.3");
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(&plain("1.0.4")).unwrap();
    install("driver.tar.xz", &encoder.finish().unwrap(), "1.0.4");
    install("driver.so.gz", &gzip(&memory("1.0.5")), "1.0.5");
}

#[test]
fn an_archive_without_a_driver_or_with_several_is_refused() {
    let place = Place::new();
    let refused = |members: &[(&str, &[u8])]| {
        place.install(&download(&place, "driver.tar", &archive(members))).refused()
    };
    assert!(refused(&[("README", b"hello")]).ends_with("the archive holds no shared library"));
    let library = memory("1.0.0");
    let several = refused(&[("a.so", &library), ("b.so", &memory("1.1.0"))]);
    assert!(several.contains("the archive holds 2 drivers, a.so and b.so"), "{several}");
    let broken = refused(&[("a.so", &library[..library.len() / 2])]);
    assert!(broken.contains("driver.tar/a.so is cut off"), "{broken}");
    let cut = &archive(&[("a.so", &library)])[..100_000];
    let cut = place.install(&download(&place, "cut.tar", cut)).refused();
    assert!(cut.contains("cut.tar"), "{cut}");
    let cut = &gzip(&archive(&[("a.so", &library)]))[..100_000];
    let cut = place.install(&download(&place, "cut.tar.gz", cut)).refused();
    assert!(cut.contains("cut.tar.gz"), "{cut}");
    assert_eq!(place.names(), [""; 0]);
}

#[test]
fn of_builds_for_several_machines_the_one_for_this_machine_is_taken() {
    let place = Place::new();
    let library = memory("1.0.0");
    let mut other = library.clone();
    let machine: u16 = if cfg!(target_arch = "x86_64") { 183 } else { 62 };
    other[18..20].copy_from_slice(&machine.to_le_bytes());
    let both = archive(&[("one/x.so", &other), ("other/x.so", &library)]);
    place.install(&download(&place, "both.tar", &both)).done();
    assert_eq!(fs::read(place.installed()).unwrap(), library);
}

#[test]
fn names_that_leave_the_folder_and_links_write_nothing_anywhere() {
    let place = Place::new();
    let outside = place.root().join("outside");
    fs::create_dir(&outside).unwrap();
    let victim = outside.join("victim");
    fs::write(&victim, "as it was").unwrap();
    let library = memory("1.0.0");
    let mut bytes = Vec::new();
    bytes.extend(odd_member(EntryType::Symlink, MEMORY, &victim, b""));
    bytes.extend(odd_member(EntryType::Link, "hard.so", &victim, b""));
    bytes.extend(odd_member(EntryType::Symlink, "drivers", &outside, b""));
    bytes.extend(odd_member(EntryType::Regular, "drivers/through-the-link", Path::new(""), b"evil"));
    bytes.extend(odd_member(EntryType::Regular, "../outside/above", Path::new(""), b"evil"));
    bytes.extend(odd_member(EntryType::Regular, "../../outside/driver.so", Path::new(""), &library));
    bytes.resize(bytes.len() + 1024, 0);
    place.install(&download(&place, "driver.tar", &bytes)).done();
    assert_eq!(place.names(), [MEMORY]);
    assert!(place.installed().symlink_metadata().unwrap().is_file());
    assert_eq!(version(&place.installed()), "1.0.0");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "as it was");
}

#[test]
fn what_unpacks_to_more_than_the_limit_is_refused() {
    let place = Place::new();
    // Many times the same packed zeros: 1.25 GiB in a file of some 100 KiB.
    let chunk = gzip(&vec![0; 16 << 20]);
    let mut header = Header::new_ustar();
    header.set_path("zeros").unwrap();
    header.set_size(80 * (16 << 20));
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let mut bytes = gzip(header.as_bytes());
    for _ in 0..80 {
        bytes.extend_from_slice(&chunk);
    }
    assert!(bytes.len() < 8 << 20, "it is a bomb");
    let refused = place.install(&download(&place, "bomb.tar.gz", &bytes)).refused();
    assert!(refused.contains("it has more than 1024 MiB when it is unpacked"), "{refused}");
    // The same as one library.
    let mut library = gzip(b"\x7fELF");
    library.extend_from_slice(&bytes);
    let refused = place.install(&download(&place, "bomb.so.gz", &library)).refused();
    assert!(refused.contains("it has more than 1024 MiB when it is unpacked"), "{refused}");
    let many: Vec<u8> =
        (0..10_001).flat_map(|_| odd_member(EntryType::Regular, "x", Path::new(""), b"")).collect();
    let refused = place.install(&download(&place, "many.tar", &many)).refused();
    assert!(refused.ends_with("the archive has more than 10000 members"), "{refused}");
    assert_eq!(place.names(), [""; 0]);
}
