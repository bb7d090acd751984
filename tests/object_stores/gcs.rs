//! Driver `gcs` on a stand-in for Google Cloud Storage that verifies everything, on an emulator that others wrote, or on
//! the account in `REGISTRY_TEST_GCS_…`.

use std::net::SocketAddr;

use docker_registry_tests::content::Content;
use docker_registry_tests::fault_proxy::{Fault, FaultProxy};
use docker_registry_tests::flavor_variables::{
    self, GOOGLE_HMAC as HMAC, GOOGLE_SERVICE_ACCOUNT as SERVICE_ACCOUNT, GoogleCredentials, Variables,
};
use docker_registry_tests::http::Client;
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v2;
use serde_json::Value;

use crate::running::{
    Subject, changed, goes_on_in_another_process, refused_with, said_by_proof, serve, stores_an_image,
    with_a_late_clock,
};

/// Nobody listens here: ports below 1024 are never given out for port 0.
const NOBODY: &str = "http://127.0.0.1:9";
/// Enough for several parts.
const LARGE: usize = 40 << 20;

/// How a client proves who it is, and which API it speaks then.
const USER: &GoogleCredentials = &[("GCS_CREDENTIALS_FILE", "authorized_user")];

/// The driver on a server that gives `bucket` and `endpoint`.
fn on(server: &StoreServer, prefix: &str) -> Subject {
    let settings = [
        ("boto_bucket", server.value("bucket")),
        ("gs_endpoint", server.value("endpoint")),
        ("storage_path", prefix),
    ];
    Subject::new(
        "gcs",
        &settings,
        &[("gs_endpoint", NOBODY), ("most_attempts", "2"), ("connect_timeout", "1")],
    )
}

fn with_hmac(server: &StoreServer, prefix: &str) -> Subject {
    let subject = on(server, prefix).with("gs_access_key", server.value("access_key"));
    subject.with("gs_secret_key", server.value("secret_key"))
}

fn with_tokens(server: &StoreServer, prefix: &str) -> Subject {
    on(server, prefix).with("gs_credentials_file", server.value("service_account"))
}

/// The variables that flavor `gcs` reads: the server at `address`, credentials of its start script, and changes.
fn variables(
    server: &StoreServer,
    address: SocketAddr,
    credentials: &GoogleCredentials,
    changes: &[(&str, &str)],
) -> Variables {
    changed(&flavor_variables::gcs(server, address, credentials), changes)
}

/// A number of the stand-in's state.
fn state(server: &StoreServer, name: &str) -> u64 {
    let answer = Client::new(server.address()).get("/_fake/state").expect(200);
    let state: Value = serde_json::from_slice(&answer.body).expect("the state is JSON");
    state[name].as_u64().unwrap_or_else(|| panic!("no {name} in {state}"))
}

fn expire_tokens(server: &StoreServer) {
    Client::new(server.address()).send("POST", "/_fake/expire", &[], b"").expect(204);
}

#[test]
fn the_stand_in_holds_to_clients_that_others_wrote() {
    let server = StoreServer::start("gcs");
    let said = said_by_proof(&server, "gcs_proof.sh");
    assert!(said.contains("all 21 steps hold"), "{said}");
}

#[test]
fn the_driver_conforms_with_hmac_keys() {
    if let Some(account) = Subject::from_environment("gcs") {
        account.conforms();
        return;
    }
    let server = StoreServer::start("gcs");
    with_hmac(&server, "/hmac").conforms();
    assert_eq!(state(&server, "tokens_issued"), 0);
}

#[test]
fn the_driver_conforms_with_tokens_of_a_service_account() {
    let server = StoreServer::start("gcs");
    with_tokens(&server, "/json").conforms();
}

#[test]
fn the_driver_conforms_with_tokens_of_a_user_and_the_xml_api() {
    let server = StoreServer::start("gcs");
    let subject = on(&server, "/xml").with("gs_credentials_file", server.value("authorized_user"));
    subject.with("gs_api", "xml").conforms();
}

#[test]
fn the_driver_conforms_on_an_emulator_that_others_wrote() {
    let server = StoreServer::start("gcs-emulator");
    // Its pages of folders repeat and leave out entries: it counts objects only.
    let broken = ["listing/paths_come_in_byte_order", "listing/a_walk_finds_what_a_recursive_listing_finds"];
    on(&server, "/emulated").with("gs_anonymous", "true").conforms_in(|name| !broken.contains(&name));
}

#[cfg(feature = "long")]
fn conforms_in_trouble(subject: impl Fn(&StoreServer) -> Subject, more: &[(Fault, u32)]) {
    let server = StoreServer::start("gcs");
    let proxy = FaultProxy::start(server.address());
    subject(&server).with("gs_endpoint", &format!("http://{}", proxy.address())).conforms_in_trouble(
        &proxy,
        more,
        |_| true,
    );
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_with_hmac_keys_while_its_way_to_the_store_makes_trouble() {
    // No changed tags: Google does not say that the tag of a part is its hash, so that the driver cannot tell.
    conforms_in_trouble(|server| with_hmac(server, "/trouble"), &[]);
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_with_tokens_while_its_way_to_the_store_makes_trouble() {
    conforms_in_trouble(
        |server| with_tokens(server, "/trouble"),
        &[(Fault::WrongTag, 2), (Fault::ExpiredToken, 2)],
    );
}

#[test]
fn flavor_gcs_stores_an_image_with_every_kind_of_credentials() {
    let server = StoreServer::start("gcs");
    for (credentials, changes) in [
        (HMAC, &[][..]),
        (SERVICE_ACCOUNT, &[]),
        (USER, &[("GCS_API", "xml")]),
        (&[("GCE_METADATA_HOST", "metadata_host")], &[("GCS_OAUTH2", "true"), ("HOME", "/nonexistent")]),
    ] {
        let registry = serve("gcs", &variables(&server, server.address(), credentials, changes));
        stores_an_image(&registry, LARGE);
    }
    let emulator = StoreServer::start("gcs-emulator");
    let anonymous = [("GCS_ANONYMOUS", "true")];
    let registry = serve("gcs", &variables(&emulator, emulator.address(), &[], &anonymous));
    stores_an_image(&registry, LARGE);
}

#[test]
fn a_token_that_was_good_and_is_refused_is_replaced_without_anybody_noticing() {
    let server = StoreServer::start("gcs");
    for changes in [&[][..], &[("GCS_API", "xml")]] {
        let variables = variables(&server, server.address(), SERVICE_ACCOUNT, changes);
        let registry = serve("gcs", &variables);
        v2::push_blob(&registry.client(), "tokens/expire", &Content::bytes(1, 20_000));
        let issued = state(&server, "tokens_issued");
        expire_tokens(&server);
        v2::push_blob(&registry.client(), "tokens/expire", &Content::bytes(2, 20_000));
        assert_eq!(state(&server, "tokens_issued"), issued + 1, "one token for all");
    }
}

#[test]
fn what_is_wrong_stops_the_start_with_a_sentence_that_names_the_key() {
    let server = StoreServer::start("gcs");
    let said = |credentials: &GoogleCredentials, changes: &[(&str, &str)], words: &[&str]| {
        let variables = variables(&server, server.address(), credentials, changes);
        refused_with("gcs", &variables, words, &[server.value("secret_key"), "PRIVATE KEY"]);
    };
    let keys = "gs_access_key and gs_secret_key";
    said(HMAC, &[("GCS_SECRET", "wrong")], &[keys, "SignatureDoesNotMatch"]);
    said(HMAC, &[("GCS_KEY", "GOOG1EWRONG")], &[keys, "InvalidSecurity"]);
    said(&[("GCS_KEY", "access_key")], &[], &["gs_secret_key is missing"]);
    for credentials in [HMAC, SERVICE_ACCOUNT] {
        said(credentials, &[("GCS_BUCKET", "absent-bucket")], &["no such bucket", "boto_bucket"]);
        said(credentials, &[("GCS_BUCKET", "gs://registry")], &["boto_bucket"]);
        said(credentials, &[("GCS_ENDPOINT", NOBODY)], &["does not answer at 127.0.0.1:9", "gs_endpoint"]);
        said(credentials, &[("GCS_ENDPOINT", "127.0.0.1")], &["gs_endpoint must be"]);
        let tls = server.value("endpoint").replace("http:", "https:");
        said(credentials, &[("GCS_ENDPOINT", &tls)], &["gs_endpoint", "gs_secure"]);
    }
    said(&[], &[("GCS_CREDENTIALS_FILE", "/nonexistent.json")], &["gs_credentials_file", "cannot be read"]);
    said(&[], &[("GCS_CREDENTIALS_JSON", "{}")], &["gs_credentials_json has no type"]);
    let user = std::fs::read_to_string(server.value("authorized_user")).expect("the user's file");
    let wrong = user.replace("fake-refresh-token", "another");
    said(&[], &[("GCS_CREDENTIALS_JSON", &wrong)], &["gs_credentials_json", "invalid_grant"]);
    let elsewhere = [("GCS_OAUTH2", "true"), ("GCE_METADATA_HOST", "127.0.0.1:9"), ("HOME", "/nonexistent")];
    said(&[], &elsewhere, &["the metadata server at 127.0.0.1:9", "gs_credentials_file"]);
}

#[test]
fn a_clock_that_is_wrong_stops_the_start_and_the_difference_is_told() {
    let server = StoreServer::start("gcs");
    for credentials in [HMAC, SERVICE_ACCOUNT] {
        let late = with_a_late_clock(&variables(&server, server.address(), credentials, &[]));
        refused_with("gcs", &late, &["the clock of this machine differs", "by 7"], &[]);
    }
}

#[test]
fn a_client_is_sent_to_an_address_that_works_without_credentials_and_for_nothing_else() {
    let server = StoreServer::start("gcs");
    for credentials in [HMAC, SERVICE_ACCOUNT] {
        let changes = [("STORAGE_REDIRECT", "true")];
        let variables = variables(&server, server.address(), credentials, &changes);
        let registry = serve("gcs", &variables);
        let content = Content::bytes(3, 300_000);
        let digest = v2::push_blob(&registry.client(), "sent/away", &content);
        let path = format!("/v2/sent/away/blobs/{digest}");
        let location = registry.client().get(&path).expect(307);
        let location = location.header("location").expect("an address").to_owned();
        let start = format!("{}/", server.value("endpoint"));
        let target = location.strip_prefix(&start).unwrap_or_else(|| panic!("{location}"));
        let client = Client::new(server.address());
        let fetched = client.get(&format!("/{target}")).expect(200);
        assert!(fetched.body == content, "the bucket gives the blob");
        client.send("DELETE", &format!("/{target}"), &[], b"").expect(403);
        let unsigned = target.split('?').next().unwrap_or_default();
        client.get(&format!("/{unsigned}")).expect(401);
    }
    // A user's token signs nothing: the registry sends the content itself.
    let changes = [("STORAGE_REDIRECT", "true")];
    let registry = serve("gcs", &variables(&server, server.address(), USER, &changes));
    let content = Content::bytes(4, 300_000);
    let digest = v2::push_blob(&registry.client(), "sent/away", &content);
    let fetched = registry.client().get(&format!("/v2/sent/away/blobs/{digest}")).expect(200);
    assert!(fetched.body == content);
}

#[test]
fn an_upload_goes_on_in_another_process_and_no_finished_part_is_sent_again() {
    let server = StoreServer::start("gcs");
    for credentials in [HMAC, SERVICE_ACCOUNT] {
        let proxy = FaultProxy::start(server.address());
        let variables = variables(&server, proxy.address(), credentials, &[]);
        goes_on_in_another_process("gcs", &proxy, &variables);
    }
}
