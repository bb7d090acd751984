//! Driver `oss` on a stand-in for Aliyun's store that verifies signatures, or on the account in `REGISTRY_TEST_OSS_…`.

use std::fs;
use std::net::SocketAddr;

use docker_registry_tests::content::Content;
use docker_registry_tests::fault_proxy::{Fault, FaultProxy, Seen};
use docker_registry_tests::flavor_variables::{self, Variables};
use docker_registry_tests::http::Client;
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v2;

use crate::running::{
    Subject, changed, goes_on_in_another_process, refused_with, said_by_proof, serve, stores_an_image,
};

/// Nobody listens here: ports below 1024 are never given out for port 0.
const NOBODY: &str = "http://127.0.0.1:9";
/// Enough for several parts.
const LARGE: usize = 40 << 20;

/// The driver on the stand-in, below a prefix of its own.
fn on(server: &StoreServer, prefix: &str) -> Subject {
    let settings = [
        ("oss_host", server.value("endpoint")),
        ("oss_bucket", server.value("bucket")),
        ("oss_region", server.value("region")),
        ("oss_accessid", server.value("access_id")),
        ("oss_accesskey", server.value("access_key")),
        ("storage_path", prefix),
    ];
    Subject::new("oss", &settings, &[("oss_host", NOBODY), ("most_attempts", "2"), ("connect_timeout", "1")])
}

/// The variables that flavor `oss` reads, for the server at `address`, and others or other values.
fn variables(server: &StoreServer, address: SocketAddr, changes: &[(&str, &str)]) -> Variables {
    changed(&flavor_variables::oss(server, address), changes)
}

/// The address behind a value of the start script.
fn address(server: &StoreServer, key: &str) -> SocketAddr {
    let value = server.value(key);
    value.strip_prefix("http://").unwrap_or(value).parse().unwrap_or_else(|_| panic!("{value} is no address"))
}

/// What the server did until now, a line for each request.
fn access_log(server: &StoreServer) -> String {
    fs::read_to_string(server.value("access_log")).expect("the server has an access log")
}

#[test]
fn the_stand_in_holds_to_the_official_sdk() {
    let server = StoreServer::start("oss");
    let said = said_by_proof(&server, "oss_proof.sh");
    assert_eq!(said.matches("all holds").count(), 5, "{said}");
}

#[test]
fn the_driver_conforms_with_signatures_of_version_4() {
    if let Some(account) = Subject::from_environment("oss") {
        account.conforms();
        return;
    }
    let server = StoreServer::start("oss");
    on(&server, "/version-4").conforms();
    assert!(!access_log(&server).contains(" 401"), "no request was unsigned");
}

#[test]
fn the_driver_conforms_with_signatures_of_version_1() {
    let server = StoreServer::start("oss");
    on(&server, "/version-1").with("oss_signature_version", "v1").conforms();
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_while_its_way_to_the_store_makes_trouble() {
    let server = StoreServer::start("oss");
    let proxy = FaultProxy::start(server.address());
    on(&server, "/trouble").with("oss_host", &format!("http://{}", proxy.address())).conforms_in_trouble(
        &proxy,
        &[(Fault::WrongTag, 2)],
        |_| true,
    );
}

#[test]
fn a_bucket_that_keeps_versions_is_found_out_and_conditions_are_not_offered() {
    let server = StoreServer::start("oss");
    let (_, usual) = on(&server, "/usual").conforms_in(|name| name.contains("condition"));
    let subject = on(&server, "/versions").with("oss_bucket", server.value("versioned_bucket"));
    let (_, skipped) = subject.conforms();
    assert!(skipped > usual, "{skipped} cases were skipped");
}

#[test]
fn the_bucket_is_reached_by_the_names_of_aliyun_and_by_one_of_the_operator() {
    let server = StoreServer::start("oss");
    // The stand-in takes requests as a proxy does, so that names need no name server.
    let named =
        |host: &str| on(&server, "/names").with("oss_host", host).with("proxy", server.value("endpoint"));
    let some = |name: &str| name.contains("put") || name.contains("redirect");
    let plain = "http://oss-cn-test.aliyuncs.com";
    named(plain).with("oss_region", "").conforms_in(some);
    named(plain).with("oss_region", "").with("oss_internal", "true").conforms_in(some);
    named(plain).with("oss_accelerate", "true").conforms_in(some);
    named(plain).with("oss_signature_version", "v1").conforms_in(some);
    // The prefix is as the bucket is named, which must not be mistaken for it.
    let own =
        named("http://registry.example.test").with("oss_cname", "true").with("storage_path", "/registry");
    own.conforms_in(some);
    own.with("oss_signature_version", "v1").conforms_in(some);
    let log = access_log(&server);
    for host in ["registry.oss-cn-test", "registry.oss-cn-test-internal", "registry.oss-accelerate"] {
        assert!(log.contains(&format!("http://{host}.aliyuncs.com/names/")), "{host}");
    }
    assert!(log.contains("http://registry.example.test/registry/"));
}

#[test]
fn flavor_oss_stores_an_image() {
    let server = StoreServer::start("oss");
    let registry = serve("oss", &variables(&server, server.address(), &[]));
    stores_an_image(&registry, LARGE);
    assert!(access_log(&server).contains("/registry/registry/docker/registry/v2/"));
}

#[test]
fn what_is_wrong_stops_the_start_with_a_sentence_that_names_the_key() {
    let server = StoreServer::start("oss");
    let said = |changes: &[(&str, &str)], words: &[&str]| {
        let secrets = [server.value("access_key")];
        refused_with("oss", &variables(&server, server.address(), changes), words, &secrets);
    };
    for version in ["v4", "v1"] {
        let signed = ("OSS_SIGNATURE_VERSION", version);
        let keys = "oss_accessid and oss_accesskey";
        said(&[signed, ("OSS_KEY", "nobody")], &[keys, "InvalidAccessKeyId"]);
        said(&[signed, ("OSS_SECRET", "wrong")], &[keys, "SignatureDoesNotMatch"]);
        said(&[signed, ("OSS_SECURITY_TOKEN", "wrong")], &[keys, "InvalidSecurityToken"]);
        said(&[signed, ("OSS_BUCKET", "absent")], &["no such bucket", "oss_bucket"]);
        let elsewhere = server.value("other_region_bucket");
        said(&[signed, ("OSS_BUCKET", elsewhere)], &["oss_region", "oss-cn-other.aliyuncs.com"]);
        let stranger =
            [signed, ("OSS_KEY", server.value("stranger_id")), ("OSS_SECRET", server.value("stranger_key"))];
        said(&stranger, &["permissions", "oss_accessid", "oss_bucket"]);
        said(&[signed, ("OSS_HOST", server.value("skewed_endpoint"))], &["the clock of this machine", "NTP"]);
    }
    said(&[("OSS_REGION", "cn-wrong")], &["oss_region"]);
    said(&[("OSS_REGION", "")], &["oss_region is missing"]);
    said(&[("OSS_SECRET", "")], &["oss_accesskey is missing"]);
    said(&[("OSS_BUCKET", "Not A Name")], &["oss_bucket"]);
    said(&[("OSS_HOST", NOBODY)], &["does not answer at 127.0.0.1:9", "oss_host"]);
    said(&[("OSS_HOST", "http://no-such-host.invalid")], &["no-such-host.invalid", "oss_host"]);
    said(&[("OSS_HOST", &server.value("endpoint").replace("http:", "https:"))], &["oss_host"]);
}

#[test]
fn a_client_is_sent_to_an_address_that_works_without_credentials_and_for_nothing_else() {
    let server = StoreServer::start("oss");
    for version in ["v4", "v1"] {
        let changes = [("STORAGE_REDIRECT", "true"), ("OSS_SIGNATURE_VERSION", version)];
        let registry = serve("oss", &variables(&server, server.address(), &changes));
        let content = Content::bytes(3, 300_000);
        let digest = v2::push_blob(&registry.client(), "sent/away", &content);
        let path = format!("/v2/sent/away/blobs/{digest}");
        let location = registry.client().get(&path).expect(307);
        let location = location.header("location").expect("an address").to_owned();
        let start = format!("{}/", server.value("endpoint"));
        let target = location.strip_prefix(&start).unwrap_or_else(|| panic!("{location}"));
        assert!(!location.contains(server.value("access_key")), "the secret is in {location}");
        let client = Client::new(server.address());
        let fetched = client.get(&format!("/{target}")).expect(200);
        assert!(fetched.body == content, "the bucket gives the blob");
        client.send("DELETE", &format!("/{target}"), &[], b"").expect(403);
        let unsigned = target.split('?').next().unwrap_or_default();
        client.get(&format!("/{unsigned}")).expect(403);
    }
}

#[test]
fn credentials_of_the_machine_are_fetched_again_when_they_have_expired() {
    let server = StoreServer::start("oss");
    let metadata = server.value("metadata");
    let own = [
        ("OSS_KEY", ""),
        ("OSS_SECRET", ""),
        ("ALIBABA_CLOUD_ECS_METADATA_SERVICE_ENDPOINT", metadata),
        ("STORAGE_REDIRECT", "true"),
    ];
    for role in ["", "registry"] {
        for version in ["v4", "v1"] {
            let more = [("OSS_RAM_ROLE", role), ("OSS_SIGNATURE_VERSION", version)];
            let changes: Vec<_> = own.iter().chain(&more).copied().collect();
            let registry = serve("oss", &variables(&server, server.address(), &changes));
            let content = Content::bytes(11, 20_000);
            let digest = v2::push_blob(&registry.client(), "temporary/keys", &content);
            Client::new(address(&server, "metadata")).send("POST", "/expire", &[], b"").expect(204);
            v2::push_blob(&registry.client(), "temporary/keys", &Content::bytes(12, 20_000));
            // The address has the token of the new credentials.
            let path = format!("/v2/temporary/keys/blobs/{digest}");
            let location = registry.client().get(&path).expect(307);
            let location = location.header("location").expect("an address").to_owned();
            let target = location.strip_prefix(server.value("endpoint")).expect("it leads to the store");
            let fetched = Client::new(server.address()).get(target).expect(200);
            assert!(fetched.body == content, "the bucket gives the blob");
        }
    }
}

#[cfg(feature = "long")]
#[test]
fn encryption_and_storage_class_are_asked_for_whenever_an_object_begins() {
    let server = StoreServer::start("oss");
    let proxy = FaultProxy::start(server.address());
    on(&server, "/headers")
        .with("oss_host", &format!("http://{}", proxy.address()))
        .with("oss_encryption", "KMS")
        .with("oss_kms_key_id", "key-1")
        .with("oss_storage_class", "IA")
        .conforms_in(|name| name.contains("upload") || name.contains("copy"));
    let seen = proxy.take_seen();
    let begins = |seen: &&Seen| {
        // Whether the server keeps a condition is found out with objects that are deleted at once.
        let put = seen.method == "PUT" && !seen.is_part() && !seen.target.contains("forbid-overwrite");
        put || seen.begins_parts()
    };
    let begun: Vec<&Seen> = seen.iter().filter(begins).collect();
    assert!(begun.iter().any(|seen| seen.method == "POST"), "a large object was begun");
    for seen in begun {
        assert_eq!(seen.headers["x-oss-server-side-encryption"], "KMS", "{} {}", seen.method, seen.target);
        assert_eq!(seen.headers["x-oss-server-side-encryption-key-id"], "key-1");
        assert_eq!(seen.headers["x-oss-storage-class"], "IA", "{} {}", seen.method, seen.target);
    }
}

#[test]
fn an_upload_goes_on_in_another_process_and_no_finished_part_is_sent_or_copied_again() {
    let server = StoreServer::start("oss");
    let proxy = FaultProxy::start(server.address());
    goes_on_in_another_process("oss", &proxy, &variables(&server, proxy.address(), &[]));
}
