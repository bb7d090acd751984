//! The end of a server whose clients are connected by TLS.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use docker_registry_tests::process::{PATIENCE, wait_for};
use rustix::process::Signal;

use crate::{certificates, curl::Curl, openssl::Session, running::Place};

#[test]
fn requests_under_way_are_finished_and_every_connection_ends_with_a_word() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let mut server = place.serve(&pair.configuration(), &["127.0.0.1:0"]);
    let mut idle = Session::open(server.address());
    idle.send("GET /v2/ HTTP/1.1\r\nhost: x\r\n\r\n");
    idle.await_text("\r\n\r\n");
    let mut busy = Session::open(server.address());
    busy.send("PUT /v2/some/image/manifests/x HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    busy.await_text("HTTP/1.1 100");
    server.signal(Signal::TERM);
    assert!(idle.ends_well(), "an idle connection is closed at once, and in order");
    assert!(server.process.is_running(), "a request is under way");
    busy.send("{}");
    let answer = busy.await_text("\r\n\r\n").to_lowercase();
    assert!(answer.contains("http/1.1 400") && answer.contains("connection: close"), "{answer}");
    assert!(busy.ends_well());
    assert_eq!(server.lines("cut off"), 0);
    assert!(server.process.await_end().success());
}

#[test]
fn an_http_2_upload_under_way_is_finished() {
    let place = Place::new();
    let pair = certificates::server(place.path(), "server");
    let server = place.serve(&pair.configuration(), &["127.0.0.1:0"]);
    let base = format!("https://{}", server.address());
    let opened = Curl::get(&format!("{base}/v2/some/image/blobs/uploads/"));
    let opened = opened.trusting(&pair.certificate).with("--request", "POST").expect(202);
    let location = opened.text.lines().find_map(|line| line.strip_prefix("location: "));
    let location = format!("{base}{}", location.expect("a location").trim());
    let mut curl = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--http2", "--request", "PATCH"])
        .args(["--upload-file", "-", "--write-out", "%{http_code} %{http_version}", "--cacert"])
        .arg(&pair.certificate)
        .arg(location)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl runs");
    let mut input = curl.stdin.take().expect("standard input");
    // More than what is gathered in memory before anything is written.
    let half = vec![7; 4 << 20];
    input.write_all(&half).expect("curl reads");
    wait_for("the first half is in the storage", PATIENCE, || {
        (stored_bytes(&place.file("storage")) >= 1 << 20).then_some(())
    });
    server.signal(Signal::TERM);
    server.await_line(&["finishing the requests under way"]);
    input.write_all(&half).expect("curl reads");
    drop(input);
    let output = curl.wait_with_output().expect("curl ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "202 2");
    assert_eq!(server.lines("cut off"), 0);
    assert!(server.process.await_end().success());
}

fn stored_bytes(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => stored_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
