//! Driver `elliptics` on a stand-in that plays a cluster, or on the one in `REGISTRY_TEST_ELLIPTICS_…`.

use docker_registry_tests::content::{Content, digest};
use docker_registry_tests::flavor_variables::{Variables, elliptics};
use docker_registry_tests::http::Client;
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v2;

use crate::running::{Subject, changed, refused_with, serve, stores_an_image, stores_images_of_v1};

/// Nobody listens here: ports below 1024 are never given out for port 0.
const NOBODY: &str = "127.0.0.1:9:2";
/// Enough for several segments.
const LARGE: usize = 40 << 20;

/// The driver on a cluster, with everything in a namespace of its own.
fn on(cluster: &StoreServer, namespace: &str) -> Subject {
    let settings = [
        ("elliptics_nodes", cluster.value("nodes")),
        ("elliptics_groups", &format!("[{}]", cluster.value("groups"))),
        ("elliptics_namespace", namespace),
    ];
    Subject::new("elliptics", &settings, &[("elliptics_nodes", NOBODY), ("most_attempts", "2")])
}

fn variables(cluster: &StoreServer, changes: &[(&str, &str)]) -> Variables {
    changed(&elliptics(cluster), changes)
}

/// Tells the stand-in to do something.
fn tell(cluster: &StoreServer, target: &str) -> String {
    let client = Client::new(cluster.address_of("control"));
    client.send("POST", target, &[], b"").expect(200).text()
}

/// Some of it; the driver's own tests run the whole suite in their process.
#[test]
fn the_driver_conforms_where_it_is_quick() {
    let cluster = StoreServer::start("elliptics");
    let groups = ["objects/", "conditions/", "moving/", "resuming/"];
    let quick = |name: &str| groups.iter().any(|group| name.starts_with(group));
    let (passed, _) = on(&cluster, "QUICK").conforms_in(quick);
    assert!(passed > 20, "{passed} cases passed");
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_on_a_cluster_with_secondary_indexes() {
    if let Some(cluster) = Subject::from_environment("elliptics") {
        cluster.conforms();
        return;
    }
    let cluster = StoreServer::start("elliptics");
    on(&cluster, "CONFORMANCE").conforms();
}

#[cfg(feature = "long")]
#[test]
fn the_driver_conforms_while_the_cluster_makes_trouble() {
    let cluster = StoreServer::start("elliptics");
    // Each of these takes all commands with it that are under way on the connection, some dozens.
    tell(&cluster, "/fault?every=400&effect=close");
    tell(&cluster, "/fault?every=900&effect=cut");
    tell(&cluster, "/fault?every=60&delay=300");
    // Each of these costs its caller the whole time that he waits for an answer.
    tell(&cluster, "/fault?command=WRITE&every=200&effect=done-and-silent");
    let subject = on(&cluster, "TROUBLE").with("elliptics_wait_timeout", "2").with("most_attempts", "20");
    // What others have deleted in the same folders would be looked at for an hour.
    subject.in_patience().apart_by("elliptics_namespace").conforms();
    let struck: u64 = tell(&cluster, "/faults/struck").trim().parse().expect("a number");
    assert!(struck > 5_000, "only {struck} commands met trouble");
}

#[test]
fn flavor_elliptics_stores_images_of_both_protocols() {
    let cluster = StoreServer::start("elliptics");
    let registry = serve("elliptics", &variables(&cluster, &[]));
    stores_an_image(&registry, LARGE);
    stores_images_of_v1(&registry, LARGE);
    assert_eq!(tell(&cluster, "/problems").trim(), "", "no careful client sends this");
}

/// Of three groups one may be away. The first three nodes keep one each, the fourth one shares of all.
#[test]
fn a_node_of_each_group_goes_during_a_push_and_comes_back_with_old_data() {
    let cluster = StoreServer::start_with("elliptics", &[("FAKE_NODES", "1 2 3 1,2,3")]);
    let quick = [("ELLIPTICS_WAIT_TIMEOUT", "5"), ("ELLIPTICS_CHECK_TIMEOUT", "1")];
    let registry = serve("elliptics", &variables(&cluster, &quick));
    let client = registry.client();
    let name = "loses/nodes";
    let push = |tag: &str, seed: u64, trouble: &dyn Fn()| {
        let content = Content::bytes(seed, LARGE as u64);
        let half = content.len() / 2;
        let location = v2::open_upload(&client, name);
        let range = format!("0-{}", half - 1);
        let patch = [v2::OCTETS, ("Content-Range", range.as_str())];
        let location = client.send("PATCH", &location, &patch, &content[..half]).expect(202).location();
        trouble();
        let range = format!("{half}-{}", content.len() - 1);
        let patch = [v2::OCTETS, ("Content-Range", range.as_str())];
        let location = client.send("PATCH", &location, &patch, &content[half..]).expect(202).location();
        let layer = digest(&content);
        client.send("PUT", &v2::completion(&location, &layer), &[], b"").expect(201);
        let configuration = v2::push_blob(&client, name, &Content::bytes(seed + 1, 2_000));
        let manifest = v2::manifest(&[(configuration, 2_000), (layer, content.len() as u64)]);
        v2::push_manifest(&client, name, tag, &manifest).expect(201);
        assert!(v2::verify(&client, name, tag).len() >= 3);
    };
    push("latest", 31, &|| drop(tell(&cluster, "/stop?node=1")));
    // Nobody tells the cluster what it missed.
    tell(&cluster, "/start?node=1&data=kept");
    assert!(v2::verify(&client, name, "latest").len() >= 3);
    push("latest", 41, &|| drop(tell(&cluster, "/stop?node=2")));
    let newest = client.get(&format!("/v2/{name}/manifests/latest")).expect(200).body;
    tell(&cluster, "/start?node=2&data=kept");
    for _ in 0..10 {
        let found = client.get(&format!("/v2/{name}/manifests/latest")).expect(200).body;
        assert!(found == newest, "an old tag wins");
    }
    assert!(v2::verify(&client, name, "latest").len() >= 3);
}

#[test]
fn what_is_wrong_stops_the_start_with_a_sentence_that_names_the_key() {
    let cluster = StoreServer::start("elliptics");
    let said = |changes: &[(&str, &str)], words: &[&str]| {
        refused_with("elliptics", &variables(&cluster, changes), words, &[]);
    };
    said(&[("ELLIPTICS_NODES", NOBODY)], &["elliptics_nodes", "127.0.0.1:9"]);
    said(&[("ELLIPTICS_NODES", "no-such-host.invalid:1025:2")], &["elliptics_nodes", "no-such-host.invalid"]);
    said(&[("ELLIPTICS_NODES", "")], &["elliptics_nodes"]);
    said(&[("ELLIPTICS_NODES", "127.0.0.1")], &["elliptics_nodes"]);
    said(&[("ELLIPTICS_GROUPS", "[7]")], &["elliptics_groups", "7"]);
    said(&[("ELLIPTICS_GROUPS", "[one]")], &["elliptics_groups"]);
    said(&[("ELLIPTICS_VERBOSITY", "loud")], &["elliptics_verbosity"]);
    let newer = StoreServer::start("elliptics-3");
    said(&[("ELLIPTICS_NODES", newer.value("nodes"))], &["elliptics_nodes"]);
}
