//! Whole servers on one storage with one Redis, which is killed, stopped and started under them.

use std::{
    thread,
    time::{Duration, Instant},
};

use docker_registry_tests::{
    process::{PATIENCE, wait_for},
    redis::Redis,
    server::{Launch, Place, Server},
    v2,
};

/// Two servers; the first one owns the storage.
struct Pair {
    redis: Redis,
    servers: Vec<Server>,
}

fn launch(redis: &Redis, variables: &[(&str, &str)]) -> Launch {
    let mut environment = vec![("CACHE_LRU_REDIS_URL".to_owned(), redis.url())];
    environment.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Launch { environment, ..Launch::under_test() }
}

impl Pair {
    fn start(variables: &[(&str, &str)]) -> Pair {
        let redis = Redis::start();
        let first = Server::launch(launch(&redis, variables), Place::new());
        let mut second = launch(&redis, variables);
        let storage = first.place().storage().display().to_string();
        second.environment.push(("STORAGE_PATH".to_owned(), storage));
        let second = Server::launch(second, Place::new());
        let servers = vec![first, second];
        for server in &servers {
            log_has(server, "cache_lru: Redis is connected");
        }
        Pair { redis, servers }
    }

    /// Pushes a manifest of its own as `app:latest` to one server, and returns it.
    fn push(&self, server: usize, note: &str) -> String {
        let client = self.servers[server].client();
        let blob = v2::push_blob(&client, "app", b"{}");
        let manifest = v2::manifest_with_note(&[(blob, 2)], note);
        v2::push_manifest(&client, "app", "latest", &manifest).expect(201);
        manifest
    }

    fn pull(&self, server: usize) -> String {
        v2::get_manifest(&self.servers[server].client(), "app", "latest").expect(200).text()
    }

    fn is_pulled_everywhere(&self, manifest: &str) {
        wait_for("every server answers with the last push", PATIENCE, || {
            (0..self.servers.len()).all(|server| self.pull(server) == manifest).then_some(())
        });
    }
}

fn log_has(server: &Server, text: &str) {
    wait_for(text, PATIENCE, || server.process().log().contains(text).then_some(()));
}

fn times(server: &Server, text: &str) -> usize {
    server.process().log().matches(text).count()
}

fn metric(server: &Server, line: &str) -> f64 {
    let text = server.admin().get("/metrics").expect(200).text();
    let value = text.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or(0.0)
}

#[test]
fn what_is_pushed_to_one_server_is_pulled_from_the_other_at_once() {
    let pair = Pair::start(&[
        ("CACHE_LRU_TAG_TTL", "1h"),
        ("CACHE_LRU_PATIENCE", "5s"),
        ("CACHE_LRU_TIMEOUT", "5s"),
    ]);
    for round in 0..20 {
        let manifest = pair.push(round % 2, &round.to_string());
        assert_eq!(pair.pull(round % 2), manifest, "the server that took it");
        pair.is_pulled_everywhere(&manifest);
    }
    let hits =
        |tier: &str| metric(&pair.servers[0], &format!("registry_cache_hits_total{{tier=\"{tier}\"}}"));
    for _ in 0..5 {
        pair.pull(0);
    }
    assert!(hits("memory") > 0.0, "{}", pair.servers[0].admin().get("/metrics").text());
    assert!(metric(&pair.servers[0], "registry_cache_bytes_total{tier=\"memory\"}") > 0.0);
    // A deletion is heard of as well.
    let digest = v2::get_manifest(&pair.servers[0].client(), "app", "latest")
        .header("docker-content-digest")
        .expect("a digest")
        .to_owned();
    pair.servers[1].client().send("DELETE", &format!("/v2/app/manifests/{digest}"), &[], b"").expect(202);
    wait_for("nobody has it any more", PATIENCE, || {
        let gone = |server: &Server| v2::get_manifest(&server.client(), "app", "latest").status == 404;
        pair.servers.iter().all(gone).then_some(())
    });
}

#[test]
fn two_writers_of_one_tag_leave_no_server_with_another_one() {
    let pair = Pair::start(&[("CACHE_LRU_TAG_TTL", "1h")]);
    pair.push(0, "first");
    thread::scope(|scope| {
        for writer in 0..2 {
            let pair = &pair;
            scope.spawn(move || {
                (0..15).for_each(|round| drop(pair.push(writer, &format!("{writer} {round}"))))
            });
            scope.spawn(move || (0..150).for_each(|_| drop(pair.pull(writer))));
        }
    });
    // Both have ended: whatever is in the storage now is what every cache must come to.
    wait_for("both servers agree", PATIENCE, || {
        thread::sleep(Duration::from_millis(100));
        let pulled = [pair.pull(0), pair.pull(1)];
        (pulled[0] == pulled[1]).then_some(())
    });
    let link = pair.servers[0]
        .place()
        .storage()
        .join("docker/registry/v2/repositories/app/_manifests/tags/latest/current/link");
    let digest = std::fs::read_to_string(link).expect("a link");
    for server in &pair.servers {
        let answer = v2::get_manifest(&server.client(), "app", "latest");
        assert_eq!(answer.header("docker-content-digest"), Some(digest.trim()));
    }
}

#[test]
fn a_redis_that_dies_and_comes_back_is_two_lines_in_the_log() {
    let mut pair = Pair::start(&[("CACHE_LRU_TAG_TTL", "1h")]);
    let old = pair.push(0, "old");
    pair.is_pulled_everywhere(&old);
    pair.redis.kill();
    for _ in 0..20 {
        assert_eq!([pair.pull(0), pair.pull(1)], [old.clone(), old.clone()]);
    }
    let new = pair.push(0, "new");
    assert_eq!(pair.pull(0), new);
    pair.is_pulled_everywhere(&new);
    pair.redis.restart();
    for server in &pair.servers {
        log_has(server, "the Redis of cache_lru is back");
        assert_eq!(times(server, "the Redis of cache_lru is away"), 1);
        assert_eq!(times(server, "the Redis of cache_lru is back"), 1);
    }
    let newest = pair.push(1, "newest");
    pair.is_pulled_everywhere(&newest);
}

#[test]
fn ten_seconds_without_an_answer_cost_no_client_anything() {
    let pair = Pair::start(&[("CACHE_LRU_TAG_TTL", "2s")]);
    let old = pair.push(0, "old");
    pair.is_pulled_everywhere(&old);
    let usual = fastest(&pair);
    pair.redis.stall();
    let stalled = Instant::now();
    let new = pair.push(0, "new");
    assert_eq!(pair.pull(0), new);
    thread::sleep(Duration::from_millis(500));
    let without = fastest(&pair);
    println!("a pull: {usual:?} with Redis, {without:?} without");
    assert!(without < usual + Duration::from_millis(10), "{usual:?}, then {without:?}");
    while stalled.elapsed() < Duration::from_secs(10) {
        assert_eq!(pair.pull(0), new);
        let other = pair.pull(1);
        // The other server could not be told: it may believe what it had for tag_ttl.
        assert!(other == new || stalled.elapsed() < Duration::from_millis(2500), "{:?}", stalled.elapsed());
        thread::sleep(Duration::from_millis(50));
    }
    pair.redis.resume();
    for server in &pair.servers {
        log_has(server, "the Redis of cache_lru is back");
    }
    for _ in 0..50 {
        assert_eq!([pair.pull(0), pair.pull(1)], [new.clone(), new.clone()]);
    }
}

/// The fastest of some pulls: what the machine does meanwhile is not in it.
fn fastest(pair: &Pair) -> Duration {
    let pull = |_| {
        let start = Instant::now();
        pair.pull(0);
        start.elapsed()
    };
    (0..20).map(pull).min().expect("some pulls")
}

#[test]
fn tags_of_v1_are_kept_as_well_and_change_for_every_server() {
    let pair = Pair::start(&[("CACHE_LRU_TAG_TTL", "1h")]);
    let (id, other) = ("1".repeat(64), "2".repeat(64));
    let client = pair.servers[0].client();
    for id in [&id, &other] {
        let json = format!("{{\"id\": \"{id}\"}}");
        client.send("PUT", &format!("/v1/images/{id}/json"), &[], json.as_bytes()).expect(200);
    }
    let tag = "/v1/repositories/library/app/tags/latest";
    for (server, id) in [(0, &id), (1, &other), (0, &id), (1, &other)] {
        let text = format!("\"{id}\"");
        pair.servers[server].client().send("PUT", tag, &[], text.as_bytes()).expect(200);
        assert_eq!(pair.servers[server].client().get(tag).expect(200).text(), text);
        wait_for("the other server has the tag", PATIENCE, || {
            (pair.servers[1 - server].client().get(tag).text() == text).then_some(())
        });
    }
    pair.servers[0].client().send("DELETE", "/v1/repositories/library/app/", &[], b"").expect(200);
    wait_for("the repository is gone everywhere", PATIENCE, || {
        pair.servers.iter().all(|server| server.client().get(tag).status == 404).then_some(())
    });
}

#[test]
fn no_password_is_in_any_line_and_no_wrong_one_fails_a_request() {
    let redis = Redis::start_with(&["--requirepass", "right-hunter2"]);
    let mut launch = launch(&redis, &[]);
    let address = redis.address();
    launch.environment[0].1 = format!("redis://:wrong-hunter2@{address}");
    let server = Server::launch(launch, Place::new());
    log_has(&server, "it refuses the password");
    let blob = v2::push_blob(&server.client(), "app", b"content");
    let found = server.client().get(&format!("/v2/app/blobs/{blob}")).expect(200);
    assert_eq!(found.text(), "content");
    assert!(!server.process().log().contains("hunter2"), "{}", server.process().log());
    assert_eq!(times(&server, "the Redis of cache_lru is away"), 1);
}

#[test]
fn a_redis_that_will_fill_up_is_warned_of_once() {
    let redis = Redis::start_with(&[]);
    let server = Server::launch(launch(&redis, &[]), Place::new());
    log_has(&server, "has no maxmemory");
    assert_eq!(times(&server, "give it a maxmemory and the policy allkeys-lru"), 1);
}

#[test]
fn a_redis_that_is_away_at_the_start_keeps_nobody_from_starting() {
    let mut redis = Redis::start();
    redis.kill();
    let server = Server::launch(launch(&redis, &[]), Place::new());
    log_has(&server, "the Redis of cache_lru is away");
    v2::push_blob(&server.client(), "app", b"content");
    redis.restart();
    log_has(&server, "the Redis of cache_lru is back");
}
