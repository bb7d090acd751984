//! How many writes an answer takes, as the kernel counts them for a server in a process of its own.
//!
//! `syscw` in `/proc/PID/io` counts the calls `write`, `writev` and `sendfile` of all threads, on sockets as on anything
//! else: the bytes by which one thread wakes another count as well, so that there is some room above one for each answer.
//! It does not count `send`. So there is also a least number: where answers leave in another way, a test says so
//! and does not pass because it sees nothing.

use std::{fs, io};

use docker_registry_tests::{
    artifacts,
    http::{Connection, Length},
    process::{PATIENCE, wait_for},
    redis::Redis,
    server::{Chosen, Launch, Place, Product, Server},
    v2,
};

/// How many answers are counted.
const ANSWERS: u64 = 200;
/// How many writes there may be that are none of an answer. One more for each answer would be far more.
const OTHERS: u64 = ANSWERS / 4;

/// A server that writes no line for a request, and keeps no search index, whose thread writes and is woken as well.
fn start(environment: &[(&str, &str)]) -> Server {
    let mut launch = Launch::silent(Product::Ours, artifacts::folder().to_owned());
    launch.chosen = Some(Chosen {
        configuration: artifacts::workspace().join("config/config_sample.yml"),
        flavor: "local".to_owned(),
        drivers: artifacts::folder().to_owned(),
    });
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    // One thread has nobody to wake.
    launch.environment = environment.iter().chain(&[("TOKIO_WORKER_THREADS", "1")]).map(owned).collect();
    Server::launch(launch, Place::new())
}

/// Writes of the server's process so far.
fn writes(server: &Server) -> u64 {
    let file = format!("/proc/{}/io", server.process().id());
    let counts = fs::read_to_string(file).expect("a process of this user can be looked at");
    let count = counts.lines().find_map(|line| line.strip_prefix("syscw: ")?.parse().ok());
    count.expect("the kernel counts writes")
}

/// Writes of the server while it answers [`ANSWERS`] times on one connection.
fn writes_for_answers(server: &Server, mut ask: impl FnMut(&mut Connection) -> io::Result<()>) -> u64 {
    let mut connection = server.client().connect().expect("a connection");
    // What is done once for a connection comes before.
    ask(&mut connection).expect("an answer");
    let before = writes(server);
    for _ in 0..ANSWERS {
        ask(&mut connection).expect("an answer");
    }
    let made = writes(server) - before;
    println!("{made} writes for {ANSWERS} answers");
    made
}

/// Expects so many writes for each answer.
fn expect(made: u64, each: u64) {
    let answers = format!("{made} writes for {ANSWERS} answers of {each}");
    // A write is counted when it is over; its bytes may be there before.
    assert!(made + 1 >= each * ANSWERS, "{answers}: not all of them leave by calls that are counted");
    assert!(made <= each * ANSWERS + OTHERS, "{answers}: they take more than that");
}

/// Expects that each answer to a GET leaves in one write.
fn leaves_in_one_write(server: &Server, target: &str, content: &str) {
    let made = writes_for_answers(server, |connection| {
        let answer = connection.send("GET", target, &[], b"")?.expect(200);
        assert_eq!(answer.text(), content);
        Ok(())
    });
    expect(made, 1);
}

#[test]
fn a_small_answer_leaves_in_one_write() {
    leaves_in_one_write(&start(&[]), "/v2/", "{}");
}

/// How often Redis was asked for entries, of each kind.
fn reads(redis: &Redis) -> Vec<String> {
    let counts = redis.ask(&["INFO", "commandstats"]);
    let is_read = |line: &&str| line.starts_with("cmdstat_get:") || line.starts_with("cmdstat_evalsha:");
    counts.lines().filter(is_read).map(str::to_owned).collect()
}

/// From the memory of the process: whatever else is read takes threads and sockets, whose writes count as well.
#[test]
fn a_cached_manifest_leaves_in_one_write() {
    let redis = Redis::start();
    let url = redis.url();
    let server = start(&[
        ("CACHE_LRU_REDIS_URL", url.as_str()),
        ("CACHE_LRU_TAG_TTL", "1h"),
        ("CACHE_LRU_PATIENCE", "10s"),
        ("CACHE_LRU_TIMEOUT", "10s"),
    ]);
    let client = server.client();
    let blob = v2::push_blob(&client, "app", b"{}");
    let manifest = v2::manifest(&[(blob, 2)]);
    v2::push_manifest(&client, "app", "latest", &manifest).expect(201);
    // Redis is connected at some time, and entries are filled after an answer.
    let target = "/v2/app/manifests/latest";
    wait_for("the manifest is in the memory of the server", PATIENCE, || {
        client.get(target).expect(200);
        let before = reads(&redis);
        client.get(target).expect(200);
        (before.len() == 2 && before == reads(&redis)).then_some(())
    });
    leaves_in_one_write(&server, target, &manifest);
}

/// So a second write is found where there is one: a client that waits to be told to go on is written to twice.
#[test]
fn an_answer_after_a_word_to_go_on_takes_two_writes() {
    let made = writes_for_answers(&start(&[]), |connection| {
        let headers = [("Content-Type", v2::MANIFEST), ("Expect", "100-continue")];
        connection.begin("PUT", "/v2/app/manifests/latest", &headers, Length::Known(2))?;
        let mut go_on = [0; 256];
        let length = connection.read_some(&mut go_on)?;
        assert!(go_on[..length].starts_with(b"HTTP/1.1 100 "), "{}", String::from_utf8_lossy(&go_on));
        connection.write(b"no")?;
        connection.finish(false)?.expect(400);
        Ok(())
    });
    expect(made, 2);
}
