//! Drivers that a server has loaded: it goes on with the old file, and a restart brings the new one.

use std::{fs, net::SocketAddr, time::Duration};

use docker_registry_tests::{
    http::Client,
    process::{PATIENCE, Process, wait_for},
};

use crate::place::{Place, version};

/// A server on the memory driver of a place.
fn serve(place: &Place, log: &str) -> (Process, Client) {
    let mut command = place.program();
    command
        .args(["serve", "--bind", "127.0.0.1:0"])
        .arg(place.root().join("config.yml"))
        .env("LOGLEVEL", "info");
    fs::write(place.root().join("config.yml"), "dev: {storage: memory, standalone: true}\n").unwrap();
    let mut process = Process::start("docker-registry", &mut command, &place.root().join(log));
    let address: SocketAddr = wait_for("the server says where it listens", PATIENCE, || {
        let text = process.log();
        let at = text.find(" Listening at: http://");
        if at.is_none() && !process.is_running() {
            process.fail("it ended instead of listening");
        }
        let rest = &text[at? + " Listening at: http://".len()..];
        // Only once the whole line is there.
        rest.find(['\n', ' ']).and_then(|end| rest[..end].trim_end_matches('/').parse().ok())
    });
    (process, Client::new(address).with_patience(Duration::from_secs(10)))
}

fn answers(client: &Client) {
    assert_eq!(client.try_send("GET", "/v2/", &[], b"").unwrap().status, 200);
    let missing = client.try_send("GET", "/v2/some/manifests/thing", &[], b"").unwrap();
    assert_eq!(missing.status, 404, "a question that reaches the driver");
}

#[test]
fn a_running_server_goes_on_with_the_old_file_and_a_restart_brings_the_new_one() {
    let place = Place::new();
    place.install(&place.download("1.0.0")).done();
    let (server, client) = serve(&place, "first.log");
    assert!(server.log().contains("1.0.0"), "{}", server.log());
    answers(&client);
    let due = format!("A restart is due: process {} goes on with the old file.", server.id());

    let output = place.install(&place.download("1.1.0")).done();
    assert!(output.contains(&due), "{output}");
    answers(&client);
    // Also when the file that it has loaded is gone altogether.
    let output = place.install(&place.download("1.2.0")).done();
    assert!(output.contains(&due), "{output}");
    answers(&client);
    let output = place.driver(&["rollback", "memory"]).done();
    assert!(output.contains(&due), "{output}");
    answers(&client);
    assert!(server.terminate().success());

    let (server, client) = serve(&place, "second.log");
    assert!(server.log().contains("1.1.0") && !server.log().contains("1.0.0"), "{}", server.log());
    answers(&client);
    let output = place.driver(&["remove", "memory"]).done();
    assert!(output.contains(&format!("process {} goes on with the old file", server.id())), "{output}");
    answers(&client);
    assert!(server.terminate().success());
}

#[test]
fn the_same_library_in_another_folder_is_not_meant() {
    let (place, other) = (Place::new(), Place::new());
    for place in [&place, &other] {
        place.install(&place.download("1.0.0")).done();
    }
    let (server, client) = serve(&place, "server.log");
    let output = other.install(&other.download("1.1.0")).done();
    // With the word in front of it: a digest may hold the same digits.
    assert!(!output.contains(&format!("process {}", server.id())), "{output}");
    answers(&client);
    assert_eq!(version(&place.installed()), "1.0.0");
}
