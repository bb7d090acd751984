//! Driver `swift` on OpenStack Swift, with the cluster's own authentication and behind Keystone, or on the account in
//! `REGISTRY_TEST_SWIFT_…`.

use std::thread;
use std::time::Duration;

use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::fault_proxy::{Fault, FaultProxy};
use docker_registry_tests::flavor_variables::{at, swift_keystone, swift_tempauth};
use docker_registry_tests::http::Client;
use docker_registry_tests::process::wait_for;
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v2;

use crate::running::{
    Subject, changed, goes_on_in_another_process, refused_with, serve, stores_an_image, stores_images_of_v1,
};

/// Nobody listens here: ports below 1024 are never given out for port 0.
const NOBODY: &str = "http://127.0.0.1:9";
/// Enough for several segments.
const LARGE: usize = 40 << 20;

/// The driver on a cluster with its own authentication.
pub(crate) fn with_tempauth(server: &StoreServer, prefix: &str) -> Subject {
    let settings = [
        ("swift_authurl", server.value("endpoint")),
        ("swift_user", server.value("user")),
        ("swift_password", server.value("password")),
        ("swift_container", server.value("container")),
        ("storage_path", prefix),
    ];
    Subject::new(
        "swift",
        &settings,
        &[("swift_authurl", NOBODY), ("most_attempts", "2"), ("connect_timeout", "1")],
    )
}

/// The driver on a cluster behind Keystone.
fn with_keystone(server: &StoreServer, prefix: &str) -> Subject {
    with_tempauth(server, prefix)
        .with("swift_authurl", server.value("auth_url"))
        .with("swift_user_domain_name", server.value("user_domain"))
        .with("swift_tenant_name", server.value("project"))
        .with("swift_project_domain_name", server.value("project_domain"))
        .with("swift_region_name", server.value("region"))
}

/// What a request of the cluster's owner answers, asked by curl.
fn asked(
    server: &StoreServer,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> docker_registry_tests::http::Response {
    let client = Client::new(server.address_of("storage_url"));
    let proof = [("X-Auth-User", server.value("user")), ("X-Auth-Key", server.value("password"))];
    let token = client.send("GET", "/auth/v1.0", &proof, b"").expect(200);
    let token = token.header("x-auth-token").expect("a token").to_owned();
    let path = at(server.address_of("storage_url"), server.value("storage_url"));
    let path = path.splitn(4, '/').nth(3).expect("a path").to_owned();
    let headers: Vec<_> =
        [("X-Auth-Token", token.as_str())].into_iter().chain(headers.iter().copied()).collect();
    client.send(method, &format!("/{path}/{}{target}", server.value("container")), &headers, b"")
}

#[test]
fn the_driver_conforms_with_the_clusters_own_authentication() {
    if let Some(account) = Subject::from_environment("swift") {
        account.conforms();
        return;
    }
    let server = StoreServer::start("swift-tempauth");
    with_tempauth(&server, "/conformance").conforms();
    let left = asked(&server, "GET", "?prefix=conformance/.docker-registry/begun/", &[]);
    assert_eq!(left.text().trim(), "", "no large object is unfinished");
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_behind_keystone() {
    let server = StoreServer::start("swift-keystone");
    with_keystone(&server, "/conformance").conforms();
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_while_its_way_to_the_cluster_makes_trouble() {
    let server = StoreServer::start("swift-tempauth");
    let proxy = FaultProxy::start(server.address());
    with_tempauth(&server, "/trouble")
        .with("swift_object_storage_url", &at(proxy.address(), server.value("storage_url")))
        .conforms_in_trouble(&proxy, &[(Fault::WrongTag, 2), (Fault::Status(401), 2)], |_| true);
}

#[test]
fn copies_of_large_objects_are_read_on_where_a_connection_broke() {
    let server = StoreServer::start("swift-tempauth");
    let proxy = FaultProxy::start(server.address());
    proxy.make_trouble(&[(Fault::AnswerCut, 20)]);
    with_tempauth(&server, "/cut")
        .with("swift_object_storage_url", &at(proxy.address(), server.value("storage_url")))
        .with("most_attempts", "20")
        .conforms_in(|name| name.starts_with("reading/"));
}

#[test]
fn keystone_is_asked_in_every_way_that_can_be_configured() {
    let server = StoreServer::start("swift-keystone");
    let some = |name: &str| name.contains("put") || name.contains("tree");
    with_keystone(&server, "/names").conforms_in(some);
    with_keystone(&server, "/internal").with("swift_interface", "internal").conforms_in(some);
    // Ids instead of names.
    with_keystone(&server, "/ids")
        .with("swift_user_domain_name", "")
        .with("swift_user_domain_id", server.value("user_domain_id"))
        .with("swift_tenant_name", "")
        .with("swift_tenant_id", server.value("project_id"))
        .conforms_in(some);
    let credential = with_keystone(&server, "/credential")
        .with("swift_password", "")
        .with("swift_application_credential_secret", server.value("application_credential_secret"));
    credential
        .with("swift_user", "")
        .with("swift_application_credential_id", server.value("application_credential_id"))
        .conforms_in(some);
    credential
        .with("swift_application_credential_name", server.value("application_credential_name"))
        .conforms_in(some);
}

#[test]
fn the_region_of_the_catalog_is_the_one_that_is_configured() {
    let server = StoreServer::start("swift-keystone");
    let push = |region: &str| {
        let registry = serve("swift", &changed(&swift_keystone(&server), &[("OS_REGION_NAME", region)]));
        (v2::push_blob(&registry.client(), "two/regions", &Content::bytes(5, 3_000)), registry)
    };
    let (digest, north) = push(server.value("region"));
    let path = format!("/v2/two/regions/blobs/{digest}");
    north.client().get(&path).expect(200);
    let elsewhere = changed(&swift_keystone(&server), &[("OS_REGION_NAME", server.value("second_region"))]);
    serve("swift", &elsewhere).client().get(&path).expect(404);
}

#[test]
fn flavor_swift_stores_images_of_both_protocols() {
    let server = StoreServer::start("swift-keystone");
    let registry = serve("swift", &swift_keystone(&server));
    stores_an_image(&registry, LARGE);
    stores_images_of_v1(&registry, LARGE);
}

#[test]
fn what_is_wrong_stops_the_start_with_a_sentence_that_names_the_key() {
    let server = StoreServer::start("swift-keystone");
    let variables = swift_keystone(&server);
    let said = |changes: &[(&str, &str)], words: &[&str]| {
        let secrets = [server.value("password"), server.value("password_without_rights")];
        refused_with("swift", &changed(&variables, changes), words, &secrets);
    };
    said(&[("OS_PASSWORD", "wrong")], &["does not accept the credentials", "swift_password"]);
    said(&[("OS_USERNAME", "nobody")], &["does not accept the credentials", "swift_user"]);
    said(&[("OS_TENANT_NAME", "elsewhere")], &["swift_tenant_name"]);
    said(&[("OS_USER_DOMAIN_NAME", "")], &["the domains"]);
    said(&[("OS_REGION_NAME", "nowhere")], &["swift_region_name", server.value("region")]);
    said(&[("OS_INTERFACE", "nobody")], &["swift_interface"]);
    let stranger = [
        ("OS_USERNAME", server.value("user_without_rights")),
        ("OS_PASSWORD", server.value("password_without_rights")),
    ];
    said(&stranger, &["accepts the credentials and refuses the call", "swift_container"]);
    said(&[("OS_AUTH_URL", NOBODY)], &["does not answer at 127.0.0.1:9", "swift_authurl"]);
    said(&[("OS_AUTH_URL", "http://no-such-host.invalid")], &["no-such-host.invalid", "swift_authurl"]);
    said(&[("OS_AUTH_URL", &format!("{}/elsewhere", server.value("auth_url")))], &["swift_authurl"]);
    said(&[("OS_AUTH_VERSION", "1")], &["swift_auth_version"]);
    said(&[("OS_STORAGE_URL", NOBODY)], &["does not answer at 127.0.0.1:9", "swift_object_storage_url"]);
    said(&[("OS_STORAGE_URL", server.value("auth_url"))], &["swift_object_storage_url"]);
    said(&[("OS_CACERT", "/no/such/file.pem")], &["swift_cacert", "/no/such/file.pem"]);
    said(&[("OS_AUTH_URL", "")], &["swift_authurl is missing"]);
}

#[test]
fn a_container_that_is_not_there_is_made_and_is_private() {
    let server = StoreServer::start("swift-tempauth");
    let variables = changed(&swift_tempauth(&server, server.address()), &[("OS_CONTAINER", "made by us")]);
    let registry = serve("swift", &variables);
    let digest = v2::push_blob(&registry.client(), "new/container", &Content::bytes(5, 3_000));
    registry.client().get(&format!("/v2/new/container/blobs/{digest}")).expect(200);
    let account = server.value("storage_url").rsplit('/').next().expect("an account");
    let outside = Client::new(server.address());
    outside.get(&format!("/v1/{account}/made%20by%20us")).expect(401);
}

#[test]
fn a_client_is_sent_to_an_address_that_works_without_credentials_and_for_nothing_else() {
    let server = StoreServer::start("swift-tempauth");
    let key = "a key of the tests";
    let variables = swift_tempauth(&server, server.address());
    let changes =
        [("STORAGE_REDIRECT", "true"), ("SWIFT_TEMP_URL_KEY", key), ("SWIFT_TEMP_URL_SETUP", "true")];
    let registry = serve("swift", &changed(&variables, &changes));
    for size in [300_000, LARGE as u64] {
        let content = Content::bytes(size, size);
        let digest = v2::push_blob(&registry.client(), "sent/away", &content);
        let location = registry.client().get(&format!("/v2/sent/away/blobs/{digest}")).expect(307);
        let location = location.header("location").expect("an address").to_owned();
        assert!(!location.contains("key"), "the key is in {location}");
        let target = location.splitn(4, '/').nth(3).map(|path| format!("/{path}")).expect("a path");
        let client = Client::new(server.address());
        let fetched = client.get(&target).expect(200);
        assert!(fetched.body == content, "the cluster gives the blob");
        client.send("DELETE", &target, &[], b"").expect(401);
        client.get(target.split('?').next().expect("a path")).expect(401);
    }
}

#[test]
fn a_token_that_ends_in_the_middle_of_an_upload_is_not_noticed() {
    let server = StoreServer::start_with("swift-tempauth", &[("SWIFT_TOKEN_SECONDS", "4")]);
    let proxy = FaultProxy::start(server.address());
    let registry = serve("swift", &swift_tempauth(&server, proxy.address()));
    let client = registry.client();
    let content = Content::bytes(8, LARGE as u64);
    let location = v2::open_upload(&client, "long/upload");
    let mut connection = client.connect().expect("a connection");
    let length = docker_registry_tests::http::Length::Chunked;
    connection.begin("PATCH", &location, &[v2::OCTETS], length).expect("the head is sent");
    for piece in content.chunks(4 << 20) {
        connection.write_chunk(piece).expect("the server takes it");
        thread::sleep(Duration::from_secs(1));
    }
    connection.write_chunk(b"").expect("the end is sent");
    let location = connection.finish(false).expect("an answer").expect(202).location();
    let digest = digest(&content);
    client.send("PUT", &v2::completion(&location, &digest), &[], b"").expect(201);
    assert!(client.get(&format!("/v2/long/upload/blobs/{digest}")).expect(200).body == content);
    let tokens = proxy.take_seen().iter().filter(|seen| seen.target.starts_with("/auth/")).count();
    assert!(tokens >= 3, "{tokens} tokens were asked for");
}

#[test]
fn refusals_of_the_cluster_lose_nothing_and_are_told() {
    let server = StoreServer::start("swift-tempauth");
    let proxy = FaultProxy::start(server.address());
    let variables =
        changed(&swift_tempauth(&server, proxy.address()), &[("OS_AUTH_URL", server.value("endpoint"))]);
    let registry = serve("swift", &variables);
    let client = registry.client();
    let content = Content::bytes(9, LARGE as u64);
    for status in [413, 507] {
        let name = format!("refused/with-{status}");
        let location = v2::open_upload(&client, &name);
        proxy.make_trouble(&[(Fault::Status(status), 100)]);
        let answer = client.send("PATCH", &location, &[v2::OCTETS], &content);
        assert!(answer.status >= 400, "{status} was taken for success");
        assert_ne!(answer.status, 500, "{}", answer.text());
        proxy.make_trouble(&[]);
        let digest = v2::push_blob(&client, &name, &content);
        assert!(client.get(&format!("/v2/{name}/blobs/{digest}")).expect(200).body == content);
    }
    // A token that the cluster forgets is asked for anew.
    proxy.make_trouble(&[(Fault::Status(401), 20)]);
    for number in 0..4 {
        let name = format!("refused/sometimes-{number}");
        let digest = v2::push_blob(&client, &name, &content);
        assert!(client.get(&format!("/v2/{name}/blobs/{digest}")).expect(200).body == content);
    }
    let refused = proxy.take_seen().iter().filter(|seen| seen.fault == Some(Fault::Status(401))).count();
    assert!(refused > 0, "no token was refused");
}

#[test]
fn an_upload_goes_on_in_another_process_and_no_finished_segment_is_sent_or_copied_again() {
    let server = StoreServer::start("swift-tempauth");
    let proxy = FaultProxy::start(server.address());
    goes_on_in_another_process("swift", &proxy, &swift_tempauth(&server, proxy.address()));
}

/// Objects are as small as a layer of more than 5 GiB is large for a cluster of the usual kind.
#[test]
fn objects_larger_than_the_cluster_takes_in_one_piece_go_up_and_come_back() {
    let server = StoreServer::start_with("swift-tempauth", &[("SWIFT_MAX_FILE_SIZE", "3000000")]);
    let subject = with_tempauth(&server, "/small").with("part_size", "1048576");
    let (passed, _) = subject.conforms_in(|name| {
        ["uploads/", "moving/", "writing/", "reading/"].iter().any(|group| name.starts_with(group))
    });
    assert!(passed > 30, "{passed} cases passed");
    let registry = serve("swift", &swift_tempauth(&server, server.address()));
    stores_an_image(&registry, LARGE);
}

#[test]
fn segments_go_when_their_object_goes() {
    let server = StoreServer::start("swift-tempauth");
    let registry = serve("swift", &swift_tempauth(&server, server.address()));
    let client = registry.client();
    let below = |folder: &str| {
        let answer = asked(&server, "GET", &format!("?prefix=registry/.docker-registry/{folder}/"), &[]);
        answer.text().lines().count()
    };
    let settled = |what: &str, segments: usize| {
        wait_for(what, Duration::from_secs(60), || {
            thread::sleep(Duration::from_millis(100));
            (below("segments") == segments && below("begun") == 0).then_some(())
        });
    };
    // With the digest known at once, so that the blob itself has segments.
    let content = Content::bytes(4, LARGE as u64);
    let digest = digest(&content);
    let target = format!("/v2/has/segments/blobs/uploads/?digest={digest}");
    client.send("POST", &target, &[v2::OCTETS], &content).expect(201);
    let segments = below("segments");
    assert!(segments >= 5, "the blob has segments");
    client.send("POST", &target, &[v2::OCTETS], &content).expect(201);
    settled("the replaced segments go", segments);
    // Copied to its name it is in one piece, and has none.
    let location = v2::open_upload(&client, "has/segments");
    let location = client.send("PATCH", &location, &[v2::OCTETS], &content).expect(202).location();
    client.send("PUT", &v2::completion(&location, &digest), &[], b"").expect(201);
    assert!(client.get(&format!("/v2/has/segments/blobs/{digest}")).expect(200).body == content);
    settled("those of the upload and of what it replaced go", 0);
    drop(registry);
    let subject = with_tempauth(&server, "/registry");
    subject.conforms_in(|name| name.starts_with("deleting/") || name.starts_with("moving/"));
    settled("the suite leaves nothing", 0);
}
