//! What takes minutes: gibibytes through the Docker Engine on every store, many large pushes side by side, and a blob
//! that no store copies in one piece.

use std::thread;
use std::time::Duration;

use docker_registry_tests::content::{Content, Hasher};
use docker_registry_tests::fault_proxy::FaultProxy;
use docker_registry_tests::flavor_variables::{
    GOOGLE_HMAC, GOOGLE_SERVICE_ACCOUNT, Variables, azureblob, elliptics, gcs, glance, oss, s3,
    swift_keystone, swift_tempauth,
};
use docker_registry_tests::http::Client;
use docker_registry_tests::round_trips::{Images, docker_image};
use docker_registry_tests::server::Server;
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v2;

use crate::running::serve;
use crate::swift;

const GIBIBYTE: u64 = 1 << 30;
/// What the server may use on an object store, whatever it moves.
const MEMORY_LIMIT: u64 = 256 << 20;

fn docker_stores_a_gibibyte(flavor: &str, variables: &Variables) {
    docker_image(&serve(flavor, variables), &Images::new(GIBIBYTE).in_memory(MEMORY_LIMIT));
}

#[test]
fn docker_pushes_and_pulls_a_gibibyte_through_flavor_s3() {
    let store = StoreServer::start("minio");
    docker_stores_a_gibibyte("s3", &s3(&store, store.address()));
}

#[test]
fn docker_pushes_and_pulls_a_gibibyte_through_flavor_ceph_s3() {
    let store = StoreServer::start("ceph");
    docker_stores_a_gibibyte("ceph-s3", &s3(&store, store.address()));
}

#[test]
fn docker_pushes_and_pulls_a_gibibyte_through_flavor_azureblob() {
    let store = StoreServer::start("azurite");
    docker_stores_a_gibibyte("azureblob", &azureblob(&store, store.address()));
}

#[test]
fn docker_pushes_and_pulls_a_gibibyte_through_flavor_gcs_with_keys_and_with_tokens() {
    let store = StoreServer::start("gcs");
    for credentials in [GOOGLE_HMAC, GOOGLE_SERVICE_ACCOUNT] {
        docker_stores_a_gibibyte("gcs", &gcs(&store, store.address(), credentials));
    }
}

#[test]
fn docker_pushes_and_pulls_a_gibibyte_through_flavor_oss() {
    let store = StoreServer::start("oss");
    docker_stores_a_gibibyte("oss", &oss(&store, store.address()));
}

#[test]
fn docker_pushes_and_pulls_a_gibibyte_through_flavor_swift() {
    let store = StoreServer::start("swift-keystone");
    docker_stores_a_gibibyte("swift", &swift_keystone(&store));
}

#[test]
fn docker_pushes_and_pulls_a_gibibyte_through_flavor_glance() {
    let store = StoreServer::start("glance");
    docker_stores_a_gibibyte("glance", &glance(&store));
}

/// The stand-in keeps everything in memory, so it is less here.
#[test]
fn docker_pushes_and_pulls_an_image_through_flavor_elliptics() {
    let cluster = StoreServer::start("elliptics");
    docker_image(
        &serve("elliptics", &elliptics(&cluster)),
        &Images::new(GIBIBYTE / 4).in_memory(MEMORY_LIMIT),
    );
}

/// Swift takes no object of more than 5 GiB in one piece.
#[test]
fn a_layer_of_six_gibibytes_goes_up_to_swift_and_comes_back() {
    let store = StoreServer::start("swift-tempauth");
    let registry = serve("swift", &swift_tempauth(&store, store.address()));
    let (seed, size) = (11, 6 * GIBIBYTE);
    let client = patient(&registry);
    let location = v2::open_upload(&client, "very/large");
    let location = v2::stream_blob(&client, &location, seed, size);
    let digest = Content::digest(seed, size);
    client.send("PUT", &v2::completion(&location, &digest), &[], b"").expect(201);
    let mut hasher = Hasher::default();
    client.download(&format!("/v2/very/large/blobs/{digest}"), &mut |piece| hasher.update(piece)).expect(200);
    assert_eq!(hasher.finish(), digest, "what comes back");
    registry.assert_peak_memory(MEMORY_LIMIT);
}

/// More than Swift lists, and deletes, in one request.
#[test]
fn twenty_five_thousand_objects_are_listed_and_deleted() {
    let store = StoreServer::start("swift-tempauth");
    swift::with_tempauth(&store, "/many").conforms_in_long(|name| name.contains("twenty_five_thousand"));
}

/// A client that waits for what takes minutes.
fn patient(server: &Server) -> Client {
    server.client().with_patience(Duration::from_secs(1_800))
}

#[test]
fn eight_blobs_of_two_gibibytes_pushed_side_by_side_stay_within_the_memory() {
    let store = StoreServer::start("minio");
    let registry = serve("s3", &s3(&store, store.address()));
    let client = &patient(&registry);
    let uploads: Vec<(u64, String)> = thread::scope(|scope| {
        let push = |seed| {
            let location = v2::open_upload(client, "side/by/side");
            (seed, v2::stream_blob(client, &location, seed, 2 * GIBIBYTE))
        };
        let pushes: Vec<_> = (0..8).map(|seed| scope.spawn(move || push(seed))).collect();
        pushes.into_iter().map(|push| push.join().expect("a push ends")).collect()
    });
    // One after the other: the store copies each of them, and the disk need not hold all twice.
    for (seed, location) in uploads {
        let digest = Content::digest(seed, 2 * GIBIBYTE);
        client.send("PUT", &v2::completion(&location, &digest), &[], b"").expect(201);
    }
    registry.assert_peak_memory(MEMORY_LIMIT);
}

#[test]
fn a_blob_of_more_than_five_gibibytes_is_copied_in_parts() {
    let store = StoreServer::start("minio");
    let proxy = FaultProxy::start(store.address());
    let registry = serve("s3", &s3(&store, proxy.address()));
    let (seed, size) = (9, 5 * GIBIBYTE + 12_345);
    let client = patient(&registry);
    let location = v2::open_upload(&client, "very/large");
    let location = v2::stream_blob(&client, &location, seed, size);
    let digest = Content::digest(seed, size);
    proxy.take_seen();
    client.send("PUT", &v2::completion(&location, &digest), &[], b"").expect(201);
    let seen = proxy.take_seen();
    let copied =
        seen.iter().filter(|seen| seen.is_part() && seen.headers.contains_key("x-amz-copy-source")).count();
    assert!(copied >= 2, "it was copied in {copied} parts");
    let sent: u64 = seen.iter().filter(|seen| seen.is_part()).map(|seen| seen.sent).sum();
    assert!(sent < 100 << 20, "{sent} bytes were sent again");
    let head = client.head(&format!("/v2/very/large/blobs/{digest}")).expect(200);
    assert_eq!(head.header("content-length"), Some(size.to_string().as_str()));
    registry.assert_peak_memory(MEMORY_LIMIT);
}
