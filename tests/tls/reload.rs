//! New certificates without a restart.

use std::{thread::sleep, time::Duration};

use docker_registry_tests::process::{PATIENCE, wait_for};
use rustix::process::Signal;

use crate::{
    certificates::{self, Pair},
    openssl::{Session, fingerprint, shown},
    running::{Place, Running},
};

fn started(place: &Place) -> (Running, Pair) {
    let pair = certificates::server(place.path(), "used");
    let server = place.serve(&pair.configuration(), &["127.0.0.1:0"]);
    assert_eq!(shown(server.address()), fingerprint(&pair.certificate));
    (server, pair)
}

fn await_shown(server: &Running, pair: &Pair) {
    let wanted = fingerprint(&pair.certificate);
    wait_for("the new certificate is shown", PATIENCE, || (shown(server.address()) == wanted).then_some(()));
}

#[test]
fn a_new_pair_is_used_for_new_connections_and_requests_under_way_go_on() {
    let place = Place::new();
    let (server, used) = started(&place);
    let mut upload = Session::open(server.address());
    upload.send("POST /v2/some/image/blobs/uploads/ HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    let answer = upload.await_text("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    let location =
        answer.lines().find_map(|line| line.to_lowercase().strip_prefix("location: ").map(|_| line));
    let location = location.expect("a location")["location: ".len()..].trim().to_owned();
    upload.send(&format!("PATCH {location} HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345"));

    let renewed = certificates::server(place.path(), "renewed");
    renewed.replace(&used);
    await_shown(&server, &renewed);

    upload.send("67890");
    let answer = upload.await_text("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    upload.send("GET /v2/ HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    let answer = upload.await_text("\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(upload.ends_well());
}

#[test]
fn a_pair_that_does_not_fit_changes_nothing_and_is_warned_of_once_until_it_fits() {
    let place = Place::new();
    let (server, used) = started(&place);
    let before = fingerprint(&used.certificate);
    let renewed = certificates::server(place.path(), "renewed");
    renewed.replace_key(&used);
    let warning = server.await_line(&["WARN", "the certificate in use stays"]);
    assert!(warning.contains("tls.key") && warning.contains("used.key"), "{warning}");
    assert_eq!(shown(server.address()), before);
    // Long enough for several further looks.
    sleep(Duration::from_secs(5));
    assert_eq!(server.lines("the certificate in use stays"), 1);
    assert_eq!(shown(server.address()), before);
    renewed.replace(&used);
    await_shown(&server, &renewed);
}

#[test]
fn a_file_that_is_gone_or_cut_off_changes_nothing() {
    let place = Place::new();
    let (server, used) = started(&place);
    let before = shown(server.address());
    let whole = std::fs::read(&used.certificate).expect("a file");
    std::fs::remove_file(&used.certificate).expect("removed");
    server.await_line(&["WARN", "tls.certificate", "No such file"]);
    std::fs::write(&used.certificate, &whole[..whole.len() / 2]).expect("a file");
    server.await_line(&["WARN", "tls.certificate", "damaged"]);
    assert_eq!(shown(server.address()), before);
    std::fs::write(&used.certificate, whole).expect("a file");
    server.await_line(&["the certificate was read anew"]);
    assert_eq!(shown(server.address()), before);
}

#[test]
fn a_hangup_reads_the_files_whether_they_changed_or_not() {
    let place = Place::new();
    let (server, _) = started(&place);
    assert_eq!(server.lines("the certificate was read anew"), 0);
    server.signal(Signal::HUP);
    server.await_line(&["the certificate was read anew"]);
    assert!(server.stop().success());
}
