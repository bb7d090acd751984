//! Certificates of clients.

use crate::{
    certificates::{self, Pair},
    curl::{Curl, Told},
    running::{Place, Running},
};

struct Parties {
    place: Place,
    pair: Pair,
    authority: Pair,
    known: Pair,
    stranger: Pair,
}

impl Parties {
    fn new() -> Parties {
        let place = Place::new();
        let authority = certificates::authority(place.path(), "authority");
        let other = certificates::authority(place.path(), "other-authority");
        Parties {
            pair: certificates::server(place.path(), "server"),
            known: certificates::client(place.path(), "robot", &authority),
            stranger: certificates::client(place.path(), "stranger", &other),
            authority,
            place,
        }
    }

    fn serve(&self, client_certificates: &str) -> Running {
        let lines = format!(
            "{}tls.client_certificates: {client_certificates}\ntls.client_authorities: {}\n",
            self.pair.configuration(),
            self.authority.certificate.display()
        );
        self.place.serve(&lines, &["127.0.0.1:0"])
    }

    fn curl(&self, server: &Running) -> Curl {
        Curl::get(&format!("https://{}/v2/", server.address())).trusting(&self.pair.certificate)
    }

    fn as_client(&self, server: &Running, client: &Pair) -> Curl {
        let curl = self.curl(server).with("--cert", &client.certificate.display().to_string());
        curl.with("--key", &client.key.display().to_string())
    }
}

fn refused(told: &Told) {
    assert!(!told.text.contains("HTTP/"), "{told:?}");
}

#[test]
fn when_they_are_required_nobody_connects_without_a_good_one() {
    let parties = Parties::new();
    let server = parties.serve("required");
    for version in ["1.2", "1.3"] {
        parties.as_client(&server, &parties.known).with("--tls-max", version).expect(200);
        refused(&parties.curl(&server).with("--tls-max", version).expect_nothing());
        let stranger = parties.as_client(&server, &parties.stranger).with("--tls-max", version);
        refused(&stranger.expect_nothing());
    }
    server.await_line(&["access", "client_certificate=\"robot\""]);
    assert_eq!(server.lines("stranger"), 0);
    server.await_lines("a connection was refused", 4);
}

#[test]
fn when_they_are_optional_a_good_one_is_named_and_a_bad_one_refused() {
    let parties = Parties::new();
    let server = parties.serve("optional");
    parties.curl(&server).expect(200);
    server.await_line(&["access", "status=200"]);
    assert_eq!(server.lines("client_certificate"), 0);
    parties.as_client(&server, &parties.known).flag("--http1.1").expect(200);
    server.await_line(&["access", "client_certificate=\"robot\""]);
    refused(&parties.as_client(&server, &parties.stranger).expect_nothing());
}

#[test]
fn when_they_are_off_nobody_is_asked() {
    let parties = Parties::new();
    let server = parties.place.serve(&parties.pair.configuration(), &["127.0.0.1:0"]);
    parties.as_client(&server, &parties.known).expect(200);
    parties.as_client(&server, &parties.stranger).expect(200);
    server.await_line(&["access", "status=200"]);
    assert_eq!(server.lines("client_certificate"), 0);
}
