//! A driver that leaks descriptors until it has none left.

use std::time::Duration;

use docker_registry_tests::{http::Connection, v2};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::registry::{Blob, REPOSITORY, Registry, expect_end, kill, open_files};

/// Leaks until the limit is hit.
const MOST_LEAKS: usize = 200;

fn id(process: Pid) -> u32 {
    process.as_raw_nonzero().get().cast_unsigned()
}

/// Lets a process have this many descriptors.
fn limit(process: Pid, descriptors: u64) {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(descriptors), maximum };
    prlimit(Some(process), Resource::Nofile, limit).expect("the limit of an own process can be set");
}

/// Gets a blob again and again over one connection until that fails, which must be by an answer.
fn leak_until_it_fails(connection: &mut Connection, blob: &Blob) -> u16 {
    for _ in 0..MOST_LEAKS {
        let answer = connection.send("GET", &blob.target, &[], b"").expect("an answer");
        if answer.status != 200 {
            return answer.status;
        }
    }
    panic!("{MOST_LEAKS} descriptors leaked and the limit was not hit")
}

#[test]
fn a_leak_in_the_drivers_process_costs_its_own_requests_and_ends_with_the_process() {
    // Memory needs a descriptor for a stream, and none for small objects.
    let registry = Registry::with("process", "  below: memory\n");
    let blob = registry.push(b"streamed");
    let client = registry.client();
    let manifest = v2::manifest(&[(blob.digest.clone(), 8)]);
    v2::push_manifest(&client, REPOSITORY, "tag", &manifest).expect(201);
    let process = registry.driver_process();
    let server = open_files(registry.server.process().id());
    limit(process, open_files(id(process)) as u64 + 32);
    registry.throw(&format!("read leak {}\n", blob.hex));
    let mut connection = client.connect().expect("the server accepts");
    let status = leak_until_it_fails(&mut connection, &blob);
    assert!(matches!(status, 500 | 503), "{status}");

    client.get("/v2/").expect(200);
    registry.server.admin().get("/livez").expect(200);
    v2::get_manifest(&client, REPOSITORY, "tag").expect(200);
    assert_eq!(v2::tags(&client, REPOSITORY), ["tag"]);
    assert!(open_files(registry.server.process().id()) <= server + 8, "the server has leaked");
    assert_eq!(registry.driver_process(), process, "the process runs all the same");

    // Nothing is kept over a restart of this storage, so only that it serves again is asked.
    registry.throw("");
    kill(id(process));
    expect_end(process);
    let again = registry.push(b"streamed");
    registry.expect(&again);
}

#[test]
fn a_leak_on_local_files_is_over_when_the_process_is_another() {
    let registry = Registry::start();
    let blob = registry.push(b"on a disk");
    let process = registry.driver_process();
    limit(process, open_files(id(process)) as u64 + 32);
    registry.throw(&format!("read leak {}\n", blob.hex));
    let mut connection = registry.client().connect().expect("the server accepts");
    let status = leak_until_it_fails(&mut connection, &blob);
    assert!(matches!(status, 500 | 503), "{status}");
    registry.client().get("/v2/").expect(200);
    kill(id(process));
    registry.throw("");
    registry.expect(&blob);
}

#[test]
fn a_leak_in_the_servers_process_is_answered_and_the_server_lives_through_it() {
    let registry = Registry::with("declared", "");
    let blob = registry.push(b"on a disk");
    let process = Pid::from_raw(registry.server.process().id().cast_signed()).expect("a process id");
    let mut connection = registry.client().connect().expect("the server accepts");
    connection.send("GET", "/v2/", &[], b"").expect("an answer").expect(200);
    limit(process, open_files(id(process)) as u64 + 32);
    registry.throw(&format!("read leak {}\n", blob.hex));
    let status = leak_until_it_fails(&mut connection, &blob);
    assert!(matches!(status, 500 | 503), "{status}");
    // Who is connected is answered; who comes has to wait until a descriptor is free.
    connection.send("GET", "/v2/", &[], b"").expect("an answer").expect(200);
    let newcomer = registry.client().with_patience(Duration::from_millis(500));
    let _ = newcomer.try_send("GET", "/v2/", &[], b"");
    registry.throw("");
    limit(process, 1024);
    registry.client().get("/v2/").expect(200);
    registry.expect(&blob);
}
