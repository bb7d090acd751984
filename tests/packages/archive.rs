//! The release archive, and what `install` lays out.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use docker_registry_tests::{
    artifacts,
    http::Client,
    process::{Process, run},
};
use tempfile::TempDir;

use crate::serving::{address, keeps};

fn archive() -> PathBuf {
    artifacts::dist_file("docker-registry-", "-linux-gnu.tar.gz")
}

/// The archive, unpacked, and the folder in it.
fn unpacked() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    run(Command::new("tar").arg("-xzf").arg(archive()).arg("-C").arg(folder.path()));
    let mut entries = fs::read_dir(folder.path()).unwrap();
    let root = entries.next().expect("a folder").unwrap().path();
    assert!(entries.next().is_none(), "everything lies in one folder");
    (folder, root)
}

/// The paths of all files below a folder.
fn files(root: &Path) -> BTreeSet<String> {
    let list = run(Command::new("find").args([".", "-type", "f"]).current_dir(root));
    list.lines().map(str::to_owned).collect()
}

#[test]
fn the_archive_holds_the_program_the_shipped_drivers_and_what_goes_with_them() {
    let (_folder, root) = unpacked();
    let files = files(&root);
    for wanted in [
        "./bin/docker-registry",
        "./etc/docker-registry/config_sample.yml",
        "./lib/docker-registry/drivers/libdocker_registry_driver_local.so",
        "./share/bash-completion/completions/docker-registry",
        "./share/doc/docker-registry/INSTALL.md",
        "./share/doc/docker-registry/LICENSE",
        "./share/doc/docker-registry/README.md",
        "./share/docker-registry/image/Dockerfile",
        "./share/docker-registry/init/docker-registry.init",
        "./share/docker-registry/init/docker-registry.service",
        "./share/docker-registry/init/docker-registry.upstart",
        "./share/fish/vendor_completions.d/docker-registry.fish",
        "./share/man/man1/docker-registry-driver-install.1",
        "./share/man/man1/docker-registry.1",
        "./share/zsh/site-functions/_docker-registry",
    ] {
        assert!(files.contains(wanted), "{wanted} is not in the archive: {files:#?}");
    }
    let drivers = fs::read_dir(artifacts::workspace().join("drivers")).unwrap().count();
    let shipped: Vec<&String> = files.iter().filter(|file| file.ends_with(".so")).collect();
    assert_eq!(shipped.len(), drivers, "each driver of drivers/ and none of the tests': {shipped:?}");
    for file in &files {
        let placeholder = ["@PREFIX@", "@SERVICE@", "@VERSION@", "@GLIBC@", "@SAMPLE@"];
        let content = fs::read(root.join(file)).unwrap();
        let content = String::from_utf8_lossy(&content);
        // The templates that are part of the image and the program itself hold none either.
        assert!(
            !placeholder.iter().any(|word| content.contains(word)),
            "{file} has a word that is not filled in"
        );
    }
}

#[test]
fn the_digests_are_right_and_the_same_build_packs_to_the_same_bytes() {
    run(Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(artifacts::dist()));
    let again = tempfile::tempdir().unwrap();
    run(artifacts::xtask().args(["dist", "--out"]).arg(again.path()));
    let sums = |folder: &Path| fs::read_to_string(folder.join("SHA256SUMS")).unwrap();
    assert_eq!(sums(artifacts::dist()), sums(again.path()));
    let owners = run(Command::new("tar").args(["--list", "--verbose", "--gzip", "--file"]).arg(archive()));
    let times: BTreeSet<&str> = owners.lines().filter_map(|line| line.split_whitespace().nth(3)).collect();
    assert_eq!(times.len(), 1, "one time for all: {times:?}");
    assert!(owners.lines().all(|line| line.contains(" root/root ")), "{owners}");
}

#[test]
fn an_unpacked_archive_serves_with_its_own_drivers_wherever_it_lies() {
    let (folder, root) = unpacked();
    let mut command = Command::new(root.join("bin/docker-registry"));
    command
        .args(["serve", "--bind", "127.0.0.1:0"])
        .arg(root.join("etc/docker-registry/config_sample.yml"))
        .env_clear()
        .env("LOGLEVEL", "info")
        .env("REGISTRY_ADMIN", "off")
        .env("STORAGE_PATH", folder.path().join("storage"));
    let server = Process::start("docker-registry", &mut command, &folder.path().join("log"));
    let client = Client::new(address(|| server.log(), false, || ()));
    keeps(&client, 1);
    let own = root.join("lib/docker-registry/drivers/libdocker_registry_driver_local.so");
    assert!(server.log().contains(&own.display().to_string()), "{}", server.log());
    assert!(server.terminate().success());
}

#[test]
fn install_lays_out_below_prefix_and_destdir_what_the_archive_holds() {
    let (_folder, root) = unpacked();
    let staged = tempfile::tempdir().unwrap();
    run(artifacts::xtask().args(["install", "--prefix", "/opt/registry"]).env("DESTDIR", staged.path()));
    let installed = staged.path().join("opt/registry");
    assert_eq!(files(&installed), files(&root));
    let unit =
        fs::read_to_string(installed.join("share/docker-registry/init/docker-registry.service")).unwrap();
    assert!(unit.contains("ExecStart=/opt/registry/bin/docker-registry serve"), "{unit}");
    let version = run(Command::new(installed.join("bin/docker-registry")).arg("--version"));
    assert!(version.starts_with("docker-registry "), "{version}");
}

#[test]
fn the_needed_glibc_is_stated_and_is_that_of_the_files() {
    let (_folder, root) = unpacked();
    let mut highest = (0, 0);
    for file in
        files(&root).iter().filter(|file| file.ends_with(".so") || file.ends_with("bin/docker-registry"))
    {
        // Symbol versions as the linker's own tool prints them.
        let symbols = run(Command::new("readelf").args(["--version-info", "--wide"]).arg(root.join(file)));
        for word in symbols.split(|letter: char| letter.is_whitespace() || letter == '(').collect::<Vec<_>>()
        {
            let Some(version) = word.strip_prefix("GLIBC_") else { continue };
            let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
            if let [major, minor, ..] = numbers[..] {
                highest = highest.max((major, minor));
            }
        }
    }
    let stated = format!("{}.{}", highest.0, highest.1);
    let note = fs::read_to_string(root.join("share/doc/docker-registry/INSTALL.md")).unwrap();
    assert!(note.contains(&format!("**glibc {stated}**")), "{stated}: {note}");
    let package = artifacts::dist_file("docker-registry-server_", ".deb");
    let depends = run(Command::new("dpkg-deb").arg("--field").arg(package).arg("Depends"));
    assert!(depends.contains(&format!("libc6 (>= {stated})")), "{stated}: {depends}");
}

#[test]
fn completions_and_manual_pages_are_what_their_readers_take() {
    let (_folder, root) = unpacked();
    let completion = root.join("share/bash-completion/completions/docker-registry");
    let script = format!(". '{}' && complete -p docker-registry", completion.display());
    assert!(run(Command::new("bash").args(["-c", &script])).contains("docker-registry"));
    let page = fs::read_to_string(root.join("share/man/man1/docker-registry-serve.1")).unwrap();
    assert!(page.contains(".TH ") && page.contains("\\-\\-bind"), "{page}");
    let hidden = root.join("share/man/man1/docker-registry-manual.1");
    assert!(!hidden.exists(), "what the help hides has no page");
}
