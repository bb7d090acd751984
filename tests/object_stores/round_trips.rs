//! Round trips of each request on every store, counted at a proxy in front of it and held to the budget of
//! [`storage_requests`](docker_registry_tests::storage_requests); and what is left of them with a cache.

use std::time::Duration;

use docker_registry_tests::content::digest;
use docker_registry_tests::fault_proxy::{Fault, FaultProxy};
use docker_registry_tests::flavor_variables::{self, GOOGLE_HMAC, GOOGLE_SERVICE_ACCOUNT, Variables};
use docker_registry_tests::process::{PATIENCE, wait_for};
use docker_registry_tests::redis::Redis;
use docker_registry_tests::server::Server;
use docker_registry_tests::storage_requests::{Cost, count, requests_of, table};
use docker_registry_tests::store_server::StoreServer;
use docker_registry_tests::v2;

use crate::running::{changed, serve};

/// Counts on a store that the server reaches through a proxy.
fn within_budget(flavor: &str, store: &StoreServer, variables: impl Fn(&FaultProxy) -> Variables) {
    within_budget_but(flavor, store, variables, &[]);
}

/// The same, with another budget for some requests.
fn within_budget_but(
    flavor: &str,
    store: &StoreServer,
    variables: impl Fn(&FaultProxy) -> Variables,
    others: &[(&str, usize)],
) {
    let proxy = FaultProxy::start(store.address());
    let costs = count(&serve(flavor, &variables(&proxy)).client(), &proxy);
    println!("{flavor}\n{}", table(&costs));
    let is_within = |cost: &Cost| match others.iter().find(|(what, _)| *what == cost.what) {
        Some((_, most)) => cost.requests.len() <= *most,
        None => cost.is_within(),
    };
    let missed: Vec<String> = costs.iter().filter(|cost| !is_within(cost)).map(ToString::to_string).collect();
    assert!(missed.is_empty(), "too many round trips\n{}", missed.join("\n"));
}

#[test]
fn no_request_costs_s3_more_round_trips_than_it_must() {
    let store = StoreServer::start("minio");
    within_budget("s3", &store, |proxy| flavor_variables::s3(&store, proxy.address()));
}

#[test]
fn no_request_costs_azureblob_more_round_trips_than_it_must() {
    let store = StoreServer::start("azurite");
    within_budget("azureblob", &store, |proxy| flavor_variables::azureblob(&store, proxy.address()));
}

#[test]
fn no_request_costs_oss_more_round_trips_than_it_must() {
    let store = StoreServer::start("oss");
    within_budget("oss", &store, |proxy| flavor_variables::oss(&store, proxy.address()));
}

#[test]
fn no_request_costs_gcs_more_round_trips_than_it_must() {
    let store = StoreServer::start("gcs");
    let with = |credentials| {
        let store = &store;
        move |proxy: &FaultProxy| flavor_variables::gcs(store, proxy.address(), credentials)
    };
    within_budget("gcs", &store, with(GOOGLE_SERVICE_ACCOUNT));
    within_budget("gcs", &store, with(GOOGLE_HMAC));
}

/// Swift keeps no condition: who goes on with an upload claims it by an object and looks whether another one did (two
/// requests for each step). It deletes plain and large objects by different requests, and large ones are announced before
/// their first segment, so that what a crash leaves is found.
#[test]
fn no_request_costs_swift_more_round_trips_than_it_must() {
    let store = StoreServer::start("swift-tempauth");
    let variables = |proxy: &FaultProxy| flavor_variables::swift_tempauth(&store, proxy.address());
    let others = [
        ("push of a large blob, digest known", 5),
        ("POST, PATCH, PUT of a small blob", 5),
        ("POST, PATCH, PUT of a large blob", 19),
        ("image of one layer, as docker pushes it", 16),
    ];
    within_budget_but("swift", &store, variables, &others);
}

/// As little as a server can be told to keep itself.
const NO_MEMORY: &str = "1KiB";

/// A server on S3 with a cache, of which it keeps so much itself. It believes the cache for as long as a test takes, and
/// waits for Redis however slow the machine is.
fn serve_cached(store: &StoreServer, proxy: &FaultProxy, redis: &Redis, memory: &str) -> Server {
    let url = redis.url();
    let cache = [
        ("CACHE_LRU_REDIS_URL", url.as_str()),
        ("CACHE_LRU_MEMORY", memory),
        ("CACHE_LRU_TAG_TTL", "1h"),
        ("CACHE_LRU_PATIENCE", "10s"),
        ("CACHE_LRU_TIMEOUT", "10s"),
    ];
    let variables = changed(&flavor_variables::s3(store, proxy.address()), &cache);
    let server = serve("s3", &variables);
    wait_for("the server has its Redis", PATIENCE, || {
        server.process().log().contains("cache_lru: Redis is connected").then_some(())
    });
    server
}

/// Pushes an image as `latest` and returns its manifest, which is larger than [`NO_MEMORY`].
fn push_image(server: &Server, repository: &str) -> String {
    let client = server.client();
    let blobs = [b"{}".as_slice(), b"a layer"]
        .map(|content| (v2::push_blob(&client, repository, content), content.len() as u64));
    let manifest = v2::manifest_with_note(&blobs, &"a word ".repeat(400));
    v2::push_manifest(&client, repository, "latest", &manifest).expect(201);
    manifest
}

/// How many reads the cache has answered, by `memory` or `redis`.
fn hits(server: &Server, tier: &str) -> f64 {
    let line = format!("registry_cache_hits_total{{tier=\"{tier}\"}}");
    let metrics = server.admin().get("/metrics").expect(200).text();
    metrics.lines().find_map(|found| found.strip_prefix(&line)?.trim().parse().ok()).unwrap_or(0.0)
}

#[test]
fn with_a_warm_cache_a_manifest_makes_no_request_to_the_store() {
    let store = StoreServer::start("minio");
    // A Redis that does not say what changes is asked for each link.
    let silent: &[&str] = &["--rename-command", "CLIENT", ""];
    for (memory, options, repository) in
        [("64MiB", &[][..], "warm/memory"), (NO_MEMORY, silent, "warm/redis")]
    {
        let (proxy, redis) = (FaultProxy::start(store.address()), Redis::start_with(options));
        let server = serve_cached(&store, &proxy, &redis, memory);
        let client = server.client();
        let manifest = push_image(&server, repository);
        let first = requests_of(&proxy, &mut || {
            v2::get_manifest(&client, repository, "latest").expect(200);
        });
        assert!(!first.is_empty(), "{repository}: what was just pushed is in no cache");
        let by_digest = digest(manifest.as_bytes());
        let hits = || ["memory", "redis"].map(|tier| hits(&server, tier));
        let before = hits();
        for reference in ["latest", &by_digest] {
            for method in ["GET", "HEAD"] {
                let target = format!("/v2/{repository}/manifests/{reference}");
                let requests = requests_of(&proxy, &mut || {
                    let answer = client.send(method, &target, &[], b"").expect(200);
                    assert_eq!(answer.header("docker-content-digest"), Some(by_digest.as_str()));
                    assert_eq!(answer.text(), if method == "GET" { manifest.as_str() } else { "" });
                });
                assert!(requests.is_empty(), "{method} {target} led to {requests:?}");
            }
        }
        // By tag three small files are read, by digest two.
        let answered = [0, 1].map(|tier| hits()[tier] - before[tier]);
        let expected = if memory == NO_MEMORY { [0.0, 10.0] } else { [10.0, 0.0] };
        assert_eq!(answered, expected, "{repository}: what memory and Redis answered");
    }
}

#[test]
fn with_an_empty_cache_a_manifest_by_tag_makes_three_requests_of_which_two_run_at_once() {
    let store = StoreServer::start("minio");
    for memory in ["64MiB", NO_MEMORY] {
        let (proxy, redis, empty) = (FaultProxy::start(store.address()), Redis::start(), Redis::start());
        let manifest = push_image(&serve_cached(&store, &proxy, &redis, memory), "cold");
        let server = serve_cached(&store, &proxy, &empty, memory);
        // Requests that need not wait for each other arrive within this time; those that do never meet.
        proxy.make_trouble(&[(Fault::Stall(Duration::from_secs(3)), 100)]);
        let requests = requests_of(&proxy, &mut || {
            let answer = v2::get_manifest(&server.client(), "cold", "latest").expect(200);
            assert_eq!(answer.text(), manifest);
        });
        let [tag, one, other] = requests.as_slice() else { panic!("not three requests: {requests:?}") };
        assert!(requests.iter().all(|seen| seen.status == Some(200)), "each is answered: {requests:?}");
        assert!(tag.target.contains("/tags/latest/"), "the tag comes first: {tag:?}");
        assert!(!tag.ran_beside(one), "nothing is known before the tag: {requests:?}");
        assert!(one.ran_beside(other), "one after the other: {requests:?}");
    }
}
