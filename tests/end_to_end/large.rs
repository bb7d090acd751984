//! The tests that take minutes, built and run by `cargo xtask test --long` only: a layer of more than 1 GiB through
//! each client that recompresses it, and a soak under mixed load.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use docker_registry_tests::content::Content;
use docker_registry_tests::podman::Program;
use docker_registry_tests::round_trips::{self, Images};
use docker_registry_tests::server::{Product, Server};
use docker_registry_tests::v2;

const GIBIBYTE: u64 = 1 << 30;

#[test]
fn skopeo_copies_a_manifest_list_with_a_gibibyte() {
    round_trips::skopeo_list(&Server::start(), &Images::new(GIBIBYTE));
}

#[test]
fn docker_pushes_and_pulls_a_gibibyte() {
    round_trips::docker_image(&Server::start(), &Images::new(GIBIBYTE));
}

#[test]
fn docker_pushes_and_pulls_a_manifest_list_with_a_gibibyte() {
    round_trips::docker_list(&Server::start(), &Images::new(GIBIBYTE));
}

#[test]
fn podman_pushes_and_pulls_a_gibibyte() {
    round_trips::podman_image(Program::Podman, &Server::start(), &Images::new(GIBIBYTE));
}

#[test]
fn buildah_pushes_and_pulls_a_manifest_list_with_a_gibibyte() {
    round_trips::podman_list(Program::Buildah, &Server::start(), &Images::new(GIBIBYTE));
}

/// Four clients push, read and overwrite for some minutes. What the server uses may not depend on how long that was.
#[test]
fn a_soak_leaves_memory_and_files_where_they_were() {
    const MINUTES: u64 = 4;
    let server = Server::start();
    let stop = AtomicBool::new(false);
    let open_files = || {
        let folder = format!("/proc/{}/fd", server.process().id());
        fs::read_dir(folder).expect("the server runs").count()
    };
    let pushes = thread::scope(|scope| {
        let (server, stop) = (&server, &stop);
        let clients: Vec<_> = (0..4).map(|number| scope.spawn(move || work(server, number, stop))).collect();
        // The first minute fills caches and pools.
        thread::sleep(Duration::from_secs(60));
        let memory = server.process().resident_memory();
        thread::sleep(Duration::from_secs(60 * (MINUTES - 1)));
        let growth = server.process().resident_memory().saturating_sub(memory);
        stop.store(true, Ordering::SeqCst);
        println!("soak: {:.1} MiB more memory after the first minute", growth as f64 / f64::from(1 << 20));
        if server.product() == Product::Ours {
            assert!(growth < 8 << 20, "the memory in use has grown by {growth} bytes");
        }
        clients.into_iter().map(|client| client.join().expect("a client ends")).sum::<u64>()
    });
    println!("soak: {pushes} pushes, {} files open at the end", open_files());
    assert!(pushes > 100, "the soak did next to nothing");
    assert!(open_files() < 64, "files of finished requests are still open");
    server.assert_peak_memory(64 << 20);
}

/// Pushes small images to one repository, each under a tag that moves, and reads them back. Returns their number.
fn work(server: &Server, number: u64, stop: &AtomicBool) -> u64 {
    let client = server.client();
    let repository = format!("soak/{number}");
    for round in 0.. {
        if stop.load(Ordering::SeqCst) {
            return round;
        }
        // The same few contents again and again, so that the disk does not fill up.
        let sizes = [2_000, 300_000, 3_000_000];
        let blobs: Vec<(String, u64)> = (0..)
            .zip(sizes)
            .map(|(index, size)| {
                let content = Content::bytes(1 + index + 10 * (round % 20) + 1000 * number, size);
                (v2::push_blob(&client, &repository, &content), size)
            })
            .collect();
        let manifest = v2::manifest(&blobs);
        v2::push_manifest(&client, &repository, &format!("tag-{}", round % 7), &manifest).expect(201);
        v2::verify(&client, &repository, &format!("tag-{}", round % 7));
    }
    unreachable!("the loop ends when it is told to")
}
